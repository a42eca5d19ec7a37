"""Random streams named by words: a new consumer shifts nobody's numbers, and step k needs no saved state."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def number(seed: int, *words: str | int) -> int:
    """A seed in [0, 2**63) from a hash of the words."""
    text = "/".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *words: str | int) -> torch.Generator:
    """A CPU generator of its own for these words, as in `stream(seed, "masking", step)`."""
    return torch.Generator().manual_seed(number(seed, *words))


@contextmanager
def weights_under(seed: int, *words: str | int) -> Iterator[None]:
    """Within, layers draw their weights from `stream(seed, *words)`'s seed; torch's own generator is put back after."""
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU
        torch.default_generator.manual_seed(number(seed, *words))
        yield
