"""Names -> things: finds plug-in files without importing them, and imports one when it is asked for."""

import contextlib
import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_args

from maebench.declaration import Found, Kind, read_declaration

KINDS: tuple[Kind, ...] = get_args(Kind)
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


def names(kind: Kind, plugins: Path | None = None) -> dict[str, Found]:
    """Every plug-in of a kind by name, broken ones included. Imports nothing.

    Looks in the built-ins, the plug-ins folder, then entry points (`maebench.variants`, ...). Raises ValueError, naming
    both places, where two different files bear one name.
    """
    found: dict[str, Found] = {}
    for path in _files(kind, plugins):
        other = found.get(path.stem)
        if other is None:
            found[path.stem] = read_declaration(kind, path)
        elif not _same(other.path, path):
            raise ValueError(f"two {kind} are called '{path.stem}': {other.path} and {path}; rename one of the files")
    return dict(sorted(found.items()))


def _files(kind: Kind, plugins: Path | None) -> list[Path]:
    builtin, below = _WHERE[kind]
    folders = [builtin, *([plugins / below] if plugins else [])]
    paths = [path for folder in folders for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]
    for point in entry_points(group=f"maebench.{kind}"):
        with contextlib.suppress(ModuleNotFoundError):
            spec = importlib.util.find_spec(point.module)
            if spec and spec.origin:
                paths.append(Path(spec.origin))
                continue
        raise ValueError(f"entry point '{point.name}' of maebench.{kind} names {point.module}, which is not installed")
    return paths


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve() or one.read_bytes() == other.read_bytes()


def nearest(name: str, known: list[str]) -> str:
    """ "; did you mean 'x'?" where a known name is close, else the known names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f" (there are: {', '.join(sorted(known))})"


def find(kind: Kind, name: str, plugins: Path | None = None) -> Found:
    """One usable plug-in. Raises LookupError for an unknown name, ValueError for a broken file."""
    known = names(kind, plugins)
    if name not in known:
        raise LookupError(f"no {kind[:-1]} is called '{name}'{nearest(name, list(known))}")
    if known[name].error:
        raise ValueError(f"{kind[:-1]} '{name}' cannot be used: {known[name].error}")
    return known[name]


def load(found: Found) -> ModuleType:
    """Import the one file of a plug-in. Raises ValueError, with file and cause, where it cannot be imported."""
    return _import(found.kind, found.name, found.path.resolve(), found.path.read_bytes())


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
    except Exception as error:
        del sys.modules[module_name]
        raise ValueError(f"{kind[:-1]} '{name}' cannot be imported: {path}: {type(error).__name__}: {error}") from error
    return module


def ask(function: Callable[..., T], offered: Mapping[str, Any]) -> T:
    """Call a function with those of the offered arguments that its signature names.

    Raises ValueError for an argument that is neither offered nor has a default.
    """
    wanted = inspect.signature(function).parameters
    for name, parameter in wanted.items():
        if name not in offered and parameter.default is parameter.empty:
            raise ValueError(
                f"{function.__name__} asks for '{name}', which nobody offers (there are: {', '.join(offered)})"
            )
    return function(**{name: value for name, value in offered.items() if name in wanted})
