"""What a plug-in file declares, read by `ast` without importing it."""

import ast
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

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
class Found:
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


def read_declaration(kind: Kind, path: Path) -> Found:
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
        return Found(kind, path.stem, path, error=f"{path}:{problem.lineno}: {problem.msg}")
    except (ValueError, OSError) as problem:
        return Found(kind, path.stem, path, error=f"{path}: {problem}")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = frozenset(item.name for node in classes for item in node.body if isinstance(item, ast.FunctionDef))
    summary = (ast.get_docstring(tree) or "").split("\n")[0]
    return Found(kind, path.stem, path, summary, "", settings, asks, constants, methods, repr(_code(tree)))


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
