"""Finding plug-ins by file name, without importing them, and importing one that is asked for."""

import sys
from pathlib import Path

import pytest
from toys import DENSE, LABELS, RANDOM, SHAPES, write, write_all

from maebench.plugins import KINDS, REQUIRED, VARIANTS, Kind, ask, find, load, names


def refusal(kind: Kind, name: str, folder: Path) -> str:
    """Why a plug-in cannot be used: one line that names it, and the error that the list shows for it."""
    listed = names(kind, folder)[name].error
    assert listed
    with pytest.raises(ValueError, match=f"^{kind[:-1]} '{name}' cannot be used: ") as caught:
        find(kind, name, folder)
    assert listed in str(caught.value)
    assert "\n" not in listed
    assert str(folder) in listed
    return listed


def test_the_built_ins_are_found_and_whole() -> None:
    for kind in KINDS:
        for found in names(kind).values():
            assert found.error == ""
            assert found.summary, found.name
    assert {path.stem for path in VARIANTS.glob("*.py")} == set(names("variants"))
    assert "vit_mae" in names("variants")


def test_the_files_of_a_plugins_folder_join_the_built_ins(tmp_path: Path) -> None:
    write_all(tmp_path)
    for kind, toy in {"variants": "toy_dense", "maskings": "toy_random", "tasks": "toy_depths"}.items():
        with_toys = names(kind, tmp_path)  # type: ignore[arg-type]
        assert set(names(kind)) < set(with_toys)  # type: ignore[arg-type]
        assert with_toys[toy].name == toy
        assert list(with_toys) == sorted(with_toys)


def test_a_declaration_is_read_from_the_file(tmp_path: Path) -> None:
    write_all(tmp_path)
    dense, masked = find("variants", "toy_dense", tmp_path), find("variants", "toy_masked", tmp_path)
    assert dense.summary == "One linear layer in, one out."
    assert dense.settings == {"width": ("int", 4), "gain": ("float", 1.0)}
    assert "fit" in find("variants", "toy_closed", tmp_path).methods
    assert "fit" not in dense.methods
    assert masked.asks == {"shape", "hide"}
    assert dense.asks == {"shape"}
    labels = find("tasks", "toy_labels", tmp_path)
    assert (labels.constants["VERSION"], labels.constants["NEEDS"]) == (1, "label")
    assert labels.constants["METRICS"] == {"accuracy": ("", "higher")}
    assert find("datasets", "toy_deep", tmp_path).constants["TARGETS"] == ("label", "depth")


def test_a_setting_without_a_default_is_required(tmp_path: Path) -> None:
    write(tmp_path, "maskings", "toy_need", RANDOM.replace("float = 0.0", "float"))
    assert find("maskings", "toy_need", tmp_path).settings == {"tilt": ("float", REQUIRED)}


def test_two_files_of_one_name_are_refused_and_both_places_named(tmp_path: Path) -> None:
    write(tmp_path, "variants", "vit_mae", DENSE)
    with pytest.raises(ValueError, match="two variants are called 'vit_mae'") as caught:
        names("variants", tmp_path)
    assert str(tmp_path / "vit_mae.py") in str(caught.value)
    assert str(VARIANTS / "vit_mae.py") in str(caught.value)


def test_the_same_file_twice_is_one_plugin(tmp_path: Path) -> None:
    write(tmp_path, "variants", "vit_mae", (VARIANTS / "vit_mae.py").read_text())
    assert find("variants", "vit_mae", tmp_path).path == VARIANTS / "vit_mae.py"
    assert names("variants", VARIANTS).keys() == names("variants").keys()


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        ("variants", "x = 1\ndef build(shape:\n", ":2: "),
        ("variants", DENSE.replace("def build", "def make"), "does not define build(...)"),
        ("variants", DENSE.replace("width: int = 4", "width=4"), "setting 'width' has no type annotation"),
        ("maskings", RANDOM.replace("def scores", "def score"), "does not define scores(...)"),
        ("tasks", LABELS.replace("VERSION = 1", ""), "does not define VERSION"),
        ("tasks", LABELS.replace("NEEDS", "WANTS").replace("METRICS", "NUMBERS"), "does not define NEEDS, METRICS"),
        ("tasks", LABELS.replace("def fit", "def fitted"), "does not define fit(...)"),
        ("tasks", LABELS.replace("def measure", "def measured"), "does not define measure(...)"),
        ("datasets", SHAPES.replace('("label",)', "tuple(NAMES)"), "does not define TARGETS"),
        ("datasets", SHAPES.replace("def load", "def read"), "does not define load(...)"),
    ],
)
def test_a_broken_file_is_listed_with_its_error(tmp_path: Path, kind: Kind, code: str, expected: str) -> None:
    path = write(tmp_path, kind, "toy_broken", code)
    error = refusal(kind, "toy_broken", tmp_path)
    assert error.startswith(str(path))
    assert expected in error


@pytest.mark.parametrize("default", ["2 * 2", "WIDTH", "-WIDTH", "max(1, 2)"])
def test_a_default_that_is_no_literal_is_named(tmp_path: Path, default: str) -> None:
    write(tmp_path, "variants", "toy_broken", DENSE.replace("width: int = 4", f"width: int = {default}"))
    error = refusal("variants", "toy_broken", tmp_path)
    assert "width" in error
    assert "0x" not in error  # an address in memory helps nobody


def test_a_file_that_is_no_text_is_listed_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "toy_broken.py").write_bytes(b"\x80\x00\xff")
    assert "toy_broken.py" in refusal("variants", "toy_broken", tmp_path)


def test_a_broken_file_breaks_alone(tmp_path: Path) -> None:
    write_all(tmp_path)
    write(tmp_path, "variants", "toy_broken", "def")
    assert find("variants", "toy_dense", tmp_path).error == ""


def test_listing_and_finding_import_nothing(tmp_path: Path) -> None:
    write(tmp_path, "variants", "toy_bomb", DENSE + '\nraise RuntimeError("imported")\n')
    loaded = set(sys.modules)
    found = find("variants", "toy_bomb", tmp_path)
    assert found.error == ""
    assert set(sys.modules) == loaded
    with pytest.raises(ValueError, match=r"^variant 'toy_bomb' cannot be imported: .*toy_bomb\.py: RuntimeError: imp"):
        load(found)
    assert set(sys.modules) == loaded


def test_files_that_start_with_a_bar_are_no_plugins(tmp_path: Path) -> None:
    write(tmp_path, "variants", "_toy", DENSE)
    assert "_toy" not in names("variants", tmp_path)


@pytest.mark.parametrize(
    ("kind", "wrong", "hint"),
    [
        ("variants", "toy_dens", "no variant is called 'toy_dens'; did you mean 'toy_dense'?"),
        ("maskings", "toy_ramdom", "no masking is called 'toy_ramdom'; did you mean 'toy_random'?"),
        ("tasks", "toy_labesl", "no task is called 'toy_labesl'; did you mean 'toy_labels'?"),
        ("datasets", "toyshapes", "no dataset is called 'toyshapes'; did you mean 'toy_shapes'?"),
        ("datasets", "qqq", "no dataset is called 'qqq' (there are: "),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path, kind: Kind, wrong: str, hint: str) -> None:
    with pytest.raises(LookupError) as caught:
        find(kind, wrong, write_all(tmp_path))
    assert str(caught.value).startswith(hint)
    assert not isinstance(caught.value, KeyError)


def test_a_plugin_is_imported_once(tmp_path: Path) -> None:
    write_all(tmp_path)
    module = load(find("maskings", "toy_random", tmp_path))
    assert module is load(find("maskings", "toy_random", tmp_path))
    assert module.scores.__name__ == "scores"


def test_ask_passes_what_the_signature_names_and_no_more() -> None:
    def wants(b: int, *, c: int = 5) -> tuple[int, int]:
        return b, c

    assert ask(wants, {"a": 1, "b": 2}) == (2, 5)
    assert ask(wants, {"c": 3, "b": 2, "d": 4}) == (2, 3)


def install(folder: Path, module: str, group: str) -> None:
    """An installed package, as far as entry points go."""
    info = folder / "toy-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\ntoy_installed = {module}\n")


def test_entry_points_of_installed_packages_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "toy_installed", "maebench.variants")
    (tmp_path / "toy_installed.py").write_text(DENSE)
    monkeypatch.syspath_prepend(tmp_path)
    assert find("variants", "toy_installed").settings["width"] == ("int", 4)
    assert "toy_installed" not in names("tasks")


@pytest.mark.parametrize("module", ["toy_gone", "toy_gone.inner"])
def test_an_entry_point_to_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    install(tmp_path, module, "maebench.tasks")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=f"maebench.tasks names {module}, which is not installed"):
        names("tasks")
