"""Prepared arrays: made once, made again when damaged, whoever asks at the same time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders.plugins import WITHOUT_LOCKS

from maebench.data.reading.cache import cache_root, cached, sha256


class Maker:
    """Counts how often the arrays are made."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return {"images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "label": np.array([self.calls, 7])}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_arrays_are_made_once_and_come_back_equal(root: Path) -> None:
    make = Maker()
    first, second = cached("toy", "v1", make), cached("toy", "v1", make)
    assert make.calls == 1
    for arrays in (first, second):
        assert sorted(arrays) == ["images", "label"]
        assert np.array_equal(arrays["images"], np.arange(24).reshape(2, 3, 4))
        assert arrays["images"].dtype == np.uint8
        assert arrays["label"].tolist() == [1, 7]
    assert len(list(root.rglob("manifest.json"))) == len(list(root.rglob("images.npy"))) == 1


def test_another_key_or_name_is_made_anew() -> None:
    make = Maker()
    for name, key in [("toy", "v1"), ("toy", "v2"), ("other", "v1")]:
        cached(name, key, make)
    assert make.calls == 3
    assert cached("toy", "v1", make)["label"].tolist() == [1, 7]
    assert make.calls == 3


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("file", ["images.npy", "manifest.json"])
def test_a_damaged_copy_is_made_again(root: Path, file: str, damage: Callable[[Path], None]) -> None:
    make = Maker()
    cached("toy", "v1", make)
    (path,) = root.rglob(file)
    damage(path)
    assert cached("toy", "v1", make)["label"].tolist() == [2, 7]
    assert cached("toy", "v1", make)["label"].tolist() == [2, 7]
    assert make.calls == 2


def test_a_change_of_the_arrays_stays_out_of_the_files() -> None:
    make = Maker()
    cached("toy", "v1", make)["images"][:] = 99
    assert cached("toy", "v1", make)["images"].max() == 23
    assert make.calls == 1


def test_a_failure_while_making_leaves_nothing_behind(root: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        cached("toy", "v1", lambda: {"good": np.zeros(3), "objects": np.array([{}])})
    assert not [*root.rglob("*.npy"), *root.rglob("manifest.json"), *root.rglob("*draft*")]
    assert cached("toy", "v1", Maker())["label"].tolist() == [1, 7]


def test_an_empty_array_comes_back() -> None:
    assert cached("toy", "v1", lambda: {"none": np.zeros((0, 3))})["none"].shape == (0, 3)


RACE = """
import time
import numpy as np
from maebench.data.reading.cache import cached

def make(key):
    time.sleep(0.005)  # so that the others start to make it too
    return {str(number): np.full(3, key) for number in range(12)}

print("ready", flush=True)
input()
for key in range(60):
    arrays = cached("toy", str(key), lambda: make(key))
    assert all(arrays[str(number)].tolist() == [key] * 3 for number in range(12))
"""


@pytest.mark.parametrize("locks", ["", f"{WITHOUT_LOCKS}\nrefuse(errno.ENOLCK)\n"], ids=["with locks", "without"])
def test_processes_at_once_all_get_their_arrays(root: Path, locks: str) -> None:
    if locks and sys.platform != "linux":
        pytest.skip("the error is the kernel's own")
    command = [sys.executable, "-c", locks + RACE]
    racers = [subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) for _ in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    errors = [racer.communicate()[1] for racer in racers]
    assert errors == [""] * 4
    assert len(list(root.rglob("manifest.json"))) == 60
    assert not list(root.rglob("*draft*"))


def test_the_manifest_names_the_key_and_the_sums(root: Path) -> None:
    cached("toy", "version 1, count 8", Maker())
    (path,) = root.rglob("manifest.json")
    manifest = json.loads(path.read_text())
    assert manifest["key"] == "version 1, count 8"
    assert manifest["sha256"]["images.npy"] == sha256(path.with_name("images.npy"))


HOMELESS = """
import os
from maebench.data.reading.cache import cache_root
os.setuid(54321)  # a number that no user has
print(cache_root())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user that is not there")
def test_a_user_without_a_home_is_told_of_the_variable() -> None:
    cleared = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    code = [sys.executable, "-c", HOMELESS]
    done = subprocess.run(code, env={**cleared, "MAEBENCH_CACHE": ""}, capture_output=True, text=True)
    line = "ValueError: this user has no home folder; set MAEBENCH_CACHE to a folder for prepared data"
    assert done.stderr.splitlines()[-1] == line
    done = subprocess.run(code, env={**cleared, "MAEBENCH_CACHE": "/a"}, capture_output=True, text=True)
    assert done.stdout == "/a\n"


def test_a_cache_that_cannot_be_written_is_named_with_the_variable(root: Path) -> None:
    root.write_text("a file")
    with pytest.raises(OSError, match=r"set MAEBENCH_CACHE to another folder: '.*cache/toy'"):
        cached("toy", "v1", Maker())


def test_an_error_of_what_is_read_is_not_laid_to_the_cache() -> None:
    def make() -> dict[str, np.ndarray]:
        raise FileNotFoundError("archive.zip")

    with pytest.raises(FileNotFoundError, match=r"^archive\.zip$"):
        cached("toy", "v1", make)


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MAEBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "maebench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == tmp_path / "home" / ".cache" / "maebench"
