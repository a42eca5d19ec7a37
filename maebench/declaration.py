"""What a plug-in file declares, read by `ast` without importing it."""

import ast
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

Kind = Literal["variants", "maskings", "tasks", "datasets"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TAUGHT = frozenset({"attention", "features"})
"""what a masking may ask for that a teacher sees"""
_STATE = ("progress", "attention", "features", "network", "prepared")
# kind -> function -> what it can ask for besides its settings; the first must be there, those of a masking may be
OFFERED: dict[Kind, dict[str, tuple[str, ...]]] = {
    "variants": {"build": ("shape", "hide", "count", "report")},
    "maskings": {
        "scores": ("images", "grid", "rng", "count", *_STATE),
        "prepare": ("images",),
        "network": ("shape", "grid", "width"),
        "learn": ("images", "hidden", "patch_loss", *_STATE),
    },
    "tasks": {"fit": ("encode", "layers", "whole", "masked", "trainable", "train", "val", "seed")},
    "datasets": {"load": ("split", "root")},
}
# kind -> other functions that the file must have, constants that it must, and that it may
_NEEDED: dict[Kind, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "variants": ((), (), ("COUPLED", "PAINTS")),
    "maskings": ((), (), ("COUNT", "FOLLOWS", "RATE")),
    "tasks": (("measure",), ("VERSION", "NEEDS", "METRICS"), ()),
    "datasets": ((), ("VERSION", "TARGETS"), ()),
}
_VALID: dict[str, tuple[str, Callable[[Any], bool]]] = {  # constant -> what it must be, and whether a value is that
    "COUNT": ('"free", or left out', lambda value: value == "free"),
    "COUPLED": (
        "True or the name of a setting, or left out",
        lambda value: value is True or (bool(value) and isinstance(value, str)),
    ),
    "PAINTS": (
        "False or {setting: (value, ...)}, or left out",
        lambda value: (
            value is False or (isinstance(value, dict) and all(isinstance(one, tuple) for one in value.values()))
        ),
    ),
    "FOLLOWS": ('"high" or "low", or left out', lambda value: value in ("high", "low")),
    "RATE": ("a number above 0", lambda value: isinstance(value, int | float) and value > 0),
    "VERSION": ("a whole number", lambda value: type(value) is int),
    "NEEDS": ("None or the name of a target", lambda value: value is None or isinstance(value, str)),
    "TARGETS": ("a tuple of names", lambda value: isinstance(value, tuple)),
    "METRICS": (
        '{name: (unit, "higher" or "lower")}, the headline first',
        lambda value: isinstance(value, dict) and all(map(_is_metric, value.values())) and bool(value),
    ),
}
REQUIRED = object()
SETTING_TYPES = ("bool", "int", "float", "str", "File", "tuple", "list", "Literal", "Optional", "Union")
"""Names that the type of a setting can be written with, besides `None` and `|`: what a YAML file can give."""


@dataclass(frozen=True)
class Declaration:
    """A plug-in as its file declares it, read by `ast`; `error` says why it cannot be used."""

    kind: Kind
    name: str
    """its file's, or the one that the package it belongs to registers it under"""
    path: Path
    summary: str = ""
    error: str = ""
    settings: Mapping[str, tuple[str, Any]] = field(default_factory=dict)
    """setting -> (annotation as text, default, or REQUIRED)"""
    asks: frozenset[str] = frozenset()
    """names of the other arguments, such as `hide` or `root`"""
    functions: frozenset[str] = frozenset()
    """names of its functions"""
    constants: Mapping[str, Any] = field(default_factory=dict)
    methods: frozenset[str] = frozenset()
    """names of the methods of its classes; `fit` marks one that has a closed form"""
    source: str = ""
    """the syntax of the code without imports and docstrings: what layout, comments and moves leave as it is"""
    module: str = ""
    """dotted name by which it is imported, where it is part of an installed package"""


def read_declaration(kind: Kind, path: Path) -> Declaration:
    """What a file declares, by `ast`; an unusable file has its `error` set."""
    try:
        return _read(kind, path, path.read_bytes())
    except Exception as problem:  # whatever is wrong with it, a file breaks alone
        said = problem if isinstance(problem, ValueError | OSError) else f"{type(problem).__name__}: {problem}"
        return Declaration(kind, path.stem, path, error=f"{path}: {said}")


@cache  # the content is in the key
def _read(kind: Kind, path: Path, content: bytes) -> Declaration:
    offered, (besides, needs, may) = OFFERED[kind], _NEEDED[kind]
    first = next(iter(offered))
    try:
        tree = ast.parse(content, filename=path.name)
    except SyntaxError as problem:
        line = f":{problem.lineno}" if problem.lineno else ""
        return Declaration(kind, path.stem, path, error=f"{path}{line}: {problem.msg}")
    constants = dict(pair for node in tree.body for pair in _constant(node))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assigned = {name for node in tree.body for name in _assigned(node)}
    if unread := [name for name in (*needs, *may) if name in assigned and name not in constants]:
        raise ValueError(f"{unread[0]} must be written out, as a literal, since the file is read before it is run")
    missing = [name for name in needs if name not in constants]
    missing += [f"{name}(...)" for name in (first, *besides) if name not in functions]
    if missing:
        raise ValueError(f"does not define {', '.join(missing)}")
    if wrong := [name for name in (*needs, *may) if name in constants and not _VALID[name][1](constants[name])]:
        raise ValueError(f"{wrong[0]} must be {_VALID[wrong[0]][0]}, but is {constants[wrong[0]]!r}")
    settings, asks = _all_arguments([(functions[name], offered[name]) for name in offered if name in functions])
    for name, source in {"network": "network", "prepared": "prepare", "hidden": "network"}.items():
        if kind == "maskings" and name in asks and source not in functions:
            raise ValueError(f"asks for {name}, but does not define {source}(...)")
    coupled, paints = constants.get("COUPLED"), constants.get("PAINTS") or {}
    if unknown := [
        name for name in (*paints, *([coupled] if coupled is not True and coupled else [])) if name not in settings
    ]:
        raise ValueError(f"COUPLED and PAINTS can name settings alone, but '{unknown[0]}' is none")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = frozenset(item.name for node in classes for item in node.body if isinstance(item, ast.FunctionDef))
    summary = (ast.get_docstring(tree) or "").split("\n")[0]
    code = repr(_code(tree))
    return Declaration(
        kind, path.stem, path, summary, "", settings, asks, frozenset(functions), constants, methods, code
    )


def _is_metric(declared: Any) -> bool:
    return isinstance(declared, tuple) and declared[1:] in (("higher",), ("lower",))


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


def _assigned(node: ast.stmt) -> list[str]:
    """The names that a statement defines by an equals sign."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _constant(node: ast.stmt) -> list[tuple[str, Any]]:
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    value = getattr(node, "value", None)
    if isinstance(target, ast.Name) and isinstance(value, ast.expr):
        with contextlib.suppress(ValueError, TypeError):  # a TypeError: a dictionary with a list as a key
            return [(target.id, ast.literal_eval(value))]
    return []


def _all_arguments(
    functions: list[tuple[ast.FunctionDef, tuple[str, ...]]],
) -> tuple[dict[str, Any], frozenset[str]]:
    """Settings and asked names of all of a file's functions; a later one takes a setting's default from the first."""
    settings: dict[str, Any] = {}
    asks: frozenset[str] = frozenset()
    for function, offered in functions:
        found, asked = _arguments(function, offered)
        for name, (annotation, default) in found.items():
            known = settings.setdefault(name, (annotation, default))
            if known[0] != annotation or default not in (REQUIRED, known[1]):
                raise ValueError(
                    f"setting '{name}' of {function.name} is declared otherwise before; give it the same type, and its "
                    "default once"
                )
        asks |= asked
    return settings, asks


def _arguments(function: ast.FunctionDef, offered: tuple[str, ...]) -> tuple[dict[str, Any], frozenset[str]]:
    args, settings = function.args, {}
    if unknown := [one.arg for one in (*args.posonlyargs, *args.args) if one.arg not in offered]:
        raise ValueError(
            f"{function.name} has '{unknown[0]}' before its `*`, where only {', '.join(offered)} can stand; "
            f"put a setting behind it, with its type: {function.name}(..., *, {unknown[0]}: int = 1)"
        )
    if args.posonlyargs or args.vararg or args.kwarg:
        raise ValueError(f"{function.name} must name each argument and setting; drop /, *args and **kwargs")
    asks = {argument.arg for argument in args.args}
    for argument, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        if argument.arg in offered:
            asks.add(argument.arg)
        elif argument.annotation is None:
            raise ValueError(f"setting '{argument.arg}' has no type annotation; write {argument.arg}: float = ...")
        else:
            settings[argument.arg] = (_type(argument.arg, argument.annotation), _default(argument.arg, default))
    return settings, frozenset(asks)


def _type(name: str, annotation: ast.expr) -> str:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body  # written in quotes
    if not _can_be_given(annotation):
        raise ValueError(f"setting '{name}' has the type {ast.unparse(annotation)}; use {', '.join(SETTING_TYPES)}")
    return ast.unparse(annotation)


def _can_be_given(node: ast.expr) -> bool:
    """Whether an annotation is made of SETTING_TYPES, so that these names are enough to evaluate it."""
    match node:
        case ast.Name(id=name):
            return name in SETTING_TYPES[:7]
        case ast.Constant(value=None):
            return True
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _can_be_given(left) and _can_be_given(right)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            return all(isinstance(part, ast.Constant | ast.UnaryOp) for part in getattr(inner, "elts", [inner]))
        case ast.Subscript(value=ast.Name(id="tuple" | "list" | "Optional" | "Union"), slice=inner):
            parts = getattr(inner, "elts", [inner])
            return all(_can_be_given(part) for part in parts if ast.unparse(part) != "...")
    return False


def _default(name: str, value: ast.expr | None) -> Any:
    try:
        return REQUIRED if value is None else ast.literal_eval(value)
    except (ValueError, TypeError):
        shown = value and ast.unparse(value)
        raise ValueError(f"the default of setting '{name}' must be a literal, not {shown}") from None
