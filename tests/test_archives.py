"""Folders and zips: the same bytes from both, nothing outside them, and one clear line for anything damaged."""

import os
import re
import unicodedata
import zipfile
from pathlib import Path
from typing import Literal

import pytest
from builders.archives import one_line, unzipped, zipped

from maebench.data.reading import archive as archives

FILES = {"b/2.txt": b"two", "a/1.txt": b"one", "top.txt": b"", "a-b/3.txt": b"three"}


def read_all(path: Path) -> dict[str, bytes]:
    with archives.opened(path) as archive:
        return {name: archive.read(name) for name in archive.members}


def test_a_folder_and_a_zip_of_it_hold_the_same_members_in_the_same_order(tmp_path: Path) -> None:
    hidden = {".DS_Store": b"x", "a/._1.txt": b"x", "__MACOSX/a/1.txt": b"x"}
    folder, file = unzipped(tmp_path / "f", FILES | hidden), zipped(tmp_path / "f.zip", FILES | hidden)
    assert list(read_all(folder).items()) == list(read_all(file).items()) == sorted(FILES.items())


@pytest.mark.parametrize(
    "name",
    [
        *("../out.txt", "a/../../out.txt", "/etc/out.txt", "C:/out.txt", ".."),
        *("..\\out.txt", "a\\..\\..\\out.txt", "\\out.txt", "C:\\out.txt", "a\\../out.txt"),
    ],
)
def test_a_zip_with_a_name_outside_it_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "inside").mkdir()
    path = zipped(tmp_path / "inside" / "evil.zip", {name: b"x"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="points out of the archive") as error:
        read_all(path)
    one_line(error, path, repr(name))
    assert sorted(tmp_path.rglob("*")) == before


def test_names_with_two_dots_inside_a_part_are_harmless(tmp_path: Path) -> None:
    assert read_all(zipped(tmp_path / "z.zip", {"a/x..y.txt": b"x"})) == {"a/x..y.txt": b"x"}


def test_a_zip_may_write_its_names_with_backslashes_dots_and_double_slashes(tmp_path: Path) -> None:
    wanted = dict.fromkeys(("a/b/1.txt", "a/2.txt", "3.txt"), b"x")
    for number, names in enumerate((("a\\b\\1.txt", "a\\2.txt", "3.txt"), ("./a//b/1.txt", "./a/2.txt", "./3.txt"))):
        files = {**dict.fromkeys(names, b"x"), "a\\": b"", "./": b""}
        assert read_all(zipped(tmp_path / f"{number}.zip", files)) == wanted
    with pytest.raises(ValueError, match=r"two members are called 'a/1\.txt'") as error:
        read_all(zipped(tmp_path / "both.zip", {"a\\1.txt": b"x", "a/1.txt": b"y"}))
    one_line(error, tmp_path / "both.zip")


FORMS: tuple[Literal["NFC"], Literal["NFD"]] = ("NFC", "NFD")


def accented(form: Literal["NFC", "NFD"]) -> dict[str, bytes]:
    """Files called with accents, composed or not; composed, the order is another one."""
    return {unicodedata.normalize(form, name): name.encode() for name in ("é/ü.txt", "é/v.txt", "f/1.txt", "ö.txt")}


def test_names_are_the_same_however_accents_are_spelt(tmp_path: Path) -> None:
    wanted = sorted(accented("NFC").items())
    assert [name for name, _ in wanted] != [unicodedata.normalize("NFC", name) for name in sorted(accented("NFD"))]
    for form in FORMS:
        for path in (unzipped(tmp_path / form, accented(form)), zipped(tmp_path / f"{form}.zip", accented(form))):
            assert list(read_all(path).items()) == wanted
            with archives.opened(path) as archive:
                assert {archive.read(unicodedata.normalize(other, "é/ü.txt")) for other in FORMS} == {
                    "é/ü.txt".encode()
                }


def test_a_zip_that_does_not_say_its_names_are_utf_8_is_read_as_that_if_it_can_be(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z.zip", {"é/1.txt": b"x", "a/1.txt": b"y"})
    said = path.read_bytes()
    path.write_bytes(
        re.sub(rb"(PK\x03\x04..|PK\x01\x02....)\x00\x08", lambda found: found[1] + b"\0\0", said, flags=re.DOTALL)
    )
    assert path.read_bytes() != said
    with zipfile.ZipFile(path) as file:
        assert "é/1.txt" not in file.namelist(), "zipfile itself takes it for cp437"
    assert read_all(path) == {"é/1.txt": b"x", "a/1.txt": b"y"}
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\x82\x82"))  # é in cp437, and no UTF-8
    assert read_all(path) == {"éé/1.txt": b"x", "a/1.txt": b"y"}


@pytest.mark.parametrize("names", [("é.txt", "é.txt"), ("é/1.txt", "é/2.txt"), ("a/é/1.txt", "a/é/b/2.txt")])
def test_two_names_that_differ_in_the_form_of_an_accent_alone_are_refused(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    files = {unicodedata.normalize(form, name): b"x" for form, name in zip(FORMS, names, strict=True)}
    assert len(files) == 2
    for path in (unzipped(tmp_path / "f", files), zipped(tmp_path / "f.zip", files)):
        with pytest.raises(ValueError, match=r"two (members|folders) are called '.*é") as error:
            read_all(path)
        one_line(error, path)


def test_a_zip_with_one_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        file.writestr("1.txt", b"old")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("1.txt", b"new")
    with pytest.raises(ValueError, match=r"two members are called '1\.txt'") as error:
        read_all(tmp_path / "z.zip")
    one_line(error, tmp_path / "z.zip")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"x")
    with pytest.raises(ValueError, match="is not in UTF-8") as error:
        read_all(tmp_path)
    one_line(error, tmp_path, "caf")


def test_folders_that_hold_nothing_are_told(tmp_path: Path) -> None:
    for name in ("f/none", "f/only hidden", "f/some/inner", ".f/hidden"):
        (tmp_path / "f" / name.removeprefix("f/")).mkdir(parents=True)
    unzipped(tmp_path / "f", {"only hidden/.DS_Store": b"", "some/1.txt": b"x"})
    zipped(
        tmp_path / "f.zip", {"none/": b"", "only hidden/": b"", "some/inner\\": b"", "some/": b"", "some/1.txt": b"x"}
    )
    for path in (tmp_path / "f", tmp_path / "f.zip"):
        with archives.opened(path) as archive:
            assert archive.empty == ("none", "only hidden", "some/inner")
            assert list(archive.members) == ["some/1.txt"]


def test_a_folder_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    """A path that is too long is the one that root cannot read either."""
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(18):
        os.mkdir("d" * 250, dir_fd=at)
        at, above = os.open("d" * 250, os.O_RDONLY, dir_fd=at), at
        os.close(above)
    os.close(at)
    for look in (archives.fingerprint, read_all):
        with pytest.raises(ValueError, match="cannot be read") as error:
            look(tmp_path)
        one_line(error, tmp_path, "File name too long")


def test_only_members_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_bytes(b"secret")
    for path in (unzipped(tmp_path / "f", FILES), zipped(tmp_path / "f.zip", FILES)):
        with archives.opened(path) as archive, pytest.raises(LookupError) as error:
            archive.read("../secret.txt")
        one_line(error, path, "../secret.txt", "fetch")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_zip_cut_short_is_one_clear_line(tmp_path: Path, share: float) -> None:
    path = zipped(tmp_path / "cut.zip", FILES)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="damaged or cut short") as error:
        read_all(path)
    one_line(error, path, "fetch it again or replace")


def test_a_changed_byte_in_a_zip_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z.zip", {"a/1.txt": b"one byte of this will change"})
    path.write_bytes(path.read_bytes().replace(b"byte", b"bite"))
    with pytest.raises(ValueError, match="damaged or cut short") as error:
        read_all(path)
    one_line(error, path, "'a/1.txt'")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": {"b": "0.2"}}', "is '0.2'"),
        (b'{"a": {"b": true}}', "is True"),
        (b'{"a": {"b": 0}}', "is 0"),
        (b'{"a": {"b": -0.2}}', "is -0.2"),
        (b'{"a": {"b": NaN}}', "is nan"),
        (b'{"a": {"b": Infinity}}', "is inf"),
        (b'{"a": {"b": 1' + b"0" * 400 + b"}}", "is 1"),
        (b'{"a": {"b": [' + b"0, " * 4000 + b"0]}}", "is [0, 0"),
        (b'{"a": {"b": null}}', "is missing"),
        (b'{"a": {}}', "is missing"),
        (b'{"a": [0.2]}', "is missing"),
        (b"0.2", "is missing"),
        (b'{"a": {"b": 0.2', "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"", "no JSON"),
    ],
)
def test_a_number_is_finite_and_above_0_or_one_short_line_names_file_and_key(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = zipped(tmp_path / "z.zip", {"x.json": content, "good.json": b'{"a": {"b": 2}}'})
    with archives.opened(path) as archive:
        assert archives.number_in(archives.json_in(archive, "good.json"), "good.json", "a", "b") == 2.0
        with pytest.raises(ValueError, match=re.escape(said)) as error:
            archives.number_in(archives.json_in(archive, "x.json"), f"{archive.path}: x.json", "a", "b")
    one_line(error, path, "x.json", *([] if said == "no JSON" else ["a.b must be a number above 0"]))
    assert len(str(error.value)) < 300


def test_the_fingerprint_follows_names_sizes_and_times(tmp_path: Path) -> None:
    folder, file = unzipped(tmp_path / "f", FILES), zipped(tmp_path / "f.zip", FILES)
    for path, member in ((folder, folder / "a" / "1.txt"), (file, file)):
        marks = [archives.fingerprint(path)]
        assert archives.fingerprint(path) == marks[0]
        member.write_bytes(member.read_bytes() + b"more")
        marks.append(archives.fingerprint(path))
        os.utime(member, ns=(0, 0))
        marks.append(archives.fingerprint(path))
        assert len(set(marks)) == 3
    before = archives.fingerprint(folder)
    (folder / "a" / "1.txt").rename(folder / "a" / "0.txt")
    assert archives.fingerprint(folder) != before


def test_a_broken_link_in_a_folder_is_one_clear_line(tmp_path: Path) -> None:
    folder = unzipped(tmp_path / "f", FILES)
    (folder / "gone.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="cannot be read") as error:
        archives.fingerprint(folder)
    one_line(error, folder / "gone.txt")
