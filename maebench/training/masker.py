"""A masking strategy at work: what it is told of the training, what it learns, and the masks that come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

import torch
from torch import Generator, Tensor, nn

from maebench.contracts import Variant
from maebench.declaration import TAUGHT
from maebench.models.patches import hidden_count, hide_above, hide_nothing, hide_top
from maebench.models.teacher import MEMORY, follow, frozen_copy
from maebench.plugins import ask
from maebench.seeding import weights_under
from maebench.training.budget import Ratio
from maebench.training.optimiser import adamw

WEIGHT_DECAY, BETAS = 0.05, (0.9, 0.95)  # of a strategy's network. Ours: as the variant's by default
PROGRESSES = (0.1, 0.3, 0.5, 0.7, 0.9)  # at which a cost that a schedule changes is measured


class MaskingError(ValueError):
    """A masking strategy refuses its settings or the grid."""


@dataclass(frozen=True)
class Strategy:
    """A masking strategy: the functions of its file, and all its settings."""

    name: str
    functions: Mapping[str, Callable[..., Any]]
    """`scores`, and of `prepare`, `network` and `learn` those that it defines"""
    asks: frozenset[str]
    """all that its functions ask for besides settings"""
    settings: Mapping[str, Any] = field(default_factory=dict)
    free: bool = False
    """hidden is what scores above 1 - ratio, however many that is"""
    rate: float = 1.0
    """share of the learning rate, for its network"""

    @property
    def watches(self) -> bool:
        """Whether it asks for what a teacher sees."""
        return bool(self.asks & TAUGHT)

    @property
    def has_state(self) -> bool:
        """Whether its masks hang on more than images, grid and progress."""
        return self.watches or "network" in self.functions

    def call(self, function: str, offered: Mapping[str, Any]) -> Any:
        """What one of its functions gives for what it asks for. Raises MaskingError for what the strategy refuses."""
        try:
            return ask(self.functions[function], {**offered, **self.settings})
        except MaskingError:
            raise
        except ValueError as error:
            raise MaskingError(f"masking {self.name}: {error}") from error


def ratio_at(ratio: Ratio, progress: float, share: float) -> float:
    """A masking ratio at this progress, in [0, 1]; `share` in [0, 1) stands for the random number of a step."""
    if not isinstance(ratio, str):
        return ratio
    first, _, last, *random = ratio.split()
    return float(first) + (float(last) - float(first)) * (share if random else progress)


class Masker:
    """The masks of one training, and all their state: progress, network and its optimiser, teacher, what was prepared.

    A strategy that needs a network or a teacher gives masks only once it is attached to a variant.
    """

    def __init__(self, strategy: Strategy | None = None, ratio: Ratio = 0.0, seed: int = 0) -> None:
        self.strategy, self.asked, self.seed = strategy, ratio, seed
        self.network: nn.Module | None = None
        self.optimiser: torch.optim.AdamW | None = None
        self.teacher: Any = None  # a copy of the variant, which has `attention` where that is asked for
        self.prepared: Any = None
        self.drawn: dict[str, Any] = {}
        """what the last masks were drawn from, and what came of them"""
        self.begin(1.0, 0.5)

    @property
    def random(self) -> bool:
        """Whether each step has a ratio of its own."""
        return isinstance(self.asked, str) and self.asked.endswith("random")

    def begin(self, progress: float, share: float) -> None:
        """Go to this share of the budget; `share` in [0, 1) is the random number of the step."""
        self.progress, self.ratio = progress, ratio_at(self.asked, progress, share)

    def mean(self, measure: Callable[[], float]) -> float:
        """The mean of a measure over a training in which the ratio changes, by its PROGRESSES; else as it is now."""
        if not isinstance(self.asked, str):
            return measure()
        progress, ratio, found = self.progress, self.ratio, []
        for one in PROGRESSES:
            self.begin(one, one)
            found.append(measure())
        self.progress, self.ratio = progress, ratio
        return mean(found)

    def offers(self) -> dict[str, Any]:
        """What a variant's `build` may ask for, functions, not methods, so that its copies share them."""
        wanted = self.strategy and "patch_loss" in self.strategy.asks
        return {
            "hide": lambda images, grid, rng: self.hide(images, grid, rng),
            "count": lambda grid: self.count(grid),
            "report": (lambda errors: self.told(errors)) if wanted else None,
        }

    def count(self, grid: tuple[int, int]) -> int:
        """How many patches of each image are hidden now; of a strategy with a free count, on average."""
        return hidden_count(self.ratio, grid[0] * grid[1])

    def hide(self, images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        """A `Hide`: exactly `count` patches of each image unless it is free, on the images' device.

        Raises MaskingError where the strategy raises ValueError, and ValueError for scores that break the contract.
        """
        if self.strategy is None:
            return hide_nothing(images, grid, rng)
        if self.strategy.has_state and self.teacher is None and self.network is None:
            raise ValueError(
                f"masking {self.strategy.name} watches a variant or learns, but was given none to do it with"
            )
        offered = {"images": images, "grid": grid, "rng": rng, "count": self.count(grid), **self._seen(images, grid)}
        with torch.no_grad():
            result = self.strategy.call("scores", offered)
        wanted = (len(images), *grid)
        if not isinstance(result, Tensor) or tuple(result.shape) != wanted:
            given = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(f"masking {self.strategy.name}: scores must be [B, h, w] = {list(wanted)}, not {given}")
        if result.isnan().any():
            raise ValueError(f"masking {self.strategy.name}: scores hold NaN; a score must be a number, high = hide")
        scores = result.to(images.device)  # a GPU sorts faster than its host
        hidden = hide_above(scores, self.ratio) if self.strategy.free else hide_top(scores, self.ratio, rng)
        self.drawn = {**offered, "hidden": hidden}
        return hidden

    def _seen(self, images: Tensor, grid: tuple[int, int]) -> dict[str, Any]:
        """Of the state what the strategy asks for."""
        asks = self.strategy.asks if self.strategy else frozenset()
        found = {"progress": self.progress, "network": self.network, "prepared": self.prepared}
        for name, method in {"attention": "attention", "features": "encode"}.items():
            if name in asks:
                found[name] = self._looked(method, images, grid)
        return found

    @torch.no_grad()
    def _looked(self, method: str, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """What a method of the teacher makes of the images. Raises MaskingError where it cannot, or on another grid."""
        name = self.strategy and self.strategy.name
        try:
            found: Tensor = getattr(self.teacher, method)(images)
        except ValueError as error:
            raise MaskingError(f"masking {name}: {error}") from error
        if tuple(found.shape[-2:]) != grid:
            given = " x ".join(map(str, found.shape[-2:]))
            raise MaskingError(
                f"masking {name}: the variant's {method} gives a map of {given}, but it hides patches of a grid of "
                f"{grid[0]} x {grid[1]}"
            )
        return found

    def told(self, errors: Tensor) -> None:
        """Take the error of each patch [B, h, w] under the last masks, NaN where it is not scored, for `learn`."""
        self.drawn["patch_loss"] = errors.detach()

    def attach(self, variant: Variant, shape: tuple[int, int, int], grid: tuple[int, int]) -> None:
        """Make the teacher and the network that the strategy asks for, for a variant and its patches, on its device."""
        strategy = self.strategy
        if strategy is None:
            return
        device = next((weight.device for weight in variant.parameters()), torch.device("cpu"))
        if strategy.watches:
            self.teacher = frozen_copy(variant)
        if "network" in strategy.functions:
            with torch.no_grad():
                width = variant.encode(torch.zeros(1, *shape, device=device)).shape[1]
            with weights_under(self.seed, "masking network"):
                self.network = strategy.call("network", {"shape": shape, "grid": grid, "width": width}).to(device)
            self.optimiser = adamw([(self.network, strategy.rate)], WEIGHT_DECAY, BETAS)

    def to(self, device: torch.device) -> None:
        """Move all of it to a device."""
        for part in (self.network, self.teacher):
            if part is not None:
                part.to(device)
        if isinstance(self.prepared, Tensor):
            self.prepared = self.prepared.to(device)
        elif self.prepared is not None:
            self.prepared = {name: value.to(device) for name, value in self.prepared.items()}

    def prepare(self, images: Tensor) -> None:
        """Let the strategy look at the train split once, uint8 [N, C, H, W]."""
        if self.strategy and "prepare" in self.strategy.functions and self.prepared is None:
            with torch.no_grad():
                self.prepared = self.strategy.call("prepare", {"images": images})

    def learn(self, share: float) -> None:
        """Add the gradient of the network for the last masks, of a micro-batch that is this share of the batch."""
        if self.network and self.strategy and "learn" in self.strategy.functions:
            (share * self.strategy.call("learn", self.drawn)).backward()

    def again(self) -> None:
        """Draw the last masks once more, and learn from what came of them; no gradient is left."""
        if self.strategy and self.drawn:
            drawn = self.drawn
            self.hide(drawn["images"], drawn["grid"], drawn["rng"])
            self.drawn = drawn
            self.learn(1.0)
            for weight in self.weights:
                weight.grad = None

    @property
    def weights(self) -> list[nn.Parameter]:
        """What learns here."""
        return [*self.network.parameters()] if self.network else []

    def step(self, variant: Variant, rate: float, advance: float, memory: float = MEMORY) -> None:
        """Step the network at this learning rate, then let the teacher follow, as `teacher.follow` says."""
        if self.optimiser:
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["share"]
            self.optimiser.step()
            self.optimiser.zero_grad()
        if self.teacher is not None:
            follow(self.teacher, variant, advance, memory)
        self.drawn = {}

    def state_dict(self) -> dict[str, Any]:
        """All that a training that goes on needs; empty for most strategies."""
        parts = {"network": self.network, "optimiser": self.optimiser, "teacher": self.teacher}
        found = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return found if self.prepared is None else {**found, "prepared": self.prepared}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`, once attached."""
        for name, part in {"network": self.network, "optimiser": self.optimiser, "teacher": self.teacher}.items():
            if part is not None:
                part.load_state_dict(state[name])
        self.prepared = state.get("prepared")
