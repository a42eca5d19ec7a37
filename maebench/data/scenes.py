"""Rendered 32x32 RGB scenes with a class, exact depth and the latents they were drawn from; needs no download."""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Generator, Tensor

from maebench.contracts import Split
from maebench.data.reading.cache import cached
from maebench.data.rendering.raycast import Scenes, render
from maebench.data.rendering.solids import SOLIDS
from maebench.data.rendering.textures import volumes
from maebench.seeding import stream

VERSION = 2
TARGETS = ("label", "depth", "latents")
LATENTS: dict[str, tuple[str, ...]] = {
    "layout and class": (
        *("sphere", "cube", "cylinder", "cone", "pyramid", "diamond", "ring", "capsule", "cross", "arch"),
        *("solids", "camera height", "camera pitch", "focal length", "wall distance", "wall turn"),
    ),
    "position, size and pose": ("x", "z", "width", "height", "yaw"),
    "texture and colour": (
        *("grain", "contrast", "red", "green", "blue"),
        *("ground red", "ground green", "ground blue", "wall red", "wall green", "wall blue"),
        *("light right", "light up", "light back", "ambient"),
    ),
}
"""Level -> names of the columns of "latents", in their order; solid, size, pose and texture are the main solid's."""

CHUNK = 500  # scenes from one random stream; fixed, so that a longer split begins with the shorter one
BATCH = 100  # scenes rendered at once: few enough for the processor's cache, enough to hide the cost of a call
SLOTS = 4  # solids a scene at most, the main one first
VOLUMES = 16  # texture volumes that all scenes of one seed are cut from


def load(
    split: str,
    *,
    train: int = 10_000,  # Ours: a probe of 3072 pixels has rows enough, a ConvNet still gains from more
    val: int = 2_000,  # Ours: a choice between penalties is good to about 1%
    test: int = 2_000,  # Ours: a test accuracy is good to about 1%
    size: int = 32,  # pixels a side, CIFAR-10's
    seed: int = 0,  # another seed is another data set of the same kind
) -> Split:
    """The split "train", "val" or "test": images, label, depth and latents (columns: LATENTS).

    Every split has random streams of its own; a longer split begins with the images of a shorter one. Made once, then
    read from the cache.
    """
    counts = {"train": train, "val": val, "test": test}
    if split not in counts:
        raise ValueError(f"scenes has no split {split!r}: ask for one of {', '.join(counts)}")
    if min(*counts.values(), size) < 1:
        raise ValueError("scenes: train, val, test and size must be at least 1")
    key = f"version {VERSION}, seed {seed}, {size} pixels, {split}, {counts[split]} images"
    arrays = cached("scenes", key, lambda: _make(split, counts[split], size, seed))
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Split(tensors.pop("images"), tensors)


def class_names() -> list[str]:
    """The names of the classes, in the order of their labels."""
    return list(LATENTS["layout and class"][: len(SOLIDS)])


def _make(split: str, count: int, size: int, seed: int) -> dict[str, np.ndarray]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a chunk a thread is faster than threads in each operation, and always rounds alike
    try:
        chunk = partial(_chunk, split, count, size, seed, volumes(VOLUMES, stream(seed, "scenes", "textures")))
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(chunk, range(0, count, CHUNK)))
    finally:
        torch.set_num_threads(threads)
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def _chunk(split: str, count: int, size: int, seed: int, bank: Tensor, start: int) -> dict[str, Tensor]:
    scenes = draw(CHUNK, stream(seed, "scenes", split, start // CHUNK))[: count - start]
    batches = [render(scenes[first : first + BATCH], bank, size) for first in range(0, len(scenes.solid), BATCH)]
    images, depth = (torch.cat(part) for part in zip(*batches, strict=True))
    return {"images": images, "depth": depth, "label": scenes.solid[:, 0], "latents": latents(scenes)}


def draw(count: int, rng: Generator) -> Scenes:
    """`count` random scenes, the ten classes equally often; what a solid looks like and where it is tell no class."""

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=rng).double()

    others, surfaces = SLOTS - 1, 2 + SLOTS
    solid = torch.randint(len(SOLIDS), (count, SLOTS), generator=rng)
    solid[:, 0] = torch.randperm(count, generator=rng) % len(SOLIDS)
    solid[torch.arange(SLOTS) > between(0, SLOTS, 1)] = -1
    half = torch.cat([between(0.72, 0.95, 1), between(0.3, 0.48, others)], 1)
    z = torch.cat([between(3.3, 4.5, 1), between(3.4, 5.8, others)], 1)
    bearing = between(-0.12, 0.12, 1)
    side = torch.where(between(0, 1, others) < 0.7, -1, 1) * bearing.sign()  # more often where there is more room
    apart = (half / z)[:, 1:] + (half / z)[:, :1] + between(-0.12, 0.2, others)  # negative: one hides some of another
    bearing = torch.cat([bearing, bearing + side * apart], 1)
    value = torch.cat([between(0.25, 0.65, 1, 1), between(0.5, 0.85, 1, 1), between(0.15, 0.55, SLOTS, 1)], 1)
    mean = value + between(-0.13, 0.13, surfaces, 3)
    swing = between(0.15, 0.45, surfaces, 1) * between(0.6, 1.4, surfaces, 3)
    azimuth, elevation = between(-1.1, 1.1), between(0.5, 1.1)
    frame, _ = torch.linalg.qr(torch.randn(count, 3, 3, generator=rng, dtype=torch.float64))
    return Scenes(
        camera=torch.stack([between(1.5, 2.2), between(0.16, 0.28), between(0.95, 1.15)], 1),
        wall=torch.stack([between(6.5, 10), between(-0.4, 0.4)], 1),
        solid=solid,
        place=torch.stack([bearing * z, z], 2),
        extent=torch.stack([half, half * between(0.85, 1.15, SLOTS), half], 2),
        yaw=between(-math.pi / 4, math.pi / 4, SLOTS),
        volume=torch.randint(VOLUMES, (count, surfaces), generator=rng),
        grain=torch.cat([between(6, 14, 1), between(4, 9, 1), between(8, 24, SLOTS)], 1),
        frame=frame,
        colour=torch.stack([mean * (1 - swing), mean * (1 + swing)], 2),
        light=torch.stack([azimuth.sin() * elevation.cos(), elevation.sin(), -azimuth.cos() * elevation.cos()], 1),
        ambient=between(0.35, 0.55),
    )


def latents(scenes: Scenes) -> Tensor:
    """B scenes -> [B, L], the columns of LATENTS: in metres, radians, texels a metre, 1 = white."""
    dark, bright = scenes.colour.unbind(2)
    mean = (dark + bright) / 2
    main = 2  # the surface of the main solid, after ground and wall
    columns = [
        torch.nn.functional.one_hot(scenes.solid[:, 0], len(SOLIDS)),
        (scenes.solid >= 0).sum(1, keepdim=True),
        scenes.camera,
        scenes.wall,
        scenes.place[:, 0],
        scenes.extent[:, 0, :2],
        scenes.yaw[:, :1],
        scenes.grain[:, main : main + 1],
        ((bright - mean) / mean).mean(2)[:, main : main + 1],
        *(mean[:, surface] for surface in (main, 0, 1)),
        scenes.light,
        scenes.ambient[:, None],
    ]
    return torch.cat([column.float() for column in columns], 1)
