"""The contract of a data set, as plain functions: each raises ContractError where the data set breaks it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maebench.checks.subject import ContractError, Subject, global_generators_kept
from maebench.contracts import Split
from maebench.data.reading.splits import PROMISED, SPLITS, hold
from maebench.declaration import REQUIRED
from maebench.plugins import ask, load
from maebench.runs.provenance import checksum

SHARED = 0.001  # of a split's images may be in another: photographs hold a few true duplicates


def loaded(subject: Subject, split: str) -> Split:
    """One split, as a run loads it."""
    result: Split = ask(load(subject.found).load, {"split": split, "root": subject.root, **subject.settings})
    return result


def declaration_is_valid(subject: Subject) -> None:
    """TARGETS holds known targets."""
    targets = subject.found.constants["TARGETS"]
    if not set(targets) <= set(PROMISED):
        raise ContractError(f"TARGETS must be a tuple of {', '.join(PROMISED)}, but is {targets!r}")


def splits_are_as_declared(subject: Subject) -> None:
    """Images, targets and classes are what `contracts.Split` promises; `maebench run` asks the same."""
    splits = {name: loaded(subject, name) for name in SPLITS}
    try:
        hold(subject.found.name, subject.found.constants["TARGETS"], splits)
    except ValueError as error:
        raise ContractError(str(error)) from None


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
