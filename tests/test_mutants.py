"""Every contract check rejects a mutant, a sound plug-in with one thing changed, and every other check passes it."""

from pathlib import Path

import pytest
from builders.plugins import write
from mutants.table import MUTANTS

from maebench.checks.contract import CHECKS, can_be_loaded, check
from maebench.declaration import Kind, read_declaration

FOLDER = Path(__file__).parent / "mutants"
OTHERS: dict[str, Kind] = {
    "closed_form": "variants",
    "reporting": "variants",
    "predicting": "variants",
    "learning": "maskings",
}
KINDS: dict[str, Kind] = {**OTHERS, **{kind: kind for kind in CHECKS}}


def failures(folder: Path, sound: str, changes: dict[str, str]) -> list[str]:
    """The checks that a sound plug-in fails once it is changed."""
    code = (FOLDER / f"{sound}.py").read_text()
    for old, new in changes.items():
        assert code.count(old) == 1, f"{old!r} must stand once in {sound}.py"
        code = code.replace(old, new)
    found = read_declaration(KINDS[sound], write(folder, KINDS[sound], "mutant", code))
    assert not found.error
    return [name for name, line in check(found, folder) if line]


@pytest.mark.parametrize("sound", KINDS)
def test_a_sound_plugin_passes(tmp_path, sound):
    assert failures(tmp_path, sound, {}) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fails_its_check_alone(tmp_path, name):
    mutant = MUTANTS[name]
    assert failures(tmp_path, mutant.sound, mutant.changes) == [mutant.check]


def test_every_check_has_a_mutant():
    rejected = {(KINDS[mutant.sound], mutant.check) for mutant in MUTANTS.values()}
    due = {
        (kind, one.__name__.replace("_", " ")) for kind in CHECKS for one in CHECKS[kind] if one is not can_be_loaded
    }
    assert due | {("variants", "can be loaded")} == rejected


def test_every_failure_is_one_line_that_says_what_to_do(tmp_path):
    code = (FOLDER / "maskings.py").read_text().replace("len(images), *grid", "*grid")
    found = read_declaration("maskings", write(tmp_path, "maskings", "mutant", code))
    lines = dict(check(found, tmp_path))
    assert lines["can be loaded"] is None
    assert lines["hides the right count"] == (
        "raised ValueError: masking mutant: scores must be [B, h, w] = [1, 8, 8], not [8, 8]"
    )
