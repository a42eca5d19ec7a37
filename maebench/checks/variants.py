"""The contract of a variant, as plain functions: each raises ContractError where the variant breaks it."""

import io

import torch
from torch import Generator, Tensor

from maebench.checks.subject import (
    COUNT,
    FITTED,
    RATIO,
    ContractError,
    Subject,
    batch,
    build,
    global_generators_kept,
    hide_at,
    pictures,
    ready,
    tensors_kept,
)
from maebench.contracts import Reconstruction, standardise
from maebench.models.losses import pixel_loss
from maebench.models.patches import to_pixels
from maebench.seeding import stream

TOLERANCE = 1e-4  # relative: float32 sums in another order, as another batch size gives


def encode_gives_a_feature_map(subject: Subject) -> None:
    """Features are [B, D, h, w] and finite, for RGB and for grey images that are not square."""
    _, height, width = subject.shape
    for shape in (subject.shape, (1, height, 2 * width)):
        features = ready(subject, shape=shape).encode(standardise(pictures(COUNT, shape, seed=1)))
        if features.ndim != 4 or len(features) != COUNT or not features.is_floating_point():
            given = f"{features.dtype} {list(features.shape)}"
            raise ContractError(f"encode of {COUNT} images {shape} must be float [{COUNT}, D, h, w], but is {given}")
        if not features.isfinite().all():
            raise ContractError(f"encode of images {shape} must be finite, but holds NaN or infinity")


def encode_is_repeatable(subject: Subject) -> None:
    """The same images give the same features, to the bit."""
    variant, images = ready(subject), batch(subject)
    if not torch.equal(variant.encode(images), variant.encode(images)):
        raise ContractError("encode gave two results for the same images; it must be deterministic: take the noise out")


def encode_ignores_batch_mates(subject: Subject) -> None:
    """An image has the same features alone and in a batch."""
    variant, images = ready(subject), batch(subject)
    together, alone = variant.encode(images), torch.cat([variant.encode(image[None]) for image in images])
    worst = (together - alone).abs().max().item()
    if worst > TOLERANCE * together.abs().max().item():
        raise ContractError(f"the features of an image must not depend on its batch mates, but change by {worst:.2g}")


def encode_hides_nothing(subject: Subject) -> None:
    """`hide` is for training alone."""

    def refuse(images: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        raise ContractError("encode called hide, but features are of whole images: encode every patch")

    ready(subject, hide=refuse).encode(batch(subject))


def weights_survive_saving(subject: Subject) -> None:
    """Saved and loaded into a fresh build of another seed, the weights give the same features."""
    variant, images, file = ready(subject), batch(subject), io.BytesIO()
    torch.save(variant.state_dict(), file)
    file.seek(0)
    other = build(subject, seed=1).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    if not torch.allclose(variant.encode(images), other.encode(images), TOLERANCE, TOLERANCE):
        raise ContractError(
            "features differ once the weights are saved and loaded: keep what encode needs in parameters and buffers"
        )


def global_generators_stay_untouched(subject: Subject) -> None:
    """Nothing is drawn from torch's, numpy's or Python's global generator, in training either."""
    variant, images = build(subject), batch(subject)
    if subject.closed:
        with global_generators_kept("fit"):
            variant.fit(pictures(FITTED, subject.shape))  # type: ignore[operator]
    with global_generators_kept("loss"):
        variant.train().loss(images, stream(0, "global"))
    with global_generators_kept("reconstruct"):
        variant.eval().reconstruct(images, stream(0, "global"))
    with global_generators_kept("encode"):
        variant.encode(images)


def images_stay_as_they_are(subject: Subject) -> None:
    """The images are not changed in place."""
    variant, images, train = build(subject), batch(subject), pictures(FITTED, subject.shape)
    if subject.closed:
        with tensors_kept("fit", {"images": train}):
            variant.fit(train)  # type: ignore[operator]
    with tensors_kept("loss", {"images": images}):
        variant.train().loss(images, stream(0, "kept"))
    with tensors_kept("reconstruct", {"images": images}):
        variant.eval().reconstruct(images, stream(0, "kept"))
    with tensors_kept("encode", {"images": images}):
        variant.encode(images)


ENCODE_CHECKS = (
    encode_gives_a_feature_map,
    encode_is_repeatable,
    encode_ignores_batch_mates,
    encode_hides_nothing,
    weights_survive_saving,
    global_generators_stay_untouched,
    images_stay_as_they_are,
)

STEPS = 8  # of Adam on one batch: any loss that can fall has fallen by then, and they take a second


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


LOSS_CHECKS = (
    loss_is_a_finite_scalar,
    equal_streams_give_equal_losses,
    other_streams_give_other_losses,
    every_parameter_gets_a_gradient,
    loss_falls,
)

ROUNDING = 1e-5  # relative: what is computed from the same numbers differs by rounding at most


def reconstruct_gives_images(subject: Subject) -> None:
    """pixels and seen are [B, C, H, W], scored is bool [B, 1, H, W], and every prediction is finite."""
    images = batch(subject)
    result = ready(subject).reconstruct(images, stream(0, "shapes"))
    for name, wanted in {"pixels": images, "scored": images[:, :1].bool(), "seen": images}.items():
        given = getattr(result, name)
        if given.shape != wanted.shape or (given.dtype == torch.bool) != (wanted.dtype == torch.bool):
            raise ContractError(
                f"reconstruct must give {name} as {wanted.dtype} {list(wanted.shape)}, "
                f"but gave {given.dtype} {list(given.shape)}"
            )
    if not result.pixels.isfinite().all():
        raise ContractError("reconstruct must give finite pixels for hidden patches too, but they hold NaN or infinity")


def hidden_pixels_change_nothing(subject: Subject) -> None:
    """Other values in the hidden pixels (NaN in `seen`), and an equal stream, change no predicted pixel."""
    variant, images = ready(subject), batch(subject)
    first = variant.reconstruct(images, stream(0, "leak"))
    noise = 10 * torch.randn(images.shape, generator=stream(0, "leak", "noise"))
    second = variant.reconstruct(torch.where(first.seen.isnan(), noise, images), stream(0, "leak"))
    worst = (first.pixels - second.pixels).abs().max().item()
    if worst > ROUNDING * first.pixels.abs().max().item():
        raise ContractError(
            f"other values in the hidden pixels change a prediction by {worst:.2g}: keep them from the encoder"
        )


def seen_is_what_the_mask_leaves(subject: Subject) -> None:
    """A variant that asks for `hide` gives `seen` as the image, with NaN in just the patches that hide hid."""
    if not subject.masked:
        return
    masks, images = [], batch(subject)

    def record(asked: Tensor, grid: tuple[int, int], rng: Generator) -> Tensor:
        mask = hide_at(RATIO)(asked, grid, rng)
        if len(asked) == len(images):  # a variant may ask about one blank image, for the count
            masks.append(mask)
        return mask

    seen = ready(subject, hide=record).reconstruct(images, stream(0, "seen")).seen
    if not masks:
        raise ContractError("reconstruct must call the `hide` that build asks for; call it, or do not ask")
    wanted = images.masked_fill(to_pixels(masks[-1][:, None], images.shape[2] // masks[-1].shape[1]), torch.nan)
    if not torch.equal(wanted.isnan(), seen.isnan()):
        share, due = (part.isnan().float().mean().item() for part in (seen, wanted))
        raise ContractError(
            f"seen must be NaN in the hidden patches alone ({due:.2f} of the pixels, not {share:.2f} or others)"
        )
    if not torch.equal(wanted.nan_to_num(), seen.nan_to_num()):
        raise ContractError("seen must be the image itself where nothing is hidden; patches.seen_pixels makes it")


def scored_covers_every_ratio(subject: Subject) -> None:
    """Where nothing is hidden every pixel is scored, and at any ratio some pixel of each image is."""
    for ratio in (0.0, RATIO, 0.99) if subject.masked else (RATIO,):
        scored = ready(subject, ratio=ratio).reconstruct(batch(subject), stream(0, "scored")).scored
        if not scored.flatten(1).any(1).all():
            raise ContractError(
                f"at ratio {ratio} an image has no scored pixel; patches.scored_pixels gives the right ones"
            )
        if ratio == 0 and not scored.all():
            raise ContractError(
                "at ratio 0 nothing is hidden, so every pixel must be scored; see patches.scored_pixels"
            )


RECONSTRUCT_CHECKS = (
    reconstruct_gives_images,
    hidden_pixels_change_nothing,
    seen_is_what_the_mask_leaves,
    scored_covers_every_ratio,
)
