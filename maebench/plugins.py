"""What a plug-in file declares, read by `ast` without importing it, and how it is found by its name and imported."""

import ast
import contextlib
import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar, get_args

Kind = Literal["variants", "maskings", "tasks", "datasets"]

# kind -> function a file must define, keyword arguments that are no settings, constants it must have
_PROMISES: dict[Kind, tuple[str, frozenset[str], tuple[str, ...]]] = {
    "variants": ("build", frozenset({"hide"}), ()),
    "maskings": ("scores", frozenset(), ()),
    "tasks": ("fit", frozenset(), ("VERSION", "NEEDS", "METRICS")),
    "datasets": ("load", frozenset({"root"}), ("VERSION", "TARGETS")),
}
REQUIRED = object()


@dataclass(frozen=True)
class Declaration:
    """A plug-in as its file declares it, read by `ast`; `error` says why it cannot be used."""

    kind: Kind
    name: str
    path: Path
    summary: str = ""
    error: str = ""
    settings: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    """setting -> (annotation as text, default, or REQUIRED)"""
    asks: frozenset[str] = frozenset()
    """names of the other arguments, such as `hide` or `root`"""
    constants: Mapping[str, Any] = field(default_factory=dict)
    methods: frozenset[str] = frozenset()
    """names of the methods of its classes; `fit` marks one that has a closed form"""
    source: str = ""
    """the syntax of the code without imports and docstrings: what layout, comments and moves leave as it is"""


def read_declaration(kind: Kind, path: Path) -> Declaration:
    """What a file declares, by `ast`; an unusable file has its `error` set."""
    function, offered, needs = _PROMISES[kind]
    needed = (function, "measure") if kind == "tasks" else (function,)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=path.name)
        constants = dict(pair for node in tree.body for pair in _constant(node))
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        missing = [name for name in needs if name not in constants]
        missing += [f"{name}(...)" for name in needed if name not in functions]
        if missing:
            raise ValueError(f"does not define {', '.join(missing)}")
        settings, asks = _arguments(functions[function].args, offered)
    except SyntaxError as problem:
        return Declaration(kind, path.stem, path, error=f"{path}:{problem.lineno}: {problem.msg}")
    except (ValueError, OSError) as problem:
        return Declaration(kind, path.stem, path, error=f"{path}: {problem}")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = frozenset(item.name for node in classes for item in node.body if isinstance(item, ast.FunctionDef))
    summary = (ast.get_docstring(tree) or "").split("\n")[0]
    return Declaration(kind, path.stem, path, summary, "", settings, asks, constants, methods, repr(_code(tree)))


def _code(value: Any) -> Any:
    """Syntax as nested lists, without imports, docstrings, and what only some Python versions write down."""
    if isinstance(value, ast.AST):
        parts = ((name, part) for name, part in ast.iter_fields(value) if part not in (None, []))
        return [type(value).__name__, *([name, _code(part)] for name, part in parts)]
    return [_code(part) for part in value if not _silent(part)] if isinstance(value, list) else repr(value)


def _silent(part: Any) -> bool:
    """Whether a statement computes nothing: an import, which may only have moved, or a docstring."""
    text = isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str)
    return text or isinstance(part, ast.Import | ast.ImportFrom)


def _constant(node: ast.stmt) -> list[tuple[str, Any]]:
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    value = getattr(node, "value", None)
    if not isinstance(target, ast.Name) or not isinstance(value, ast.expr):
        return []
    with contextlib.suppress(ValueError):
        return [(target.id, ast.literal_eval(value))]
    return []


def _arguments(args: ast.arguments, offered: frozenset[str]) -> tuple[dict[str, tuple[str, Any]], frozenset[str]]:
    settings: dict[str, tuple[str, Any]] = {}
    asks = {argument.arg for argument in args.args}
    for argument, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        if argument.arg in offered:
            asks.add(argument.arg)
        elif argument.annotation is None:
            raise ValueError(f"setting '{argument.arg}' has no type annotation")
        else:
            settings[argument.arg] = (ast.unparse(argument.annotation), _default(argument.arg, default))
    return settings, frozenset(asks)


def _default(name: str, value: ast.expr | None) -> Any:
    try:
        return REQUIRED if value is None else ast.literal_eval(value)
    except ValueError:
        shown = ast.unparse(value or ast.Constant(None))
        raise ValueError(f"the default of setting '{name}' must be a literal, not {shown}") from None


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


def plugins_folder(given: Path | None) -> Path | None:
    """The folder to look in for plug-ins: `given`, else ./variants if there. ValueError for one that is not there."""
    if given is not None and not given.is_dir():
        raise ValueError(f"plug-ins folder {given}: is no folder")
    return given or (Path("variants") if Path("variants").is_dir() else None)


def names(kind: Kind, plugins: Path | None = None) -> dict[str, Declaration]:
    """Every plug-in of a kind by name, broken ones included. Imports nothing.

    Looks in the built-ins, the plug-ins folder, then entry points (`maebench.variants`, ...). Raises ValueError, naming
    both places, where two different files bear one name.
    """
    found: dict[str, Declaration] = {}
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


def find(kind: Kind, name: str, plugins: Path | None = None) -> Declaration:
    """One usable plug-in. Raises LookupError for an unknown name, ValueError for a broken file."""
    known = names(kind, plugins)
    if name not in known:
        raise LookupError(f"no {kind[:-1]} is called '{name}'{nearest(name, list(known))}")
    if known[name].error:
        raise ValueError(f"{kind[:-1]} '{name}' cannot be used: {known[name].error}")
    return known[name]


def load(found: Declaration) -> ModuleType:
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
