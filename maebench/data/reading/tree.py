"""Which folders of a tree of images are the parts and which the classes, told by their names alone."""

import posixpath
from collections.abc import Iterable
from itertools import takewhile

from maebench.data.reading.archive import Archive

SPELT = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
IMAGES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"),
    ".webp",
)
# Ours: what may lie between the images of a class unread; any other file there is an image that would be lost.
NOTES = (
    *(".csv", ".db", ".html", ".ini", ".json", ".log", ".mat", ".md", ".pdf", ".py", ".rst", ".tsv", ".txt"),
    *(".xml", ".yaml", ".yml"),
)


def layout(archive: Archive) -> dict[str, str]:
    """Part of the tree -> what the names of its images begin with, before <class>/: "" or a path that ends in "/".

    Parts are "train", and "val" and "test" where their folders are there, in any usual spelling; a tree of classes is
    "train" alone. Folders around the whole tree are passed over. Raises ValueError, one line, for a tree that is
    neither or both, an image outside of it, a file in it that may be an image but cannot be read, and an empty folder.
    """
    names = [name for name in archive.members if _image(name)]
    if not names:
        raise ValueError(f"{archive.path}: no images ({', '.join(IMAGES)}); it needs <class>/<image>")
    below = _around(names)
    found = _parts(archive, below, [name.removeprefix(below).split("/") for name in names])
    reads = ", ".join(f"{begin}<class>/<image>" for begin in found.values())
    for name in names:
        if not any(name.startswith(begin) and "/" in name[len(begin) :] for begin in found.values()):
            raise ValueError(
                f"{archive.path}: {name!r} lies in no class, as the tree reads as {reads}; move it, or rename a folder"
            )
    for name in archive.members:
        if not _image(name) and "/" in name.removeprefix(below) and not name.lower().endswith(NOTES):
            raise ValueError(
                f"{archive.path}: {name!r} is no image that is read ({', '.join(IMAGES)}); convert or move it"
            )
    if archive.empty:
        raise ValueError(f"{archive.path}: folder {archive.empty[0]!r} is empty; fill or remove it")
    return found


def classes(archive: Archive, below: str) -> dict[str, list[str]]:
    """Images called `below`, <class>/, ... -> the images of each class, both in alphabetical order.

    Raises ValueError, one line, for a class that holds no images itself but several folders of them.
    """
    found: dict[str, list[str]] = {}
    for name in archive.members:
        if name.startswith(below) and _image(name) and "/" in name[len(below) :]:
            found.setdefault(name[len(below) :].split("/")[0], []).append(name)
    for one, names in found.items():
        folders = {posixpath.dirname(name) for name in names}
        if posixpath.commonpath(folders) not in folders:
            raise ValueError(
                f"{archive.path}: {below + one!r} reads as a class, but holds folders of images and no images itself; "
                "put images right into their class, and call parts train, val and test"
            )
    return dict(sorted(found.items()))


def _image(name: str) -> bool:
    return name.lower().endswith(IMAGES)


def _around(names: Iterable[str]) -> str:
    """The folders around the whole tree, as "a/b/", "" where there are none: no class, and none called as a part."""
    folders = {posixpath.dirname(name) for name in names}
    common = posixpath.commonpath(folders)
    path = common.split("/")[:-1] if common in folders else common.split("/")
    return "".join(f"{one}/" for one in takewhile(lambda one: one and one.casefold() not in SPELT, path))


def _parts(archive: Archive, below: str, paths: list[list[str]]) -> dict[str, str]:
    """What `layout` gives, from the path of each image below the folders around the tree.

    A folder called as a part is one if it holds folders of images. If it holds images, it is a class, beside others.
    """
    tops = {path[0] for path in paths if len(path) > 1}
    called = sorted(top for top in tops if top.casefold() in SPELT)
    parts = [top for top in called if any(path[0] == top for path in paths if len(path) > 2)]
    shown = " and ".join(f"{below}{top}/" for top in parts or called)
    if not parts:
        if len(called) > 1 or called == sorted(tops) != []:
            raise ValueError(f"{archive.path}: images lie right in {shown}; put them into a folder for each class")
        return {"train": below}
    found: dict[str, str] = {}
    for top in parts:
        if other := found.get(part := SPELT[top.casefold()]):
            raise ValueError(
                f"{archive.path}: {other} and {below}{top}/ are both the {part} part; rename or merge them"
            )
        found[part] = f"{below}{top}/"
    if "train" not in found:
        raise ValueError(f"{archive.path}: has {shown} but no train/; add it, or rename that class")
    return found
