"""Plain ViTs that were trained elsewhere: how each library names their tensors, read from a file; and ours for timm."""

import argparse
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from maebench.models.vit import ViTEncoder

Library = Literal["maebench", "timm", "facebookresearch/mae", "transformers"]

# Our part of a ViT -> a library's, "{}" the number of the block; several names are the rows of one of ours.
TIMM = {
    "embed": "patch_embed.proj",
    "blocks.{}.norm1": "blocks.{}.norm1",
    "blocks.{}.qkv": "blocks.{}.attn.qkv",
    "blocks.{}.proj": "blocks.{}.attn.proj",
    "blocks.{}.norm2": "blocks.{}.norm2",
    "blocks.{}.fc1": "blocks.{}.mlp.fc1",
    "blocks.{}.fc2": "blocks.{}.mlp.fc2",
    "norm": "norm",
}
_OURS = {part: f"encoder.{part}" for part in TIMM}
_TRANSFORMERS = {
    "embed": "embeddings.patch_embeddings.projection",
    "blocks.{}.norm1": "layers.{}.layernorm_before",
    "blocks.{}.qkv": "layers.{}.attention.q_proj layers.{}.attention.k_proj layers.{}.attention.v_proj",
    "blocks.{}.proj": "layers.{}.attention.o_proj",
    "blocks.{}.norm2": "layers.{}.layernorm_after",
    "blocks.{}.fc1": "layers.{}.mlp.fc1",
    "blocks.{}.fc2": "layers.{}.mlp.fc2",
    "norm": "layernorm",
}
_ATTENTION = "encoder.layer.{}.attention.attention"
_TRANSFORMERS_4 = {  # and the files that version 5 saves
    "embed": "embeddings.patch_embeddings.projection",
    "blocks.{}.norm1": "encoder.layer.{}.layernorm_before",
    "blocks.{}.qkv": f"{_ATTENTION}.query {_ATTENTION}.key {_ATTENTION}.value",
    "blocks.{}.proj": "encoder.layer.{}.attention.output.dense",
    "blocks.{}.norm2": "encoder.layer.{}.layernorm_after",
    "blocks.{}.fc1": "encoder.layer.{}.intermediate.dense",
    "blocks.{}.fc2": "encoder.layer.{}.output.dense",
    "norm": "layernorm",
}
# The shape of the weight of a part, in widths; its bias is as long.
_SIZES = {"norm1": (1,), "qkv": (3, 1), "proj": (1, 1), "norm2": (1,), "fc1": (4, 1), "fc2": (1, 4), "norm": (1,)}
_WRAPPERS = ("model", "state_dict", "weights")  # under which a checkpoint keeps its state dict


@dataclass(frozen=True)
class _Dialect:
    """How a library names a ViT, and what it does not write into the tensors."""

    parts: Mapping[str, str]
    class_token: str
    positions: str
    ignored: tuple[str, ...]
    """how the names of decoders and heads begin, which are left out"""
    eps: tuple[float, float]
    """of the norms in the blocks, and of the last one"""


_DIALECTS: dict[Library, _Dialect] = {
    "maebench": _Dialect(_OURS, "", "", ("decoder.", "mask_token"), (1e-6, 1e-5)),
    "timm": _Dialect(TIMM, "cls_token", "pos_embed", ("head.",), (1e-6, 1e-6)),
    "facebookresearch/mae": _Dialect(TIMM, "cls_token", "pos_embed", ("decoder_", "mask_token", "head."), (1e-6, 1e-6)),
    "transformers": _Dialect(
        _TRANSFORMERS, "embeddings.cls_token", "embeddings.position_embeddings", ("decoder.",), (1e-12, 1e-12)
    ),
}


def _dialect(library: Library, names: set[str]) -> _Dialect:
    """That of a file with tensors of these names: transformers has written ViTMAE in four ways."""
    known = _DIALECTS[library]
    if library != "transformers":
        return known
    start = "vit." if any(name.startswith("vit.") for name in names) else ""  # saved with its decoder
    old = any(name.startswith(f"{start}encoder.layer.") for name in names)
    parts = {
        part: " ".join(start + name for name in theirs.split())
        for part, theirs in (_TRANSFORMERS_4 if old else _TRANSFORMERS).items()
    }
    return _Dialect(parts, start + known.class_token, start + known.positions, known.ignored, known.eps)


@dataclass(frozen=True)
class Weights:
    """A plain ViT, by our names: pre-norm blocks with biases, a hidden layer 4 times as wide, a norm at the end."""

    tensors: dict[str, Tensor]
    """float32, as `layers.ViTEncoder` names them"""
    channels: int
    patch: int
    depth: int
    eps: tuple[float, float]
    """of the norms in the blocks, and of the last one"""
    class_token: Tensor | None
    """[D]"""
    positions: Tensor | None
    """[T, D], the class token's first; None where they are sine-cosine and not kept"""

    @property
    def width(self) -> int:
        """D."""
        return len(self.tensors["norm.bias"])

    @property
    def patches(self) -> int:
        """How many have a position of their own."""
        return 0 if self.positions is None else len(self.positions) - (self.class_token is not None)


def read_vit(path: Path, library: Library) -> Weights:
    """The encoder in a file of weights. Raises ValueError, one line, that names the first tensor that does not fit."""
    found = _tensors(path)
    dialect, where = _dialect(library, set(found)), f"{path} as {library}"
    unused = dict(found)

    def take(name: str, *shape: int) -> Tensor:
        """The tensor of this name; -1 stands for any size."""
        if name not in found:
            raise ValueError(f"{where}: there is no tensor '{name}'")
        given = tuple(found[name].shape)
        if len(given) != len(shape) or any(size not in (-1, one) for size, one in zip(shape, given, strict=True)):
            wanted = ", ".join("any" if size < 0 else str(size) for size in shape)
            raise ValueError(f"{where}: '{name}' has the shape {list(given)}, not [{wanted}]")
        if not found[name].isfinite().all():
            raise ValueError(f"{where}: '{name}' holds NaN or infinity")
        return unused.pop(name).float()

    name = dialect.parts["embed"]
    embed = take(f"{name}.weight", *((-1, -1) if library == "maebench" else (-1, -1, -1, -1)))
    (channels, patch), width = _patch(embed, f"{where}: '{name}.weight'"), len(embed)
    tensors = {"embed.weight": embed.flatten(1), "embed.bias": take(f"{name}.bias", width)}
    depth = _depth(dialect.parts["blocks.{}.norm1"], found)
    for part, names in _pairs(dialect.parts, depth):
        if part != "embed":
            rows, *rest = (width * size for size in _SIZES[part.split(".")[-1]])
            pieces = [take(f"{name}.weight", rows // len(names), *rest) for name in names]
            biases = [take(f"{name}.bias", rows // len(names)) for name in names]
            tensors |= {f"{part}.weight": torch.cat(pieces), f"{part}.bias": torch.cat(biases)}
    token = take(dialect.class_token, 1, 1, width).flatten() if dialect.class_token in found else None
    positions = take(dialect.positions, 1, -1, width)[0] if dialect.positions else None
    if strange := [name for name in unused if not name.startswith(dialect.ignored)]:
        raise ValueError(f"{where}: '{strange[0]}' has no place in a plain ViT")
    return Weights(tensors, channels, patch, depth, dialect.eps, token, positions)


def _tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, out of the checkpoint around it; nothing but tensors and plain values is unpickled."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # facebookresearch/mae keeps its options beside
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        strange = re.search(r"GLOBAL (\S+)", str(error))
        why = f"holds {strange[1]}, no plain value; save its state dict alone" if strange else "holds no weights"
        raise ValueError(f"{path}: {why} ({type(error).__name__})") from None
    wrapper = next((name for name in _WRAPPERS if isinstance(content, Mapping) and name in content), None)
    found = content[wrapper] if wrapper else content
    if not isinstance(found, Mapping) or not found or not all(isinstance(one, Tensor) for one in found.values()):
        raise ValueError(f"{path}: holds no state dict, nor one under {' or '.join(_WRAPPERS)}")
    return dict(found)


def _patch(embed: Tensor, where: str) -> tuple[int, int]:
    """Channels and patch of an embedding [D, C, p, p], or [D, C*p*p] with C = 3 or 1: no product is of both kinds."""
    if embed.ndim == 4:
        if embed.shape[2] != embed.shape[3]:
            raise ValueError(
                f"{where} embeds patches of {embed.shape[2]} x {embed.shape[3]} pixels, which are no squares"
            )
        return embed.shape[1], embed.shape[2]
    for channels in (3, 1):
        patch = isqrt(embed.shape[1] // channels)
        if channels * patch**2 == embed.shape[1]:
            return channels, patch
    raise ValueError(f"{where} embeds {embed.shape[1]} values, which are no square patch of 1 or 3 channels")


def _depth(norm: str, names: Iterable[str]) -> int:
    """Blocks, of which the last that is there decides, and one at least: so that a lost one is named."""
    pattern = re.escape(f"{norm}.weight").replace(r"\{\}", r"(\d+)")
    numbers = (re.fullmatch(pattern, name) for name in names)
    return 1 + max((int(one[1]) for one in numbers if one), default=0)


def _pairs(parts: Mapping[str, str], depth: int) -> Iterator[tuple[str, list[str]]]:
    """Our name of each part of a ViT with so many blocks, and theirs."""
    for part, theirs in parts.items():
        for number in range(depth if "{}" in part else 1):
            yield part.format(number), theirs.replace("{}", str(number)).split()


def for_timm(encoder: ViTEncoder) -> dict[str, Tensor]:
    """The state dict of a VisionTransformer of timm, without class token and head, that gives the same features."""
    ours = encoder.state_dict()
    found = {
        f"{name}.{kind}": ours[f"{part}.{kind}"]
        for part, (name,) in _pairs(TIMM, len(encoder.blocks))
        for kind in ("weight", "bias")
    }
    kernel = f"{TIMM['embed']}.weight"
    found[kernel] = found[kernel].unflatten(1, (-1, encoder.patch, encoder.patch))
    return {"pos_embed": encoder.positions[None], **found}
