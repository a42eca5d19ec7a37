"""The contract of a variant, as plain functions: each raises ContractError where the variant breaks it."""

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
    reloaded,
    tensors_kept,
)
from maebench.contracts import Reconstruction, standardise
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
    variant, images = ready(subject), batch(subject)
    other = reloaded(subject, variant, seed=1).eval()
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

ROUNDING = 1e-5  # relative: what is computed from the same numbers differs by rounding at most


def reconstruct_gives_images(subject: Subject) -> None:
    """pixels and seen are [B, C, H, W], scored is bool [B, 1, H, W], and every prediction is finite.

    A variant that paints no pixels, and says so by PAINTS, gives predicted [B, h, w, T] instead.
    """
    images = batch(subject)
    result = ready(subject).reconstruct(images, stream(0, "shapes"))
    if (result.pixels is None) == subject.paints:
        word = "no pixels" if subject.paints else "pixels"
        raise ContractError(f"reconstruct gave {word}, which PAINTS does not say; declare it, or predict them")
    asked = {"scored": images[:, :1].bool(), "seen": images}
    for name, wanted in {**asked, **({"pixels": images} if subject.paints else {})}.items():
        given = getattr(result, name)
        if given.shape != wanted.shape or (given.dtype == torch.bool) != (wanted.dtype == torch.bool):
            raise ContractError(
                f"reconstruct must give {name} as {wanted.dtype} {list(wanted.shape)}, "
                f"but gave {given.dtype} {list(given.shape)}"
            )
    found = predictions(result)
    if not subject.paints and (found.ndim != 4 or len(found) != len(images)):
        raise ContractError(f"predicted must be [{len(images)}, h, w, T], but is {list(found.shape)}")
    if not found.isfinite().all():
        raise ContractError(
            "reconstruct must predict finite values of hidden patches too, but they hold NaN or infinity"
        )


def predictions(result: Reconstruction) -> Tensor:
    """What is predicted: pixels [B, C, H, W], or what stands for them [B, h, w, T]."""
    found = result.predicted if result.pixels is None else result.pixels
    if found is None:
        raise ContractError("reconstruct must give pixels or predicted, but gave neither")
    return found


def hidden_pixels_change_nothing(subject: Subject) -> None:
    """Other values in the hidden pixels (NaN in `seen`), and an equal stream, change no prediction."""
    variant, images = ready(subject), batch(subject)
    first = variant.reconstruct(images, stream(0, "leak"))
    noise = 10 * torch.randn(images.shape, generator=stream(0, "leak", "noise"))
    second = variant.reconstruct(torch.where(first.seen.isnan(), noise, images), stream(0, "leak"))
    one, other = predictions(first), predictions(second)
    worst = (one - other).abs().max().item()
    if worst > ROUNDING * one.abs().max().item():
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
