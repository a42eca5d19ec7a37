"""The contract checks of every kind of plug-in; tests and `maebench check` run the same ones."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from maebench.checks.datasets import DATASET_CHECKS
from maebench.checks.loss import LOSS_CHECKS
from maebench.checks.maskings import MASKING_CHECKS
from maebench.checks.subject import ContractError, Subject
from maebench.checks.tasks import TASK_CHECKS
from maebench.checks.variants import ENCODE_CHECKS, RECONSTRUCT_CHECKS
from maebench.checks.watching import WATCHING_CHECKS
from maebench.declaration import Declaration, Kind
from maebench.plugins import load
from maebench.runs.config import full_settings

Check = Callable[[Subject], None]


def can_be_loaded(subject: Subject) -> None:
    """The file can be imported."""
    load(subject.found)


CHECKS: dict[Kind, tuple[Check, ...]] = {
    "variants": (can_be_loaded, *ENCODE_CHECKS, *RECONSTRUCT_CHECKS, *LOSS_CHECKS),
    "maskings": (can_be_loaded, *MASKING_CHECKS, *WATCHING_CHECKS),
    "tasks": (can_be_loaded, *TASK_CHECKS),
    "datasets": (can_be_loaded, *DATASET_CHECKS),
}


def check(
    found: Declaration, root: Path = Path("data"), settings: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, str | None]]:
    """Each check of a plug-in: its name, and None or the one line that says what is wrong.

    A failed check stops no other one; only of a file that cannot be loaded there is nothing more to say.
    """
    for one in CHECKS[found.kind]:
        line = problem(one, found, root, settings)
        yield one.__name__.replace("_", " "), line
        if line and one is can_be_loaded:
            return


def problem(one: Check, found: Declaration, root: Path, settings: Mapping[str, Any] | None = None) -> str | None:
    """What one check says of a plug-in: None, or one line. torch's global generator is put back where it was moved."""
    try:
        with torch.random.fork_rng(devices=[]):
            one(Subject(found, full_settings(found, settings or {}, "check"), root))
    except ContractError as error:
        return str(error)
    except Exception as error:
        return " ".join(f"raised {type(error).__name__}: {error}".split())
    return None
