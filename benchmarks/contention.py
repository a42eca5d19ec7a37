"""Training steps a second on cores that others use too, with the threads that torch takes and with those of maebench.

    python benchmarks/contention.py

The demo's ViT is trained alone, beside a program that keeps one core busy (begun before, or once the trainer has chosen
its threads), and beside a second trainer that comes while the first is at work. 2 CPU cores: 5 minutes.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from maebench.training.threads import NUMBER, WAITING, cores, fewest, prepare, trial

VIT = {"width": 64, "depth": 2, "heads": 4, "decoder_width": 32, "decoder_depth": 1, "decoder_heads": 4}
BATCH = 32
ROUNDS = 3
SECONDS = 4.0  # that steps are counted for
STEPS = 3  # of a trainer before they are counted; where threads spin in each other's way, one takes seconds
HOWS = ("torch", "maebench")
BUSY = ("-c", "while True: pass")
SITUATIONS = {  # what runs, in this order, each from when the one before is at work
    "alone": ("train",),
    "beside a busy process": ("busy", "train"),
    "busy process begun later": ("train", "busy"),
    "two at once": ("train", "train"),
}


def train(how: str) -> None:
    """Train for ever, writing the time after each step, with the threads of "torch" or of "maebench"."""
    if how == "maebench":
        allowance = prepare(None)
    import torch
    from step import masked_loss, trainer, vit_mae

    variant = vit_mae(**VIT)
    loss = masked_loss(variant, BATCH)
    if how == "maebench":
        number = allowance.number or fewest(trial(lambda: loss(0).backward(), allowance.cores, torch.set_num_threads))
        torch.set_num_threads(number)
    print(torch.get_num_threads(), flush=True)
    step = trainer(variant.parameters(), loss)
    while True:
        step()
        print(time.monotonic(), flush=True)


def lines(path: Path) -> list[str]:
    """The whole lines that a trainer has written."""
    return path.read_text().split("\n")[:-1]


def rates(how: str, programs: Sequence[str]) -> tuple[list[float], list[int]]:
    """Steps a second and threads of each trainer while all these programs are at work."""
    environ = {name: value for name, value in os.environ.items() if name not in (NUMBER, *WAITING)}
    environ["CUDA_VISIBLE_DEVICES"] = ""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        trainers: list[Path] = []
        for program in programs:
            words = BUSY if program == "busy" else (__file__, how)
            path = folder / f"{len(trainers)}"
            with path.open("w") as file:
                process = stack.enter_context(subprocess.Popen([sys.executable, *words], env=environ, stdout=file))
            stack.callback(process.kill)
            trainers += [path] if program == "train" else []
            while program == "train" and len(lines(path)) <= STEPS:
                assert process.poll() is None, "a trainer has ended"
                time.sleep(0.05)
        start = time.monotonic()
        time.sleep(SECONDS)
        end = time.monotonic()
        stamps = [[float(line) for line in lines(path)[1:]] for path in trainers]
        found = [sum(start < stamp <= end for stamp in one) / (end - start) for one in stamps]
        return found, [int(lines(path)[0]) for path in trainers]


def main() -> None:
    """Print steps a second, the medians over the rounds last, and see that maebench's way stands up to others."""
    found: dict[tuple[str, str], list[float]] = {}
    for turn in range(ROUNDS):
        for situation, programs in SITUATIONS.items():
            for how in HOWS:
                each, threads = rates(how, programs)
                found.setdefault((how, situation), []).append(sum(each) / len(each))
                said = " and ".join(
                    f"{rate:.1f} ({number} threads)" for rate, number in zip(each, threads, strict=True)
                )
                print(f"round {turn + 1}, {situation}, {how}: {said}", flush=True)
    print(f"\nsteps/s, of each trainer, on {cores()} cores, median of {ROUNDS}")
    print("| threads | " + " | ".join(SITUATIONS) + " |\n|" + " --- |" * (1 + len(SITUATIONS)))
    for how in HOWS:
        print(f"| {how} | " + " | ".join(f"{median(found[how, one]):.1f}" for one in SITUATIONS) + " |")
    alone = median(found["maebench", "alone"])
    for situation in SITUATIONS:
        rate = median(found["maebench", situation])
        assert rate > alone / 3, f"{situation}: {rate:.1f} steps/s, {alone:.1f} alone: they are in each other's way"


if __name__ == "__main__":
    train(sys.argv[1]) if sys.argv[1:] else main()
