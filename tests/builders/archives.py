"""Small archives: images encoded, folders and zips of them, and the trees that data sets read."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def unzipped(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def one_line(error: pytest.ExceptionInfo[Exception], *words: object) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert all(str(word) in text for word in words), text


def saved(image: Image.Image, kind: str = "PNG", orientation: int = 1) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = orientation
    image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


CITIES = {"train": ("aachen", "bochum", "ulm", "zurich"), "val": ("frankfurt", "munster")}
BASELINE, FX = 0.25, 512.0


def scene(part: str, city: str, colour: np.ndarray, raw: np.ndarray, fx: float = FX) -> dict[str, bytes]:
    """The three files of one scene."""
    name = f"{part}/{city}/{city}_000000_000019"
    camera = {"extrinsic": {"baseline": BASELINE, "pitch": 0.0}, "intrinsic": {"fx": fx, "fy": fx}}
    return {
        f"leftImg8bit/{name}_leftImg8bit.png": encoded(colour),
        f"disparity/{name}_disparity.png": encoded(raw),
        f"camera/{name}_camera.json": json.dumps(camera).encode(),
    }


def whole(height: int = 16, width: int = 32) -> dict[str, bytes]:
    """One scene a city; its red is the city's position, its disparity level 256 * (position + 1) + 1 all over."""
    files: dict[str, bytes] = {}
    for position, (part, city) in enumerate((part, city) for part, cities in CITIES.items() for city in cities):
        colour = np.zeros((height, width, 3), np.uint8)
        colour[..., 0] = position
        files |= scene(part, city, colour, np.full((height, width), 256 * (position + 1) + 1, np.uint16))
    return files


def tree(prefix: str, classes: dict[str, int], first: int = 0) -> dict[str, bytes]:
    """PNGs of one colour that says class and number: the class's first letter, then the number from `first`."""
    return {
        f"{prefix}{name}/{index:03d}.png": encoded(np.full((6, 9, 3), (ord(name[0]), index, 0), np.uint8))
        for name, count in classes.items()
        for index in range(first, first + count)
    }


META = {"kind": "depth", "unit": "metre", "scale": 256, "invalid": 0}


def scenes(groups: dict[str, int], height: int = 8, width: int = 12) -> dict[str, bytes]:
    """Images whose red says the group's position, green the row and blue the column; depth level = 100 * row + column.

    Row 0 has no measurement.
    """
    files = {"meta.json": json.dumps(META).encode(), "README.txt": b"not read"}
    lines = ["id,source,group"]
    rows, columns = np.mgrid[:height, :width]
    for position, (group, count) in enumerate(groups.items()):
        for index in range(count):
            name = f"{group}_{index}"
            lines.append(f"{name},camera,{group}")
            colour = np.stack([np.full_like(rows, position), rows, columns], 2).astype(np.uint8)
            depth = np.where(rows > 0, 100 * rows + columns, 0).astype(np.uint16)
            files |= {f"rgb/{name}.png": encoded(colour), f"depth/{name}.png": encoded(depth)}
    return files | {"index.csv": "\n".join(lines).encode()}
