"""The house rules that a machine can hold: floors, sizes, signatures, and imports that do nothing."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from maebench.declaration import KINDS
from maebench.plugins import names

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "maebench"

# A room is a module or a package of maebench. It imports the rooms on lines above its own, nothing on its own line or
# below; what an arrow may go to within a package is any module of it, but never in a circle. `variants` is outside.
FLOORS = (
    ("", "contracts", "seeding", "declaration"),  # "" is the face, whose names are loaded on use
    ("plugins",),
    ("theory", "data"),
    ("models",),
    ("training",),
    ("tasks",),
    ("runs", "variants"),
    ("leaderboard", "checks"),
    ("papers", "face"),
    ("cli",),
    ("__main__",),
)
TORCH_FREE = {"runs.records", "runs.drawing", "declaration", "plugins"}  # all that leaderboard imports of other rooms
LEAVES = ("tasks", "data", "variants")  # a file right in one of these is a plug-in: nothing imports it

NO_TORCH = (
    *("runs.records", "runs.plan", "runs.drawing"),
    *(
        "leaderboard.rows",
        "leaderboard.pages",
        "leaderboard.plots",
        "leaderboard.report",
        "leaderboard.comparison.compare",
    ),
    *("papers.page", "papers.names", "cli.main", "cli.plan", "training.threads"),
)
# User code runs behind all but the last two: behind "reproduce" the next figure waits, behind "cli" typer.
CATCH_ALL = {
    *(
        "checks.contract",
        "declaration",
        "plugins",
        "runs.build",
        "runs.scoring.evaluate",
        "runs.run",
        "runs.runner",
        "runs.calibration",
    ),
    *("papers.reproduce", "cli.main"),
}
GLOBAL_SEED = {"seeding"}  # layers draw their weights globally
EMPTY_NAMES = {"util", "utils", "misc", "helper", "helpers", "common", "tools", "base"}
ARGUMENTS = {
    "attention",
    "grid",
    "latents",
    "reconstruction",
}  # what a strategy asks for by name, a target, a row of a picture


def parsed(*folders: Path) -> dict[str, ast.Module]:
    """Dotted name without "maebench" -> the code of each file in these folders, `_variants` of a wheel left out."""
    found = {}
    for path in (path for folder in folders for path in sorted(folder.rglob("*.py"))):
        parts = path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix("__init__").rstrip(".")] = ast.parse(path.read_text())
    return found


CODE = parsed(PACKAGE, ROOT / "variants")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def parameters(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def imported(tree: ast.AST) -> Iterator[str]:
    """The full name of each module, or of a name in it, that is imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides where it goes"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(tree: ast.AST) -> set[str]:
    """The modules of maebench that a file imports."""
    names = [
        f"{name}.".removeprefix("maebench.").rstrip(".")
        for name in imported(tree)
        if f"{name}.".startswith("maebench.")
    ]
    return {name if name in CODE else name.rpartition(".")[0] for name in names}


def floor(module: str) -> int:
    """The line of FLOORS that a module's room stands on."""
    room = module.split(".")[0]
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def leaf(module: str) -> bool:
    """Whether a file is a plug-in: right in its folder, or a masking."""
    room, *rest = module.split(".")
    return room in LEAVES and len(rest) == (2 if rest[:1] == ["masking"] else 1)


def settings_of_papers(module: str) -> bool:
    """Whether a module is to a paper what a config is to a run."""
    return "figures." in module or module == "papers.scales"


def allowed(module: str, other: str) -> bool:
    room, theirs = module.split(".")[0], other.split(".")[0]
    if leaf(other):
        return False
    if module == "":  # what it offers, for type checkers; loaded on use
        return True
    if room == "leaderboard" and theirs != room:
        return other in TORCH_FREE
    return room == theirs or floor(other) < floor(module)


def test_imports_go_one_way():
    pairs = [(module, other) for module, tree in CODE.items() for other in ours(tree)]
    assert [f"{one} imports {other}" for one, other in pairs if not allowed(one, other)] == []


def test_no_import_goes_in_a_circle():
    TopologicalSorter({module: ours(tree) for module, tree in CODE.items() if module}).prepare()  # raises for a circle


def test_files_and_functions_are_short():
    long = []
    for module, tree in {**CODE, **parsed(ROOT / "benchmarks")}.items():
        last = max((node.end_lineno or 0 for node in tree.body), default=0)
        long += [f"{module}: {last} lines, 300 at most"] if last > 300 else []
        for one in functions(tree):
            lines = (one.end_lineno or 0) - one.lineno + 1
            long += [f"{module}.{one.name}: {lines} lines, 40 at most"] if lines > 40 else []
    assert not long


def test_signatures_say_what_they_take():
    wrong = []
    for module, tree in CODE.items():
        for one in functions(tree):
            wrong += [f"{module}.{one.name}: **{one.args.kwarg.arg}"] if one.args.kwarg and module != "face" else []
            flags = [arg.arg for arg in parameters(one) if arg.annotation and ast.unparse(arg.annotation) == "bool"]
            wrong += [f"{module}.{one.name}: {flag}: bool; write two functions, or a word" for flag in flags]
    assert [line for line in wrong if not line.startswith("cli.")] == [], "a flag of the command line alone is a bool"


def test_only_the_walls_to_foreign_code_catch_everything():
    caught = {
        module
        for module, tree in CODE.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or {"Exception", "BaseException"} & set(ast.unparse(node.type).strip("()").split(", ")))
    }
    assert caught <= CATCH_ALL


def test_only_building_a_variant_seeds_globally():
    seeds = {
        "torch.manual_seed",
        "torch.default_generator.manual_seed",
        "torch.seed",
        "torch.cuda.manual_seed_all",
        "np.random.seed",
        "random.seed",
    }
    calls = {
        (module, ast.unparse(node.func))
        for module, tree in CODE.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    assert {module for module, call in calls if call in seeds} <= GLOBAL_SEED


def test_torchvision_is_imported_inside_functions():
    for module, tree in CODE.items():
        inside = sum(name.startswith("torchvision") for one in functions(tree) for name in imported(one))
        assert sum(name.startswith("torchvision") for name in imported(tree)) == inside, module


def test_names_mean_something():
    assert not EMPTY_NAMES & {part for module in CODE for part in module.split(".")}


def test_no_module_names_a_plugin():
    plugins = {name for kind in KINDS for name in names(kind)} - ARGUMENTS
    named = [
        f"{module}:{node.lineno}: {node.value!r}"
        for module, tree in CODE.items()
        if not leaf(module) and not settings_of_papers(module)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in plugins
    ]
    assert not named


def test_everything_public_has_a_docstring():
    bare = [
        f"{module}.{node.name}"
        for module, tree in CODE.items()
        for part in (tree, *(one for one in tree.body if isinstance(one, ast.ClassDef)))
        for node in part.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if not ast.get_docstring(node)
    ]
    assert not bare
    assert not [module for module, tree in CODE.items() if not ast.get_docstring(tree)]


def python(code: str) -> str:
    """What a fresh interpreter prints for this code, which must end well."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_reading_and_planning_start_without_torch():
    modules = ", ".join(f"maebench.{name}" for name in NO_TORCH)
    assert python(f"import {modules}, sys; assert 'torch' not in sys.modules") == ""


def test_list_starts_without_torch():
    code = """
import sys
from maebench.cli.main import main
sys.argv = ["maebench", "list"]
try:
    main()
finally:
    print("torch" in sys.modules)
"""
    assert python(code).endswith("\nFalse\n")


def test_importing_does_nothing():
    foreign = {name.rpartition(".")[0] or name for tree in CODE.values() for name in imported(tree)}
    foreign = sorted(name for name in foreign if not name.startswith(("maebench", "torchvision", "pynvml")))
    own = [f"maebench.{name}" for name in CODE if name not in ("", "__main__") and not name.startswith("variants")]
    code = f"""
import importlib, os, random, warnings
for name in {foreign}: importlib.import_module(name)
import numpy, torch
def state():
    generators = torch.get_rng_state().tolist(), repr(numpy.random.get_state()), random.getstate()
    settings = torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype(), list(warnings.filters)
    return generators, settings, os.getcwd(), dict(os.environ)
before = state()
for name in {own}: importlib.import_module(name)
from maebench.declaration import KINDS
from maebench.plugins import load, names
for kind in KINDS:
    for found in names(kind).values(): load(found)
assert state() == before
"""
    assert python(code) == ""


def test_the_page_on_the_code_names_what_is_there():
    page = (ROOT / "docs/code.md").read_text()
    rooms = re.findall(r"^\| `(\w+)` \|", page.partition("## From an image")[0], flags=re.M)
    there = {module.split(".")[0] for module in CODE} - {"", "__main__", "variants"}
    assert sorted(rooms) == sorted(there)
    assert [floor(room) for room in rooms] == sorted(floor(room) for room in rooms), "in the order of imports"
    for path in re.findall(r"`((?:maebench|variants|tests|configs|benchmarks|docs)/[\w/.]*)`", page):
        assert (ROOT / path).exists(), path
    for path, listed in re.findall(r"`((?:maebench|variants)/[\w/]+\.py)` \(((?:`\w+`(?:, )?)+)\)", page):
        defined = (ROOT / path).read_text()
        for name in re.findall(r"`(\w+)`", listed):
            assert re.search(rf"\b(def|class) {name}\b|^{name} =", defined, flags=re.M), f"{path}: {name}"


def test_folders_hold_few_files():
    full = []
    for folder in (PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())):
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        plugins = folder.name in ("tasks", "data", "figures", "_variants", "masking")
        full += (
            [f"{folder.relative_to(ROOT)}: {len(files)} files, 15 at most"] if len(files) > 15 and not plugins else []
        )
    assert not full


def test_only_the_face_and_lists_of_names_have_code_in_their_init():
    packages = [
        path for path in PACKAGE.rglob("__init__.py") if "_variants" not in path.parts and path.parent != PACKAGE
    ]
    assert [path for path in packages if len(ast.parse(path.read_text()).body) != 1] == []
