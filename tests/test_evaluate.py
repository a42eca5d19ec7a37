"""One encoder x one task -> metrics; broken tasks are named; the cost is a task like any other."""

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders.plugins import CPU, encoder, images, write, write_all
from torch import Generator, Tensor, nn

from maebench.contracts import Reconstruction, Split, Variant
from maebench.leaderboard.board import COSTS
from maebench.runs.build import assemble
from maebench.runs.plan import Plugin, RunSpec
from maebench.runs.records import Metric, read_rows, write_rows
from maebench.runs.run import rows
from maebench.runs.scoring.cost import COST, PHASES, cost, effective_rank
from maebench.runs.scoring.evaluate import Outcome, Trained, evaluate
from maebench.runs.scoring.features import frozen
from maebench.seeding import stream
from maebench.training.budget import FITTED
from maebench.training.loop import Training
from maebench.training.timing import Stopwatch, matmul_rate

SPLITS = {
    name: Split(images(count, seed=count), {"label": torch.arange(count)})
    for name, count in {"train": 9, "val": 5, "test": 4}.items()
}

TASK = '''"""Says a third for every image."""
import torch

VERSION = 3
NEEDS = None
METRICS = {"worth": ("m", "lower"), "other": ("", "higher")}

class Guess:
    readout = "global"

    def __init__(self, value):
        self.value = value

    def __call__(self, images):
        return torch.full((len(images), 2), self.value)

def fit(encode, train, val, *, value: float = 1 / 3):
    assert encode(train.images).shape[0] == len(train.images) == 9 and len(val.images) == 5
    return Guess(value)

def measure(guess, targets, images):
    assert guess.dtype == torch.float32 and len(targets["label"]) == len(images) == len(guess) == 4
    return {"worth": guess.mean(), "worth@f=0.1,sigma=4": 2, "other": 5.0}
'''.replace("= 1 / 3", "= 0.3333333")


class Identity(Variant):
    """Pixels as features."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1), requires_grad=False)

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        return Reconstruction(images, torch.ones_like(images[:, :1], dtype=torch.bool), images)

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        return images.sum() * 0

    def encode(self, images: Tensor) -> Tensor:
        return images * self.gain


def trained(variant: Variant, seed: int = 5) -> Trained:
    return Trained(variant, frozen(variant, CPU), seed, Stopwatch(CPU))


def run(folder: Path, code: str, settings: dict[str, float] | None = None) -> Outcome:
    write(folder, "tasks", "toy_task", code)
    return evaluate(Plugin("toy_task", settings or {}, "3"), trained(Identity()), SPLITS, folder)


def test_metrics_carry_what_the_task_declares(tmp_path: Path) -> None:
    outcome = run(tmp_path, TASK, {"value": 0.5})
    assert outcome.metrics == (
        Metric("worth", 0.5, "m", "lower", True),
        Metric("worth@f=0.1,sigma=4", 2.0, "m", "lower", False),
        Metric("other", 5.0, "", "higher", False),
    )
    assert outcome.readout == "global"


def test_metrics_are_computed_from_the_guess_that_is_kept(tmp_path: Path) -> None:
    outcome = run(tmp_path, TASK)
    assert outcome.guess is not None
    assert outcome.guess.dtype == torch.float16
    kept = float(torch.tensor(0.3333333).half())
    assert kept != pytest.approx(0.3333333, rel=1e-6)
    assert outcome.metrics[0].value == kept == float(outcome.guess[0, 0])


def test_whole_guesses_stay_whole(tmp_path: Path) -> None:
    whole = TASK.replace("torch.full((len(images), 2), self.value)", "torch.full((len(images),), 40001)")
    outcome = run(
        tmp_path,
        whole.replace("guess.dtype == torch.float32", "guess.dtype == torch.int64").replace(
            "guess.mean()", "guess.double().mean()"
        ),
    )
    assert outcome.guess is not None
    assert outcome.guess.tolist() == [40001] * 4
    assert outcome.metrics[0].value == 40001.0


def test_a_predict_without_a_readout_has_none(tmp_path: Path) -> None:
    assert run(tmp_path, TASK.replace('readout = "global"', "pass")).readout == ""


def test_fit_is_never_handed_the_test_split(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"fit has 'test' before its `\*`, where only encode, layers, whole, masked, trainable, train"
    ):
        run(tmp_path, TASK.replace("encode, train, val,", "encode, train, val, test,"))


@pytest.mark.parametrize(
    ("right", "wrong", "expected"),
    [
        ('"other": 5.0', '"odd": 5.0', r"metric 'odd' is not in METRICS \(worth, other\)"),
        ('"other": 5.0', '"odd@worth": 5.0', r"metric 'odd@worth' is not in METRICS \(worth, other\)"),
        ('"other": 5.0', '"other": float("nan")', "metric 'other' is nan, no finite number"),
        ('"other": 5.0', '"other": -torch.tensor(torch.inf)', "metric 'other' is -inf, no finite number"),
        ('"worth": guess.mean(), ', "", None),
        ('"worth": guess.mean(), "worth@f=0.1,sigma=4": 2, ', "", "measure gave no 'worth', its headline metric"),
        ("((len(images), 2)", "((len(images) - 1, 2)", "3 guesses for 4 test images; one each is due"),
        ("self.value)", "self.value).index_fill(0, torch.tensor([1]), torch.nan)", "1 of 4 guesses are not finite"),
    ],
)
def test_a_task_that_breaks_its_contract_is_named(tmp_path: Path, right: str, wrong: str, expected: str | None) -> None:
    assert right in TASK
    with pytest.raises(ValueError, match=f"^task toy_task: {expected or 'measure gave no .worth., its headline'}"):
        run(tmp_path, TASK.replace(right, wrong))


@pytest.mark.parametrize("scores", ["guess[:, 0] * torch.nan", "guess[:, 0] * 5", "guess[1:, 0]"])
@pytest.mark.parametrize("value", [2**-22, 0.25])
def test_scores_of_images_have_the_headline_as_their_mean(tmp_path: Path, scores: str, value: float) -> None:
    with_scores = TASK + "\n\ndef per_image(guess):\n    return "
    kept = run(tmp_path, with_scores + "guess[:, 0]", {"value": value}).scores
    assert kept is not None
    assert kept.tolist() == [value] * 4
    with pytest.raises(ValueError, match="per_image must be"):
        run(tmp_path / "other", with_scores + scores, {"value": value})


@pytest.mark.parametrize("gain", [math.nan, math.inf, 1e20, 1e-25])
def test_features_that_no_read_out_can_take_are_an_error(gain: float) -> None:
    variant = Identity()
    variant.gain.fill_(gain)
    with pytest.raises(ValueError, match="features of some of 9 images are as large as"):
        frozen(variant, CPU)(SPLITS["train"].images)
    variant.gain.fill_(0)
    assert not frozen(variant, CPU)(SPLITS["train"].images).any()


TRAINER = """'Trains a copy.'
import torch

VERSION = 1
NEEDS = None
METRICS = {"seed": ("", "higher"), "price": ("s", "lower")}

class Guess:
    costs = {"price": 2.5}

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, images):
        return torch.full((len(images),), self.seed)

def fit(trainable, seed, train):
    first, second = trainable(), trainable()
    assert first is not second and first.training and first.gain.requires_grad
    with torch.no_grad():
        first.gain += 1
    assert not torch.equal(first.gain, second.gain)
    return Guess(seed)

def measure(guess):
    return {"seed": guess.double().mean()}
"""


def test_a_task_may_train_copies_and_add_what_that_costs(tmp_path: Path) -> None:
    write(tmp_path, "tasks", "toy_task", TRAINER)
    variant = Identity()
    outcome = evaluate(Plugin("toy_task", {}, "1"), trained(variant, seed=7), SPLITS, tmp_path)
    assert [(metric.name, metric.value) for metric in outcome.metrics] == [("seed", 7.0), ("price", 2.5)]
    assert variant.gain.item() == 1.0
    assert not variant.gain.requires_grad


SLOW = TASK.replace("    assert encode(train", "    time.sleep(0.1)\n    assert encode(train").replace(
    "import torch", "import time\nimport torch"
)


def test_time_is_charged_to_extracting_probing_and_measuring(tmp_path: Path) -> None:
    write(tmp_path, "tasks", "toy_task", SLOW.replace("return {", "time.sleep(0.05)\n    return {"))
    start = time.perf_counter()
    subject = trained(Identity())
    evaluate(Plugin("toy_task", {}, "3"), subject, SPLITS, tmp_path)
    subject.clock.switch("other")
    spent = subject.clock.seconds
    assert spent["probe"] >= 0.1
    assert spent["eval"] >= 0.05
    assert spent["extract"] > 0
    assert sum(spent.values()) <= time.perf_counter() - start, "no second is charged twice"


def test_the_cost_is_a_row_of_metrics(tmp_path: Path) -> None:
    made_by = encoder(Plugin("toy_dense", {"width": 5}, ""))
    dense = trained(assemble(made_by, (3, 8, 8), write_all(tmp_path)))
    seconds = {"data": 1.0, "warmup": 0.5, "train": 1.5, "save": 0.25, "probe": 4.0}
    training = Training(40, 2, 0.25, seconds, [90.0, 100.0, 110.0], {20: 1.25}, 64.0, None, 70.0)
    outcome = cost(RunSpec(made_by, (), floor=False), dense, training, images(70), lambda: seconds)
    values = {metric.name: metric for metric in outcome.metrics}
    assert {metric.name for metric in outcome.metrics if metric.headline} == set(COSTS), "what boards have columns for"
    assert values["parameters"].value == 192 * 5 + 5 + 5 * 192 + 192
    assert values["flops_per_image"].value == 2 * 2 * 192 * 5
    assert values["pretrain_seconds"] == Metric("pretrain_seconds", 2.0, "s", "lower", True)
    assert (values["images_per_second"].value, values["images_per_second"].better) == (100.0, "higher")
    expected = {
        "images_per_second_iqr": 10.0,
        "seconds_per_step": 0.16,
        "flops_step": 5 * 2 * 192 * 5,  # backward: no gradient of the images
        "masking_flops": 0.0,
        "utilisation": 5 * 2 * 192 * 5 * 100 / matmul_rate(CPU, "float32"),
        "parameters_teacher": 0.0,
        "parameters_masking": 0.0,
        "peak_memory": 64.0,
        "peak_memory_reserved": None,
        "peak_rss": 70.0,
        "flops_analytic": None,
        "energy": None,
        "resumes": 2.0,
        "steps": 40.0,
        "pretrain_loss": 0.25,
        "pretrain_loss_first": None,
        "hidden_share": 0.0,
        "visible_tokens": 1.0,
        "data_seconds": 1.0,
        "extract_seconds": 0.0,
        "wall_seconds": 7.25,
        "pretrain_seconds@step=20": 1.25,
    }
    assert {name: values[name].value for name in expected} == pytest.approx(expected)
    untrained = cost(RunSpec(made_by, (), floor=True), dense, Training(), images(3), dict)
    known = {metric.name: metric.value for metric in untrained.metrics}
    assert known["images_per_second"] is known["peak_memory"] is known["pretrain_loss"] is known["utilisation"] is None
    assert known["pretrain_seconds"] == 0.0


class Foreign(Identity):
    """The same, trained elsewhere."""

    elsewhere = True


def test_what_training_elsewhere_cost_is_not_known() -> None:
    made_by = replace(encoder(Plugin("toy_foreign", {}, "")), budget=FITTED, seed=None)
    training = Training(seconds={"data": 1.0, "train": 0.5}, memory=64.0, rss=70.0)
    outcome = cost(RunSpec(made_by, (), floor=False), trained(Foreign()), training, images(3), lambda: {"data": 1.0})
    known = {metric.name: metric.value for metric in outcome.metrics if metric.value is not None}
    phases = {f"{phase}_seconds": float(phase == "data") for phase in PHASES}
    assert known.pop("effective_rank") > 1
    assert known == {"parameters": 1.0, **phases, "wall_seconds": 1.0}


def test_rows_say_what_was_run(tmp_path: Path) -> None:
    masking = Plugin("toy_random", {"tilt": 0.5}, "")
    made_by = encoder(Plugin("toy_masked", {"patch": 2}, ""), masking=masking, ratio=0.75, seed=4)
    spec = RunSpec(made_by, (), floor=False)
    task, metric = Plugin("toy_task", {"value": 0.5}, "3"), Metric("worth", 0.5)
    (row,) = rows(spec, task, Outcome((metric,), "global"), {"probe": 1.0, "eval": 0.5}, {"torch": "2"})
    assert (row.run_id, row.variant, row.settings, row.seed) == (spec.run_id, "toy_masked", {"patch": 2}, 4)
    assert (row.masking, row.masking_settings, row.ratio) == ("toy_random", {"tilt": 0.5}, 0.75)
    assert (row.task, row.task_version, row.task_settings) == ("toy_task", 3, {"value": 0.5})
    assert (row.metric, row.readout, row.seconds, row.status) == (metric, "global", 1.5, "ok")
    (failed,) = rows(spec, COST, None, {}, {}, "ValueError: no")
    assert (failed.metric, failed.status, failed.reason, failed.task) == (None, "failed", "ValueError: no", "cost")
    write_rows(tmp_path / "cell.jsonl", [row, failed])
    assert list(read_rows(tmp_path / "cell.jsonl")) == [row, failed]


def test_the_effective_rank_counts_directions_that_images_differ_in():
    maps = torch.randn(400, 3, 2, 2, generator=stream(0, "maps"))
    assert effective_rank(maps) == pytest.approx(3, rel=0.02)
    wide = torch.zeros(400, 9, 2, 2) + torch.arange(36).view(9, 2, 2)  # positions that tell of themselves alone
    assert effective_rank(wide) == 0
    wide[:, 4:6] += maps[:, :2]
    assert effective_rank(wide) == pytest.approx(2, rel=0.02)
    assert effective_rank(maps * torch.tensor([1.0, 1e-3, 1e-3]).view(3, 1, 1)) == pytest.approx(1, rel=0.02)
    few = torch.randn(20, 500, 1, 1, generator=stream(0, "few"))
    assert 15 < effective_rank(few) < 20, "more features than rows"
