"""`maebench run --until-sure`: seeds are added until a difference is decided, and every way that it ends is said."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from builders.commands import ROOT, call
from builders.plugins import PICTURES, write

import maebench
from maebench.leaderboard.comparison.sequential import FEWEST, decided

LEVEL = '''"""One number that the seed draws, `spread` times, on top of `height`; diverges where it is `bad`."""
import torch
from torch import nn
from maebench import Reconstruction, Variant

class Level(Variant):
    def __init__(self, height, spread, bad):
        super().__init__()
        self.height, self.spread, self.bad = height, spread, bad
        self.level = nn.Parameter(torch.randn(1))

    def reconstruct(self, images, rng):
        shown = torch.ones_like(images[:, :1], dtype=torch.bool)
        return Reconstruction(images * 0 + self.level, shown, images)

    def loss(self, images, rng):
        diverged = abs(float(self.level.detach()) - self.bad) < 1e-6
        return self.level.square().sum() * (float("nan") if diverged else 1e-6)

    def encode(self, images):
        return (images[:, :1, :1, :1] * 0 + self.level) * self.spread + self.height

def build(shape, *, height: float = 0.0, spread: float = 1.0, bad: float = 1e9):
    return Level(height, spread, bad)
'''
FLAT = '''"""Nought for every image."""
import torch
from maebench import Reconstruction, Variant

class Flat(Variant):
    def fit(self, images):
        pass

    def reconstruct(self, images, rng):
        return Reconstruction(images * 0, torch.ones_like(images[:, :1], dtype=torch.bool), images)

    def loss(self, images, rng):
        return (images * 0).sum()

    def encode(self, images):
        return images[:, :1, :1, :1] * 0

def build(shape):
    return Flat()
'''
HEIGHT = '''"""The level itself; a setting that JSON has no like of."""
VERSION = 1
NEEDS = None
METRICS = {"mean": ("", "higher")}

def fit(encode, *, place: tuple[int, int] = (0, 0)):
    return lambda images: encode(images).flatten(1).mean(1)

def measure(guess):
    return {"mean": guess.mean()}
'''
CONFIG = """
tracks:
  - {dataset: {toy_pictures: {size: 4}}, tasks: [toy_height, toy_depth]}
variants:
  - toy_level: {height: 0.0, spread: 1.0}
  - toy_level: {height: 20.0, spread: 2.0}
pretrain: {steps: 1, batch: 4}
seeds: [0, 2]
"""
LOW, HIGH = "toy_level height=0 spread=1", "toy_level height=20 spread=2"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with plug-ins whose scores are normal over seeds, and a config."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "variants"
    write(folder, "variants", "toy_level", LEVEL)
    write(folder, "variants", "toy_flat", FLAT)
    write(folder, "tasks", "toy_height", HEIGHT)
    write(folder, "tasks", "toy_depth", HEIGHT.replace("higher", "lower"))
    write(folder, "datasets", "toy_pictures", PICTURES)
    (tmp_path / "c.yaml").write_text(CONFIG)
    return tmp_path


def until(*words: object, task: str = "toy_height") -> int:
    return call("run", "c.yaml", "--out", "r", "--device", "cpu", "--until-sure", *words, "--task", task)


def scores(folder: Path, variant_has: str, task: str = "toy_height") -> dict[int, float]:
    """Seed -> headline, of the trained runs whose settings have these words."""
    frame = maebench.results(folder).details
    fine = frame[(frame["task"] == task) & ~frame["floor"].astype(bool) & frame["settings"].str.contains(variant_has)]
    return dict(sorted(zip(fine["seed"], fine["value"], strict=True)))


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/*@*.jsonl")}


def test_seeds_are_added_to_the_two_rows_until_a_difference_is_found(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert until(LOW, HIGH, "--difference", 1) == 0
    *_, sentence = said = capsys.readouterr().out.splitlines()
    looks = [line for line in said if re.match(r"\d+ seeds?: ", line)]
    low, high = scores(here / "r", '"spread": 1.0'), scores(here / "r", '"height": 20.0')
    seeds = list(low)
    assert seeds == [0, 2, 3, 4, 5, 6][: len(seeds)] == list(high), "the next is the largest and one more"
    assert set(maebench.results(here / "r").details.query("floor")["seed"]) == {0, 2}, "no other row has more of them"
    differences = [low[seed] - high[seed] for seed in seeds]
    verdicts = [decided(differences[:count], least=1.0) for count in range(2, len(seeds) + 1)]
    assert verdicts == [*[""] * (len(seeds) - 2), "b"], "it stops at the first look that decides"
    assert [line.partition(" ")[0] for line in looks] == [str(count) for count in range(2, len(seeds) + 1)]
    (mean,) = re.findall(r"mean difference (-?[\d.]+)", sentence)
    assert float(mean) == pytest.approx(np.mean(differences), abs=0.1)
    assert re.match(
        rf"On toy_pictures, toy_height: {HIGH} is better than {LOW}, decided with {len(seeds)} seeds \(.*"
        r"at most 5% .*these test images",
        sentence,
    )
    for row in ('"spread": 1.0', '"height": 20.0'):
        assert list(scores(here / "r", row, "toy_depth")) == seeds, "they have all tasks, or their row had no rank"


def test_where_lower_is_better_the_lower_row_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert until(HIGH, LOW, "--difference", 1, task="toy_depth") == 0
    sentence = capsys.readouterr().out.splitlines()[-1]
    assert "toy_level height=0 spread=1 is better than toy_level height=20 spread=2" in sentence
    assert "lower is better" in sentence


def test_a_row_in_which_nothing_is_random_is_run_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "c.yaml").write_text(CONFIG.replace("toy_level: {height: 0.0, spread: 1.0}", "toy_flat"))
    assert until("toy_flat", "toy_level", "--difference", 1) == 0
    assert "toy_level is better than toy_flat, decided with " in capsys.readouterr().out.splitlines()[-1]
    flat, level = scores(here / "r", "{}"), scores(here / "r", "height")
    assert list(flat) == [None]
    assert len(level) >= FEWEST


def test_rows_that_hardly_differ_are_settled_as_such(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert until(LOW, HIGH.replace("20", "0"), "--difference", 30) == 2
    (here / "c.yaml").write_text(CONFIG.replace("height: 20.0", "height: 0.1"))
    assert until(LOW, "toy_level height=0.1 spread=2", "--difference", 30) == 0
    sentence = capsys.readouterr().out.splitlines()[-1]
    assert f"{LOW} and toy_level height=0.1 spread=2 differ by less than 30, decided with {FEWEST} seeds" in sentence
    assert len(scores(here / "r", "0.1")) == FEWEST


def test_it_ends_undecided_and_goes_on_where_it_was(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "c.yaml").write_text(CONFIG.replace("height: 20.0", "height: 0.1"))
    words = (LOW, "toy_level height=0.1 spread=2", "--difference", 0.001, "--most")
    assert until(*words, 4) == 0
    first, before = capsys.readouterr().out.splitlines(), stamps(here / "r")
    assert "not decided with 4 seeds" in first[-1]
    assert until(*words, 4) == 0
    assert capsys.readouterr().out.splitlines() == first, "the same is said again"
    assert stamps(here / "r") == before, "and nothing is done"
    assert until(*words, 5) == 0
    assert "not decided with 5 seeds" in capsys.readouterr().out.splitlines()[-1]
    after = stamps(here / "r")
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 2 * 3, "of two runs the cost and two tasks"


def test_equal_differences_decide_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "c.yaml").write_text(CONFIG.replace("spread: 2.0", "spread: 0.0").replace("spread: 1.0", "spread: 0.0"))
    assert until("toy_level height=0", "toy_level height=20", "--difference", 1, "--most", 5) == 0
    sentence = capsys.readouterr().out.splitlines()[-1]
    assert "not decided with 5 seeds" in sentence
    assert "mean difference -20.00, equal with every seed" in sentence


@pytest.mark.parametrize("seed", [2, 4])
def test_a_run_that_diverges_ends_it(here: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    """At a seed of the config, and at one that was added."""
    built = maebench.build("toy_level", shape=(3, 4, 4), seed=seed, plugins=here / "variants").state_dict()
    bad = f"bad: {float(built['level']):.9f}"
    (here / "c.yaml").write_text(CONFIG.replace("{height", f"{{{bad}, height"))
    for _ in range(2):
        assert until(LOW, HIGH, "--difference", 1) == 1
        said = capsys.readouterr()
        assert f"maebench: not decided: toy_pictures toy_level seed {seed} (" in said.err.splitlines()[-1]
        assert "Diverged" in said.err.splitlines()[-1]
        assert "files: " in said.out.splitlines()[-1], "the board is shown all the same"
    assert max(scores(here / "r", "height")) < 5, "no seed is tried in its place"


def test_what_cannot_be_asked_is_one_line_and_no_work(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "c.yaml").write_text(CONFIG.replace("variants:", "variants:\n  - toy_flat\n  - toy_level: {height: 2.0}"))
    both, sure = ("--until-sure", LOW, HIGH), ("--difference", 1, "--task", "toy_height")
    for words, message in {
        ("--until-sure", LOW): "2 arguments",
        ("--difference", 1): "--difference says something with --until-sure A B only",
        ("--most", 9): "--most says something with --until-sure A B only",
        ("--until-sure", "toy_lvl", HIGH, *sure): "c.yaml: no row has all the words of 'toy_lvl'",
        ("--until-sure", "toy_level", HIGH, *sure): "c.yaml: several rows have the words of 'toy_level'",
        ("--until-sure", HIGH, HIGH, *sure): f"both name {HIGH}",
        (*both, "--task", "toy_height"): "needs --difference D, the least difference in toy_height mean that matters",
        (*both, "--task", "toy_height", "--difference", "nan"): "needs --difference D",
        (*both, "--task", "toy_height", "--difference", 0): "needs --difference D",
        (*both, "--difference", 1): "--task '' must have words of one of 'toy_depth' (toy_pictures), 'toy_height'",
        (*both, "--difference", 1, "--task", "toy_heigt"): "--task 'toy_heigt' must have words of one of 'toy_depth'",
        (*both, *sure, "--most", 3): f"--most 3: seeds are too few, nothing is decided with fewer than {FEWEST}",
    }.items():
        assert call("run", "c.yaml", "--out", "r", *words) == 2, words
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("maebench: ")
        assert message in line
    fixed = ("--until-sure", "toy_flat", "raw_pixels", *sure)
    for old, new, words, message in (
        ("[0, 2]", "[0, 1, 2, 3, 4]", (*both, *sure, "--most", 4), "--most 4: seeds are too few, the config has 5"),
        ("[0, 2]", f"[{2**53 - 1}]", (*both, *sure), "leaves no room for more"),
        ("toy_level: {height: 0.0, spread: 1.0}", "raw_pixels", fixed, "nothing is random in toy_flat and raw_pixels"),
        ("[toy_height, toy_depth]", "[]", (*both, *sure), f"no row has all the words of '{LOW}'"),
    ):
        (here / "changed.yaml").write_text((here / "c.yaml").read_text().replace(old, new))
        assert call("run", "changed.yaml", "--out", "r", *words) == 2, words
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert message in line
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert call("run", "c.yaml", "--out", "r", *both, *sure) == 2
    assert "without torchrun" in capsys.readouterr().err
    assert not (here / "r").exists()


def test_the_command_of_the_docs_names_two_rows_and_a_task(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/statistics.md").read_text()
    (line,) = re.findall(r"^maebench (run .*)$", page, re.MULTILINE)
    assert call(*shlex.split(line.replace("--difference 1", "--difference 0"))) == 2, "all else is looked at before"
    assert "the least difference in linear_probe top1 % that matters" in capsys.readouterr().err
