"""The encoder of a run for use elsewhere: as a module that takes images as they are, or as files."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from maebench.contracts import CENTRE, SPREAD, Variant, standardise
from maebench.models.foreign import for_timm
from maebench.models.vit import Block, ViTEncoder
from maebench.plugins import find
from maebench.runs.build import seeded
from maebench.runs.config import full_settings
from maebench.runs.folder import RunFolder, load_tensors
from maebench.runs.plan import TRAINING, version
from maebench.runs.records import write_whole
from maebench.seeding import stream
from maebench.training.budget import read_budget
from maebench.training.masker import Masker

FORMATS = ("timm", "safetensors")


class ImageEncoder(nn.Module):
    """A trained variant for images that are not standardised; in evaluation mode, and gradients flow."""

    def __init__(self, variant: Variant, shape: tuple[int, int, int]) -> None:
        """shape (C, H, W): of the images."""
        super().__init__()
        self.variant, self.shape = variant, shape
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """The same as `encode`."""
        return self.encode(images)

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W], uint8, or floats in [0, 1] -> features [B, D, h, w]; a global code is [B, D, 1, 1].

        Raises ValueError for images of another shape, type or range.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.shape:
            raise ValueError(f"images must be [B, {', '.join(map(str, self.shape))}], not {list(images.shape)}")
        return self.variant.encode(_standard(images))


def _standard(images: Tensor) -> Tensor:
    """uint8, or floats in [0, 1] -> standard units. Raises ValueError for other images."""
    if images.dtype == torch.uint8:
        return standardise(images)
    if not images.is_floating_point():
        raise ValueError(f"images must be uint8, or floats in [0, 1], not {images.dtype}")
    if not ((images >= 0) & (images <= 1)).all():
        low, high = images.detach().aminmax()
        raise ValueError(
            f"float images must be in [0, 1], not {low:.3g} to {high:.3g}; divide by 255, clamp, or do not normalise"
        )
    return (images.float() - CENTRE) / SPREAD


def load(folder: str | Path, plugins: str | Path | None = None) -> ImageEncoder:
    """The trained encoder of a run, on the CPU; that of an untrained floor is drawn again under its seed.

    Raises ValueError or LookupError, one line, for a folder that holds no finished run, and where the code of the
    variant, or a file that it reads, is not what the run was made with: the features would be others.
    """
    folder = Path(folder)
    known = declared(folder)
    encoder, shape = known["encoder"], tuple(known["shape"])
    name, made_with = encoder["variant"]["name"], encoder["variant"]["version"]
    declaration = find("variants", name, Path(plugins) if plugins else None)
    settings = full_settings(declaration, encoder["variant"]["settings"], str(folder))
    now = f"{version(declaration, settings)} {TRAINING}"
    if now != (made_with := f"{made_with} {encoder['training']}"):
        raise ValueError(
            f"{folder}: variant {name}, a file that it reads, or maebench itself has changed since this run "
            f"({made_with}, now {now}); load it with the code of then, or carry the run out again"
        )
    variant = seeded(declaration, {"shape": shape, **Masker().offers(), **settings}, encoder["seed"] or 0)
    if not read_budget(encoder["budget"]).untrained:
        _fill(variant, RunFolder(folder).weights)
    return ImageEncoder(variant, shape)


def declared(folder: Path) -> dict[str, Any]:
    """What the run.json of a run says. Raises ValueError, one line, for a folder that is none."""
    path = RunFolder(folder).declaration
    if not path.exists():
        runs = sorted(folder.glob("*/run.json"))
        other = f"name one of its runs, such as {runs[0].parent}" if runs else "name that of a run, RESULTS/RUN_ID"
        raise ValueError(f"{folder}: is not the folder of a run; {other}")
    try:
        known: dict[str, Any] = json.loads(path.read_text())
        encoder = known["encoder"]
        asked = [encoder[key] for key in ("variant", "seed", "budget")]
        asked += [encoder["variant"][key] for key in ("name", "settings", "version")]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: is damaged ({type(error).__name__}: {error}); remove it, then the same config makes the run again"
        ) from None
    if "shape" not in known or "training" not in encoder:
        raise ValueError(f"{path}: maebench 0.2.0 or older made this run; carry it out again, or load it with that")
    return known


def _fill(variant: Variant, path: Path) -> None:
    if not path.exists():
        raise ValueError(f"{path}: is not there; remove {path.parent}, then the same config makes the run again")
    own, saved = variant.state_dict(), load_tensors(path).get("weights", {})
    for name in {**own, **saved}:
        if name not in own or name not in saved or own[name].shape != saved[name].shape:
            raise ValueError(
                f"{path}: its '{name}' does not fit; remove {path.parent}, then the same config makes the run again"
            )
    variant.load_state_dict(saved)


def export(folder: Path, to: str, out: Path | None = None, plugins: Path | None = None) -> tuple[Path, Path]:
    """Write the encoder of a run to two files in `out` (None: in the run's folder): weights, and a JSON beside them.

    "timm": for timm's VisionTransformer; "safetensors": the variant's own state dict. Raises ValueError or LookupError,
    one line, where there is nothing to write.
    """
    if to not in FORMATS:
        raise ValueError(f"--to {to}: is none of {', '.join(FORMATS)}")
    loaded = load(folder, plugins)
    channels, height, width = loaded.shape
    pixels = {"input_size": [channels, height, width], "mean": [CENTRE] * channels, "std": [SPREAD] * channels}
    about: dict[str, Any] = {"preprocessing": pixels, "encoder": declared(folder)["encoder"]}
    if to == "timm":
        encoder = plain_vit(loaded, folder)
        weights, name, about = for_timm(encoder), "timm", {**timm_model(encoder, loaded.shape), **about}
    else:
        weights, name = loaded.variant.state_dict(), "weights"
    if not weights:
        raise ValueError(f"{folder}: {about['encoder']['variant']['name']} has no weights to write")
    paths = [(out or folder) / f"{name}.{kind}" for kind in ("safetensors", "json")]
    whole = {key: value.clone(memory_format=torch.contiguous_format) for key, value in weights.items()}
    write_whole(paths[0], save(whole))  # it takes neither views nor tensors that share their memory
    write_whole(paths[1], json.dumps(about, indent=1).encode())
    return paths[0], paths[1]


@torch.no_grad()
def plain_vit(loaded: ImageEncoder, folder: Path) -> ViTEncoder:
    """The ViT whose features are the variant's. Raises ValueError where there is none."""
    images = torch.rand(2, *loaded.shape, generator=stream(0, "export"))
    encoder = getattr(loaded.variant, "encoder", None)
    plain = encoder if isinstance(encoder, ViTEncoder) and isinstance(encoder.norm, nn.LayerNorm) else None
    if plain is None or not torch.equal(loaded.variant.encode(images), plain.encode(images)):
        name = declared(folder)["encoder"]["variant"]["name"]
        raise ValueError(
            f"{folder}: the encoder of {name} is no plain ViT, which --to timm needs; try --to safetensors"
        )
    return plain


def timm_model(encoder: ViTEncoder, shape: tuple[int, int, int]) -> dict[str, Any]:
    """The arguments of timm's VisionTransformer, and the eps of its last norm, which they cannot say."""
    arguments = {
        "img_size": shape[1:],
        "patch_size": encoder.patch,
        "in_chans": shape[0],
        "num_classes": 0,
        "global_pool": "",
        "class_token": False,
        "embed_dim": encoder.norm.normalized_shape[0],
        "depth": len(encoder.blocks),
        "num_heads": next((part.heads for part in encoder.blocks if isinstance(part, Block)), 1),
    }
    return {"arguments": arguments, "norm_eps": encoder.norm.eps}
