"""Search for the default recipe of `vit_mae`, on validation images alone: `docs/recipes.md` has what came of it.

    OMP_NUM_THREADS=1 python benchmarks/recipe_search.py demo         about 15 s of one core a run, on `scenes`
    OMP_NUM_THREADS=1 python benchmarks/recipe_search.py small DIR    2 to 7 min of one core a run, on CIFAR-10 in DIR
    OMP_NUM_THREADS=1 python benchmarks/recipe_search.py minute DIR   a minute of one core a run, on the same
    OMP_NUM_THREADS=1 python benchmarks/recipe_search.py long DIR     15 min, then an hour, on the same

A try on record in `docs/recipes.csv` is not done again, so a killed search goes on with the same command.

The order of the search and its rule, stated before the first try:

1. floors: raw pixels, in the demo the linear encoders, and the start recipe untrained. Long starts from small's winner.
2. screen: START, and START with each of MOVES alone, at a short budget of one seed.
3. join: of each knob the best move, if it gains more than GAIN, about twice what one seed differs by; then START with
   the best of these, with the best two and so on, and with each alone, at a longer budget (demo, long: the same).
4. final: the FINAL best of join with several seeds; the higher mean wins, of two within GAIN the one that won join.
5. bear: the winner under each of MASKINGS, at its peak rate and at 1.5 times that. A run has collapsed if the effective
   rank of its features is below half of uniform's, if its score is below the untrained one's, or if its loss rose.
   If one has, the peak rate is halved and step 5 is done again. Long has no step 5: its rate is small's.
6. extra: tries outside the rule, made after a look. In the demo step 5 had one seed, which passed; others of block did
   not, and EXTRA is what was tried to see why. Of small it is what join might have gained with other moves.

Score: on CIFAR-10 the mean of the linear probes on pooled features and on 2 x 2 cells, per cent; on `scenes` the mean
of these, of the 20 nearest neighbours, per cent, and of 100 R^2 of log depth read from the whole map. Images: those of
`scenes: {seed: 1}`, which is another data set of the same kind; of CIFAR-10 its train and val splits, no test image.
A budget is counted in steps, so that other work changes no try: seconds of one core over those of a step, for START
a constant measured on a quiet machine, else that times the ratio of the two sizes' steps, run in turns.
"""

import csv
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from recipe_scores import IMAGES, RECORD, read, rows_of, scores, splits
from torch import Generator, Tensor

from maebench.contracts import Variant
from maebench.face import build
from maebench.seeding import stream
from maebench.training.budget import Budget
from maebench.training.loop import Diverged, Job, pretrain
from maebench.training.optimiser import adamw
from maebench.training.timing import Stopwatch

COMMON: dict[str, Any] = {
    **{"variant": "vit_mae", "patch": 4, "heads": 4, "decoder_heads": 4, "target": "normalised", "ratio": 0.75},
    **{"masking": "uniform", "peak": 2e-3, "warmup": 0.1, "weight_decay": 0.05, "augment": "none", "seed": 0},
}
START: dict[str, dict[str, Any]] = {
    "demo": {**COMMON, "width": 64, "depth": 2, "decoder_width": 32, "decoder_depth": 1, "batch": 32},
    "small": {**COMMON, "width": 128, "depth": 6, "decoder_width": 64, "decoder_depth": 2, "batch": 64},
    "minute": {**COMMON, "width": 128, "depth": 2, "decoder_width": 64, "decoder_depth": 1, "batch": 64},
    "long": {**COMMON, "width": 128, "depth": 4, "decoder_width": 64, "decoder_depth": 1, "batch": 64},
}
# Seconds of START's step on one quiet core: docs/performance.md; then those of screen, join and final
STEP = {"demo": 0.0146, "small": 0.175, "minute": 0.050, "long": 0.107}
SECONDS = {"demo": (15.0,) * 3, "small": (130.0, 260.0, 400.0), "minute": (60.0,) * 3, "long": (900.0, 900.0, 3600.0)}
FINAL = {"demo": (2, 3), "small": (1, 1), "minute": (1, 1), "long": (1, 1)}  # recipes and seeds of step 4
GAIN = 0.8  # points: 2 sd of the difference...
RISE = 1.05  # of the loss, over its least
TURNS = 12  # steps of each size that are timed
MASKINGS = ("uniform", "block", "grid", "coarse")
LINEAR = ("raw_pixels", "linear_ae", "linear_dae", "linear_mae")
MOVES: dict[str, dict[str, list[dict[str, Any]]]] = {
    "demo": {
        "target": [{"target": "pixels"}],
        "pace": [{"peak": 4e-3}, {"peak": 1e-3}, {"batch": 64}],
        "augment": [{"augment": "crop_flip"}],
        "decoder": [{"decoder_width": 64}],
        "patch": [{"patch": 8}],
        "ratio": [{"ratio": 0.5}],
        "encoder": [{"width": 96}, {"depth": 4}],
    },
    "small": {
        "pace": [{"batch": 32}, {"peak": 4e-3}],
        "encoder": [{"depth": 4}, {"width": 192, "depth": 4}, {"width": 96}],
        "decoder": [{"decoder_depth": 1}, {"decoder_width": 32, "decoder_depth": 1}],
        "augment": [{"augment": "crop_flip"}],
        "ratio": [{"ratio": 0.6}],
        "target": [{"target": "pixels"}],
    },
    "minute": {
        "pace": [{"peak": 4e-3}, {"batch": 32}],
        "encoder": [{"width": 96}, {"depth": 3}, {"depth": 1}],
        "decoder": [{"decoder_width": 32}],
    },
    "long": {"augment": [{"augment": "crop_flip"}], "encoder": [{"width": 192}, {"depth": 6}]},
}
BLOCK = {"peak": 4e-3, "masking": "block", "seed": 1}
SHALLOW = {"peak": 4e-3, "depth": 1}
JOINED = {"depth": 4, "decoder_depth": 1}
EXTRA: dict[str, list[dict[str, Any]]] = {
    "demo": [
        *({"masking": "block"}, {"masking": "block", "width": 96}, {"masking": "block", "width": 96, "seed": 1}),
        *({"masking": "coarse", "width": 96}, BLOCK, {**BLOCK, "seed": 2}, {**BLOCK, "peak": 2e-3}),
        *({**BLOCK, "budget": 30.0}, {**BLOCK, "budget": 30.0, "seed": 2}, {**BLOCK, "target": "pixels"}),
        {**BLOCK, "warmup": 0.3},
        *({**SHALLOW, "budget": 0, "peak": 2e-3, "seed": seed} for seed in (0, 1)),
        *({**SHALLOW, "masking": masking} for masking in MASKINGS),
        *({**SHALLOW, "masking": masking, "peak": 6e-3} for masking in MASKINGS),
        *({**SHALLOW, **BLOCK}, {**SHALLOW, **BLOCK, "seed": 2}, {**SHALLOW, **BLOCK, "peak": 6e-3}),
        *({**SHALLOW, "seed": 1}, {"budget": 0, "seed": 1}),
    ],
    "small": [
        *({"budget": 40.0}, {"peak": 4e-3, "budget": 40.0}),
        *({**JOINED, "budget": 260.0, **move} for move in ({"batch": 32}, {"augment": "crop_flip"}, {"depth": 2})),
    ],
}
MODEL = ["patch", "width", "depth", "heads", "decoder_width", "decoder_depth", "decoder_heads", "target"]
SIZE = [*MODEL[:-1], "ratio", "batch"]
TRAINED = ["masking", "ratio", "batch", "peak", "warmup", "weight_decay", "augment", "seed", "budget"]
SETTINGS = ["variant", *MODEL, *TRAINED]
COSTS = ["steps", "images", "pflop", "step_ms", "train_cpu_s", "train_wall_s", "load"]
FOUND = [*COSTS, "score", "pooled", "cells", "knn", "depth_r2", "rank", "loss_first", "loss_least", "loss_last"]


@dataclass(frozen=True)
class Study:
    """One budget and the tries so far."""

    name: str
    root: Path

    def tried(self, stage: str, given: dict[str, Any]) -> dict[str, str]:
        """The row of this try: from the record, or made now."""
        wanted = {"study": self.name, **{name: str(given.get(name, "")) for name in SETTINGS}}
        for row in read():
            if all(row[name] == value for name, value in wanted.items()):
                return row
        found = self.measured(given)
        row = {**wanted, "stage": stage, **{name: f"{found[name]:.5g}" if name in found else "" for name in FOUND}}
        begun = RECORD.exists()
        with RECORD.open("a", newline="") as file:
            writer = csv.DictWriter(file, ["study", "stage", *SETTINGS, *FOUND], lineterminator="\n")
            if not begun:
                writer.writeheader()
            writer.writerow(row)
        changed = {name: value for name, value in given.items() if value != START[self.name].get(name)}
        print(stage, changed, {name: row[name] for name in FOUND if row[name]}, flush=True)
        return row

    def measured(self, given: dict[str, Any]) -> dict[str, float]:
        """Make one encoder and score it; one that diverged has no scores."""
        parts = splits(self.name, self.root)
        if given["variant"] != "vit_mae":
            variant = build(given["variant"], shape=(3, 32, 32))
            if callable(fit := getattr(variant, "fit", None)):
                fit(parts[0].images)
            found = {}
        else:
            variant = assembled(given)
            found = self.trained(variant.train(), given) if given["budget"] else {}
            if math.isnan(found.get("loss_last", 0.0)):
                return found
        few = tuple(rows_of(part, slice(count)) for part, count in zip(parts, IMAGES[self.name], strict=True))
        return {**found, **scores(variant.eval(), few)}  # type: ignore[arg-type]

    def trained(self, variant: Variant, given: dict[str, Any]) -> dict[str, float]:
        """Train in place -> steps, costs, and the loss in the first of 20 parts, at its least and in the last."""
        step, batch = self.step_seconds(given), given["batch"]
        steps, losses, watched = round(given["budget"] / step), [], variant.loss

        def noted(images: Tensor, rng: Generator) -> Tensor:
            loss = watched(images, rng)
            losses.append(float(loss.detach()))
            return loss

        variant.loss = noted  # type: ignore[method-assign]
        optimiser = {name: given[name] for name in ("warmup", "weight_decay", "augment")}
        budget = Budget("steps", steps, batch=batch, base_lr=given["peak"] * 256 / batch, **optimiser)
        device, cpu, wall = torch.device("cpu"), time.process_time(), time.perf_counter()
        try:
            pretrain(
                Job(variant, budget, given["seed"], device, Stopwatch(device)), splits(self.name, self.root)[0].images
            )
        except Diverged:
            return {"steps": steps, "loss_last": math.nan}
        means = [statistics.mean(losses[part * steps // 20 : (part + 1) * steps // 20]) for part in range(20)]
        return {
            **{"steps": steps, "images": steps * batch, "pflop": 3e-15 * variant.flops() * steps * batch},  # type: ignore[operator]
            **{"step_ms": 1e3 * step, "train_cpu_s": time.process_time() - cpu},
            **{"train_wall_s": time.perf_counter() - wall, "load": os.getloadavg()[0]},
            **{"loss_first": means[0], "loss_least": min(means), "loss_last": means[-1]},
        }

    def step_seconds(self, given: dict[str, Any]) -> float:
        """Seconds of a step on one quiet core: START's times the median ratio of the two, run in turns."""
        for row in read():
            if row["study"] == self.name and row["step_ms"] and all(row[name] == str(given[name]) for name in SIZE):
                return float(row["step_ms"]) / 1e3
        start = START[self.name]
        if all(given[name] == start[name] for name in SIZE):
            return STEP[self.name]
        turns = list(zip(_steps(given), _steps(start), strict=True))[2:]  # the first two warm up
        return STEP[self.name] * statistics.median(one / the_other for one, the_other in turns)


def assembled(given: dict[str, Any]) -> Variant:
    """The untrained `vit_mae` of these settings."""
    model = {name: given[name] for name in MODEL}
    masks = {name: given[name] for name in ("masking", "ratio", "seed")}
    return build("vit_mae", shape=(3, 32, 32), **masks, **model)


def _steps(given: dict[str, Any]) -> Iterator[float]:
    """Train on noise -> processor seconds of each of TURNS steps."""
    variant, rng = assembled(given), stream(0, "steps")
    images = torch.randn(given["batch"], 3, 32, 32, generator=rng)
    optimiser = adamw([(variant, 1.0)], 0.0, (0.9, 0.95))
    for _ in range(TURNS):
        begun = time.process_time()
        optimiser.zero_grad()
        variant.loss(images, rng).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        yield time.process_time() - begun


def score(row: dict[str, str]) -> float:
    """Of a try that diverged: minus infinity."""
    return float(row["score"]) if row["score"] else -math.inf


def floors(study: Study) -> float:
    """Step 1 -> the score of the untrained start."""
    for variant in LINEAR if study.name == "demo" else LINEAR[:1]:
        study.tried("floor", {"variant": variant, "seed": "", "budget": 0})
    return score(study.tried("floor", {**START[study.name], "budget": 0}))


def screen(study: Study) -> list[dict[str, Any]]:
    """Step 2 -> of each knob the best move, if it gains enough, from the greatest gain on."""
    start = {**START[study.name], "budget": SECONDS[study.name][0]}
    base, gains = score(study.tried("screen", start)), []
    for moves in MOVES[study.name].values():
        tries = [score(study.tried("screen", {**start, **move})) - base for move in moves]
        if max(tries) > GAIN:
            gains.append((max(tries), moves[tries.index(max(tries))]))
    return [move for _, move in sorted(gains, key=lambda gain: -gain[0])]


def join(study: Study, moves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Step 3 -> the settings that were joined, from the best on."""
    joined = [dict(START[study.name])]
    for move in moves:
        joined.append({**joined[-1], **move})
    joined += [{**START[study.name], **move} for move in moves[1:]]
    found = [score(study.tried("join", {**given, "budget": SECONDS[study.name][1]})) for given in joined]
    return [given for _, given in sorted(zip(found, joined, strict=True), key=lambda pair: -pair[0])]


def final(study: Study, best: list[dict[str, Any]]) -> dict[str, Any]:
    """Step 4 -> the winner's settings."""
    finalists, seeds = FINAL[study.name]
    means = []
    for given in best[:finalists]:
        tries = [{**given, "seed": seed, "budget": SECONDS[study.name][2]} for seed in range(seeds)]
        means.append(statistics.mean(score(study.tried("final", one)) for one in tries))
    return best[1] if len(means) > 1 and means[1] > means[0] + GAIN else best[0]


def bear(study: Study, given: dict[str, Any], floor: float) -> dict[str, Any]:
    """Step 5 -> the winner at the highest of its peak rate, half of it and so on that every strategy bears."""
    for rate in (1.0, 1.5):
        tried = {**given, "peak": given["peak"] * rate, "budget": SECONDS[study.name][1]}
        rows = [study.tried("bear", {**tried, "masking": masking}) for masking in MASKINGS]
        if any(collapsed(row, rows[0], floor) for row in rows):
            return bear(study, {**given, "peak": given["peak"] / 2}, floor)
    return given


def collapsed(row: dict[str, str], uniform: dict[str, str], floor: float) -> bool:
    """Whether this run has, by the rule of step 5."""
    if score(row) < floor or not uniform["rank"] or float(row["rank"]) < float(uniform["rank"]) / 2:
        return True
    return float(row["loss_last"]) > RISE * float(row["loss_least"])


def main() -> None:
    """Search one budget."""
    study = Study(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "data"))
    floor = floors(study)
    winner = final(study, join(study, screen(study)))
    print("winner", winner, flush=True)
    if study.name != "long":
        print("recipe", bear(study, winner, floor), flush=True)
    for changed in EXTRA.get(study.name, []):
        study.tried("extra", {**START[study.name], "budget": SECONDS[study.name][0], **changed})


if __name__ == "__main__":
    main()
