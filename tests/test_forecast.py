"""What a plan takes: sleeps of known length stand for work, so the right answer is known."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from builders.commands import call
from builders.plugins import CPU, DENSE, LABELS, MASKED, RANDOM, config, images, write
from rich.console import Console

from maebench.cli.plan import disk, duration, memory
from maebench.contracts import Split, standardise
from maebench.runs import calibration
from maebench.runs.build import assemble
from maebench.runs.calibration import Sample, cut, extend
from maebench.runs.forecast import Forecast, forecast, total
from maebench.runs.plan import RunSpec, make
from maebench.runs.progress import Progress
from maebench.runs.records import read_rows
from maebench.runs.runner import Runner
from maebench.runs.scoring.cost import COST
from maebench.training.timing import flops_per_image

SHAPES = '''"""Random pixels with a label, in the order of the labels."""
import torch
VERSION = 1
TARGETS = ("label",)

def load(split, *, count: int = 2000):
    from maebench.contracts import Split
    many = count if split == "train" else 100
    images = torch.arange(many * 48).remainder(251).to(torch.uint8).view(many, 3, 4, 4)
    return Split(images, {"label": torch.arange(many) * 4 // many})
'''
SLOW = DENSE.replace(
    "def loss(self, images, rng):", "def loss(self, images, rng):\n        time.sleep(self.gain / 1000)"
)
FIT = """
def fit(encode, train, *, {setting}):
    time.sleep({seconds})
    return lambda images: encode(images).flatten(1).argmax(1)
"""


def task(setting: str, seconds: str) -> str:
    """A task whose fit sleeps."""
    start, end = LABELS.index("def fit"), LABELS.index("def measure")
    return LABELS[:start] + "import time\n" + FIT.format(setting=setting, seconds=seconds) + LABELS[end:]


PLUGINS = {
    ("datasets", "toy_shapes"): SHAPES,
    ("variants", "toy_slow"): SLOW.replace("import torch\n", "import time\nimport torch\n", 1),
    ("variants", "toy_masked"): MASKED,
    ("maskings", "toy_random"): RANDOM,
    ("tasks", "toy_fixed"): task("worth: float = 0.2", "worth"),
    ("tasks", "toy_growing"): task("fit_images: int | None = None", "0.1 + len(train.images[:fit_images]) / 2000"),
    ("tasks", "toy_tuning"): task("epochs: int = 10", "epochs * len(train.images) / 10_000").replace(
        "encode, train", "encode, trainable, train"
    ),
    ("tasks", "toy_own"): LABELS.replace("encode, train", "encode, trainable, train"),
}


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sleeping plug-ins, a shorter look at them, and a clock by which a sleep takes no time but counts in full.

    What the machine does besides, however busy it is, counts for a twentieth.
    """
    slept, clock = [0.0], time.perf_counter
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "perf_counter", lambda: sum(slept) + clock() / 20)
    monkeypatch.setattr(calibration, "LOOK", 0.1)
    for (kind, name), code in PLUGINS.items():
        write(tmp_path, kind, name, code)  # type: ignore[arg-type]
    return tmp_path


def specs(plugins: Path, changes: dict[str, Any]) -> tuple[RunSpec, ...]:
    few = {"variants": {"toy_slow": {"gain": 20.0}}, "seeds": [0]}
    few["tracks"] = [{"dataset": "toy_shapes", "tasks": changes.pop("tasks", {"toy_fixed": {"worth": 0.0}})}]
    return make(config({**few, **changes}), "my.yaml", plugins)


def runner(plugins: Path) -> Runner:
    return Runner(plugins / "results", plugins, plugins, CPU, Progress(Console(quiet=True)), "test")


def rows(plugins: Path, changes: dict[str, Any]) -> list[Forecast]:
    return forecast(runner(plugins), specs(plugins, changes))


def near(seconds: float) -> Any:
    """So many seconds asleep, and a little work."""
    return pytest.approx(1.1 * seconds, rel=0.13)


def test_every_kind_of_budget_is_counted_in_steps(plugins: Path) -> None:
    (floor, run) = rows(plugins, {"pretrain": {"steps": 250, "batch": 4}})
    assert (floor.pretrain, floor.disk - 100 * 8) == (0, 0), "an untrained floor keeps the guesses alone"
    assert run.pretrain == near(5.0)
    assert run.disk == 100 * 8 + (weights := 4 * (2 * 48 * 4 + 4 + 48))
    assert run.spare == 6 * weights
    assert rows(plugins, {"pretrain": {"epochs": 3, "batch": 4}})[1].pretrain == near(30)
    assert rows(plugins, {"pretrain": {"seconds": 77, "batch": 4}})[1].pretrain == 77
    spec = specs(plugins, {})[1].encoder
    flops = flops_per_image(assemble(spec, (3, 4, 4), plugins), standardise(images(2, (3, 4, 4))))
    assert rows(plugins, {"pretrain": {"flops": 3 * flops * 4 * 100, "batch": 4}})[1].pretrain == near(2.0)


def test_what_can_be_fitted_or_trained_is_tried_as_the_plan_has_it(plugins: Path) -> None:
    code = PLUGINS["variants", "toy_slow"].replace("import torch\n", "import torch\nfrom typing import Literal\n", 1)
    code = code.replace("    def encode", "    def fit(self, images):\n        time.sleep(0.3)\n\n    def encode")
    code = code.replace(
        "gain: float = 1.0", 'gain: float = 20.0, fit: Literal["closed_form", "gradient"] = "closed_form"'
    )
    write(plugins, "variants", "toy_either", code)
    both = [{"toy_either": {"fit": fit}} for fit in ("closed_form", "gradient")]
    found = rows(plugins, {"variants": both, "pretrain": {"steps": 250, "batch": 4}})
    assert [row.pretrain for row in found] == [near(0.3), 0, near(5.0)]


def test_costs_have_the_right_order_and_add_up(plugins: Path) -> None:
    variants = [{"toy_slow": {"gain": gain}} for gain in (40.0, 10.0, 20.0)]
    found = rows(plugins, {"variants": variants, "seeds": [0, 1], "pretrain": {"steps": 400, "batch": 4}})
    assert [row.runs for row in found] == [2] * 6
    assert len({row.run for row in found}) == 6, "rows of one name are told apart"
    slow, fast, middle = found[1::2]
    assert fast.pretrain < middle.pretrain < slow.pretrain
    assert slow.pretrain == near(2 * 400 * 0.04)
    whole = total(found)
    assert whole.seconds == pytest.approx(sum(row.seconds for row in found))
    assert whole.disk == sum(row.disk for row in found)
    assert whole.memory == max(row.memory for row in found) > 50
    assert whole.basis == "calibrated"


def test_tasks_grow_with_their_images_and_not_with_the_rest(plugins: Path) -> None:
    tries = calibration.Calibration(runner(plugins))

    def seconds(name: str, settings: dict[str, Any]) -> float:
        spec = specs(plugins, {"tasks": {name: settings}})[0]
        need = tries.cell(spec.encoder, spec.tasks[0], 0)
        assert need.seconds is not None
        return need.seconds + need.extract

    assert seconds("toy_fixed", {}) == near(0.2)
    assert seconds("toy_growing", {}) == near(1.1)
    assert seconds("toy_growing", {"fit_images": 1000}) == near(0.6), "a task that stops at 1000 images is cut as well"
    assert seconds("toy_tuning", {}) == near(2.0)
    assert seconds("toy_tuning", {"epochs": 30}) == near(6.0), "tried for one epoch"
    assert rows(plugins, {"tasks": "toy_own"})[0].unknown == ("toy_own",)


def test_each_snapshot_is_probed_again_but_not_trained_again(plugins: Path) -> None:
    changes = {"tasks": [{"toy_fixed": {"worth": 0.1}}, {"toy_tuning": {"epochs": 2}}]}
    pretrain = {"steps": 40, "batch": 4, "probe_every": 10}
    assert rows(plugins, {**changes, "pretrain": pretrain})[1].tasks == near(4 * 0.1 + 0.4)


def test_what_is_done_is_left_out_and_a_real_run_is_believed(plugins: Path) -> None:
    first = {"pretrain": {"steps": 30, "batch": 4}, "variants": "toy_slow"}
    both = {**first, "seeds": [0, 1]}
    runner(plugins).run(specs(plugins, {**first}))
    assert rows(plugins, {**first}) == []
    (_, run) = rows(plugins, {**both})
    trained = specs(plugins, {**first})[1].run_id
    path = plugins / "results" / trained / f"cost@{COST.version}.jsonl"
    (spent,) = [row.metric.value for row in read_rows(path) if row.metric and row.metric.name == "pretrain_seconds"]
    assert (run.runs, run.basis, run.pretrain) == (1, "measured", spent)
    again = rows(plugins, {**first, "tasks": [{"toy_fixed": {"worth": 0.0}}, {"toy_fixed": {"worth": 0.3}}]})
    assert [row.pretrain for row in again] == [0, 0], "a new task needs no new training"
    assert all(row.tasks == near(0.3) for row in again)
    for file in plugins.glob("results/*/*.jsonl"):
        file.write_text(file.read_text().replace('"device": "cpu"', '"device": "other"'))
    assert {row.basis for row in rows(plugins, {**both})} == {"calibrated"}, "the times of other hardware"


def test_the_command_says_it_in_one_line_and_writes_nothing(
    plugins: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(plugins)
    text = "tracks: [{dataset: toy_shapes, tasks: toy_own}]\nvariants: [toy_masked]\npretrain: {steps: 60, batch: 4}\n"
    (plugins / "c.yaml").write_text(text + "masks: {strategy: toy_random, ratio: 0.5}\n")
    words = ("plan", "c.yaml", "--plugins", plugins, "--out", "none")
    assert call(*words, "--forecast", "--device", "cpu") == 0
    shown = capsys.readouterr()
    assert "calibrating toy_masked with toy_random 0.5: a few training steps" in shown.err
    assert "iB" in shown.out  # MiB, or GiB where the process has grown
    assert "on disk (and up to 72 B more of checkpoints while training); not forecast: toy_own, on " in shown.out
    assert call(*words) == 2
    assert capsys.readouterr().err == "maebench: plan: --out says something with --forecast only; add that\n"
    write(plugins, "maskings", "toy_random", RANDOM.replace("return", "raise KeyError('boom')\n    return"))
    assert call(*words, "--forecast") == 2
    error = "maebench: toy_masked with toy_random 0.5 fails in the calibration: KeyError: 'boom'"
    assert capsys.readouterr().err.splitlines()[-1] == error
    assert not (plugins / "none").exists()


def test_the_plan_itself_starts_without_torch(plugins: Path) -> None:
    code = """
import sys
from maebench.cli.main import main
try:
    main(["plan"])
finally:
    print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=plugins)
    assert done.stdout.endswith("\nFalse\n"), done.stderr


def test_two_samples_make_a_line_that_stays_within_reason() -> None:
    few, many = Sample(100, {"fit": 3.0, "read": 1.0, "noisy": 2.0, "odd": 0.0}), {"fit": 4.0, "read": 4.0}
    wanted = {"fit": 4.0 + 6 / 3, "read": 10.0, "noisy": 1.0, "odd": 2.5}
    assert extend(few, Sample(400, {**many, "noisy": 1.0, "odd": 1.0}), 1000) == pytest.approx(wanted)
    assert extend(few, Sample(100, {"fit": 3.5}), 100) == {"fit": 3.5}


def test_a_share_of_a_sorted_split_has_every_class() -> None:
    train, val = Split(images(3000), {"label": torch.arange(3000) // 300}), Split(images(40))
    for number, count in enumerate((150, 600)):
        part = cut({"train": train, "val": val}, number)
        assert part["train"].targets["label"].bincount().tolist() == [count // 10] * 10
        assert torch.equal(part["train"].images, train.images[:: 3000 // count])
        assert len(part["val"].images) == 10
    few = cut({"train": val, "val": train}, 0)
    assert [len(few["train"].images), len(few["val"].images)] == [40, 3000], "the same share of all splits"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0, "0 s"), (0.04, "0.0 s"), (0.44, "0.4 s"), (9.96, "10 s"), (99, "99 s"), (190, "3.2 min")),
        *((840, "14 min"), (5969, "99 min"), (7200, "2.0 h"), (40 * 3600, "40 h"), (3.1 * 86400, "3.1 days")),
    ],
)
def test_times_are_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sizes_are_for_people() -> None:
    sizes = {0: "0 B", 72: "72 B", 999: "999 B", 1000: "1.0 kB", 35e6: "35 MB", 1.25e9: "1.2 GB", 5e15: "5000 TB"}
    assert {size: disk(size) for size in sizes} == sizes
    assert [memory(size) for size in (0, 870.4, 1434)] == ["-", "870 MiB", "1.4 GiB"]
