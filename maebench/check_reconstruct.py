"""The contract of a variant's `reconstruct`: each check raises ContractError where the variant breaks it."""

import torch
from torch import Generator, Tensor

from maebench.check_side_effects import ContractError
from maebench.check_subject import RATIO, Subject, batch, hide_at, ready
from maebench.models.patches import to_pixels
from maebench.seeding import stream

TOLERANCE = 1e-5  # relative: what is computed from the same numbers differs by rounding at most


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
    if worst > TOLERANCE * first.pixels.abs().max().item():
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
        scored = ready(subject, hide=hide_at(ratio)).reconstruct(batch(subject), stream(0, "scored")).scored
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
