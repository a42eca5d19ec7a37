"""The contract of a data set, as plain functions: each raises ContractError where the data set breaks it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from maebench.checks.subject import ContractError, Subject, global_generators_kept
from maebench.contracts import Split
from maebench.plugins import REQUIRED, ask, load
from maebench.runs.provenance import checksum

SPLITS = ("train", "val", "test")
KNOWN = ("label", "depth", "latents")
SHARED = 0.001  # of a split's images may be in another: photographs hold a few true duplicates


def loaded(subject: Subject, split: str) -> Split:
    """One split, as a run loads it."""
    result: Split = ask(load(subject.found).load, {"split": split, "root": subject.root, **subject.settings})
    return result


def declaration_is_valid(subject: Subject) -> None:
    """TARGETS holds known targets."""
    targets = subject.found.constants["TARGETS"]
    if not set(targets) <= set(KNOWN):
        raise ContractError(f"TARGETS must be a tuple of {', '.join(KNOWN)}, but is {targets!r}")


def splits_are_as_declared(subject: Subject) -> None:
    """uint8 images of one shape in all splits, and each declared target, a row for each image."""
    shapes = set()
    for name in SPLITS:
        split = loaded(subject, name)
        images = split.images
        if images.dtype != torch.uint8 or images.ndim != 4 or not len(images):
            raise ContractError(
                f"{name}: images must be uint8 [N, C, H, W], but are {images.dtype} {list(images.shape)}"
            )
        shapes.add(tuple(images.shape[1:]))
        if set(split.targets) != set(subject.found.constants["TARGETS"]):
            declared = ", ".join(subject.found.constants["TARGETS"]) or "none"
            raise ContractError(
                f"{name}: targets must be those in TARGETS ({declared}), but are {', '.join(split.targets)}"
            )
        for target, value in split.targets.items():
            if not _valid(target, value, images):
                given = f"{value.dtype} {list(value.shape)}"
                raise ContractError(f"{name}: '{target}' does not hold what contracts.Split says; it is {given}")
    if len(shapes) > 1:
        raise ContractError(f"images must have one shape in all splits, but have {sorted(shapes)}")


def _valid(target: str, value: Tensor, images: Tensor) -> bool:
    if target == "label":
        return value.dtype == torch.int64 and value.shape == images.shape[:1] and int(value.min()) >= 0
    if value.dtype != torch.float32 or len(value) != len(images):
        return False
    if target == "depth":
        known = value[~value.isnan()]
        return value.shape == images[:, :1].shape and len(known) > 0 and bool((known > 0).all())
    return value.ndim == 2 and bool(value.isfinite().all())


def splits_are_disjoint(subject: Subject) -> None:
    """No image is in two splits."""
    images = {name: [image.numpy().tobytes() for image in loaded(subject, name).images] for name in SPLITS}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        known = set(images[one])
        shared = sum(image in known for image in images[other])
        if shared > SHARED * len(images[other]):
            raise ContractError(
                f"{shared} of the {len(images[other])} {other} images are in {one} too; keep them apart"
            )


def loads_the_same_bytes(subject: Subject) -> None:
    """Every load gives the same bytes, also one that finds nothing in the cache."""
    for name in SPLITS:
        if checksum(loaded(subject, name)) != checksum(loaded(subject, name)):
            raise ContractError(
                f"{name}: two loads gave different data; derive every random number from seeding.stream"
            )
    before = checksum(loaded(subject, "val"))
    with _empty_cache():
        if checksum(loaded(subject, "val")) != before:
            raise ContractError(
                "val: made anew, the data differ from those in the cache; count VERSION up when they change"
            )


@contextmanager
def _empty_cache() -> Iterator[None]:
    kept = os.environ.get("MAEBENCH_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MAEBENCH_CACHE"] = folder
        try:
            yield
        finally:
            del os.environ["MAEBENCH_CACHE"]
            if kept is not None:
                os.environ["MAEBENCH_CACHE"] = kept


def a_missing_archive_is_one_line(subject: Subject) -> None:
    """Where its files are not there, `load` raises LookupError with one line on where to get them."""
    if "root" not in subject.found.asks:
        return
    required = [
        name for name, (kind, default) in subject.found.settings.items() if kind == "str" and default is REQUIRED
    ]
    settings = {**subject.settings, **dict.fromkeys(required, "nowhere")}
    with tempfile.TemporaryDirectory() as empty:
        try:
            ask(load(subject.found).load, {"split": "train", "root": Path(empty), **settings})
        except LookupError as error:
            message = str(error)
            if isinstance(error, KeyError | IndexError) or not message or "\n" in message:
                raise ContractError(f"a missing archive must be a LookupError of one line, not {error!r}") from None
        else:
            raise ContractError("load found data in an empty data root; read nothing but what lies under `root`")


def global_generators_stay_untouched(subject: Subject) -> None:
    """Nothing is drawn from torch's, numpy's or Python's global generator."""
    with _empty_cache(), global_generators_kept("load"):
        loaded(subject, "val")


DATASET_CHECKS = (
    declaration_is_valid,
    splits_are_as_declared,
    splits_are_disjoint,
    loads_the_same_bytes,
    a_missing_archive_is_one_line,
    global_generators_stay_untouched,
)
