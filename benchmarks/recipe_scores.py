"""What `recipe_search.py` scores an encoder on, and by: read-outs of its frozen features, and their directions."""

import csv
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Split, Variant, standardise
from maebench.data import cifar10, scenes
from maebench.tasks.readouts import logistic
from maebench.tasks.readouts.dense import r2

RECORD = Path(__file__).parents[1] / "docs" / "recipes.csv"
# For read-outs: fitted, penalty chosen, scored.
IMAGES = {"demo": (4000, 1000, 2000)} | dict.fromkeys(("small", "minute", "long"), (3000, 1000, 4000))
NEIGHBOURS, TEMPERATURE = 20, 0.07  # Source: Caron et al. 2021 (DINO), whose votes are weighted likewise
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # of the whole-map ridge, as shares of the mean eigenvalue of its rows
WHOLE = 2000  # images that the whole-map ridge is fitted on: its cost grows with their cube
CHUNK = 64  # images encoded at once: small chunks stay in the processor's cache


@cache
def splits(study: str, root: Path) -> tuple[Split, Split, Split]:
    """Images to train and fit on, to choose penalties on, and to score on: no test image of what is reported."""
    if study == "demo":
        counts = dict(zip(("train", "val", "test"), IMAGES[study], strict=True))
        return tuple(scenes.load(part, seed=1, **counts) for part in counts)  # type: ignore[return-value]
    train, scored = (cifar10.load(part, root=root) for part in ("train", "val"))
    return rows_of(train, slice(-5000)), rows_of(train, slice(-5000, None)), scored


def rows_of(split: Split, rows: slice) -> Split:
    return Split(split.images[rows], {name: target[rows] for name, target in split.targets.items()})


def scores(variant: Variant, parts: tuple[Split, Split, Split]) -> dict[str, float]:
    """Fitted on the first part, penalties chosen on the second, scored on the third.

    "pooled", "cells": per cent right of linear probes; "knn": of the nearest neighbours; "depth_r2": of log depth, read
    from the whole map, where depth is known; "rank": see `effective_rank`; "score": their mean in points.
    """
    maps = [features(variant, part.images) for part in parts]
    labels = [part.targets["label"] for part in parts]
    found = {
        "pooled": _probe([_cells(one, 1) for one in maps], labels),
        "cells": _probe([_cells(one, 2) for one in maps], labels),
        "knn": _neighbours(_cells(maps[0], 1), labels[0], _cells(maps[2], 1), labels[2]),
    }
    points = [found["pooled"], found["cells"]]
    if "depth" in parts[0].targets:
        found["depth_r2"] = _whole_map(maps, [part.targets["depth"].log().flatten(1) for part in parts])
        points += [found["knn"], 100 * found["depth_r2"]]
    return {"score": sum(points) / len(points), **found, "rank": effective_rank(maps[1])}


@torch.no_grad()
def features(variant: Variant, images: Tensor) -> Tensor:
    """uint8 images [N, C, H, W] -> [N, D, h, w]."""
    return torch.cat([variant.encode(standardise(chunk)) for chunk in torch.split(images, CHUNK)])


def effective_rank(features: Tensor) -> float:
    """[N, D, h, w] -> exp of the entropy of the eigenvalues of the covariance of a patch's D features, as shares.

    About the mean of each position, so that what tells positions apart counts for nothing.
    Source: Roy and Vetterli 2007, the effective rank.
    """
    rows = (features - features.mean(0)).movedim(1, 3).flatten(0, 2).double()
    share = torch.linalg.eigvalsh(rows.T @ rows).clamp(min=0)
    return float(torch.special.entr(share / share.sum()).sum().exp())


def _cells(features: Tensor, side: int) -> Tensor:
    """[N, D, h, w] -> [N, D * side * side], means over side x side parts of the map; a global code as it is."""
    side = min(side, *features.shape[2:])
    return functional.adaptive_avg_pool2d(features, side).flatten(1)


def _probe(rows: list[Tensor], labels: list[Tensor]) -> float:
    model = logistic.fit(rows[0], labels[0], rows[1], labels[1])
    return 100 * float((model(rows[2]) == labels[2]).double().mean())


def _neighbours(known: Tensor, labels: Tensor, asked: Tensor, wanted: Tensor) -> float:
    """Per cent right of the votes of the nearest by cosine, of features about their mean on `known`."""
    centre = known.mean(0)
    known, asked = (functional.normalize(rows - centre) for rows in (known, asked))
    likeness, nearest = (asked @ known.T).topk(NEIGHBOURS)
    votes = functional.one_hot(labels[nearest]) * (likeness / TEMPERATURE).exp()[..., None]
    return 100 * float((votes.sum(1).argmax(1) == wanted).double().mean())


def _whole_map(maps: list[Tensor], targets: list[Tensor]) -> float:
    """R^2 of targets [N, T] by ridge regression on all features of the centred map, through the images' products."""
    known, wanted = maps[0][:WHOLE].flatten(1), targets[0][:WHOLE].double()
    centre, mean = known.mean(0), wanted.mean(0)
    known = known - centre
    product = (known @ known.T).double()
    asked = [((one.flatten(1) - centre) @ known.T).double() for one in maps[1:]]
    best = (torch.inf, 0.0)
    for penalty in PENALTIES:
        damped = product + penalty * product.diagonal().mean() * torch.eye(len(product), dtype=torch.float64)
        weight = torch.linalg.solve(damped, wanted - mean)
        error = float((asked[0] @ weight + mean - targets[1]).square().mean())
        best = min(best, (error, r2(asked[1] @ weight + mean, targets[2])))
    return best[1]


def read() -> list[dict[str, str]]:
    """The rows of the record."""
    if not RECORD.exists():
        return []
    with RECORD.open(newline="") as file:
        return list(csv.DictReader(file))
