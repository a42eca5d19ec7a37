"""The contract of a variant's `encode`, and what a variant leaves untouched: each check raises ContractError."""

import io

import torch
from torch import Generator, Tensor

from maebench.check_side_effects import ContractError, global_generators_kept, tensors_kept
from maebench.check_subject import COUNT, FITTED, Subject, batch, build, pictures, ready
from maebench.contracts import standardise
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
