"""A folder or a zip as one read-only set of named bytes, and the images in it. Nothing is ever unpacked to disk."""

import contextlib
import hashlib
import io
import json
import os
import re
import reprlib
import struct
import sys
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn, TypeVar, final

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps

from maebench.contracts import MissingData

T = TypeVar("T")
R = TypeVar("R")

TURNED = range(2, 9)  # the EXIF orientations that viewers do not show as stored
MID_GREY = (128, 128, 128)  # Ours: what shows through a transparent image; 0 in standard units, as a hidden pixel
# What zipfile and Pillow raise for damaged, encrypted, over-large or cut-short input.
_BROKEN = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, IndexError, OverflowError, RuntimeError),
    *(struct.error, zlib.error, zipfile.BadZipFile, Image.DecompressionBombError),
)


@final
@dataclass(frozen=True)
class Archive:
    """Members of a folder or zip by name, read only: posix names in alphabetical order, hidden files left out.

    A name is in Unicode's composed form (NFC), however the file system or the zip spells its accents.
    """

    path: Path
    members: Mapping[str, Callable[[], bytes]]
    empty: tuple[str, ...] = ()
    """the folders that hold nothing"""

    def read(self, name: str) -> bytes:
        """The bytes of a member. MissingData if there is none of that name, ValueError if it is damaged."""
        member = self.members.get(unicodedata.normalize("NFC", name))
        if member is None:
            raise MissingData(f"{self.path}: has no {name!r}; fetch the archive again or replace it")
        try:
            return member()
        except _BROKEN as error:
            raise _damaged(f"{self.path}: member {name!r}", error) from None


def _damaged(what: str, error: BaseException) -> ValueError:
    reason = str(error).split(" <_io")[0]  # Pillow prints the address of its buffer
    return ValueError(f"{what} is damaged or cut short ({reason!r}); fetch it again or replace the file")


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The members of a folder or zip that exists.

    Raises ValueError, one line with the path, for a damaged zip, one with absolute or `..` names, and names that are
    equal or no text.
    """
    if path.is_dir():
        yield _archive(path, [(name, (path / name).read_bytes) for name in _files(path)])
        return
    try:
        file = zipfile.ZipFile(path)
    except _BROKEN as error:
        raise _damaged(f"{path}: the zip", error) from None
    with file:
        infos = file.infolist()
        for name in (info.filename for info in infos):
            if re.search(r"^[\\/]|^\w:|(^|[\\/])\.\.([\\/]|$)", name):
                raise ValueError(
                    f"{path}: member {name!r} points out of the archive; do not trust it, replace the file"
                )
        yield _archive(path, [(_posix(info), partial(file.read, info)) for info in infos])


def _archive(path: Path, found: Sequence[tuple[str, Callable[[], bytes]]]) -> Archive:
    """An archive of (name, how to read it); a name that ends in "/" is a folder's."""
    members: dict[str, Callable[[], bytes]] = {}
    for name, (_, read) in zip(_composed(path, [given for given, _ in found]), found, strict=True):
        if not name or _hidden(name):
            continue
        if re.search("[\ud800-\udfff]", name):
            raise ValueError(f"{path}: the name {name!r} is not in UTF-8; rename it")
        if name in members and not name.endswith("/"):
            raise ValueError(f"{path}: two members are called {name!r}, however they are spelt; rename or remove one")
        members[name] = read
    files = {name: members[name] for name in sorted(members) if not name.endswith("/")}
    parents = {name[: match.end()] for name in files for match in re.finditer("/", name)}
    empty = sorted(name[:-1] for name in members if name.endswith("/") and name not in parents)
    return Archive(path, files, tuple(empty))


def _composed(path: Path, names: Sequence[str]) -> list[str]:
    """Names in Unicode's composed form. ValueError for two folders that differ in nothing but the form of an accent."""
    spelt: dict[str, str] = {}
    for folder in sorted({name.rpartition("/")[0] for name in names}):
        for given in accumulate(folder.split("/"), "{}/{}".format):
            if spelt.setdefault(name := unicodedata.normalize("NFC", given), given) != given:
                raise ValueError(f"{path}: two folders are called {name!r}, with accents in two forms; rename one")
    return [unicodedata.normalize("NFC", name) for name in names]


def _posix(info: zipfile.ZipInfo) -> str:
    """The name of a zip's member with / between folders, whichever way its zipper wrote it; a folder's ends in "/"."""
    name = info.filename
    if not info.flag_bits & 0x800:  # zipfile has taken it for cp437, which it seldom is: zippers of macOS write UTF-8
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    words = name.replace("\\", "/").split("/")
    path = "/".join(word for word in words if word not in ("", "."))
    return f"{path}/" if path and not words[-1] else path


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _files(folder: Path) -> list[str]:
    """The names of all files in a folder and, ending in "/", of folders that hold nothing; hidden ones left out."""
    names = []
    for base, folders, files in os.walk(folder, onerror=_unreadable, followlinks=True):
        path = Path(base).relative_to(folder).as_posix()
        below = "" if path == "." else f"{path}/"
        names += [below + name for name in files]
        if below and all(_hidden(name) for name in (*folders, *files)):
            names.append(below)
    return sorted(name for name in names if not _hidden(name))


def _unreadable(error: OSError) -> NoReturn:
    raise ValueError(f"{error.filename}: cannot be read ({error.strerror}); replace or remove it") from None


def fingerprint(path: Path) -> str:
    """What a cache key has to say of a file or folder: where it lies, and name, size and time of all its files."""
    names = _files(path) if path.is_dir() else [""]
    try:
        facts = ((name, os.stat(f"{path}/{name}" if name else path)) for name in names)  # noqa: PTH116, twice as fast
        marks = [(name, status.st_size, status.st_mtime_ns) for name, status in facts]
    except OSError as error:
        _unreadable(error)
    return f"{path.resolve()} {hashlib.sha256(repr(marks).encode()).hexdigest()}"


def in_threads(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """work(item) for each item, in order; for work that frees the interpreter lock, as decoding a large image does."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        yield from pool.map(work, items)


def picture(archive: Archive, name: str) -> Image.Image:
    """A member as a Pillow image, decoded. MissingData if it is not there, ValueError if it is damaged."""
    data = archive.read(name)
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except _BROKEN as error:
        raise _damaged(f"{archive.path}: image {name!r}", error) from None
    return image


def rgb(archive: Archive, name: str) -> Image.Image:
    """A member as an RGB image, as viewers show it: turned by its EXIF orientation. Ours: transparent over mid grey.

    Of an animation the first frame. ValueError for one of more than 8 bits, which Pillow would clip to white.
    """
    image = picture(archive, name)
    ImageOps.exif_transpose(image, in_place=True)
    layer = _layer(archive, name, image)
    if _transparent(layer):
        layer = Image.alpha_composite(Image.new("RGBA", layer.size, (*MID_GREY, 255)), layer)
    return layer.convert("RGB")


def stored_rgb(archive: Archive, name: str) -> Image.Image:
    """A member as an RGB image, pixel for pixel as stored, which goes with a depth map of its own.

    ValueError as of `rgb`, and for one that viewers turn or see through: nothing tells what its depth map then holds.
    """
    image = picture(archive, name)
    layer = _layer(archive, name, image)
    if image.getexif().get(ExifTags.Base.Orientation) in TURNED or _transparent(layer):
        raise ValueError(
            f"{archive.path}: image {name!r} has an EXIF orientation or transparent pixels, and a depth map beside it; "
            "save it upright and opaque"
        )
    return layer.convert("RGB")


def _layer(archive: Archive, name: str, image: Image.Image) -> Image.Image:
    """The image as RGBA where it can be transparent, else as RGB."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"{archive.path}: image {name!r} has more than 8 bits a channel; convert it to 8 bits")
    alpha = {"A", "a"} & set(image.getbands()) or "transparency" in image.info
    return image.convert("RGBA" if alpha else "RGB")


def _transparent(layer: Image.Image) -> bool:
    return layer.mode == "RGBA" and layer.getchannel("A").getextrema()[0] != 255


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
