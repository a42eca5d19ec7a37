"""One training shared by two processes on the CPU. This file run as a script is one of the two."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from builders.commands import call
from builders.plugins import CPU, DENSE, encoder, images, write, write_all
from builders.trainings import SHAPE, UNIFORM, VIT, Recorded, StopError, cost, job, metrics, newest, stop_at, trained
from torch import Tensor

from maebench.runs.build import assemble, masker_of
from maebench.runs.folder import Checkpoints, RunFolder, load_tensors, save_tensors
from maebench.runs.plan import EncoderSpec, Plugin
from maebench.training.devices import ALONE, World, join
from maebench.training.loop import Training, pretrain

# three micro-batches of 3, 3, 3, 3, 3 and 1 images for each of the two
SPEC: dict[str, Any] = {"masking": UNIFORM, "ratio": 0.5, "steps": 20, "micro_batch": 3, "augment": "crop_flip"}
DEEP = Plugin("vit_mae", {**VIT.settings, "depth": 2}, "")
LATENT = Plugin("vit_latent", {name: value for name, value in DEEP.settings.items() if name != "target"}, "")
LEARNT = {
    **SPEC,
    "masking": Plugin("hard", {"most": 0.5, "hidden_width": 8}, ""),
}  # a teacher and a network, taught losses
NEAR = 1e-5  # found: 1e-7 and less
SHARED = """
tracks: [{dataset: {scenes: {train: 300, val: 60, test: 60, size: 16}}, tasks: linear_probe}]
variants:
  - linear_mae: {k: 16}
  - vit_mae: {width: 16, depth: 1, heads: 2, decoder_width: 16, decoder_depth: 1, decoder_heads: 2}
masks: {strategy: uniform, ratio: 0.75}
pretrain: {steps: 60, batch: 32, micro_batch: 16, checkpoint_every: 0.05}
"""
FAILING = SHARED.replace("linear_mae: {k: 16}", "toy_endless").replace("uniform", "[uniform, bad]")
ENDLESS = DENSE.replace("return pixel_loss(", "return torch.inf * pixel_loss(")
BAD = """'''Fails in one process.'''
import os

import torch

def scores(grid, images):
    if os.environ.get("RANK") == "{}":
        raise ZeroDivisionError("boom")
    return torch.zeros(len(images), *grid)
"""
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]
STARTED: list[subprocess.Popen[str]] = []
RUN = ["-m", "maebench", "run", "c.yaml", "--out", "r"]


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    """A process that waits for another one in vain is killed, whatever the test found."""
    yield
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def free_port() -> str:
    """A port that the processes can meet at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def begin(folder: Path, words: list[str], **settings: str) -> subprocess.Popen[str]:
    """A python process in a folder, one thread to itself; a warning is an error there."""
    known = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error", **settings}
    process = subprocess.Popen(
        [sys.executable, *words], cwd=folder, env=known, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    STARTED.append(process)
    return process


def begin_two(folder: Path, words: list[str]) -> list[subprocess.Popen[str]]:
    """The two processes that torchrun would start."""
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [begin(folder, words, RANK=rank, LOCAL_RANK=rank, **place) for rank in "01"]


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    said, error = process.communicate(timeout=300)
    return process.returncode, said, error


def torchrun(folder: Path) -> tuple[int, str, str]:
    return end(begin(folder, [*TORCHRUN, free_port(), *RUN]))


def train(folder: Path, name: str, world: World, spec: EncoderSpec, **others: Any) -> tuple[Recorded, Training | None]:
    """Train a tiny ViT, with checkpoints at every step in a folder of this name; no result where it is stopped."""
    masker = masker_of(spec, folder / "plugins")
    variant = Recorded(assemble(spec, SHAPE, folder / "plugins", masker))
    try:
        keep = Checkpoints(RunFolder(folder / name), 0.0)
        training = pretrain(job(variant, spec, world=world, keep=keep, masker=masker, **others), images(37))
        variant.network = masker.network  # to compare it with the weights
        return variant, training
    except StopError:
        return variant, None


def sums(world: World) -> dict[str, Any]:
    """What each way of talking gives: process 0 says 5, 1 and "word", process 1 says 6 and 2."""
    weights = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (4,), ())]
    weights[0].grad, weights[2].grad = torch.full((2, 3), 1.0 + world.rank), torch.tensor(10.0 + world.rank)
    world.add_gradients(weights)
    total, first, heard = world.total(torch.tensor(1.0 + world.rank)), world.first(5.0 + world.rank, CPU), "word"
    if world.rank == 0:
        world.announce(heard)
    else:
        heard = world.heard()
    gradients = [weights[0].grad, weights[2].grad]
    return {"gradients": gradients, "other": weights[1].grad is None, "total": total, "first": first, "heard": heard}


def one_of_two(folder: Path) -> None:
    """What each of the two processes does: talk, train a whole budget, go on with one's training, begin another."""
    world = join(CPU)
    result = sums(world)
    whole, training = train(folder, "whole", world, encoder(VIT, **SPEC))
    assert training
    result |= {"losses": whole.losses, "loss": training.loss, "whole": whole.state_dict()}
    result["continued"] = train(folder, "begun by one", world, encoder(VIT, **SPEC))[0].state_dict()
    train(folder, "begun by two", world, encoder(VIT, **SPEC), on_step=stop_at(11))
    timed, training = train(folder, "timed", world, encoder(VIT, **{**SPEC, "steps": None, "seconds": 2}))
    assert training
    result |= {"timed": timed.state_dict(), "steps": training.steps}
    result["learnt"] = train(folder, "learnt", world, encoder(DEEP, **LEARNT))[0].state_dict()
    result["latent"] = train(folder, "latent", world, encoder(LATENT, **SPEC))[0].state_dict()
    save_tensors(folder / f"{world.rank}.pt", result)
    world.leave()


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference between two weights of the same name, but for those whose gradient is zero.

    Attention is the same whatever is added to all keys, so AdamW makes full steps of the rounding of the keys' biases.
    """
    assert one.keys() == other.keys()
    gaps = {name: (weight.float() - other[name].float()).abs() for name, weight in one.items()}
    for name, gap in gaps.items():
        if name.endswith("qkv.bias"):
            gap.view(3, -1)[1] = 0
    return max(float(gap.max()) for gap in gaps.values())


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    write_all(tmp_path / "plugins")
    spec = encoder(VIT, **SPEC)
    alone, training = train(tmp_path, "alone", ALONE, spec)
    assert training
    expected = alone.state_dict()
    train(tmp_path, "begun by one", ALONE, spec, on_step=stop_at(7))
    for process in begin_two(tmp_path, [__file__, str(tmp_path)]):
        assert end(process) == (0, "", "")
    two = [load_tensors(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for rank, one in enumerate(two):
        assert [one[key] for key in ("total", "first", "heard", "other")] == [3.0, 5.0, "word", True]
        assert [gradient.tolist() for gradient in one["gradients"]] == [[[3.0] * 3] * 2, 21.0]
        assert one["losses"] == pytest.approx(alone.losses[rank::2], abs=1e-5)
        assert one["loss"] == pytest.approx(training.loss, abs=1e-5)
        assert distance(one["whole"], expected) < NEAR
        assert distance(one["continued"], expected) < NEAR
    assert two[0]["steps"] == two[1]["steps"] >= 1
    learnt = train(tmp_path, "learnt alone", ALONE, encoder(DEEP, **LEARNT))[0].state_dict()
    assert any(name.startswith("network") for name in learnt)
    assert distance(two[0]["learnt"], learnt) < NEAR
    latent = train(tmp_path, "latent alone", ALONE, encoder(LATENT, **SPEC))[0].state_dict()
    assert any("teacher" in name for name in latent)
    assert distance(two[0]["latent"], latent) < NEAR
    for name in ("whole", "continued", "timed", "learnt", "latent"):
        assert distance(two[0][name], two[1][name]) == 0
    continued, training = train(tmp_path, "begun by two", ALONE, spec)
    assert training
    assert (training.steps, training.resumes) == (20, 1)
    assert distance(continued.state_dict(), expected) < NEAR


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_torchrun_goes_on_after_a_kill_and_ends_as_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for folder in (alone, shared):
        folder.mkdir()
        (folder / "c.yaml").write_text(SHARED)
    monkeypatch.chdir(alone)
    assert call("run", "c.yaml", "--out", "r") == 0
    two = begin_two(shared, RUN)
    while newest(shared) == 0 and two[0].poll() is None:
        time.sleep(0.01)
    for process in two:
        process.send_signal(signal.SIGKILL)
    assert [end(process)[0] for process in two] == [-signal.SIGKILL] * 2
    code, said, error = torchrun(shared)
    assert (code, said.count("files: r/leaderboard.csv")) == (0, 1), error
    assert error.count("vit_mae uniform 0.75 seed 0") == 1
    assert "effective batch 32 = 16 images x 1 micro-batches x 2 processes" in error
    assert not {"Warning", "Traceback", "[rank"} & set(error.replace(":", " ").split())
    assert names(alone) == names(shared), "one process alone writes"
    weights = [load_tensors(trained(folder) / "weights.pt")["weights"] for folder in (alone, shared)]
    assert distance(*weights) < NEAR
    assert cost(shared)["pretrain_loss"] == pytest.approx(cost(alone)["pretrain_loss"], abs=1e-5)
    assert (cost(alone)["resumes"], cost(shared)["resumes"]) == (0, 1)
    assert metrics(alone).keys() == metrics(shared).keys()


def test_an_uneven_share_is_one_line_and_the_end(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(SHARED.replace("micro_batch: 16", "micro_batch: 11"))
    code, said, error = torchrun(tmp_path)
    assert (code, said) == (1, "")
    ours = error[: error.index("torch/distributed")]
    assert "maebench: 2 processes cannot share 3 micro-batches a step evenly; set pretrain.micro_batch to 16" in ours
    assert "Traceback" not in ours


def test_a_loss_that_is_no_number_is_noted_and_a_plugin_that_fails_in_the_first_process_ends_both(
    tmp_path: Path,
) -> None:
    write(tmp_path / "variants", "maskings", "bad", BAD.format(0))
    write(tmp_path / "variants", "variants", "toy_endless", ENDLESS)
    (tmp_path / "c.yaml").write_text(FAILING)
    (code, said, error), (other, nothing, _) = (end(process) for process in begin_two(tmp_path, RUN))
    assert (code, said, nothing) == (1, "", "")
    assert other != 0
    assert "Diverged: the loss became nan at step 10" in error, "seen by both, and both go on"
    assert "vit_mae uniform 0.75 seed 0" in error
    assert "ZeroDivisionError: boom" in error
    assert "maebench: scenes vit_mae bad 0.75" in error.splitlines()[-1]
    assert "Traceback" not in error
    assert len([*tmp_path.glob("r/*/linear_probe@*.failed.txt")]) == 2
    assert len([*tmp_path.glob("r/*/weights.pt")]) == 1


def test_a_plugin_that_fails_in_the_second_process_ends_both(tmp_path: Path) -> None:
    write(tmp_path / "variants", "maskings", "bad", BAD.format(1))
    (tmp_path / "c.yaml").write_text(FAILING.replace("toy_endless", "blank").replace("[uniform, bad]", "bad"))
    (code, _, error), (other, _, reason) = (end(process) for process in begin_two(tmp_path, RUN))
    assert (code, other) == (1, 1)
    assert "maebench: scenes vit_mae bad 0.75" in error.splitlines()[-1]
    assert "ZeroDivisionError: boom" in reason


if __name__ == "__main__":
    one_of_two(Path(sys.argv[1]))
