"""PNG files: a figure whole or not at all; what a variant saw and painted. Needs no screen, never torch."""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from maebench.runs.records import write_whole


@contextmanager
def any_letters() -> Iterator[None]:
    """Letters that no font has are boxes without a warning: names come from users."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def save_png(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all; the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    data = io.BytesIO()
    with any_letters():
        figure.savefig(data, format="png", facecolor="white", metadata={"Software": None})
    write_whole(path, data.getvalue())


PICTURE = "reconstruction.png"  # in the folder of a run
_TILE = 96  # pixels an image is drawn with, at least


def reconstruction(
    path: Path, images: NDArray[np.floating], seen: NDArray[np.floating], pixels: NDArray[np.floating], title: str
) -> None:
    """Write a PNG of three rows: input, what the encoder saw, reconstruction; each [B, C, H, W] in [0, 1].

    NaN in `seen` is hidden and drawn hatched; values outside [0, 1] are clipped; pixels are drawn as squares.
    """
    count, _, height, width = images.shape
    scale = max(1, math.ceil(_TILE / min(height, width)))
    gap, names = 6, ("input", "seen", "reconstruction")
    rows = [[_tile(image, scale) for image in batch] for batch in (images, seen, pixels)]
    tall, broad = height * scale + gap, width * scale + gap
    dpi, left, top = 100, 110, 34
    size = (left + broad * count, top + tall * len(rows))
    figure = Figure(figsize=(size[0] / dpi, size[1] / dpi), dpi=dpi)
    figure.text(
        left / size[0], 1 - 0.5 * top / size[1], title, fontsize=10, fontweight="bold", va="center", parse_math=False
    )
    for down, (name, tiles) in enumerate(zip(names, rows, strict=True)):
        bottom = size[1] - top - tall * (down + 1) + gap
        figure.text(
            (left - 8) / size[0], (bottom + (tall - gap) / 2) / size[1], name, fontsize=9, ha="right", va="center"
        )
        for across, tile in enumerate(tiles):
            figure.figimage(tile, left + broad * across, bottom, resize=False)
    save_png(figure, path)


def _tile(image: NDArray[np.floating], scale: int) -> NDArray[np.floating]:
    """[C, H, W] -> [H * scale, W * scale, 3]; other than three channels are shown as their mean."""
    three = image if len(image) == 3 else np.repeat(image.mean(0, keepdims=True), 3, axis=0)
    large = three.transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
    y, x = np.indices(large.shape[:2])
    hatch = np.where((x + y) % 8 < 2, 0.55, 0.78)[..., None]
    return np.where(np.isnan(large), hatch, large.clip(0, 1))
