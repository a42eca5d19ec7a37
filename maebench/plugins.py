"""How plug-ins are found by their names, imported, and called with what they ask for."""

import contextlib
import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from maebench.declaration import Declaration, Kind, read_declaration

T = TypeVar("T")
PACKAGE = Path(__file__).parent
_SHIPPED = PACKAGE / "_variants"
VARIANTS = _SHIPPED if _SHIPPED.is_dir() else PACKAGE.parent / "variants"  # a wheel carries its own copy

# kind -> (folder of the built-ins, folder inside --plugins)
_WHERE: dict[Kind, tuple[Path, str]] = {
    "variants": (VARIANTS, "."),
    "maskings": (VARIANTS / "masking", "masking"),
    "tasks": (PACKAGE / "tasks", "tasks"),
    "datasets": (PACKAGE / "data", "data"),
}


def plugins_folder(given: Path | None) -> Path | None:
    """The folder to look in for plug-ins: `given`, else ./variants if there. ValueError for one that is not there."""
    if given is not None and not given.is_dir():
        raise ValueError(f"plug-ins folder {given}: is no folder")
    return given or (Path("variants") if Path("variants").is_dir() else None)


def names(kind: Kind, plugins: Path | None = None) -> dict[str, Declaration]:
    """Every plug-in of a kind by name: built-ins, the plug-ins folder, then entry points (`maebench.tasks`, ...).

    Imports none. Broken ones have their error, as has a name that two different ones bear.
    """
    found: dict[str, Declaration] = {}
    for one in (*_in_folders(kind, plugins), *_registered(kind)):
        known = found.setdefault(one.name, one)
        if not _same(known.path, one.path):
            both = f"two {kind} are called '{one.name}': {known.path} and {one.path}"
            found[one.name] = replace(known, error=f"{both}; rename one of them")
    return dict(sorted(found.items()))


def _in_folders(kind: Kind, plugins: Path | None) -> Iterator[Declaration]:
    builtin, below = _WHERE[kind]
    for folder in (builtin, *([plugins / below] if plugins else [])):
        for path in sorted(folder.glob("[!_]*.py")):
            yield read_declaration(kind, path)


def _registered(kind: Kind) -> Iterator[Declaration]:
    for point in entry_points(group=f"maebench.{kind}"):
        module = point.value.partition(":")[0].strip()
        try:
            yield replace(read_declaration(kind, _located(module)), name=point.name, module=module)
        except Exception as problem:  # of whatever looks for modules
            package = point.dist.name if point.dist else "its package"
            where = f"entry point '{point.name}' of maebench.{kind} names {module}, which {problem}"
            yield Declaration(kind, point.name, Path(module), error=f"{where}; mend or uninstall {package}")


def _located(module: str) -> Path:
    """The file of a module. Runs nothing of the packages that it lies in. Raises ValueError where there is none."""
    first, *inner = module.split(".")
    spec = importlib.util.find_spec(first)
    for name in inner:  # its last name alone: under the full one, a folder without __init__ asks for imported parents
        spec = spec and PathFinder.find_spec(name, spec.submodule_search_locations or [])
    if spec is None or not spec.has_location:
        raise ValueError("is not installed as a file")
    return Path(str(spec.origin))


def _same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return one.resolve() == other.resolve() or one.read_bytes() == other.read_bytes()
    return False


def nearest(name: str, known: list[str]) -> str:
    """ "; did you mean 'x'?" where a known name is close, else the known names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f" (there are: {', '.join(sorted(known))})"


def find(kind: Kind, name: str, plugins: Path | None = None) -> Declaration:
    """One usable plug-in. Raises LookupError for an unknown name, ValueError for a broken file."""
    known = names(kind, plugins)
    if name not in known:
        raise LookupError(f"no {kind[:-1]} is called '{name}'{nearest(name, list(known))}")
    if known[name].error:
        raise ValueError(f"{kind[:-1]} '{name}' cannot be used: {known[name].error}")
    return known[name]


def load(found: Declaration) -> ModuleType:
    """Import a plug-in: its one file, or the module of its package. Raises ValueError, with file and cause."""
    try:
        if found.module:
            return importlib.import_module(found.module)
        return _import(found.kind, found.name, found.path.resolve(), found.path.read_bytes())
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        raise ValueError(f"{found.kind[:-1]} '{found.name}' cannot be imported: {found.path}: {cause}") from error


@cache  # the content is in the key: a file that has changed is imported anew
def _import(kind: Kind, name: str, path: Path, content: bytes) -> ModuleType:
    module_name = f"maebench_plugins.{kind}.{name}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception:
        del sys.modules[module_name]
        raise
    return module


def ask_method(owner: object, name: str, offered: Mapping[str, Any]) -> None:
    """Call a method with those of the offered arguments that it names, where the owner has it; see `ask`."""
    if callable(method := getattr(owner, name, None)):
        ask(method, offered)


def ask(function: Callable[..., T], offered: Mapping[str, Any]) -> T:
    """Call a function with those of the offered arguments that its signature names.

    Raises ValueError for an argument that is neither offered nor has a default.
    """
    wanted = inspect.signature(function).parameters
    for name, parameter in wanted.items():
        if name not in offered and parameter.default is parameter.empty:
            there = ", ".join(offered)
            raise ValueError(f"{function.__name__} asks for '{name}', which nobody offers (there are: {there})")
    return function(**{name: value for name, value in offered.items() if name in wanted})
