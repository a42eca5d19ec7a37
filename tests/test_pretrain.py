"""The training loop. The losses of small models are kept step by step in golden/losses.json, by version of TRAINING.

Where a change gives other losses, raise `plan.TRAINING` and add its losses: `python tests/test_pretrain.py`.
"""

import json
import math
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders.plugins import DENSE, MASKED, encoder, images, write, write_all
from builders.trainings import SHAPE, TINY, UNIFORM, VIT, Recorded, StopError, job, stop_at
from torch import Tensor

from maebench.contracts import Variant, standardise
from maebench.runs.build import assemble, strategy_of
from maebench.runs.folder import Checkpoints, RunFolder
from maebench.runs.plan import TRAINING, Plugin
from maebench.seeding import stream
from maebench.training.batches import indices
from maebench.training.budget import FITTED
from maebench.training.loop import Diverged, Training, pretrain
from maebench.training.masker import Masker
from maebench.training.optimiser import CHECK_EVERY, learning_rates

GOLDEN = Path(__file__).parent / "golden" / "losses.json"


def train_vit(folder: Path, *, steps: int, seed: int = 0) -> Recorded:
    """A tiny ViT trained on images of one random colour each."""
    spec = encoder(VIT, masking=UNIFORM, ratio=0.5, steps=steps, seed=seed)
    variant = Recorded(assemble(spec, SHAPE, write_all(folder)))
    pretrain(job(variant, spec), images(64, (3, 1, 1)).expand(-1, -1, 8, 8).contiguous())
    return variant


def train_toy(folder: Path, name: str, *, code: str = DENSE, **budget: Any) -> tuple[Variant, Training, list[int]]:
    write(folder, "variants", name, code)
    spec = encoder(Plugin(name, {}, ""), **budget)
    variant, done = assemble(spec, SHAPE, folder), []
    return variant, pretrain(job(variant, spec, on_step=lambda step, of: done.append(step)), images(40)), done


CORE = {
    "pixels": (VIT, {}),
    "normalised, mirrored": (Plugin("vit_mae", {**TINY, "target": "normalised"}, ""), {"augment": "crop_flip"}),
    "micro-batches, cut": (VIT, {"augment": "resized_crop_flip", "micro_batch": 5}),
    "all pixels": (Plugin("vit_ae", TINY, ""), {}),
    "noise": (Plugin("vit_dae", {**TINY, "sigma": 0.5}, ""), {}),
    "linear": (Plugin("linear_mae", {"k": 8, "patch": 4, "ratio": 0.5, "fit": "gradient"}, ""), {}),
}
"""what of the core makes weights: layers, targets, losses, order, augmentation, optimiser"""


def losses_of(folder: Path, part: Plugin, budget: dict[str, Any]) -> list[float]:
    masked = part.name == "vit_mae"
    spec = encoder(part, masking=UNIFORM if masked else None, ratio=0.5 if masked else None, steps=12, **budget)
    variant = Recorded(assemble(spec, SHAPE, write_all(folder)))
    pretrain(job(variant, spec), images(64))
    return variant.losses


def test_the_losses_are_those_of_this_version_of_the_core(tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert str(TRAINING) == max(golden, key=int), "plan.TRAINING has no losses yet: python tests/test_pretrain.py"
    for name, (part, budget) in CORE.items():
        losses = losses_of(tmp_path, part, budget)
        assert losses == pytest.approx(golden[str(TRAINING)][name], rel=1e-5), f"{name}: raise plan.TRAINING"


def test_the_loss_falls(tmp_path: Path) -> None:
    losses = train_vit(tmp_path, steps=60).losses
    assert len(losses) == 60
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_two_runs_are_equal_to_the_bit_and_another_seed_is_not(tmp_path: Path) -> None:
    first = train_vit(tmp_path, steps=8)
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)  # whatever happens to the global generator in between
        second, other = train_vit(tmp_path, steps=8), train_vit(tmp_path, steps=8, seed=1)
    assert first.losses == second.losses
    assert first.losses != other.losses
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name


STILL = MASKED.replace(
    "self.grey = nn.Parameter(torch.randn(shape[0]))",
    "self.grey, self.matrix = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2, 2))",
).replace(
    "return pixel_loss(self.reconstruct(images, rng), images)", "return 0 * (self.grey.sum() + self.matrix.sum())"
)


def test_matrices_decay_at_the_rate_and_vectors_do_not(tmp_path: Path) -> None:
    variant, _, _ = train_toy(tmp_path, "toy_still", steps=40, code=STILL)
    kept = math.prod(1 - 0.05 * rate for rate in learning_rates(40, 3e-3, 0.1))
    assert kept < 0.999
    assert variant.matrix.flatten().tolist() == pytest.approx([kept] * 4, abs=1e-6)
    assert variant.grey.tolist() == [1.0] * 3


def test_the_cost_is_measured_and_every_step_reported(tmp_path: Path) -> None:
    _, training, done = train_toy(tmp_path, "toy_dense", steps=3 * CHECK_EVERY)
    assert done == list(range(1, 3 * CHECK_EVERY + 1))
    assert training.steps == 3 * CHECK_EVERY
    assert len(training.rates) == 2  # the first block is warm-up
    assert training.seconds["warmup"] > 0
    assert training.seconds["train"] >= sum(CHECK_EVERY * 16 / rate for rate in training.rates) > 0
    assert training.trained == training.seconds["train"] + training.seconds["warmup"]
    assert training.memory == training.rss
    assert training.memory
    assert training.loss is not None
    assert training.resumes == 0
    _, short, _ = train_toy(tmp_path, "toy_dense", steps=3)
    assert short.rates == []
    assert short.loss is not None


@pytest.mark.parametrize("steps", [4, 25])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, steps: int) -> None:
    endless = DENSE.replace("return pixel_loss(", "return torch.inf * pixel_loss(")
    at = min(steps, CHECK_EVERY)
    with pytest.raises(Diverged, match=rf"^the loss became (inf|nan) at step {at}; lower pretrain\.base_lr or mend"):
        train_toy(tmp_path, "toy_endless", steps=steps, code=endless)


def test_a_closed_form_is_fitted_and_never_looped_over(tmp_path: Path) -> None:
    write_all(tmp_path)
    spec = replace(encoder(Plugin("toy_closed", {"rank": 3}, "")), budget=FITTED, seed=None)
    variant, data = assemble(spec, SHAPE, tmp_path), images(50)
    training = pretrain(job(variant, spec, on_step=lambda done, of: pytest.fail("a step")), data)
    expected = (data.double().mean(0) / 255 - 0.5) / 0.25
    assert torch.allclose(variant.mean.double(), expected, atol=1e-5)
    assert training.trained > 0
    assert training.memory
    assert (training.steps, training.rates, training.loss) == (0, [], None)


def test_a_floor_or_a_variant_without_weights_comes_back_as_it_was(tmp_path: Path) -> None:
    variant, training, done = train_toy(tmp_path, "toy_dense", steps=0)
    fresh = assemble(encoder(Plugin("toy_dense", {}, "")), SHAPE, tmp_path)
    assert training == Training()
    assert done == []
    assert torch.equal(variant.inner.weight, fresh.inner.weight)
    frozen = MASKED.replace("nn.Parameter(torch.randn(shape[0]))", "torch.zeros(shape[0])")
    assert train_toy(tmp_path, "toy_frozen", steps=5, code=frozen)[1] == Training()


def test_training_leaves_the_images_alone(tmp_path: Path) -> None:
    data = images(20)
    before = data.clone()
    spec = encoder(Plugin("toy_dense", {}, ""), steps=5)
    pretrain(job(assemble(spec, SHAPE, write_all(tmp_path)), spec), data)
    assert torch.equal(data, before)


@pytest.mark.parametrize("micro_batch", [1, 5, 16])
def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path: Path, micro_batch: int) -> None:
    first = {}
    for name, size in (("whole", None), ("parts", micro_batch)):
        variant = assemble(encoder(Plugin("toy_dense", {}, ""), steps=1), SHAPE, write_all(tmp_path))
        spec = encoder(Plugin("toy_dense", {}, ""), steps=1, micro_batch=size)
        pretrain(job(variant, spec), images(40))
        first[name] = [weight.grad for weight in variant.parameters()]
    for whole, parts in zip(first["whole"], first["parts"], strict=True):
        assert torch.allclose(whole, parts, atol=1e-6, rtol=0)


def test_each_micro_batch_has_masks_of_its_own(tmp_path: Path) -> None:
    drawn: list[Tensor] = []

    class Spied(Masker):
        def hide(self, *given: Any) -> Tensor:
            hidden = super().hide(*given)
            if len(hidden) > 1:
                drawn.append(hidden)
            return hidden

    spec = encoder(VIT, masking=UNIFORM, ratio=0.5, steps=2, micro_batch=8)
    plugins = write_all(tmp_path)
    masker = Spied(strategy_of(UNIFORM, plugins), 0.5)
    pretrain(job(assemble(spec, SHAPE, plugins, masker), spec), images(40))
    assert len(drawn) == 4
    assert not any(torch.equal(drawn[i], drawn[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize(
    "changes", [{"steps": 13}, {"steps": 13, "augment": "crop_flip", "micro_batch": 5}, {"epochs": 6}]
)
def test_a_training_that_is_stopped_anywhere_ends_as_if_it_had_not(tmp_path: Path, changes: dict[str, Any]) -> None:
    spec = encoder(VIT, masking=UNIFORM, ratio=0.5, probe_every=4, **changes)
    data, plugins = images(37), write_all(tmp_path / "plugins")
    whole = assemble(spec, SHAPE, plugins)
    expected = pretrain(job(whole, spec), data)
    for stops in ([1], [9], [3, 8, 11]):
        keep = Checkpoints(RunFolder(tmp_path / str(stops)), 0.0)  # a checkpoint at every step
        for step in stops:
            with pytest.raises(StopError):
                pretrain(job(assemble(spec, SHAPE, plugins), spec, keep=keep, on_step=stop_at(step)), data)
        variant = assemble(spec, SHAPE, plugins)
        training = pretrain(job(variant, spec, keep=keep), data)
        assert training.resumes == len(stops)
        assert (training.steps, training.loss) == (expected.steps, expected.loss)
        for name, weight in whole.state_dict().items():
            assert torch.equal(weight, variant.state_dict()[name]), name
        assert list(training.snapshots) == [step for step in (4, 8, 12) if step < expected.steps]
        assert sorted(training.snapshots.values()) == list(training.snapshots.values())
        assert all(keep.folder.snapshot(step).exists() for step in training.snapshots)


def test_a_training_knows_the_machines_that_it_ran_on(tmp_path: Path) -> None:
    spec, plugins = encoder(VIT, masking=UNIFORM, ratio=0.5, steps=6), write_all(tmp_path / "plugins")
    keep = Checkpoints(RunFolder(tmp_path / "run"), 0.0)
    for machine, stop in (({"device_name": "first"}, 2), ({"device_name": "first"}, 4)):
        begun = job(assemble(spec, SHAPE, plugins), spec, keep=keep, machine=machine, on_step=stop_at(stop))
        with pytest.raises(StopError):
            pretrain(begun, images(20))
    training = pretrain(
        job(assemble(spec, SHAPE, plugins), spec, keep=keep, machine={"device_name": "other"}), images(20)
    )
    assert training.machines == [{"device_name": "first"}, {"device_name": "other"}]


def test_a_damaged_checkpoint_costs_an_interval_and_nothing_else(tmp_path: Path) -> None:
    spec, data, plugins, said = encoder(VIT, masking=UNIFORM, ratio=0.5, steps=9), images(37), write_all(tmp_path), []
    whole, variant = (assemble(spec, SHAPE, plugins) for _ in range(2))
    pretrain(job(whole, spec), data)
    keep = Checkpoints(RunFolder(tmp_path / "run"), 0.0, said.append)
    with pytest.raises(StopError):
        pretrain(job(assemble(spec, SHAPE, plugins), spec, keep=keep, on_step=stop_at(6)), data)
    keep.folder.checkpoints[0].write_bytes(keep.folder.checkpoints[0].read_bytes()[:-9])
    steps: list[int] = []
    pretrain(job(variant, spec, keep=keep, on_step=lambda done, of: steps.append(done)), data)
    assert steps == [6, 7, 8, 9]  # step 6 is done again from the checkpoint of step 5
    assert len(said) == 1
    assert all(torch.equal(weight, variant.state_dict()[name]) for name, weight in whole.state_dict().items())


def test_time_between_a_stop_and_the_next_start_is_not_counted(tmp_path: Path) -> None:
    spec = encoder(Plugin("toy_dense", {}, ""), steps=8)
    keep, plugins = Checkpoints(RunFolder(tmp_path / "run"), 0.0), write_all(tmp_path)
    with pytest.raises(StopError):
        pretrain(job(assemble(spec, SHAPE, plugins), spec, keep=keep, on_step=stop_at(4)), images(20))
    content = keep.latest()
    assert content is not None
    content["training"]["seconds"]["train"] = 1000.0
    keep.save(content)
    start = time.perf_counter()
    training = pretrain(job(assemble(spec, SHAPE, plugins), spec, keep=keep), images(20))
    assert 1000 < training.trained <= 1000 + time.perf_counter() - start + content["training"]["seconds"]["warmup"]


def test_epochs_are_counted_in_images(tmp_path: Path) -> None:
    _, training, _ = train_toy(tmp_path, "toy_dense", epochs=2.5)
    assert training.steps == 7  # 100 images in batches of 16


def test_flops_are_spent_forward_and_backward(tmp_path: Path) -> None:
    of_a_step = 5 * 16 * (2 * 192 * 4)  # two layers of 192 x 4 weights, 16 images, which need no gradient
    _, training, _ = train_toy(tmp_path, "toy_dense", flops=5.2 * of_a_step)
    assert training.steps == 5


def test_seconds_are_kept_to(tmp_path: Path) -> None:
    slow = DENSE.replace("import torch\n", "import time\nimport torch\n", 1).replace(
        "return pixel_loss(", "time.sleep(0.15)\n        return pixel_loss("
    )
    _, training, done = train_toy(tmp_path, "toy_slow", seconds=0.4, code=slow)
    assert training.trained >= 0.4
    assert 1 <= training.steps <= 3, "a fourth would begin after 0.45 s"
    assert training.steps == len(done)
    assert training.loss is not None


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns about its own parts
@pytest.mark.parametrize("change", [{"precision": "bfloat16"}, {"precision": "tf32"}, {"compile": "default"}])
def test_the_loss_in_another_precision_or_compiled_stays_near(tmp_path: Path, change: dict[str, str]) -> None:
    if "compile" in change and not shutil.which("g++"):
        pytest.skip("torch.compile needs a C++ compiler")
    losses = []
    for one in ({}, change):
        spec = encoder(VIT, masking=UNIFORM, ratio=0.5, steps=20, **one)
        variant = assemble(spec, SHAPE, write_all(tmp_path))
        training = pretrain(job(variant, spec), images(64, (3, 1, 1)).expand(-1, -1, 8, 8).contiguous())
        losses.append(training.loss)
    assert losses[0] < 1.5  # it has learnt, from 2.1
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_the_gradient_of_the_first_step_is_that_of_the_loss_by_hand(tmp_path: Path) -> None:
    spec = encoder(VIT, masking=UNIFORM, ratio=0.5, steps=1)
    trained, other = (assemble(spec, SHAPE, write_all(tmp_path)) for _ in range(2))
    pretrain(job(trained, spec), images(40))
    batch = standardise(images(40)[next(indices(40, 16, seed=0))])
    other.loss(batch, stream(0, "masking", 0)).backward()
    for ours, theirs in zip(trained.parameters(), other.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-7)


if __name__ == "__main__":
    found = {name: losses_of(Path(tempfile.mkdtemp()), *one) for name, one in CORE.items()}
    golden = json.loads(GOLDEN.read_text()) | {str(TRAINING): found}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
