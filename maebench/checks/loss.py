"""The contract of a variant's loss, as plain functions: each raises ContractError where the variant breaks it."""

import torch
from torch import Tensor

from maebench.checks.subject import (
    COUNT,
    FITTED,
    RATIO,
    ContractError,
    Subject,
    batch,
    build,
    pictures,
    ready,
    reloaded,
)
from maebench.checks.variants import ROUNDING
from maebench.contracts import Reconstruction, Variant, standardise
from maebench.models.losses import pixel_loss
from maebench.models.patches import to_pixels
from maebench.plugins import ask_method
from maebench.seeding import stream

STEPS = 8  # of Adam on one batch: any loss that can fall has fallen by then, and they take a second
LONGER, GENTLE, TRAINING = 100, 3e-4, 600  # steps at this rate, of a training of so many, and
COLLAPSED = 0.1  # the share of their spread that features must keep in them


def loss_is_a_finite_scalar(subject: Subject) -> None:
    """The loss is a finite scalar at every masking ratio, 0 and nearly 1 included."""
    for ratio in (0.0, RATIO, 0.99) if subject.masked else (RATIO,):
        loss = ready(subject, ratio=ratio).loss(batch(subject), stream(0, "loss"))
        where = f" at ratio {ratio}" if subject.masked else ""
        if loss.ndim:
            raise ContractError(f"loss must be a scalar, but is {list(loss.shape)}: take the mean over the images")
        if not loss.isfinite():
            raise ContractError(f"loss{where} must be finite, but is {loss.item()}; patches.scored_pixels helps")


def equal_streams_give_equal_losses(subject: Subject) -> None:
    """The same images and an equal stream give the same loss."""
    variant, images = ready(subject).train(), batch(subject)
    first, second = (variant.loss(images, stream(0, "equal")).item() for _ in range(2))
    if first != second:
        raise ContractError(f"equal streams gave the losses {first} and {second}; draw every random number from rng")


def other_streams_give_other_losses(subject: Subject) -> None:
    """Where something is hidden or noisy, another stream gives another loss."""
    variant, images = ready(subject), batch(subject)
    if subject.floor or torch.equal(variant.reconstruct(images, stream(0, "other")).seen, images):
        return
    first, second = (variant.loss(images, stream(seed, "other")).item() for seed in range(2))
    if first == second:
        raise ContractError(f"two streams gave the same loss, {first}; draw masks and noise from rng anew at each call")


def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """In three steps of training each parameter gets a finite gradient that is not all zero."""
    variant, images = build(subject).train(), batch(subject)
    weights = {name: weight for name, weight in variant.named_parameters() if weight.requires_grad}
    if subject.closed or not weights:
        return
    silent = set(weights)
    optimiser = torch.optim.Adam(weights.values(), 1e-3)
    for step in range(3):
        optimiser.zero_grad()
        variant.loss(images, stream(0, "gradient", step)).backward()  # type: ignore[no-untyped-call]
        for name, weight in weights.items():
            if weight.grad is not None and not weight.grad.isfinite().all():
                raise ContractError(f"the gradient of '{name}' must be finite; keep roots and divisions away from 0")
            if weight.grad is not None and weight.grad.any():
                silent.discard(name)
        optimiser.step()
    if silent:
        raise ContractError(f"'{min(silent)}' gets no gradient from the loss: use it, freeze it or remove it")


def loss_falls(subject: Subject) -> None:
    """Training on one batch lowers its loss; a fit, unless a floor, paints its images better than their mean does."""
    if subject.closed:
        _fit_beats_the_mean(subject)
        return
    variant, images = build(subject).train(), batch(subject)
    weights = [weight for weight in variant.parameters() if weight.requires_grad]
    if not weights:
        return
    optimiser, losses = torch.optim.Adam(weights, 1e-3), []
    for _ in range(STEPS):
        loss = variant.loss(images, stream(0, "falls"))
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    if not losses[-1] < losses[0]:
        first, last = losses[0], losses[-1]
        raise ContractError(
            f"{STEPS} steps on one batch must lower its loss, but took it from {first:.4g} to {last:.4g}"
        )


def _fit_beats_the_mean(subject: Subject) -> None:
    if subject.floor or (variant := ready(subject)).elsewhere:
        return
    train = standardise(pictures(FITTED, subject.shape))
    result = variant.reconstruct(train, stream(0, "falls"))
    fitted = pixel_loss(result, train).item()
    mean = pixel_loss(Reconstruction(train.mean(0).expand_as(train), result.scored, result.seen), train).item()
    if not fitted < mean:
        raise ContractError(
            f"after fit the error on the same images is {fitted:.4g}, must be below {mean:.4g}, their mean's"
        )


def reports_the_error_of_each_patch(subject: Subject) -> None:
    """What a variant `report`s is the error of each patch, NaN where it is not scored; its mean is the loss.

    A setting that is not as by default may add to the loss what is no patch's.
    """
    if "report" not in subject.found.asks:
        return
    told: list[Tensor] = []
    variant, images = build(subject, report=told.append).train(), batch(subject)
    loss = variant.loss(images, stream(0, "report"))
    if len(told) != 1:
        raise ContractError(f"loss must call `report` once, but did {len(told)} times")
    errors, scored = told[0], variant.reconstruct(images, stream(0, "report")).scored
    if errors.requires_grad:
        raise ContractError("report must be given errors without gradient; losses.patch_loss sees to it")
    patch = images.shape[2] // errors.shape[1]
    if not torch.equal(to_pixels(errors.isnan()[:, None], patch), ~scored):
        raise ContractError("report must be given NaN for just the patches that are not scored, each in its place")
    mean = errors.nanmean((1, 2)).mean().item()
    default = all(value == subject.found.settings[name][1] for name, value in subject.settings.items())
    if mean < loss.item() and not default:
        return
    if abs(mean - loss.item()) > ROUNDING * abs(loss.item()):
        raise ContractError(f"the mean of the reported errors must be the loss, {loss.item():.6g}, but is {mean:.6g}")


def images_are_coupled_as_declared(subject: Subject) -> None:
    """The loss is a mean over images, each alone, unless COUPLED says that batch mates change what an image adds."""
    if subject.closed:
        return
    variant = build(subject).train()
    first, second = (standardise(pictures(COUNT, subject.shape, seed=seed)) for seed in range(2))
    half = COUNT // 2

    def loss(left: Tensor, right: Tensor) -> float:
        return variant.loss(torch.cat([left[:half], right[half:]]), stream(0, "coupled")).item()

    losses = [loss(left, right) for left in (first, second) for right in (first, second)]
    if losses[0] != loss(first, first):
        return  # by chance alone: another check's matter
    gap = abs(losses[0] - losses[1] - losses[2] + losses[3])  # of a sum over images: 0
    coupled = gap > ROUNDING * max(map(abs, losses))
    if coupled != subject.coupled:
        found = "do" if coupled else "do not"
        raise ContractError(
            f"batch mates {found} change what an image adds to the loss, but COUPLED says otherwise; declare it, since "
            "micro-batches and processes would change the method"
        )


def features_do_not_collapse(subject: Subject) -> None:
    """Where the targets are the variant's own, features still differ between images after some steps of training.

    Ours: the standard deviation over images, of what `encode` gives; of targets that are normalised it is 1 anyway.
    """
    if subject.paints or subject.closed:
        return
    variant, images = build(subject).train(), batch(subject)
    spread = [_spread(variant, images)]
    _train(variant, images, LONGER)
    spread.append(_spread(variant, images))
    if not spread[1] > COLLAPSED * spread[0]:
        raise ContractError(
            f"{LONGER} steps took the standard deviation of features over images from {spread[0]:.3g} to "
            f"{spread[1]:.3g}: targets must not follow the predictions; let no gradient through them"
        )


def training_goes_on_from_saved_weights(subject: Subject) -> None:
    """What `prepare`, the loss and `after_step` leave behind is in the weights: loaded elsewhere, the loss is equal."""
    variant, images = build(subject).train(), batch(subject)
    if subject.closed or not any(weight.requires_grad for weight in variant.parameters()):
        return
    with torch.no_grad():
        ask_method(variant, "prepare", {"images": pictures(FITTED, subject.shape)})
    _train(variant, images, 3)
    other = reloaded(subject, variant, seed=0).train()
    again, gone_on, loss = (one.loss(images, stream(0, "goes on")).item() for one in (variant, other, variant))
    if again == loss != gone_on:
        raise ContractError(
            f"a training that is stopped would go on with the loss {gone_on:.6g}, not {loss:.6g}: keep what "
            "prepare, loss and after_step change in parameters and buffers"
        )


def _train(variant: Variant, images: Tensor, steps: int) -> None:
    """So many steps of Adam, of a training of TRAINING."""
    optimiser = torch.optim.Adam([weight for weight in variant.parameters() if weight.requires_grad], GENTLE)
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        variant.loss(images, stream(0, "steps", step)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        ask_method(variant, "after_step", {"progress": step / TRAINING, "advance": 1 / TRAINING})


@torch.no_grad()
def _spread(variant: Variant, images: Tensor) -> float:
    return variant.encode(images).std(0).mean().item()


LOSS_CHECKS = (
    loss_is_a_finite_scalar,
    equal_streams_give_equal_losses,
    other_streams_give_other_losses,
    every_parameter_gets_a_gradient,
    loss_falls,
    reports_the_error_of_each_patch,
    images_are_coupled_as_declared,
    features_do_not_collapse,
    training_goes_on_from_saved_weights,
)
