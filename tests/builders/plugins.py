"""Tiny real plug-ins and configs, written to a temporary folder so that no test depends on the built-ins."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maebench.contracts import CENTRE, SPREAD
from maebench.declaration import Kind
from maebench.runs.config import Config, Pretrain
from maebench.runs.plan import EncoderSpec, Plugin
from maebench.seeding import stream
from maebench.training.budget import KINDS, UNTRAINED

CPU = torch.device("cpu")
FOLDERS: dict[Kind, str] = {"variants": ".", "maskings": "masking", "tasks": "tasks", "datasets": "data"}

DENSE = '''"""One linear layer in, one out."""
import torch
from torch import nn
from maebench.contracts import Reconstruction, Variant
from maebench.models.losses import pixel_loss

class Dense(Variant):
    def __init__(self, shape, width, gain):
        super().__init__()
        self.shape, self.gain = shape, gain
        pixels = shape[0] * shape[1] * shape[2]
        self.inner, self.outer = nn.Linear(pixels, width), nn.Linear(width, pixels)

    def reconstruct(self, images, rng):
        pixels = self.outer(self.inner(images.flatten(1)) * self.gain).view(images.shape)
        return Reconstruction(pixels, torch.ones_like(images[:, :1], dtype=torch.bool), images)

    def loss(self, images, rng):
        return pixel_loss(self.reconstruct(images, rng), images)

    def encode(self, images):
        return self.inner(images.flatten(1))[..., None, None]

def build(shape, *, width: int = 4, gain: float = 1.0):
    return Dense(shape, width, gain)
'''

MASKED = '''"""Predicts one learnt grey for what is hidden."""
import torch
from torch import nn
from maebench.contracts import Reconstruction, Variant
from maebench.models.losses import pixel_loss
from maebench.models.patches import grid_of, scored_pixels, seen_pixels

class Masked(Variant):
    def __init__(self, shape, hide, patch):
        super().__init__()
        self.hide, self.patch, self.grid = hide, patch, grid_of(shape, patch)
        self.grey = nn.Parameter(torch.randn(shape[0]))

    def reconstruct(self, images, rng):
        hidden = self.hide(images, self.grid, rng)
        pixels = self.grey.view(-1, 1, 1).expand_as(images)
        return Reconstruction(pixels, scored_pixels(hidden, self.patch), seen_pixels(images, hidden, self.patch))

    def loss(self, images, rng):
        return pixel_loss(self.reconstruct(images, rng), images)

    def encode(self, images):
        return images * self.grey.view(-1, 1, 1)

def build(shape, *, hide, patch: int = 2):
    return Masked(shape, hide, patch)
'''

CLOSED = '''"""The mean image, in closed form."""
import torch
from maebench.theory.moments import moments
from maebench.contracts import Reconstruction, Variant

class Closed(Variant):
    def __init__(self, shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))

    def fit(self, images):
        self.mean.copy_(moments(images)[0].view(self.mean.shape))

    def reconstruct(self, images, rng):
        return Reconstruction(self.mean.expand_as(images), torch.ones_like(images[:, :1], dtype=torch.bool), images)

    def loss(self, images, rng):
        raise AssertionError("a closed form is fitted, never looped over")

    def encode(self, images):
        return images - self.mean

def build(shape, *, rank: int = 3):
    return Closed(shape)
'''

RANDOM = '''"""Random scores."""
import torch

def scores(images, grid, rng, *, tilt: float = 0.0):
    return torch.rand(len(images), *grid, generator=rng) + tilt * torch.arange(grid[1])
'''

SHAPES = '''"""Random pixels with a label."""
VERSION = 1
TARGETS = ("label",)

def load(split, *, count: int = 8):
    raise AssertionError("planning loads no data")
'''

DEEP = SHAPES.replace('("label",)', '("label", "depth")')

LABELS = '''"""The brightest corner."""
VERSION = 1
NEEDS = "label"
METRICS = {"accuracy": ("", "higher")}

def fit(encode, train, *, penalty: float = 1.0):
    return lambda images: encode(images).flatten(1).argmax(1)

def measure(guess, targets):
    return {"accuracy": (guess == targets["label"]).float().mean()}
'''

DEPTHS = LABELS.replace('"label"', '"depth"')


WITHOUT_LOCKS = """
import ctypes, errno, platform, struct

def refuse(code):
    # From now on the kernel answers flock with this error in this process, as a file system without locks does.
    number = {"x86_64": 73, "aarch64": 32}[platform.machine()]
    filters = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | code), (0x06, 0, 0, 0x7FFF0000)]

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.c_char_p)]

    program = Program(len(filters), b"".join(struct.pack("HBBI", *one) for one in filters))
    prctl = ctypes.CDLL(None).prctl
    assert prctl(38, 1, 0, 0, 0) == prctl(22, 2, ctypes.byref(program)) == 0  # no new privileges; a seccomp filter
"""

PICTURES = '''"""Random pixels with every target."""
import torch
from maebench.contracts import Split
from maebench.seeding import stream

VERSION = 1
TARGETS = ("label", "depth", "latents")

def load(split, *, channels: int = 3, size: int = 16):
    images = torch.randint(256, (8, channels, size, size), generator=stream(0, split), dtype=torch.uint8)
    targets = {"depth": images[:, :1].float() + 1, "latents": images[:, 0, 0, :2].float()}
    return Split(images, {"label": torch.arange(8) % 2, **targets})
'''


def write(folder: Path, kind: Kind, name: str, code: str) -> Path:
    """Write one plug-in file where `--plugins folder` finds it."""
    path = folder / FOLDERS[kind] / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    return path


def write_all(folder: Path) -> Path:
    """One plug-in of each sort; gives the folder back."""
    for name, code in {"toy_dense": DENSE, "toy_masked": MASKED, "toy_closed": CLOSED}.items():
        write(folder, "variants", name, code)
    write(folder, "maskings", "toy_random", RANDOM)
    for name, code in {"toy_shapes": SHAPES, "toy_deep": DEEP}.items():
        write(folder, "datasets", name, code)
    for name, code in {"toy_labels": LABELS, "toy_depths": DEPTHS}.items():
        write(folder, "tasks", name, code)
    return folder


def config(changes: Mapping[str, Any]) -> Config:
    """A small config of the toy plug-ins with some keys changed."""
    base = {
        "tracks": [{"dataset": "toy_shapes", "tasks": "toy_labels"}],
        "variants": ["toy_dense", "toy_masked", "toy_closed"],
        "masks": {"strategy": "toy_random", "ratio": [0.5, 0.75]},
        "pretrain": {"steps": 5, "batch": 4},
        "seeds": [0, 1],
    }
    return Config.model_validate({**base, **changes})


def encoder(
    variant: Plugin, *, masking: Plugin | None = None, ratio: float | None = None, seed: int = 0, **changes: Any
) -> EncoderSpec:
    """What `assemble` and `pretrain` need to know of one run: 40 steps unless `changes` name another budget."""
    probe_every = changes.pop("probe_every", None)
    kind = {} if set(changes) & set(KINDS) else {"steps": 40}
    budget = Pretrain(
        **{**kind, "batch": 16, "base_lr": 0.048, **{k: v for k, v in changes.items() if v}}
    ).budget()  # a peak rate of 3e-3
    if changes.get("steps") == 0:
        budget = UNTRAINED
    return EncoderSpec(Plugin("toy_shapes", {}, "1"), variant, masking, ratio, budget, seed, probe_every)


def to_uint8(images: Tensor) -> Tensor:
    """Standard units [B, C, H, W] -> uint8 [B, C, H, W], clipped."""
    return images.mul(SPREAD).add(CENTRE).mul(255).round().clamp(0, 255).to(torch.uint8)


def images(count: int, shape: tuple[int, int, int] = (3, 8, 8), seed: int = 0) -> Tensor:
    """uint8 [count, C, H, W] of random pixels."""
    return torch.randint(0, 256, (count, *shape), generator=stream(seed, "toys"), dtype=torch.uint8)
