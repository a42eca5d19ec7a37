"""The house rules that a machine can hold: floors, sizes, signatures, and imports that do nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from maebench import discovery

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "maebench"

# A module imports from the floors below it, and from its own floor without going in a circle. Two floors are stricter:
# words import nothing of ours, and a leaf no other leaf. Nothing at all imports a leaf: discovery finds it by its name.
LEAF = 2
READERS = {  # results -> tables and figures, without torch
    *("canvas", "curves", "grids", "leaderboard", "panels", "plots", "render", "report", "reproduction", "stats"),
    *("targets", "timelines"),
}
TOOLS = {
    *(
        "archives",
        "batches",
        "claims",
        "cache",
        "layers",
        "linear_model",
        "logistic",
        "losses",
        "optimiser",
        "patches",
        "parallel",
        "probes",
    ),
    *("augment", "progress", "provenance", "rendering", "ridge", "scales", "seeding", "solids", "store", "textures"),
    *("strict_yaml", "timing", "tuning"),
}
FLOORS = (
    {"", "contracts", "records"},  # "" is the package itself, with its version
    TOOLS,
    set(),  # the leaves: every file in variants/, tasks/ and data/
    {"config", "declaration", "discovery"},
    {"assemble", "encoder", "evaluate", "pictures", "plan", "pretrain", "training", *READERS},
    # carry out; every check_*.py too
    {"runner", "one_run", "checks", "calibration", "forecast", "measured", "reproduce", "runs", "shares"},
    {"__main__", "cli", "cli_data", "cli_plan", "cli_report", "cli_reproduce", "options"},
)
FOLDERS = {"tasks": LEAF, "data": LEAF, "variants": LEAF, "theory": 1, "figures": 5}

NO_TORCH = ("records", "plan", "stats", "leaderboard", "render", "plots", "report", "reproduction", "cli", "cli_plan")
# User code runs behind the first four; behind "reproduce" the next figure waits, behind "cli" typer.
CATCH_ALL = {"checks", "discovery", "one_run", "calibration", "reproduce", "cli"}
GLOBAL_SEED = {"assemble"}  # it builds a variant, whose layers draw their weights globally
EMPTY_NAMES = {"util", "utils", "misc", "helper", "helpers", "common", "tools", "base"}
ARGUMENTS = {"grid", "latents"}  # also what a masking strategy asks for by name, or the name of a target


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
    folder = module.split(".")[0]
    if folder in FOLDERS:
        return FOLDERS[folder]
    if module.startswith("check_"):
        module = "checks"
    floors = [number for number, members in enumerate(FLOORS) if module in members]
    assert floors, f"maebench/{module}.py: give it a floor in {Path(__file__).name}"
    return floors[0]


def allowed(module: str, other: str) -> bool:
    if floor(module) in (0, LEAF) and other:
        return floor(other) < floor(module)
    return floor(other) <= floor(module) and floor(other) != LEAF


def test_imports_go_down():
    pairs = [(module, other) for module, tree in CODE.items() for other in ours(tree)]
    wrong = [f"{one} (floor {floor(one)}) imports {other} (floor {floor(other)})" for one, other in pairs]
    assert [line for line, pair in zip(wrong, pairs, strict=True) if not allowed(*pair)] == []


def test_no_import_goes_in_a_circle():
    TopologicalSorter({module: ours(tree) for module, tree in CODE.items()}).prepare()  # raises for a circle


def test_every_file_has_a_floor_and_every_name_a_file():
    assert {floor(module) for module in CODE} == set(range(len(FLOORS)))
    assert set().union(*FLOORS) <= set(CODE)


def test_files_and_functions_are_short():
    long = []
    for module, tree in {**CODE, **parsed(ROOT / "benchmarks")}.items():
        last = max((node.end_lineno or 0 for node in tree.body), default=0)
        long += [f"{module}: {last} lines, 200 at most"] if last > 200 else []
        for one in functions(tree):
            lines = (one.end_lineno or 0) - one.lineno + 1
            long += [f"{module}.{one.name}: {lines} lines, 40 at most"] if lines > 40 else []
    assert not long


def test_signatures_say_what_they_take():
    wrong = []
    for module, tree in CODE.items():
        for one in functions(tree):
            wrong += [f"{module}.{one.name}: **{one.args.kwarg.arg}"] if one.args.kwarg else []
            flags = [arg.arg for arg in parameters(one) if arg.annotation and ast.unparse(arg.annotation) == "bool"]
            wrong += [f"{module}.{one.name}: {flag}: bool; write two functions, or a word" for flag in flags]
    assert [line for line in wrong if not line.startswith("cli")] == [], "a flag of the command line alone is a bool"


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
    plugins = {name for kind in discovery.KINDS for name in discovery.names(kind)} - ARGUMENTS
    named = [
        f"{module}:{node.lineno}: {node.value!r}"
        for module, tree in CODE.items()
        if floor(module) != LEAF and not module.startswith("figures.")  # what a config is to a run, they are to a paper
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
from maebench.cli import main
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
from maebench import discovery
for kind in discovery.KINDS:
    for found in discovery.names(kind).values(): discovery.load(found)
assert state() == before
"""
    assert python(code) == ""
