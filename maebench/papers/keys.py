"""Two keys of a figure: what its table depends on, and what its verdicts do. A new verdict computes nothing anew."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from maebench.declaration import Kind, read_declaration
from maebench.papers.scales import Scale
from maebench.plugins import PACKAGE
from maebench.runs.plan import TRAINING, digest

PAPERS = Path(__file__).parent
COMPUTING = (PAPERS / "scales.py", PAPERS / "experiments.py", *sorted((PACKAGE / "theory").glob("*.py")))
JUDGING = (PAPERS / "claims.py", PAPERS / "drawing.py")


def computed(source: str, scale: Scale) -> str:
    """Of the code in a figure module that `compute` reaches, of all that it is handed and calls, and of the scale.

    Data sets, tasks and training count by their versions, theory by its code.
    """
    definitions = dict(_definitions(ast.parse(source)))
    code = [[name, _code(definitions[name])] for name in sorted(_reached(definitions, "compute"))]
    return digest([code, _theory(), _versions(), scale, TRAINING])


def judged(source: str) -> str:
    """Of the whole figure module, and of how verdicts and pictures are made."""
    return digest([source, *(path.read_text(encoding="utf-8") for path in JUDGING)])


@cache
def _theory() -> tuple[str, ...]:
    return tuple(_code(ast.parse(path.read_text(encoding="utf-8"))) for path in COMPUTING)


@cache
def _versions() -> dict[str, Any]:
    folders: dict[Kind, str] = {"tasks": "tasks", "datasets": "data"}
    files = [(kind, path) for kind, folder in folders.items() for path in (PACKAGE / folder).glob("[!_]*.py")]
    return {path.stem: read_declaration(kind, path).constants["VERSION"] for kind, path in files}


def _definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Each name that a module defines, and what as."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name, statement
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        for target in targets:
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                yield from ((ast.unparse(name), part) for name, part in zip(target.elts, value.elts, strict=True))
            elif target is not None and value is not None:
                yield from ((part.id, value) for part in ast.walk(target) if isinstance(part, ast.Name))


def _reached(definitions: Mapping[str, ast.AST], name: str) -> set[str]:
    """A name and all that its definition uses, directly or not, of what the module defines."""
    wanted, known = [name], set[str]()
    while wanted:
        word = wanted.pop()
        if word in definitions and word not in known:
            known.add(word)
            wanted += [part.id for part in ast.walk(definitions[word]) if isinstance(part, ast.Name)]
    return known


def _code(node: ast.AST) -> str:
    """Code without layout, comments, docstrings and imports."""
    for part in ast.walk(node):
        if isinstance(body := getattr(part, "body", None), list):
            part.body = [line for line in body if not _silent(line)]  # type: ignore[attr-defined]
    return ast.unparse(node)


def _silent(line: ast.stmt) -> bool:
    text = isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
    return text or isinstance(line, ast.Import | ast.ImportFrom)
