"""The contract of a masking strategy, as plain functions: each raises ContractError where the strategy breaks it.

A strategy may declare how often its default settings hide each position of a grid of even sides: `FREQUENCY = "flat"`
says all equally often, `"fixed"` says the same scores for every image and stream. `PAIR = 0.24` says how often the
right or lower neighbour of a visible patch is visible, at ratio 0.75 on 8x8 patches that close to a torus;
`PAIR = {"setting": {"value": 0.24}}` says it by the value of a setting, all others at their defaults. Without them
nothing is said.
"""

import torch
from torch import Tensor

from maebench.checks.stand_in import hide_with, noise
from maebench.checks.subject import ContractError, Subject, global_generators_kept, tensors_kept
from maebench.models.patches import hidden_count
from maebench.plugins import ask, load
from maebench.seeding import stream

GRIDS = ((8, 8), (4, 8), (2, 2), (16, 16))
RATIOS = (0.0, 0.1, 0.5, 0.75, 0.99)
GRID = (6, 8)  # not square, so that rows taken for columns show
DRAWS, BATCH = 100, 20  # 2000 masks: a position hidden 6% too often or too seldom shows
LIMIT = 5.0  # standard errors over 100 draws: 48 positions exceed them by chance once in 8,000 strategies
FREQUENCIES = ("flat", "fixed")
PAIRS = 2000  # masks that tell how often two neighbours are visible
NEAR = 0.01  # how near that must be to what is said


def draws(subject: Subject, ratio: float) -> Tensor:
    """Masks of GRID, float [DRAWS, BATCH, h, w], each row from a stream of its own."""
    hide = hide_with(subject, ratio)
    masks = [hide(noise(BATCH, GRID, draw), GRID, stream(0, "draw", draw)) for draw in range(DRAWS)]
    return torch.stack(masks).float()


def hides_the_right_count(subject: Subject) -> None:
    """A score for every position, whatever the grid, the ratio and the number of images: the count is then exact.

    So it is at the start of a training and at its end. Where it is free it is right on average, and some patch of each
    image is visible.
    """
    if subject.found.constants.get("COUNT") == "free":
        _right_on_average(subject)
        return
    for grid in GRIDS:
        for ratio in RATIOS:
            for count, progress in ((1, 0.5), (5, 0.0), (5, 1.0)):
                hidden = hide_with(subject, ratio, progress)(noise(count, grid), grid, stream(0, "count"))
                wanted = hidden_count(ratio, grid[0] * grid[1])
                if hidden.flatten(1).sum(1).tolist() != [wanted] * count:
                    raise ContractError(f"at ratio {ratio}, {wanted} of {grid} patches must be hidden in each image")


def _right_on_average(subject: Subject) -> None:
    for grid in GRIDS:
        for ratio in RATIOS[:-1]:
            hidden = hide_with(subject, ratio)(noise(PAIRS, grid), grid, stream(0, "count")).flatten(1).double()
            if hidden.all(1).any():
                raise ContractError(f"at ratio {ratio} all of {grid} patches of an image are hidden")
            patches = hidden.shape[1]
            wanted = patches * ratio - ratio**patches  # one that all scores would hide is shown after all
            share, error = hidden.sum(1).mean(), LIMIT * hidden.sum(1).std() / PAIRS**0.5
            if abs(share - wanted) > error + 1e-6:
                raise ContractError(
                    f"at ratio {ratio}, {wanted:.3g} of {grid} patches must be hidden on average, not {share:.3g}; "
                    "scores must exceed 1 - ratio as often as ratio says"
                )


def neighbours_are_visible_as_declared(subject: Subject) -> None:
    """What PAIR says of two neighbours is so."""
    declared = subject.found.constants.get("PAIR")
    if isinstance(declared, dict):
        ((name, by_value),) = declared.items()
        declared = by_value.get(subject.settings[name])
        known = {key: default for key, (_, default) in subject.found.settings.items() if key != name}
    else:
        known = {key: default for key, (_, default) in subject.found.settings.items()}
    if declared is None or any(subject.settings[key] != default for key, default in known.items()):
        return
    grid = GRIDS[0]
    shown = ~hide_with(subject, RATIOS[3])(noise(PAIRS, grid), grid, stream(0, "pair"))
    both = sum(int((shown & shown.roll(-1, axis)).sum()) for axis in (1, 2))
    share = both / (2 * int(shown.sum()))
    if abs(share - declared) > NEAR:
        raise ContractError(
            f"PAIR says that a neighbour of a visible patch is visible in {declared} of all cases, but it is in "
            f"{share:.3f}"
        )


def hides_and_shows_every_position(subject: Subject) -> None:
    """No position is always or never hidden at ratio 0.5, the last row and column included; "fixed" ones may choose."""
    if subject.found.constants.get("FREQUENCY") == "fixed":
        return
    often = draws(subject, 0.5).mean((0, 1))
    for word, value in {"never": 0.0, "always": 1.0}.items():
        for row, column in (often == value).nonzero().tolist():
            raise ContractError(
                f"row {row}, column {column} of a {GRID[0]} x {GRID[1]} grid was {word} hidden at ratio 0.5 in "
                f'{DRAWS * BATCH} draws; hide every position at times, or declare FREQUENCY = "fixed"'
            )


def frequency_is_as_declared(subject: Subject) -> None:
    """What FREQUENCY says of how often each position is hidden is so."""
    declared = subject.found.constants.get("FREQUENCY")
    if declared not in (None, *FREQUENCIES):
        raise ContractError(
            f"FREQUENCY is {declared!r}; write one of {', '.join(map(repr, FREQUENCIES))} or leave it out"
        )
    if declared == "flat":
        _flat(subject)
    if declared == "fixed":
        _fixed(subject)


def _flat(subject: Subject) -> None:
    for ratio in (0.25, 0.75):
        rows = draws(subject, ratio).mean(1)  # a batch may share one mask
        often, wanted = rows.mean(0), hidden_count(ratio, GRID[0] * GRID[1]) / (GRID[0] * GRID[1])
        excess = (often - wanted).abs() - LIMIT * rows.std(0) / DRAWS**0.5
        row, column = divmod(int(excess.argmax()), GRID[1])
        if excess[row, column] > 1e-6:
            raise ContractError(
                f'FREQUENCY = "flat" says that each position is hidden in {wanted:.3f} of the draws at ratio {ratio}, '
                f"but row {row}, column {column} was in {often[row, column]:.3f}; hide all equally, or drop the word"
            )


def _fixed(subject: Subject) -> None:
    scores = load(subject.found).scores
    rows = [
        ask(scores, {"images": noise(3, GRID, seed), "grid": GRID, "rng": stream(seed, "fixed"), **subject.settings})
        for seed in range(5)
    ]
    if not torch.equal(torch.cat(rows), rows[0][:1].expand(15, *GRID)):
        raise ContractError(
            'FREQUENCY = "fixed" says the same scores for every image and stream, but they differ; drop the word'
        )


def equal_streams_give_equal_masks(subject: Subject) -> None:
    """The same images and an equal stream give the same mask."""
    hide, images = hide_with(subject, 0.5), noise(5, GRID)
    first, second = (hide(images, GRID, stream(0, "equal")) for _ in range(2))
    if not torch.equal(first, second):
        raise ContractError("equal streams gave two masks for the same images; draw every random number from rng")


def global_generators_stay_untouched(subject: Subject) -> None:
    """Nothing is drawn from torch's, numpy's or Python's global generator."""
    with global_generators_kept("scores"):
        hide_with(subject, 0.5)(noise(5, GRID), GRID, stream(0, "global"))


def images_stay_as_they_are(subject: Subject) -> None:
    """The images are not changed in place."""
    images = noise(5, GRID)
    with tensors_kept("scores", {"images": images}):
        hide_with(subject, 0.5)(images, GRID, stream(0, "kept"))


MASKING_CHECKS = (
    hides_the_right_count,
    hides_and_shows_every_position,
    frequency_is_as_declared,
    neighbours_are_visible_as_declared,
    equal_streams_give_equal_masks,
    global_generators_stay_untouched,
    images_stay_as_they_are,
)
