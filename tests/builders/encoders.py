"""Small encoders of other libraries, and the features that `pretrained` gives of their files."""

import re
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from maebench.contracts import Variant, standardise
from maebench.plugins import find
from maebench.runs.build import seeded
from maebench.runs.config import full_settings
from maebench.seeding import stream

SHAPE = (3, 16, 16)
SMALL: dict[str, Any] = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}


def jostled(model: torch.nn.Module) -> torch.nn.Module:
    """The model with weights of which none may be ignored, norms and biases included.

    What adds to the tokens is faint, so that the eps of a norm shows.
    """
    rng = stream(0, "jostled")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=rng))
            if not re.search(r"norm|qkv|\.[qkv]_proj|query|key|value|fc1|intermediate", name):
                weight.mul_(0.01)
    return model.eval()


def vit(**changes: Any) -> VisionTransformer:
    with torch.random.fork_rng(devices=[]):
        return jostled(VisionTransformer(**{**SMALL, "num_classes": 0, **changes}))


def built(path: Path, format: str, shape: tuple[int, int, int] = SHAPE, **settings: Any) -> Variant:
    found = find("variants", "pretrained")
    given = full_settings(found, {"heads": 2, **settings, "path": str(path), "format": format}, "test")
    return seeded(found, {"shape": shape, **given}, 0).eval()


def features(path: Path, format: str, pixels: Tensor, **settings: Any) -> Tensor:
    """Of uint8 images [B, C, H, W]: tokens [B, h*w, D], or the class token's [B, 1, D]."""
    shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
    with torch.no_grad():
        return built(path, format, shape, **settings).encode(standardise(pixels)).flatten(2).transpose(1, 2)
