"""The contract of a task, as plain functions: each raises ContractError where the task breaks it."""

import inspect

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from maebench.checks.subject import ContractError, Subject, global_generators_kept, pictures, tensors_kept
from maebench.contracts import Encode, Predict, Reconstruction, Split, Variant, standardise
from maebench.models.losses import pixel_loss
from maebench.plugins import ask, load
from maebench.runs.scoring.evaluate import Trained, evaluate
from maebench.seeding import stream
from maebench.training.timing import Stopwatch

SIZES = {"train": 64, "val": 32, "test": 32}
SHAPE = (3, 32, 32)  # CIFAR-10's
TARGETS = ("label", "depth", "latents")
OFFERED = {"measure": ("guess", "targets", "images"), "check": ("shape", "stages", "grid", "layers", "mask_grid")}
TOLERANCE = 1e-3  # relative: an iterative solver may stop elsewhere, a guess from other images differs by far more


def splits(needs: str | None = "all") -> dict[str, Split]:
    """A tiny data set, with all targets or only the one that a task needs."""
    return {name: _split(size, needs, seed) for seed, (name, size) in enumerate(SIZES.items())}


def _split(size: int, needs: str | None, seed: int) -> Split:
    images, rng = pictures(size, SHAPE, seed), stream(seed, "targets")
    depth = 1 + images.float().mean(1, keepdim=True) / 25
    depth[:, :, :4, :4] = torch.nan
    targets = {"label": torch.arange(size) % 10, "depth": depth, "latents": torch.randn(size, 5, generator=rng)}
    return Split(images, {name: target for name, target in targets.items() if needs in ("all", name)})


class Colours(Variant):
    """Mean colours, through a linear layer that can be trained further."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.eye(SHAPE[0]))

    def encode(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, C, 4, 4]."""
        return torch.einsum("dc,bchw->bdhw", self.mix, functional.adaptive_avg_pool2d(images, 4))

    def reconstruct(self, images: Tensor, rng: Generator) -> Reconstruction:
        """images [B, C, H, W] -> their coarse colours, all scored."""
        pixels = functional.interpolate(self.encode(images), images.shape[2:])
        return Reconstruction(pixels, torch.ones_like(images[:, :1], dtype=torch.bool), images)

    def loss(self, images: Tensor, rng: Generator) -> Tensor:
        """images [B, C, H, W] -> mean squared error, a scalar."""
        return pixel_loss(self.reconstruct(images, rng), images)


@torch.no_grad()
def encode(images: Tensor) -> Tensor:
    """uint8 [N, C, H, W] -> features [N, C, 4, 4], by `Colours` as it starts."""
    return Colours().encode(standardise(images))


def fitted(subject: Subject, data: dict[str, Split], encoder: Encode = encode) -> Predict:
    """The read-out of the task for the tiny data set."""
    offered = Trained(Colours(), encoder, 0, Stopwatch(torch.device("cpu"))).offered
    given = {**offered, "trainable": Colours, "train": data["train"], "val": data["val"]}
    predict: Predict = ask(load(subject.found).fit, {**given, **subject.settings})
    return predict


def measured(subject: Subject, guess: Tensor, test: Split) -> dict[str, float]:
    """What the task says of a guess for the test images."""
    offered = {"guess": guess, "targets": test.targets, "images": test.images, **subject.settings}
    values: dict[str, float] = ask(load(subject.found).measure, offered)
    return values


def declaration_is_valid(subject: Subject) -> None:
    """NEEDS is a known target or None, METRICS has plain names, and the name cost is left to the costs of runs."""
    constants = subject.found.constants
    if subject.found.name == "cost":
        raise ContractError("a task cannot be called cost, as the costs of a run are; rename its file")
    if constants["NEEDS"] not in (None, *TARGETS):
        raise ContractError(f"NEEDS must be None or one of {', '.join(TARGETS)}, but is {constants['NEEDS']!r}")
    if wrong := [name for name in constants["METRICS"] if not isinstance(name, str) or not name or "@" in name]:
        raise ContractError(f"a name in METRICS must be text without @, which opens a detail, but is {wrong[0]!r}")


def asks_for_what_is_offered(subject: Subject) -> None:
    """`measure`, and `check` if there is one, name nothing but what they can be given: of `fit` this is read."""
    for function, offered in OFFERED.items():
        defined = getattr(load(subject.found), function, None)
        wanted = set(inspect.signature(defined).parameters if defined else ())
        if unknown := wanted - {*offered, *subject.settings}:
            raise ContractError(
                f"{function} can ask for {', '.join(offered)} and settings, but asks for '{min(unknown)}'"
            )


def guesses_and_measures(subject: Subject) -> None:
    """A row of guesses for each image, and finite, declared metrics, the headline among them."""
    trained = Trained(Colours(), encode, 0, Stopwatch(torch.device("cpu")))
    outcome = evaluate(subject.part, trained, splits(), subject.plugins)
    if outcome.guess is not None and not outcome.guess.isfinite().all():
        raise ContractError("guesses must be finite, but hold NaN or infinity")


def reads_no_undeclared_target(subject: Subject) -> None:
    """A data set with no target but the one in NEEDS is enough."""
    data = splits(subject.found.constants["NEEDS"])
    measured(subject, fitted(subject, data)(data["test"].images), data["test"])


def fit_is_repeatable(subject: Subject) -> None:
    """Fitted twice on the same data, the task guesses the same."""
    data = splits()
    first, second = (fitted(subject, data)(data["test"].images) for _ in range(2))
    _equal(first, second, "two fits on the same data guess differently; draw every random number from seeding.stream")


def a_guess_ignores_batch_mates(subject: Subject) -> None:
    """The guess for an image does not depend on the images it is asked with."""
    data = splits()
    predict, images = fitted(subject, data), data["test"].images
    parts = torch.cat([predict(images[:5]), predict(images[5:])])
    _equal(predict(images), parts, "a guess changes with the images it is asked with; use moments of the train split")


def _equal(one: Tensor, other: Tensor, problem: str) -> None:
    one, other = one.double(), other.double()
    if one.shape != other.shape or (one - other).abs().max() > TOLERANCE * one.abs().max():
        raise ContractError(problem)


def data_stay_as_they_are(subject: Subject) -> None:
    """No image, target or guess is changed in place."""
    data = splits()
    tensors = {f"{name}.images": split.images for name, split in data.items()}
    tensors |= {f"{name}.{target}": split.targets[target] for name, split in data.items() for target in split.targets}
    with tensors_kept("fit or predict", tensors):
        guess = fitted(subject, data)(data["test"].images)
    with tensors_kept("measure", {"guess": guess, **tensors}):
        measured(subject, guess, data["test"])


def features_stay_as_they_are(subject: Subject) -> None:
    """What `encode` returns is not changed in place: every task of a run gets the same tensors."""
    given: list[tuple[Tensor, Tensor]] = []

    def remember(images: Tensor) -> Tensor:
        features = encode(images)
        given.append((features, features.clone()))
        return features

    data = splits()
    fitted(subject, data, remember)(data["test"].images)
    if not all(torch.equal(features, kept) for features, kept in given):
        raise ContractError("fit and predict must not change features in place, but did; other tasks share them")


def global_generators_stay_untouched(subject: Subject) -> None:
    """Nothing is drawn from torch's, numpy's or Python's global generator."""
    data = splits()
    with global_generators_kept("fit or predict"):
        guess = fitted(subject, data)(data["test"].images)
    with global_generators_kept("measure"):
        measured(subject, guess, data["test"])


TASK_CHECKS = (
    declaration_is_valid,
    asks_for_what_is_offered,
    guesses_and_measures,
    reads_no_undeclared_target,
    fit_is_repeatable,
    a_guess_ignores_batch_mates,
    data_stay_as_they_are,
    features_stay_as_they_are,
    global_generators_stay_untouched,
)
