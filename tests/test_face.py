"""`import maebench`: what scripts and notebooks have of it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from builders.plugins import DENSE, images, write, write_all

import maebench
from maebench.runs.records import RunsFailed
from maebench.seeding import stream

SQUARES = '''"""Random pixels; the label is that of the brightest third of the rows."""
import torch
from maebench import Split, stream
VERSION = 1
TARGETS = ("label",)

def load(split):
    count = {"train": 40, "val": 20, "test": 20}[split]
    pixels = torch.randint(0, 256, (count, 3, 8, 8), generator=stream(count, split), dtype=torch.uint8)
    return Split(pixels, {"label": pixels.float().mean((1, 2, 3)).gt(127.5).long()})
'''
CONFIG: dict[str, Any] = {
    "tracks": [{"dataset": "toy_squares", "tasks": "linear_probe"}],
    "variants": ["raw_pixels", "toy_dense", "toy_masked"],
    "masks": {"strategy": "toy_random", "ratio": 0.5},
    "pretrain": {"steps": 12, "batch": 8},
    "seeds": [0, 1],
}


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_all(tmp_path_factory.mktemp("plugins"))
    write(folder, "datasets", "toy_squares", SQUARES)
    return folder


@pytest.fixture(scope="module")
def results(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return maebench.run(CONFIG, tmp_path_factory.mktemp("results"), plugins=plugins, device="cpu")


def test_importing_it_loads_nothing_else() -> None:
    code = (
        "import maebench, sys; print({'torch', 'pandas', 'pydantic', 'rich'} & set(sys.modules), maebench.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"set() {maebench.__version__}\n"


def test_every_name_it_offers_is_there_and_no_other() -> None:
    for name in dir(maebench):
        assert getattr(maebench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'plam'"):
        _ = maebench.plam  # type: ignore[attr-defined]


def test_a_plan_is_a_sequence_of_runs_and_a_table(plugins: Path) -> None:
    runs = maebench.plan(CONFIG, plugins=plugins)
    assert len(runs) == len(list(runs)) == len(runs.table) == 1 + 2 * 2 * 2
    assert list(runs.table["run id"]) == [spec.run_id for spec in runs]
    assert runs[0].run_id in repr(runs)
    assert runs[1].run_id in runs._repr_html_()
    assert len(maebench.plan("smoke.yaml")) > 1, "a built-in config by its name"


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({**CONFIG, "seedz": [1]}, "config: seedz: unknown key; did you mean 'seeds'?"),
        ({**CONFIG, "variants": "vit_may"}, "config: no variant is called 'vit_may'; did you mean 'vit_mae'?"),
        ("none.yaml", "none.yaml: cannot be read"),
    ],
)
def test_a_wrong_config_is_one_line(plugins: Path, config: Any, line: str) -> None:
    with pytest.raises(ValueError, match=line.split("?")[0].replace("(", r"\(")) as error:
        maebench.plan(config, plugins=plugins)
    assert "\n" not in str(error.value)


def test_run_gives_results_that_a_folder_gives_again(results: Any) -> None:
    again = maebench.results(results.folder)
    for one in (results, again):
        assert [board.dataset for board in one.boards] == ["toy_squares"]
        assert set(one.table["variant"]) >= {"raw_pixels", "toy_dense", "toy_masked"}
        assert one.warnings == []
    pd.testing.assert_frame_equal(results.table, again.table)
    assert set(results.details["task"]) == {"cost", "linear_probe"}


def test_results_draw_themselves(results: Any) -> None:
    page, text = results._repr_html_(), repr(results)
    assert page.count("<table") == 1
    for row in results.boards[0].rows:
        assert row.name in page
        assert row.name in text


def test_running_again_does_nothing(results: Any, plugins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.folder.glob("*/*.jsonl")}
    maebench.run(CONFIG, results.folder, plugins=plugins, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in results.folder.glob("*/*.jsonl")} == before
    assert "9 runs planned, 9 of them complete" in capsys.readouterr().err


def test_a_failed_cell_is_an_error_and_the_rest_is_kept(plugins: Path, tmp_path: Path) -> None:
    write(
        plugins,
        "variants",
        "toy_broken",
        DENSE.replace("return self.inner", "raise OverflowError('no')\n        return self.inner"),
    )
    with pytest.raises(RunsFailed, match="the first: toy_squares toy_broken"):
        maebench.run({**CONFIG, "variants": ["raw_pixels", "toy_broken"]}, tmp_path, plugins=plugins, device="cpu")
    assert "raw_pixels" in set(maebench.results(tmp_path).table["variant"])


def test_a_folder_without_results_is_said(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="no results in"):
        maebench.results(tmp_path)


def test_build_gives_the_variant_that_a_run_would_begin_with(plugins: Path) -> None:
    one, same = (maebench.build("toy_dense", shape=(3, 8, 8), width=5, plugins=plugins) for _ in range(2))
    other = maebench.build("toy_dense", shape=(3, 8, 8), width=5, seed=1, plugins=plugins)
    weights = one.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in same.state_dict().items())
    assert not torch.equal(weights["inner.weight"], other.state_dict()["inner.weight"])
    assert one.encode(maebench.standardise(images(2))).shape == (2, 5, 1, 1)


def test_build_hides_by_the_strategy_at_the_ratio() -> None:
    variant = maebench.build("vit_mae", shape=(3, 32, 32), masking={"block": {"aspect": 0.5}}, ratio=0.75, width=32)
    seen = variant.reconstruct(maebench.standardise(images(4, (3, 32, 32))), stream(0, "test")).seen
    assert seen.isnan().float().mean((1, 2, 3)).tolist() == [0.75] * 4


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"wdth": 3}, "build: vit_mae has no setting 'wdth'; did you mean 'width'"),
        ({"masking": "uniform"}, "takes masking and ratio together"),
        ({"ratio": 0.5}, "takes masking and ratio together"),
        ({"masking": "uniform", "ratio": 1.0}, "ratio 1.0 is not a share"),
        ({"masking": "unifrom", "ratio": 0.5}, "no masking is called 'unifrom'; did you mean 'uniform'"),
        ({"masking": {"block": {"area": 1}}, "ratio": 0.5}, "block has no setting 'area'"),
    ],
)
def test_build_refuses_what_it_does_not_know(settings: dict[str, Any], line: str) -> None:
    with pytest.raises((ValueError, LookupError), match=line):
        maebench.build("vit_mae", shape=(3, 32, 32), **settings)
