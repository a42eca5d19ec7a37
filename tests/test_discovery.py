"""Finding plug-ins by file name, without importing them, and importing one that is asked for."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders.plugins import DENSE, LABELS, RANDOM, SHAPES, write, write_all

from maebench.declaration import KINDS, REQUIRED, Kind
from maebench.plugins import VARIANTS, ask, find, load, names
from maebench.seeding import stream


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
    write(tmp_path, "variants", "toy_dense", DENSE)
    error = refusal("variants", "vit_mae", tmp_path)
    assert "two variants are called 'vit_mae'" in error
    assert str(tmp_path / "vit_mae.py") in error
    assert str(VARIANTS / "vit_mae.py") in error
    assert [name for name, found in names("variants", tmp_path).items() if found.error] == ["vit_mae"]


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
        ("datasets", SHAPES.replace('("label",)', "tuple(NAMES)"), "TARGETS must be written out"),
        ("variants", DENSE + "PAINTS = not True", "PAINTS must be written out, as a literal"),
        ("variants", DENSE + "COUPLED = ''", "COUPLED must be True or the name of a setting"),
        ("variants", DENSE + "COUPLED = 'widht'", "COUPLED and PAINTS can name settings alone, but 'widht' is none"),
        ("variants", DENSE + "PAINTS = {'width': 4}", "PAINTS must be False or {setting: (value, ...)}"),
        ("datasets", SHAPES.replace("def load", "def read"), "does not define load(...)"),
        ("tasks", LABELS.replace("VERSION = 1", "VERSION = 1.5"), "VERSION must be a whole number, but is 1.5"),
        ("tasks", LABELS.replace("VERSION = 1", "VERSION = True"), "VERSION must be a whole number, but is True"),
        ("tasks", LABELS.replace('"label"\n', '["label"]\n'), "NEEDS must be None or the name of a target, but is ["),
        (
            "tasks",
            LABELS.replace('"higher"', '"up"'),
            """METRICS must be {name: (unit, "higher" or "lower")}, the head""",
        ),
        ("tasks", LABELS.replace('("", "higher")', "3"), "METRICS must be {name: "),
        ("tasks", LABELS.replace('{"accuracy": ("", "higher")}', "{}"), "METRICS must be {name: "),
        ("datasets", SHAPES.replace('("label",)', '["label"]'), "TARGETS must be a tuple of names, but is ['label']"),
        (
            "variants",
            DENSE.replace("width: int = 4", "width: int = {[1]: 2}"),
            "the default of setting 'width' must be",
        ),
        ("variants", DENSE + "X = 1" + "+1" * 10_000, "RecursionError: "),
    ],
)
def test_a_broken_file_is_listed_with_its_error(tmp_path: Path, kind: Kind, code: str, expected: str) -> None:
    path = write(tmp_path, kind, "toy_broken", code)
    error = refusal(kind, "toy_broken", tmp_path)
    assert error.startswith(str(path))
    assert expected in error


def test_a_constant_that_is_no_value_is_nobodys_business(tmp_path: Path) -> None:
    write(tmp_path, "variants", "toy_odd", DENSE + "\nODD = {[1]: 2}\nODDER = len([])\n")
    assert find("variants", "toy_odd", tmp_path).constants == {}


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (
            "shape, width=4, *, gain: float = 1.0",
            "build has 'width' before its `*`, where only shape, hide, count, report can stand; put",
        ),
        ("shape, width, *, gain: float = 1.0", "a setting behind it, with its type: build(..., *, width: int = 1)"),
        ("shape, gain: float = 1.0, width: int = 4", "build has 'gain' before its `*`"),
        ("shape, /, *, gain: float = 1.0", "build must name each argument and setting; drop /, *args and **kwargs"),
        ("shape, *width, gain: float = 1.0", "build must name each argument and setting"),
        ("shape, *, gain: float = 1.0, **width", "build must name each argument and setting"),
        (
            "shape, *, width: Grid = 4",
            "setting 'width' has the type Grid; use bool, int, float, str, File, tuple, list, Literal",
        ),
        ("shape, *, width: 'Grid' = 4", "setting 'width' has the type Grid"),
        ("shape, *, width: torch.Tensor | None = None", "setting 'width' has the type torch.Tensor | None"),
        ("shape, *, width: tuple[Grid, ...] = ()", "setting 'width' has the type tuple[Grid, ...]"),
        ("shape, *, width: 4 = 4", "setting 'width' has the type 4"),
        ("shape, *, width: str.lower = 4", "setting 'width' has the type str.lower"),
        ("shape, *, width: Literal = 4", "setting 'width' has the type Literal"),
        ("shape, *, width: int['x'] = 4", "setting 'width' has the type int['x']"),
    ],
)
def test_a_setting_that_no_config_can_give_is_listed_as_broken(tmp_path: Path, signature: str, expected: str) -> None:
    code = DENSE.replace("shape, *, width: int = 4, gain: float = 1.0", signature)
    assert code != DENSE
    write(tmp_path, "variants", "toy_broken", code)
    assert expected in refusal("variants", "toy_broken", tmp_path)


@pytest.mark.parametrize("kind", ["variants", "maskings", "tasks", "datasets"])
def test_a_file_with_a_byte_order_mark_is_read_and_imported(tmp_path: Path, kind: Kind) -> None:
    code = {"variants": DENSE, "maskings": RANDOM, "tasks": LABELS, "datasets": SHAPES}[kind]
    plain = find(kind, "toy", write(tmp_path / "plain", kind, "toy", code).parents[kind != "variants"])
    path = write(tmp_path / "marked", kind, "toy", "")
    path.write_bytes(b"\xef\xbb\xbf" + code.replace("\n", "\r\n").encode())
    marked = find(kind, "toy", path.parents[kind != "variants"])
    assert marked == replace(plain, path=path), "and its runs have the same id"
    assert load(marked).__doc__


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


def install(folder: Path, kind: Kind, points: dict[str, str], files: dict[str, str]) -> None:
    """An installed package, as far as entry points (name -> module) and its files (path -> code) go."""
    info = folder / "toy-1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    with (info / "entry_points.txt").open("a") as file:
        file.write("".join([f"[maebench.{kind}]\n", *(f"{name} = {module}\n" for name, module in points.items())]))
    for name, code in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(code)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("toy_")]:
        del sys.modules[name]


def test_entry_points_of_installed_packages_count_under_the_name_that_is_registered(site: Path) -> None:
    install(site, "variants", {"Toy-Fine": "toy_module:build"}, {"toy_module.py": DENSE})
    found = find("variants", "Toy-Fine")
    assert (found.name, found.settings["width"]) == ("Toy-Fine", ("int", 4))
    assert "toy_module" not in names("variants")
    assert "Toy-Fine" not in names("tasks")
    assert load(found).build.__module__ == "toy_module"


@pytest.mark.parametrize("init", ["toy_pack/__init__.py", "toy_pack/inner/__init__.py", ""])
def test_a_plugin_in_a_package_may_use_relative_imports_and_is_listed_without_importing_it(
    site: Path, init: str
) -> None:
    """With or without __init__ in either folder, as a namespace package has none."""
    code = "from ..numbers import TILT\n" + RANDOM.replace("+ tilt *", "+ TILT + tilt *")
    files = {"toy_pack/inner/rings.py": code, "toy_pack/numbers.py": "TILT = 5\n", **({init: ""} if init else {})}
    install(site, "maskings", {"toy_rings": "toy_pack.inner.rings"}, files)
    found = find("maskings", "toy_rings")
    assert (found.error, found.settings) == ("", {"tilt": ("float", 0.0)})
    assert not [name for name in sys.modules if name.startswith("toy_pack")]
    assert (load(found).scores(torch.zeros(1, 1, 2, 2), (2, 2), stream(0, "rings")) >= 5).all()
    assert load(found) is sys.modules["toy_pack.inner.rings"]


BROKEN = {
    "toy_gone": (
        "toy_nowhere",
        "of maebench.tasks names toy_nowhere, which is not installed as a file; mend or uninstall toy",
    ),
    "toy_moved": ("toy_whole.nowhere", "names toy_whole.nowhere, which is not installed as a file; mend or"),
    "toy_within": ("toy_whole.nowhere.inner", "names toy_whole.nowhere.inner, which is not installed as a file"),
    "toy_module": ("sys", "names sys, which is not installed as a file"),
    "toy_empty": (":fit", "names , which "),
    "toy_syntax": ("toy_whole.syntax", "syntax.py:1: "),
    "toy_partial": ("toy_whole", "__init__.py: does not define VERSION, NEEDS, METRICS, fit(...), measure(...)"),
}


def test_each_broken_entry_point_breaks_alone_and_is_listed_with_its_error(site: Path) -> None:
    points = {name: module for name, (module, _) in BROKEN.items()}
    files = {"toy_whole/__init__.py": "", "toy_whole/syntax.py": "def", "toy_whole/sound.py": LABELS}
    install(site, "tasks", {**points, "toy_sound": "toy_whole.sound"}, files)
    listed = names("tasks")
    assert {name for name, found in listed.items() if found.error} == set(BROKEN)
    for name, (_, error) in BROKEN.items():
        assert error in listed[name].error, name
        with pytest.raises(ValueError, match=f"^task '{name}' cannot be used: "):
            find("tasks", name)
    assert load(find("tasks", "toy_sound")).VERSION == 1


@pytest.mark.parametrize(
    ("init", "code", "cause"),
    [
        ("raise RuntimeError('boom')\n", LABELS, "RuntimeError: boom"),
        ("import toy_dependency\n", LABELS, "ModuleNotFoundError: No module named 'toy_dependency'"),
        ("", "import toy_dependency.inner\n" + LABELS, "ModuleNotFoundError: No module named 'toy_dependency'"),
    ],
    ids=["init raises", "init lacks a module", "file lacks a module"],
)
def test_a_package_that_cannot_be_imported_is_listed_and_says_why_when_it_is_used(
    site: Path, init: str, code: str, cause: str
) -> None:
    install(site, "tasks", {"toy_task": "toy_bad.task"}, {"toy_bad/__init__.py": init, "toy_bad/task.py": code})
    found = find("tasks", "toy_task")
    assert found.settings == {"penalty": ("float", 1.0)}
    with pytest.raises(ValueError, match=f"^task 'toy_task' cannot be imported: .*task.py: {cause}$"):
        load(found)


def test_a_name_from_two_places_is_broken_alone(site: Path) -> None:
    folder = site / "plugins"
    file = write(folder, "maskings", "toy_twice", RANDOM)
    write(folder, "maskings", "toy_once", RANDOM)
    install(site, "maskings", {"toy_twice": "toy_other"}, {"toy_other.py": RANDOM.replace("0.0", "1.0")})
    listed = names("maskings", folder)
    assert [name for name, found in listed.items() if found.error] == ["toy_twice"]
    assert listed["toy_twice"].error == (
        f"two maskings are called 'toy_twice': {file} and {site / 'toy_other.py'}; rename one of them"
    )
    assert find("maskings", "toy_once", folder).error == ""
    assert names("maskings")["toy_twice"].error == "", "without the folder there is one"


def test_a_link_to_nothing_breaks_alone(tmp_path: Path) -> None:
    write_all(tmp_path)
    for name in ("toy_link", "vit_mae"):
        (tmp_path / f"{name}.py").symlink_to(tmp_path / "nothing.py")
    (tmp_path / "toy_folder.py").mkdir()
    listed = names("variants", tmp_path)
    assert {name for name, found in listed.items() if found.error} == {"toy_link", "toy_folder", "vit_mae"}
