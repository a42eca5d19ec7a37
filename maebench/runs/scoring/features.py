"""The features of a frozen encoder: worked out once for a run's own images, and kept on disk while its tasks go on."""

import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maebench.contracts import Encode, Split, Variant, standardise

BATCH = {"cuda": 500, "cpu": 100}  # images a forward pass; on a CPU 100 is 1.45 times as fast as 500 (its caches)
KEPT_BYTES = 4 * 2**30  # of one layer of a run on disk; what is beyond is worked out each time
TINY, HUGE = 1e-15, 1e15  # Ours: of the largest feature, whose square must be a float32 that sums can hold
SPARE_BYTES = 2 * 2**30  # left free on the disk


def frozen(variant: Variant, device: torch.device, layer: int | None = None) -> Encode:
    """The variant as a function of uint8 images [N, C, H, W] to float32 features [N, D, h, w] on the CPU.

    Evaluation mode, no gradient, in batches. `layer` i is what its `layers` gives after i parts; None: its features.
    What it gives raises ValueError for features that are not finite, or that read-outs would lose in rounding.
    """
    variant.to(device).eval()
    batch = BATCH[device.type]

    def features(images: Tensor) -> Tensor:
        return variant.encode(images) if layer is None else variant.layers(images)[layer - 1]  # type: ignore[operator]

    @torch.inference_mode()
    def compute(images: Tensor) -> Tensor:
        starts = range(0, len(images), batch)
        parts = (standardise(images[start : start + batch].to(device)) for start in starts)
        found = torch.cat([features(part).float().cpu() for part in parts])
        if len(found) and not (largest := float(found.abs().max())) == 0 and not TINY <= largest <= HUGE:
            raise ValueError(
                f"the features of some of {len(found)} images are as large as {largest:g}; scale the encoder"
            )
        return found

    return lambda images: compute(images).clone()  # a plain tensor, no inference tensor


def kept(encode: Encode, splits: Mapping[str, Split], folder: Path) -> Encode:
    """The same, which keeps the features of slices of these splits in files of the folder, and reads them from there.

    Each file has its checksum in its name: one that a power cut has spoilt is made again. Other images, and what finds
    no room (`KEPT_BYTES`, `SPARE_BYTES`), are encoded each time, and so are images that were changed in place. What a
    caller changes of the features is a copy of his own.
    """
    checked: set[Path] = set()
    states = {name: split.images._version for name, split in splits.items()}

    def look(images: Tensor) -> Tensor:
        stem = _place(images, {name: split for name, split in splits.items() if split.images._version == states[name]})
        if stem is None:
            return encode(images)
        if (features := _read(folder, stem, checked)) is None:
            features = encode(images)
            _write(folder, stem, features)
        return features

    return look


def _read(folder: Path, stem: str, checked: set[Path]) -> Tensor | None:
    """The features in the file of this slice; None where none is whole. Those in `checked` are known to be."""
    for path in folder.glob(f"{stem}.*.npy"):
        if path not in checked and _checksum(path) != path.suffixes[-2]:
            path.unlink()
            continue
        checked.add(path)
        return torch.from_numpy(np.load(path, mmap_mode="c"))  # "c": writable in memory, never on disk
    return None


def _write(folder: Path, stem: str, features: Tensor) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    held = sum(path.stat().st_size for path in folder.glob("*.npy"))
    if held + features.nbytes > KEPT_BYTES or shutil.disk_usage(folder).free < features.nbytes + SPARE_BYTES:
        return
    draft = folder / f".{stem}.draft"
    try:
        with draft.open("wb") as file:
            np.save(file, features.numpy())
        draft.replace(folder / f"{stem}{_checksum(draft)}.npy")
    except OSError:  # no room after all, or a quota: they are encoded each time
        draft.unlink(missing_ok=True)


def layer_count(variant: Variant, images: Tensor) -> int:
    """How many feature maps the variant's `layers` gives; 0 where it has none. images uint8 [N, C, H, W]."""
    if not hasattr(variant, "layers"):
        return 0
    device = next((weight.device for weight in variant.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        return len(variant.layers(standardise(images[:1].to(device))))  # type: ignore[operator]


def _place(images: Tensor, splits: Mapping[str, Split]) -> str | None:
    """What names a slice of a split: its name, first image and number of images; None for other images."""
    for name, split in splits.items():
        whole = split.images
        same = images.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
        if same and images.shape[1:] == whole.shape[1:] and images.stride() == whole.stride():
            start, rest = divmod(int(images.storage_offset() - whole.storage_offset()), whole.stride(0))
            return None if rest else f"{name}-{start}-{len(images)}"
    return None


def _checksum(path: Path) -> str:
    """ ".1a2b3c4d", the CRC-32 of a file."""
    total = 0
    with path.open("rb") as file:
        while part := file.read(2**24):
            total = zlib.crc32(part, total)
    return f".{total:08x}"
