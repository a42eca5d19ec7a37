"""PNG files: a figure whole or not at all; what a variant saw and painted; masks. Needs no screen, never torch."""

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
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


MASKS = "masks.png"  # in the folder of a run
_ACROSS = 8  # images a line
_GAP = 6  # pixels between two images
_HEAD = 56  # pixels above a row, for two lines of text
_BAR = (18, 16, 84)  # pixels before, in and after the colour bar
_LETTER = 10  # pixels that a letter takes on average, on the safe side


@dataclass(frozen=True)
class Masked:
    """Masks of one strategy on some images."""

    title: str
    settings: str
    """a second line; both are cut where they have no room"""
    seen: NDArray[np.floating]
    """[B, C, H, W] in [0, 1], NaN = hidden: the images to show"""
    frequency: NDArray[np.floating]
    """[H, W], the share of all the masks that hide a position"""
    count: int
    """how many masks those are"""


def masks(path: Path, rows: Sequence[Masked]) -> None:
    """Write a PNG, a row a strategy: masked images, and a map of how often each position is hidden, on one scale.

    Every row has as many images, of one size.
    """
    montages = [_montage(row.seen) for row in rows]
    (tall, broad), (height, width) = montages[0].shape[:2], rows[0].frequency.shape
    side, at = round(tall * width / height), broad + 4 * _GAP
    size = at + side + sum(_BAR), (_HEAD + tall) * len(rows) + 2 * _GAP
    figure = Figure(figsize=(size[0] / 150, size[1] / 150), dpi=150)

    def panel(x: int, y: int, w: int, h: int) -> Axes:
        return figure.add_axes((x / size[0], y / size[1], w / size[0], h / size[1]))

    for number, (row, montage) in enumerate(zip(rows, montages, strict=True), 1):
        bottom = size[1] - (_HEAD + tall) * number
        figure.figimage(montage, _GAP, bottom, resize=False)
        axes = panel(at, bottom, side, tall)
        axes.set_axis_off()
        shown = axes.imshow(row.frequency, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        often = f"{row.frequency.min():.2f} to {row.frequency.max():.2f}, n = {row.count:,}"
        for x, *lines in ((_GAP, row.title, row.settings), (at, "how often hidden", often)):
            first, second = (textwrap.shorten(line, broad // _LETTER, placeholder=" ...") for line in lines)
            x, y = x / size[0], bottom + tall
            figure.text(x, (y + 24) / size[1], first, fontsize=8, fontweight="bold", parse_math=False)
            figure.text(x, (y + 7) / size[1], second, fontsize=6.5, color="#555555", parse_math=False)
    axes = panel(at + side + _BAR[0], bottom, _BAR[1], size[1] - _HEAD - bottom)
    bar = figure.colorbar(shown, cax=axes, ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.set_label("share of masks that hide it", fontsize=6.5)
    axes.tick_params(labelsize=6.5, width=0.5, length=2)
    save_png(figure, path)


def _montage(images: NDArray[np.floating]) -> NDArray[np.floating]:
    """[B, C, H, W] -> [H', W', 3], the images side by side on white, _ACROSS a line."""
    scale = max(1, math.ceil(_TILE / min(images.shape[2:])))
    tiles = [np.pad(_tile(image, scale), ((0, _GAP), (0, _GAP), (0, 0)), constant_values=1) for image in images]
    tiles += [np.ones_like(tiles[0])] * (-len(tiles) % _ACROSS)
    lines = [np.concatenate(tiles[start : start + _ACROSS], 1) for start in range(0, len(tiles), _ACROSS)]
    return np.concatenate(lines)[:-_GAP, :-_GAP]
