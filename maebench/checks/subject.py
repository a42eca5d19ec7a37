"""What user code must leave as it is, and the error of a broken contract."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


class ContractError(ValueError):
    """A plug-in breaks its contract; the message is one line: what is expected, what was found, how to mend it."""


@contextmanager
def global_generators_kept(what: str) -> Iterator[None]:
    """Raise ContractError where the code inside, called `what`, draws from or seeds a global generator."""
    before = _global_states()
    yield
    moved = [name for name, state in _global_states().items() if state != before[name]]
    if moved:
        raise ContractError(
            f"{what} must leave the global random generators alone, but moved that of {', '.join(moved)}; "
            "draw from the rng it is given, or from seeding.stream"
        )


def _global_states() -> dict[str, bytes]:
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr(np.random.get_state(legacy=False)["state"]).encode(),
        "random": repr(random.getstate()).encode(),
    }


@contextmanager
def tensors_kept(what: str, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Raise ContractError where the code inside, called `what`, changes one of these tensors in place."""
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    yield
    for name, tensor in tensors.items():
        if not torch.allclose(tensor, before[name], rtol=0, atol=0, equal_nan=True):
            raise ContractError(f"{what} must not change its argument '{name}' in place, but did; work on a copy")
