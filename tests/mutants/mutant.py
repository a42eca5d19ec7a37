"""What a mutant is, and what several are made of."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A sound plug-in, the one check that must fail, and the change: text that stands there once -> its replacement."""

    sound: str
    check: str
    changes: dict[str, str]


CALLS = "CALLS = __import__('itertools').count()\n"
OWN = "torch.Generator().manual_seed(next(CALLS))"  # other numbers at each call, whatever the stream
