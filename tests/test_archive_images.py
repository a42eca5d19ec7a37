"""Images in archives: shown as viewers show them, of the size asked for, and one clear line for what cannot be read."""

import io
from pathlib import Path

import numpy as np
import pytest
from builders.archives import encoded, noise, one_line, saved, unzipped, zipped
from PIL import Image

from maebench.data.reading import archive as archives


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_an_image_cut_short_is_one_clear_line(tmp_path: Path, kind: str, share: float) -> None:
    data = encoded(noise(20, 30, 3), kind)
    path = unzipped(tmp_path / "f", {"x.png": data[: int(share * len(data))]})
    with archives.opened(path) as archive, pytest.raises(ValueError, match="damaged or cut short") as error:
        archives.rgb(archive, "x.png")
    one_line(error, path, "'x.png'", "fetch it again or replace")


def test_a_16_bit_image_is_read_as_levels_only(tmp_path: Path) -> None:
    deep = np.array([[0, 1, 255], [256, 40_000, 65_535]], dtype=np.uint16)
    path = zipped(tmp_path / "z.zip", {"deep.png": encoded(deep), "flat.png": encoded(noise(2, 3))})
    with archives.opened(path) as archive:
        assert archives.levels(archive, "deep.png").tolist() == deep.tolist()
        with pytest.raises(ValueError, match="more than 8 bits") as error:
            archives.rgb(archive, "deep.png")
        one_line(error, path, "'deep.png'")
        with pytest.raises(ValueError, match="not 16-bit grey") as error:
            archives.levels(archive, "flat.png")
        one_line(error, path, "'flat.png'")


# EXIF orientation -> what a viewer does to the rows and columns that are stored.
TURNED = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_image_is_turned_as_its_exif_says(tmp_path: Path, orientation: int, kind: str) -> None:
    stored = np.kron(np.diag([90, 160])[..., None] + [0, 20, 60], np.ones((8, 12, 1))).astype(np.uint8)
    stored[:8, 12:] = 255
    path = unzipped(tmp_path, {"x.png": saved(Image.fromarray(stored), kind, orientation)})
    with archives.opened(path) as archive:
        seen = np.asarray(archives.rgb(archive, "x.png")).astype(int)
        if orientation > 1 and kind != "TIFF":  # whose orientation Pillow itself applies
            with pytest.raises(ValueError, match="has an EXIF orientation") as error:
                archives.stored_rgb(archive, "x.png")
            one_line(error, path, "'x.png'", "upright")
    assert seen.shape == TURNED[orientation](stored).shape
    assert np.abs(seen - TURNED[orientation](stored)).mean() < (8 if kind in ("JPEG", "WEBP") else 1e-9)


def test_what_is_transparent_shows_mid_grey(tmp_path: Path) -> None:
    """Each kind of transparency: half, none and all of a red, in every mode that has it."""
    red = np.array([[[240, 20, 0, 0], [240, 20, 0, 51], [240, 20, 0, 255]]], np.uint8)
    wanted = [[128, 128, 128], [150, 106, 102], [240, 20, 0]]
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L")
    palette.putpalette([240, 20, 0] * 3)
    buffers = {name: io.BytesIO() for name in ("rgba.png", "palette.png", "palette.gif", "key.png", "la.png")}
    Image.fromarray(red).save(buffers["rgba.png"], "PNG")
    palette.save(buffers["palette.png"], "PNG", transparency=bytes([0, 51, 255]))
    palette.putpalette([1, 2, 3, 150, 106, 102, 240, 20, 0])
    palette.save(buffers["palette.gif"], "GIF", transparency=0)
    Image.fromarray(np.array([wanted], np.uint8)).save(buffers["key.png"], "PNG", transparency=(128, 128, 128))
    Image.fromarray(np.array([[[9, 0], [240, 51], [240, 255]]], np.uint8), "LA").save(buffers["la.png"], "PNG")
    path = zipped(tmp_path / "z.zip", {name: buffer.getvalue() for name, buffer in buffers.items()})
    with archives.opened(path) as archive:
        for name in archive.members:
            seen = np.asarray(archives.rgb(archive, name))[0]
            assert seen.tolist() == ([[128] * 3, [150] * 3, [240] * 3] if name == "la.png" else wanted), name
            with pytest.raises(ValueError, match="transparent pixels") as error:
                archives.stored_rgb(archive, name)
            one_line(error, path, repr(name), "opaque")


def test_an_alpha_channel_that_hides_nothing_changes_nothing(tmp_path: Path) -> None:
    pixels = noise(5, 7, 3)
    opaque = np.dstack([pixels, np.full((5, 7), 255, np.uint8)])
    with archives.opened(zipped(tmp_path / "z.zip", {"x.png": encoded(opaque)})) as archive:
        for read in (archives.rgb, archives.stored_rgb):
            np.testing.assert_array_equal(np.asarray(read(archive, "x.png")), pixels)


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), level, np.uint8)) for level in (40, 200)]
    for kind in ("GIF", "PNG", "TIFF"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        with archives.opened(zipped(tmp_path / f"{kind}.zip", {"x": buffer.getvalue()})) as archive:
            assert np.unique(np.asarray(archives.rgb(archive, "x"))).tolist() == [40]


def test_images_keep_the_order_of_the_names_with_and_without_threads(tmp_path: Path) -> None:
    pixels = [np.roll(noise(48, 48, 3), shift, 0) for shift in range(6)]
    small = [part[:8, :8].copy() for part in pixels]
    for stack, size in ((pixels, 48), (small, 8)):
        files = {f"{index}.png": encoded(part) for index, part in enumerate(stack)}
        assert (len(files["0.png"]) > 4096) == (size == 48)
        names = sorted(files, reverse=True)
        with archives.opened(zipped(tmp_path / "z.zip", files)) as archive:
            read = archives.images(archive, names, size)
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, np.stack(stack[::-1]).transpose(0, 3, 1, 2))


def test_a_damaged_image_among_others_is_named_from_a_thread(tmp_path: Path) -> None:
    data = encoded(noise(48, 48, 3))
    path = unzipped(tmp_path / "f", {"0.png": data, "1.png": data[:3000], "2.png": data})
    with archives.opened(path) as archive, pytest.raises(ValueError, match=r"'1\.png' is damaged") as error:
        archives.images(archive, list(archive.members), 32)
    one_line(error, path)


def test_resizing_takes_the_centre_square() -> None:
    pixels = np.zeros((4, 12, 3), np.uint8)
    pixels[:, 4:8] = noise(4, 4, 3)
    for image in (pixels, pixels.transpose(1, 0, 2)):
        same = archives.channels_first(Image.fromarray(image), 4)
        np.testing.assert_array_equal(same, np.moveaxis(image[image.any(2)].reshape(4, 4, 3), 2, 0))
    assert (
        archives.channels_first(Image.fromarray(np.full((9, 7, 3), 90, np.uint8)), 5).tolist() == [[[90] * 5] * 5] * 3
    )
