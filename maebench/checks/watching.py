"""The contract of a masking strategy that watches a teacher or learns, as plain functions that raise ContractError.

`FOLLOWS = "high"` says that what has high attention, features unlike the rest, or a high loss is hidden, by default
settings and at the end of a training; `"low"` that it is shown.
"""

import io

import torch
from torch import Tensor

from maebench.checks.stand_in import PATCH, Teacher, masker, noise
from maebench.checks.subject import ContractError, Subject, pictures
from maebench.plugins import ask, load
from maebench.seeding import stream
from maebench.training.masker import Masker

GRID = (6, 8)  # not square, so that rows taken for columns show
RATIO = 0.5
STEPS, RATE = 60, 1e-2  # of learning what is hard
DRAWS = 20  # masks of each image
OFTEN = 0.7  # share of them: chance alone reaches it at all 48 positions never


def peaks() -> Tensor:
    """Images [h*w, 3, H, W] of faint noise, each with one bright patch, the first at the top left, row by row."""
    h, w = GRID
    bright = torch.eye(h * w).view(h * w, 1, h, w)
    return 0.1 * noise(h * w, GRID) + 3 * bright.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)


def taught(subject: Subject) -> Masker:
    """The strategy at the end of a training in which bright patches had the high losses."""
    found, images = masker(subject, RATIO, GRID, 1.0), peaks()
    losses = GRID[0] * GRID[1] * Teacher().attention(images)
    for step in range(STEPS if found.optimiser else 0):
        hidden = found.hide(images, GRID, stream(0, "taught", step))
        found.told(losses.masked_fill(~hidden, torch.nan))
        found.learn(1.0)
        found.step(Teacher(), RATE, 0.0)  # type: ignore[arg-type]
    return found


def follows_what_it_says(subject: Subject) -> None:
    """A patch that stands out is hidden, or shown, as FOLLOWS says, wherever it is."""
    declared = subject.found.constants.get("FOLLOWS")
    if declared is None:
        return
    found, images = taught(subject), peaks()
    hidden = torch.stack([found.hide(images, GRID, stream(0, "follows", draw)) for draw in range(DRAWS)])
    often = hidden.float().mean(0).flatten(1).diagonal()
    worst = int(often.argmin() if declared == "high" else often.argmax())
    if (often[worst] if declared == "high" else 1 - often[worst]) < OFTEN:
        row, column = divmod(worst, GRID[1])
        word = "hidden" if declared == "high" else "shown"
        raise ContractError(
            f'FOLLOWS = "{declared}" says that the patch that stands out is {word}, but at row {row}, column {column} '
            f"of a {GRID[0]} x {GRID[1]} grid it was hidden in {often[worst]:.2f} of the draws at ratio {RATIO}"
        )


def scores_change_no_state(subject: Subject) -> None:
    """Masks can be drawn any number of times without a change of what was prepared or learnt."""
    found = masker(subject, RATIO, GRID)
    before = _saved(found)
    found.hide(noise(5, GRID), GRID, stream(0, "state"))
    if _saved(found) != before:
        raise ContractError(
            "scores must change nothing, but a weight or buffer of network, or what was prepared, differs"
        )


def masks_survive_saving(subject: Subject) -> None:
    """Saved in the middle of a training and loaded into a fresh one of another seed, the masks are the same."""
    found, images = taught(subject), noise(5, GRID)
    if not found.state_dict():
        return
    other = masker(subject, RATIO, GRID, 1.0)
    other.seed = 1
    other.attach(Teacher(), (3, PATCH * GRID[0], PATCH * GRID[1]), GRID)  # type: ignore[arg-type]
    other.load_state_dict(torch.load(io.BytesIO(_saved(found)), weights_only=True))
    if not torch.equal(*(one.hide(images, GRID, stream(0, "saved")) for one in (found, other))):
        raise ContractError(
            "masks differ once the state is saved and loaded: keep it in parameters and buffers of network"
        )


def prepare_ignores_the_order(subject: Subject) -> None:
    """`prepare` gives the same for the same images in another order, and twice the same."""
    prepare = getattr(load(subject.found), "prepare", None)
    if prepare is None:
        return
    images = pictures(64, (3, PATCH * GRID[0], PATCH * GRID[1]))
    order = torch.randperm(64, generator=stream(0, "order"))
    first, second = (ask(prepare, {"images": part, **subject.settings}) for part in (images, images[order]))
    pairs = [(first[key], second[key]) for key in first] if isinstance(first, dict) else [(first, second)]
    if not all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in pairs):
        raise ContractError(
            "prepare must give the same whatever the order of the train images: use all of them, and no chance"
        )


def _saved(found: Masker) -> bytes:
    file = io.BytesIO()
    torch.save(found.state_dict(), file)
    return file.getvalue()


WATCHING_CHECKS = (
    follows_what_it_says,
    scores_change_no_state,
    masks_survive_saving,
    prepare_ignores_the_order,
)
