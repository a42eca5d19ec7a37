"""A folder or a zip as one read-only set of named bytes, and the images in it. Nothing is ever unpacked to disk."""

import hashlib
import io
import json
import os
import re
import reprlib
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
import torch
from PIL import Image, ImageOps

from maebench.contracts import MissingData

T = TypeVar("T")
R = TypeVar("R")

IMAGES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# What zipfile and Pillow raise for damaged, encrypted, over-large or cut-short input.
_BROKEN = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, IndexError, OverflowError, RuntimeError),
    *(struct.error, zlib.error, zipfile.BadZipFile, Image.DecompressionBombError),
)


@final
@dataclass(frozen=True)
class Archive:
    """Members of a folder or zip by name, read only: posix names in alphabetical order, hidden files left out."""

    path: Path
    members: Mapping[str, Callable[[], bytes]]

    def read(self, name: str) -> bytes:
        """The bytes of a member. LookupError if there is none of that name, ValueError if it is damaged."""
        if name not in self.members:
            raise MissingData(f"{self.path}: has no {name!r}; fetch the archive again or replace it")
        try:
            return self.members[name]()
        except _BROKEN as error:
            raise _damaged(f"{self.path}: member {name!r}", error) from None


def _damaged(what: str, error: BaseException) -> ValueError:
    reason = str(error).split(" <_io")[0]  # Pillow prints the address of its buffer
    return ValueError(f"{what} is damaged or cut short ({reason!r}); fetch it again or replace the file")


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The members of a folder or zip that exists.

    Raises ValueError, one line with the path, for a damaged zip, or one with absolute or `..` names.
    """
    if path.is_dir():
        yield Archive(path, {name: (path / name).read_bytes for name in _files(path)})
        return
    try:
        file = zipfile.ZipFile(path)
    except _BROKEN as error:
        raise _damaged(f"{path}: the zip", error) from None
    with file:
        infos = {info.filename: info for info in file.infolist() if not info.is_dir()}
        for name in infos:
            if re.search(r"^[\\/]|^\w:|(^|[\\/])\.\.([\\/]|$)", name):
                raise ValueError(
                    f"{path}: member {name!r} points out of the archive; do not trust it, replace the file"
                )
        yield Archive(path, {name: partial(file.read, infos[name]) for name in sorted(infos) if not _hidden(name)})


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _files(folder: Path) -> list[str]:
    names = []
    for base, _, files in os.walk(folder, followlinks=True):
        below = Path(base).relative_to(folder).as_posix()
        names += [name if below == "." else f"{below}/{name}" for name in files]
    return sorted(name for name in names if not _hidden(name))


def fingerprint(path: Path) -> str:
    """What a cache key has to say of a file or folder: where it lies, and name, size and time of all its files."""
    names = _files(path) if path.is_dir() else [""]
    try:
        facts = ((name, os.stat(f"{path}/{name}" if name else path)) for name in names)  # noqa: PTH116, twice as fast
        marks = [(name, status.st_size, status.st_mtime_ns) for name, status in facts]
    except OSError as error:
        raise ValueError(f"{error.filename}: cannot be read ({error.strerror}); replace or remove it") from None
    return f"{path.resolve()} {hashlib.sha256(repr(marks).encode()).hexdigest()}"


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """work(item) for each item, in order; for work that frees the interpreter lock, as decoding a large image does."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        yield from pool.map(work, items)


def picture(archive: Archive, name: str) -> Image.Image:
    """A member as a Pillow image, decoded. LookupError if it is not there, ValueError if it is damaged."""
    data = archive.read(name)
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except _BROKEN as error:
        raise _damaged(f"{archive.path}: image {name!r}", error) from None
    return image


def rgb(archive: Archive, name: str) -> Image.Image:
    """A member as an RGB image. ValueError for one of more than 8 bits, which Pillow would clip to white."""
    image = picture(archive, name)
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"{archive.path}: image {name!r} has more than 8 bits a channel; convert it to 8 bits")
    return image.convert("RGB")


def levels(archive: Archive, name: str) -> np.ndarray:
    """A member as the raw levels of a 16-bit grey image, int32 [H, W]. ValueError for any other kind of image."""
    image = picture(archive, name)
    if not image.mode.startswith("I"):
        raise ValueError(f"{archive.path}: image {name!r} is not 16-bit grey (its mode is {image.mode}); replace it")
    return np.array(image, dtype=np.int32)


def channels_first(image: Image.Image, size: int | None = None) -> np.ndarray:
    """An RGB image -> uint8 [3, H, W]; with a size, its centre square at size x size pixels (bicubic, antialiased)."""
    if size and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.moveaxis(np.asarray(image), 2, 0)


def images(archive: Archive, names: Sequence[str], size: int) -> np.ndarray:
    """Members -> uint8 [N, 3, size, size], in the order of the names."""
    out = np.empty((len(names), 3, size, size), np.uint8)

    def one(name: str) -> np.ndarray:
        return channels_first(rgb(archive, name), size)

    # Files below about 4 kB spend their time in Python, where threads make them slower.
    large = bool(names) and len(archive.read(names[0])) > 4096
    for row, image in zip(out, in_threads(one, names) if large else map(one, names), strict=True):
        row[:] = image
    return out


def json_in(archive: Archive, name: str) -> Any:
    """A member as what its JSON says. MissingData if it is not there, ValueError if it is damaged or no JSON."""
    data = archive.read(name)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{archive.path}: {name} is no JSON ({error}); replace it") from None


def number_in(content: Any, where: str, *keys: str) -> float:
    """The number at these keys, one within the other, of a JSON value; finite and above 0, else ValueError."""
    value = content
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        given = "missing" if value is None else reprlib.repr(value)
        raise ValueError(f"{where}: {'.'.join(keys)} must be a number above 0, but is {given}; replace the file")
    return float(value)


def classes(archive: Archive, below: str = "") -> dict[str, list[str]]:
    """An ImageFolder tree, `<below>/<class>/...image` -> the images of each class, both in alphabetical order."""
    found: dict[str, list[str]] = {}
    start = f"{below}/" if below else ""
    for name in archive.members:
        if name.startswith(start) and name.lower().endswith(IMAGES) and "/" in name[len(start) :]:
            found.setdefault(name[len(start) :].split("/")[0], []).append(name)
    return dict(sorted(found.items()))
