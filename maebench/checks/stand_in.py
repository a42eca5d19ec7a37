"""What a masking strategy is handed in its checks in place of a training: a teacher, a network, what it prepared."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from maebench.checks.subject import Subject, pictures
from maebench.contracts import Hide
from maebench.runs.build import strategy_of
from maebench.seeding import stream
from maebench.training.masker import Masker

WIDTH, PATCH = 16, 4
PROGRESS = 0.5


class Teacher(nn.Module):
    """A stand-in for a variant: attention and features that are fixed, smooth functions of each patch of an image."""

    def attention(self, images: Tensor) -> Tensor:
        """images [B, 3, 4h, 4w] -> [B, h, w], sum 1: softmax of the brightness of each patch."""
        bright = functional.avg_pool2d(images.mean(1), PATCH)
        return bright.flatten(1).softmax(1).view_as(bright)

    def encode(self, images: Tensor) -> Tensor:
        """images [B, 3, 4h, 4w] -> [B, WIDTH, h, w]: waves of the mean colour of each patch."""
        colour = functional.avg_pool2d(images, PATCH)
        *mix, phase = torch.randn(4, WIDTH, generator=stream(0, "teacher")).to(images)
        waves: Tensor = torch.einsum("bchw,cd->bdhw", colour, torch.stack(mix)) + phase[:, None, None]
        return waves.sin()


def noise(count: int, grid: tuple[int, int], seed: int = 0) -> Tensor:
    """Images [B, 3, 4h, 4w] of white noise in standard units, for a grid of patches of PATCH x PATCH pixels."""
    return torch.randn(count, 3, PATCH * grid[0], PATCH * grid[1], generator=stream(seed, "noise"))


def masker(subject: Subject, ratio: float, grid: tuple[int, int], progress: float = PROGRESS) -> Masker:
    """The strategy at work on such a grid, in the middle of a training unless told otherwise."""
    shape = (3, PATCH * grid[0], PATCH * grid[1])
    found = Masker(strategy_of(subject.part, subject.plugins), ratio)
    found.attach(Teacher(), shape, grid)  # type: ignore[arg-type]
    found.prepare(pictures(64, shape))
    found.begin(progress, PROGRESS)
    return found


def hide_with(subject: Subject, ratio: float, progress: float = PROGRESS) -> Hide:
    """The strategy at one ratio, as a variant gets it, on whatever grid."""
    known: dict[tuple[int, int], Masker] = {}

    def hide(images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        if grid not in known:
            known[grid] = masker(subject, ratio, grid, progress)
        return known[grid].hide(images, grid, rng)

    return hide
