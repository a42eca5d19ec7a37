"""The plug-in under test, the small things it is given, and what it must not touch."""

import io
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from maebench.contracts import Hide, Report, Variant, standardise
from maebench.declaration import Declaration
from maebench.models.patches import hidden_count, hide_top
from maebench.runs.build import seeded
from maebench.runs.plan import Plugin, couples, in_closed_form, paints
from maebench.seeding import stream


class ContractError(ValueError):
    """A plug-in breaks its contract; the message is one line: what is expected, what was found, how to mend it."""


@contextmanager
def global_generators_kept(what: str) -> Iterator[None]:
    """Raise ContractError where the code inside, called `what`, draws from or seeds a global generator."""
    before = _global_states()
    yield
    moved = [name for name, state in _global_states().items() if state != before[name]]
    if moved:
        raise ContractError(
            f"{what} must leave the global random generators alone, but moved that of {', '.join(moved)}; "
            "draw from the rng it is given, or from seeding.stream"
        )


def _global_states() -> dict[str, bytes]:
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr(np.random.get_state(legacy=False)["state"]).encode(),
        "random": repr(random.getstate()).encode(),
    }


@contextmanager
def tensors_kept(what: str, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Raise ContractError where the code inside, called `what`, changes one of these tensors in place."""
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    yield
    for name, tensor in tensors.items():
        if not torch.allclose(tensor, before[name], rtol=0, atol=0, equal_nan=True):
            raise ContractError(f"{what} must not change its argument '{name}' in place, but did; work on a copy")


RATIO = 0.75
COUNT = 8  # images of a batch: few enough for seconds, enough to tell mates apart
FITTED = 64  # images of a train split


@dataclass(frozen=True)
class Subject:
    """A plug-in under test."""

    found: Declaration
    settings: Mapping[str, Any]
    """every setting, defaults included"""
    root: Path
    """the data root, for a data set that asks for it"""

    @property
    def part(self) -> Plugin:
        """The plug-in as a plan names it."""
        return Plugin(self.found.name, dict(self.settings), "1")

    @property
    def plugins(self) -> Path:
        """The folder of plug-ins in which a masking or a task is found again by its name."""
        return self.found.path.parents[1]

    @property
    def closed(self) -> bool:
        """Whether it is a variant that is fitted, not trained."""
        return in_closed_form(self.found, self.settings)

    @property
    def floor(self) -> bool:
        """Whether it is a variant that has nothing to learn, and says so by FLOOR = True."""
        return bool(self.found.constants.get("FLOOR", False))

    @property
    def coupled(self) -> bool:
        """Whether it is a variant that says that the loss of an image depends on its batch mates."""
        return couples(self.found, self.settings)

    @property
    def paints(self) -> bool:
        """Whether it is a variant that predicts pixels, as all do that do not say otherwise."""
        return paints(self.found, self.settings)

    @property
    def masked(self) -> bool:
        """Whether it is a variant that is handed a masking strategy."""
        return "hide" in self.found.asks

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) for a variant: CIFAR-10's, or a quarter of it, as a closed form on 3072 pixels takes seconds."""
        return (3, 16, 16) if self.closed else (3, 32, 32)


def pictures(count: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """uint8 [count, C, H, W]: coarse coloured squares with some noise, so that neighbours tell of each other."""
    channels, height, width = shape
    rng = stream(seed, "pictures")
    coarse = functional.interpolate(torch.rand(count, channels, height // 4, width // 4, generator=rng), scale_factor=4)
    return (coarse * 200 + torch.rand(count, *shape, generator=rng) * 55).to(torch.uint8)


def batch(subject: Subject) -> Tensor:
    """Images [COUNT, C, H, W] in standard units for a variant."""
    return standardise(pictures(COUNT, subject.shape))


def hide_at(ratio: float) -> Hide:
    """A strategy that hides patches at random, whatever the images."""

    def hide(images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        return hide_top(torch.rand(len(images), *grid, generator=rng), ratio, rng)

    return hide


def build(
    subject: Subject,
    *,
    hide: Hide | None = None,
    ratio: float = RATIO,
    report: Report = None,
    shape: tuple[int, int, int] | None = None,
    seed: int = 0,
) -> Variant:
    """The variant, not fitted; hides at random at this ratio, or as many by another `hide`."""

    def count(grid: tuple[int, int]) -> int:
        return hidden_count(ratio, grid[0] * grid[1])

    offered = {"hide": hide or hide_at(ratio), "count": count, "report": report, **subject.settings}
    return seeded(subject.found, {"shape": shape or subject.shape, **offered}, seed)


def reloaded(subject: Subject, variant: Variant, *, seed: int) -> Variant:
    """A build of this seed with the weights of the variant, saved and loaded again."""
    file = io.BytesIO()
    torch.save(variant.state_dict(), file)
    file.seek(0)
    other = build(subject, seed=seed)
    other.load_state_dict(torch.load(file, weights_only=True))
    return other


def ready(
    subject: Subject,
    *,
    hide: Hide | None = None,
    ratio: float = RATIO,
    shape: tuple[int, int, int] | None = None,
) -> Variant:
    """The variant frozen in evaluation mode, fitted where it is a closed form."""
    variant = build(subject, hide=hide, ratio=ratio, shape=shape)
    if subject.closed:
        variant.fit(pictures(FITTED, shape or subject.shape))  # type: ignore[operator]
    return variant.eval().requires_grad_(False)
