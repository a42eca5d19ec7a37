"""The Jacobian of a reconstruction: how each output value changes with each value of one image.

A function f maps images [B, C, H, W] -> images [B, C, H, W], as a variant's reconstruction does under a fixed mask:

    variant = build(shape, hide=masked_by(hidden)).eval()
    J = jacobian(rebuilding(variant), image)

f is run once, on one image. What follows is linear, and done for many directions at a time.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from maebench.contracts import Hide, Variant
from maebench.seeding import stream

Images = Callable[[Tensor], Tensor]
"""images [B, C, H, W] -> images [B, C, H, W], by operations that torch can differentiate twice."""
Linear = Callable[[Tensor], Tensor]
"""One vector [d] -> [d], linearly; d = C*H*W."""

MEMORY = 512.0
"""MiB. Ours: with more, or less, a small ViT on 32x32 pixels is slower on a CPU."""


def masked_by(hidden: Tensor) -> Hide:
    """Patches bool [h, w], True = hidden -> a `Hide` that hides these of every image."""

    def hide(images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        if tuple(hidden.shape) != grid:
            raise ValueError(
                f"the mask is for patches {list(hidden.shape)}, the model has {list(grid)}; give one of these"
            )
        return hidden.to(images.device).expand(len(images), -1, -1)

    return hide


def rebuilding(variant: Variant, *words: str | int) -> Images:
    """What a variant makes of images, every random choice the same at each call, and another for other words."""
    return lambda images: variant.reconstruct(images, stream(0, *words)).painted


@torch.no_grad()
def jacobian(f: Images, image: Tensor, *, rows: Tensor | None = None, memory: float = MEMORY) -> Tensor:
    """image [C, H, W], rows int64 [R] of output values (None: all d = C*H*W) -> J [R, d], d output / d input.

    Row by row, or column by column where fewer columns are not 0 than rows are asked for, as in a masked model. Ours: a
    column is 0 where a random combination of all rows is. `memory` in MiB, see `along_each`; J itself comes on top.
    Raises ValueError for rows that are none of the output's.
    """
    value, pull = linearised(f, image)
    every = torch.arange(len(value), device=value.device)
    rows = every if rows is None else rows.to(value.device)
    if not len(rows) or rows.min() < 0 or rows.max() >= len(value):
        raise ValueError(f"rows must name at least one output value, each in 0 to {len(value) - 1}")
    columns = pull(torch.randn(len(value), generator=stream(0, "jacobian")).to(value)).nonzero()[:, 0]
    if len(columns) >= len(rows):
        return along_each(pull, lambda row: (every == row).to(value), rows, memory)
    J = value.new_zeros(len(rows), len(value))
    if len(columns):
        push = transposed(pull, value)
        J[:, columns] = along_each(push, lambda column: (every == column).to(value), columns, memory).T[rows]
    return J


def linearised(f: Images, image: Tensor) -> tuple[Tensor, Linear]:
    """image [C, H, W] -> f there, flat [d], and the map u [d] -> J' u [d]."""
    with sdpa_kernel(SDPBackend.MATH):  # fused attention can be differentiated only once, and not for many directions
        value, pull = torch.func.vjp(lambda flat: f(flat.view(1, *image.shape)).flatten(), image.flatten())[:2]
    return value, lambda u: pull(u)[0]


def transposed(linear: Linear, like: Tensor) -> Linear:
    """The map u -> J' u, and any vector [d] such as u -> the map v -> J v.

    Backward through the backward pass, since J' u is linear in u. torch's forward mode finds the same, but is slower
    here, and torch 2.15 warns of its own code when it starts.
    """
    pull = torch.func.vjp(linear, torch.zeros_like(like))[1]
    return lambda v: pull(v)[0]


def along_each(linear: Linear, direction: Linear, numbers: Tensor, memory: float) -> Tensor:
    """int64 [R], `direction` from one number to a vector [d] -> what `linear` makes of each of the vectors, [R, d].

    As many at a time as fit into `memory` MiB, but at least one. Ours: one is taken to need the bytes of all results on
    its way; many are freed early, so the true peak is lower.
    """
    with Made() as made:
        linear(direction(numbers[0]))
    chunk = max(1, int(memory * 2**20 / made.bytes))
    return torch.vmap(lambda number: linear(direction(number)), chunk_size=chunk)(numbers)


class Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of every result that torch makes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        results = result if isinstance(result, (tuple, list)) else [result]
        self.bytes += sum(part.nbytes for part in results if isinstance(part, Tensor))
        return result
