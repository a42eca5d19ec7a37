"""The figures that sweep settings of a ViT: verdicts both ways on small tables, and each from end to end, tiny."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders.plugins import CPU
from rich.console import Console

from maebench.papers.experiments import Experiments
from maebench.papers.figures import epochs, layers, partial_tuning, ratio_patch
from maebench.runs import plan
from maebench.runs.build import assemble
from maebench.runs.config import Config
from maebench.runs.progress import Progress
from maebench.runs.runner import Runner

TINY: dict[str, Any] = {
    "dataset": {"scenes": {"train": 300, "val": 60, "test": 60, "size": 16}},
    "vit": {"patch": 4, "width": 16, "heads": 2, "decoder_width": 16, "decoder_heads": 2},
    "pretrain": {"steps": 10, "batch": 16, "base_lr": 4e-3},
    "linear_probe": {"fit_images": 60},
    "seeds": [0, 1],
}


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> Experiments:
    out = tmp_path_factory.mktemp("runs")
    return Experiments(Runner(out, Path("data"), None, CPU, Progress(Console(quiet=True)), "test"))


def carried_out(module: Any, table: pd.DataFrame, folder: Path) -> dict[str, str]:
    """What a figure finds in its table once that went through a file, drawn too: key -> verdict."""
    table.to_csv(folder / "table.csv", index=False)
    table = pd.read_csv(folder / "table.csv")
    found = module.judge(table)
    assert set(found) == set(module.CLAIMS)
    for name, figure in module.draw(table).items():
        figure.savefig(folder / f"{name}.png")
    return {key: finding.verdict for key, finding in found.items()}


def test_layers_from_end_to_end(experiments: Experiments, tmp_path: Path):
    tune = {"tune": "whole", "epochs": 1, "batch": 30, "fit_images": 60}
    table = layers.measured(experiments, {**TINY, "encoders": (1, 2), "decoders": (1, 2), "fine_tune": tune})
    trained = table[~table["floor"]]
    assert (len(trained), len(table)) == (6, 6 + 4), "floors are those of the smallest decoder alone"
    assert trained.notna().all(axis=None)
    assert table[["probe", "tuned"]].notna().all(axis=None)
    carried_out(layers, table, tmp_path)


def test_ratio_and_patch_from_end_to_end(experiments: Experiments, tmp_path: Path):
    vit = {**{key: value for key, value in TINY["vit"].items() if key != "patch"}, "depth": 1, "decoder_depth": 1}
    table = ratio_patch.measured(experiments, {**TINY, "vit": vit, "patches": (2, 4), "ratios": (0.1, 0.75)})
    trained = table[~table["floor"]]
    assert len(trained) == 8
    assert trained.drop(columns="floor").notna().all(axis=None)
    assert table["error"].isna().sum() == table["floor"].sum() == 4
    carried_out(ratio_patch, table, tmp_path)


def test_partial_tuning_from_end_to_end(experiments: Experiments, tmp_path: Path):
    vit = {**TINY["vit"], "depth": 2, "decoder_depth": 1}
    tune = {"epochs": 1, "batch": 30, "fit_images": 60}
    table = partial_tuning.measured(experiments, {**TINY, "vit": vit, "blocks": (1, 2), "fine_tune": tune})
    assert list(dict.fromkeys(table["tuned"])) == ["head", "last 1", "last 2", "whole"]
    assert len(table) == 16
    counts = table.groupby("tuned", sort=False)["tuned_parameters"].unique().map(list)
    assert all(len(one) == 1 for one in counts)
    assert counts.map(max).is_monotonic_increasing
    assert carried_out(partial_tuning, table, tmp_path)["memory"] == "not run"


def test_epochs_from_end_to_end(experiments: Experiments, tmp_path: Path):
    settings = {**TINY, "vit": {**TINY["vit"], "depth": 1, "decoder_depth": 1}}
    table = epochs.measured(experiments, {**settings, "pretrain": {**TINY["pretrain"], "steps": 40, "probe_every": 10}})
    assert table["step"].to_list() == [0, 10, 20, 30, 40] * 2
    assert table["epoch"].max() == pytest.approx(40 * 16 / 300)
    assert table["probe"].notna().all()
    assert table["error"].isna().to_list() == [True, False, False, False, False] * 2
    carried_out(epochs, table, tmp_path)


def grown(encoder: float, decoder: float, *, sign: int = 1, small: float = 1.0, start: float = 0.1) -> pd.DataFrame:
    """Cells of `layers`: seconds by layer as given, more accurate with encoder layers for sign 1, `small` better.

    `start` is the accuracy of what is untrained.
    """
    rows = []
    for seed, noise in ((0, 0.01), (1, -0.01)):
        for depth in (1, 2, 4):
            for count in (1, 2, 6):
                better = sign * depth + (small if count == 2 else 0.0) + noise
                cost = {"seconds": 5 + encoder * depth + decoder * count, "flops": encoder * depth + decoder * count}
                about = {"depth": depth, "decoder_depth": count, "seed": seed}
                error = 1 - sign * 0.1 * (depth + count) + noise
                rows.append({**about, "floor": False, **cost, "error": error, "probe": better, "tuned": better})
                rows.append({**about, "floor": True, "probe": start, "tuned": start + 0.1 + noise})
    return pd.DataFrame(rows)


def verdicts(module: Any, table: pd.DataFrame) -> dict[str, str]:
    return {key: finding.verdict for key, finding in module.judge(table).items()}


def test_layers_by_a_table_of_the_papers_findings():
    found = verdicts(layers, grown(1.0, 4.0))
    assert found == {**dict.fromkeys(layers.CLAIMS, "holds"), "one_layer": "contradicted"}
    assert verdicts(layers, grown(1.0, 4.0, small=0.2))["one_layer"] == "holds"


def test_layers_by_a_table_of_the_contrary():
    found = verdicts(layers, grown(4.0, 1.0, sign=-1, small=-1.0, start=-50))
    as_in_the_paper = {"one_layer", "proxy", "floor"}
    assert found == {key: "holds" if key in as_in_the_paper else "contradicted" for key in layers.CLAIMS}


def test_layers_that_learned_nothing_tell_nothing_but_the_time():
    found = layers.judge(grown(1.0, 4.0, start=50))
    assert found.pop("time").outcome == "holds"
    assert {finding.outcome for finding in found.values()} == {"not shown, too little training"}


def test_an_error_that_ranks_otherwise_than_the_accuracy_is_no_proxy():
    table = grown(1.0, 4.0)
    assert verdicts(layers, table.assign(error=-table["probe"]))["proxy"] == "contradicted"
    assert verdicts(layers, table.assign(error=table["probe"]))["proxy"] == "holds"
    alike = table.assign(probe=50.0 - 50 * table["floor"])
    assert verdicts(layers, alike)["proxy"] == "holds"


def test_layers_finds_the_seconds_of_a_layer():
    words = layers.judge(grown(1.0, 4.0))["time"].number
    assert "encoder 1 ± " in words
    assert "decoder 4 ± " in words


def masked(sign: int) -> pd.DataFrame:
    """Cells of `ratio_patch`: as in the paper for sign 1, the reverse for -1; 2.5 times as long at 0.1."""
    rows = [
        {
            **{"patch": patch, "ratio": ratio, "seed": seed, "floor": False},
            "error": 1 - sign * (1 - ratio) / 2 + sign * patch / 20 + noise,
            "probe": 30 - sign * patch + sign * ratio + noise,
            **dict.fromkeys(("seconds", "flops"), (100 / patch) * 2.5 ** (sign * (0.9 - ratio) / 0.8) * 4.0**-sign),
        }
        for seed, noise in ((0, 0.01), (1, -0.01))
        for patch in (2, 4, 8)
        for ratio in (0.1, 0.5, 0.75, 0.9)
    ]
    floors = [
        {"patch": patch, "ratio": None, "seed": seed, "floor": True, "probe": 10.0}
        for patch in (2, 4, 8)
        for seed in (0, 1)
    ]
    return pd.DataFrame([*rows, *floors])


def test_ratio_and_patch_both_ways():
    assert set(verdicts(ratio_patch, masked(1)).values()) == {"holds"}
    assert set(verdicts(ratio_patch, masked(-1)).values()) == {"contradicted"}
    unlearned = masked(1)
    unlearned.loc[unlearned["floor"], "probe"] = 40.0
    found = {key: finding.outcome for key, finding in ratio_patch.judge(unlearned).items()}
    untold = dict.fromkeys(("ratio", "patch", "best"), "not shown, too little training")
    assert found == {**untold, "faster": "holds", "hours": "holds"}, "an untrained encoder is as good"
    unlearned.loc[unlearned["floor"] & (unlearned["patch"] > 2), "probe"] = 10.0
    cases = ratio_patch.judge(unlearned)["ratio"].cases
    told = {name: not text.startswith("not shown: too little training") for name, text in cases.items()}
    assert told == {"all patches": False, "patch 2": False, "patch 4": True, "patch 8": True}
    assert "seconds at ratio 0.1 are 2.5 ± " in ratio_patch.judge(masked(1))["hours"].number


def tuned(points: float, times: float, memory: float, device: str, taught: float = 10.0) -> pd.DataFrame:
    """Rows of `partial_tuning` in which one block loses so many points, and takes so much less of the rest.

    Pretraining has taught so many points.
    """
    rows = []
    for seed in (0, 1):
        whole = {"top1": 80.0 + seed, "tune_seconds": 10.0, "tune_peak_memory": 100.0}
        one = {"top1": 80.0 + 1.01 * seed - points, "tune_seconds": 10 / times, "tune_peak_memory": 100 - memory}
        for floor in (False, True):
            shared = {"seed": seed, "floor": floor, "device": device}
            for name, values in (("last 1", one), ("whole", whole)):
                rows.append({**shared, "tuned": name, **values, "top1": values["top1"] - taught * floor})
    return pd.DataFrame(rows)


def test_partial_tuning_both_ways():
    assert set(verdicts(partial_tuning, tuned(1.0, 1.9, 20.0, "cuda")).values()) == {"holds"}
    assert set(verdicts(partial_tuning, tuned(3.0, 1.1, -5.0, "cuda")).values()) == {"contradicted"}
    untold = partial_tuning.judge(tuned(1.0, 1.9, 20.0, "cuda", taught=0.0))
    assert untold["accuracy"].outcome == "not shown, too little training"
    assert untold["speed"].verdict == untold["memory"].verdict == "holds", "what tuning costs needs no training"
    found = partial_tuning.judge(tuned(1.0, 1.9, 20.0, "cpu"))
    assert found["memory"].verdict == "not run"
    assert "GPU" in found["memory"].number


def test_partial_tuning_shows_memory_from_a_gpu_alone():
    def panels(device: str) -> int:
        axes = partial_tuning.draw(tuned(1.0, 1.9, 20.0, device))["figure_12"].axes
        return sum(bool(panel.lines) for panel in axes)

    assert (panels("cpu"), panels("cuda")) == (2, 3)


def trained_on(probe: list[float], error: list[float]) -> pd.DataFrame:
    """Snapshots of `epochs`, alike but for a little noise of the seed, from step 0 on."""
    steps = range(0, 100 * len(probe), 100)
    values = zip(steps, probe, error, strict=True)
    rows = [{"step": step, "epoch": step / 50, "probe": one, "error": other} for step, one, other in values]
    table = pd.DataFrame([{**row, "seed": seed} for seed in (0, 1) for row in rows])
    return table.assign(probe=table["probe"] + 0.01 * table["seed"] * table["step"] / 100)


def test_epochs_both_ways():
    falling = [9.0, 1.0, 0.8, 0.6, 0.5]
    better = verdicts(epochs, trained_on([10, 20, 25, 28, 30], falling))
    assert better == {"probe": "holds", "error": "holds", "proxy": "contradicted"}
    worse = verdicts(epochs, trained_on([10, 30, 28, 25, 20], falling))
    assert worse == {"probe": "contradicted", "error": "holds", "proxy": "holds"}
    assert verdicts(epochs, trained_on([10, 20, 25, 28, 30], falling[::-1]))["error"] == "contradicted"
    untold = epochs.judge(trained_on([40, 20, 25, 28, 30], falling))
    assert {finding.outcome for finding in untold.values()} == {"not shown, too little training"}


@pytest.mark.parametrize("module", [layers, ratio_patch, partial_tuning, epochs])
@pytest.mark.parametrize("budget", ["quick", "full"])
def test_settings_are_ones_that_can_be_run(module: Any, budget: str):
    for config in module.configs(module.SETTINGS[budget]):
        specs = plan.make(Config.model_validate(config), "test")
        assert {spec.encoder.seed for spec in specs} == set(module.SETTINGS[budget]["seeds"])
        for spec in specs:
            if spec.floor and not spec.encoder.seed:
                assemble(spec.encoder, (3, 32, 32))


def test_the_quick_figures_share_what_they_have_in_common():
    configs = [config for module in (layers, partial_tuning) for config in module.configs(module.SETTINGS["quick"])]
    thin, deep, partly = (plan.make(Config.model_validate(config), "test") for config in configs)
    tasks = {(spec.run_id, task.name, str(task.settings)) for spec in (*thin, *deep) for task in spec.tasks}
    assert {spec.run_id for spec in partly} <= {spec.run_id for spec in thin}
    assert len(tasks & {(spec.run_id, task.name, str(task.settings)) for spec in partly for task in spec.tasks}) == 6
