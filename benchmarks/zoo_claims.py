"""What a board of maskings and objectives says of the claims of their papers: the tables of boards/README.md.

python benchmarks/zoo_claims.py DIR     a results folder of runs that differ in masking, objective or kind of budget

At equal operations or seconds a row counts as it does at equal steps where it was not trained again.
Differences are points of the linear probe, paired by seed. "More" by so many points holds if the mean is, and a
one-sided t-test at 95% has it above 0; it is contradicted if the test has it below these points. A tie holds if the
test has the difference within so many points either way, and is contradicted if it has it beyond.
"""

import math
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

from scipy.stats import kendalltau
from zoo import UNIFORM, Board, Row, Seeds, coloured, masked, plain, scored, spread

from maebench.papers.claims import Finding, Verdict, above, all_of, below, mean
from maebench.training.budget import Kind

POINTS = 0.7  # about what five pairs of seeds that differ by 0.4 points can tell
SHOWN = {  # what a table calls it -> task, metric, digits
    "20-NN, %": ("knn", "top1", 1),
    "depth R²": ("monocular_depth", "r2_log", 3),
    "latents R²": ("latents", "r2", 3),
    "mse": ("reconstruction", "mse", 3),
}
COSTLY = ("attention", "hard", "an adaptive", "vit_pmae", "the same", "mask tokens", "cross-attention", "latent")
"""how claims begin that are about rows whose steps cost over 5% more or less than those of `vit_mae`"""
RATIOS = (0.5, 0.75, 0.9)
CORE = ("uniform", "coarse", "colour", "attention", "hard", "adversary")
OBJECTIVES: list[tuple[str, dict[str, Any]]] = [
    *(("vit_mae", {}), ("vit_mae", {"target": "pixels"}), ("vit_mae", {"target": "hog"})),
    *(("vit_simmim", {}), ("vit_cross", {}), ("vit_latent", {})),
]
ADAPTIVE = ("attention", "object", "parts", "hard", "adversary", "curriculum")


def more(larger: Seeds, smaller: Seeds, points: float = POINTS) -> Finding:
    """The finding on larger - smaller being more than so many points."""
    pairs = [value - smaller[seed] for seed, value in larger.items() if seed in smaller]
    if len(pairs) < 2:
        return Finding("not run", "fewer than two seeds")
    less: Verdict = "contradicted" if below(pairs, points) == "holds" else "not shown"
    sure = statistics.fmean(pairs) > points and above(pairs, min(points, 0.0)) == "holds"
    return Finding("holds" if sure else less, str(mean(pairs)))


def tie(one: Seeds, other: Seeds, points: float = POINTS) -> Finding:
    """The finding on their differing by less than so many points."""
    pairs = [value - other[seed] for seed, value in one.items() if seed in other]
    if len(pairs) < 2:
        return Finding("not run", "fewer than two seeds")
    within = below(pairs, points), above(pairs, -points)
    verdict = "contradicted" if "contradicted" in within else "holds" if set(within) == {"holds"} else "not shown"
    return Finding(verdict, str(mean(pairs)))  # type: ignore[arg-type]


def together(parts: Mapping[str, Finding]) -> Finding:
    """Several findings that have to hold at once."""
    number = "; ".join(f"{name} {part.number}" for name, part in parts.items())
    return Finding(all_of(part.verdict for part in parts.values()), number)


def of_maskings(board: Board) -> Iterator[tuple[str, Finding]]:
    """The claims about maskings, in words, and what became of them; "not run" where the folders have no runs."""
    of, uniform = board.values, board.values(UNIFORM)
    rising = {"blue": coloured("blue"), "uniform": UNIFORM, "green": coloured("green"), "red": coloured("red")}
    losses = {name: of(row, "cost", "pretrain_loss") for name, row in rising.items()}
    steps = {f"{a} to {b}": more(losses[b], losses[a], 0.0) for a, b in pairwise(losses)}
    yield "masked loss: blue < uniform < green < red", together(steps)
    grid, block = of(masked("grid")), of(masked("block"))
    yield "uniform > grid > block", together({"first": more(uniform, grid), "second": more(grid, block)})
    yield "units of 2 x 2 patches are better than of 1", more(of(masked("coarse")), uniform)
    red = of(coloured("red"))
    parts = {f"{one} less red": more(of(coloured(one)), red, 0.0) for one in ("blue", "green", "purple")}
    parts["green less uniform"] = more(of(coloured("green")), uniform, -POINTS)
    yield "green no worse than uniform, red last of the colours", together(parts)
    yield "cell = uniform", tie(of(masked("cell")), uniform)
    high, low = of(masked("attention")), of(masked("attention", hide="low"))
    yield "attention: high > uniform > low", together({"high": more(high, uniform), "low": more(uniform, low)})
    drawn = of(masked("attention", draw="chance", start=0.1))
    yield "attention drawn by chance > uniform (AMT, but nothing is thrown)", more(drawn, uniform)
    yield "hard > uniform", more(of(masked("hard")), uniform, 0.0)
    adaptive = [row for row in board.rows.values() if plain(row) and row.masking in ADAPTIVE]
    first = max(adaptive, key=lambda row: statistics.fmean(of(row).values()), default=UNIFORM)
    yield "an adaptive masking > uniform", together({f"the best, {first.masking},": more(of(first), uniform, 0.0)})
    ratios = [found for ratio in RATIOS if (found := of(Row(ratio=ratio)))]
    best = max(ratios, key=lambda seeds: statistics.fmean(seeds.values())) if len(ratios) == len(RATIOS) else {}
    between = of(Row(ratio="0.1 to 0.9 at random"))
    parts = {"less .75": more(between, uniform, -1.0), "best less it": more(best, between, 2.0)}
    yield "a random ratio: within a point of .75, over 2 below the best of .5, .75, .9", together(parts)
    yield "reconstruction under uniform masks does not rank the probe: tau below .3 over maskings", proxy(board)


def of_objectives(board: Board) -> Iterator[tuple[str, Finding]]:
    """The claims about objectives, as `of_maskings`."""
    of, uniform = board.values, board.values(UNIFORM)
    eights = of(Row("vit_pmae", {"patch": 8}, None)), of(Row(settings={"patch": 8}))
    yield "vit_pmae over vit_mae by 5 points, patch 8", more(*eights, 5.0)
    fours = of(Row("vit_pmae", {}, None)), uniform
    yield "the same, patch 4", more(*fours, 5.0)
    simmim = Row("vit_simmim")
    flops, base = (of(row, "cost", "flops_step") for row in (simmim, UNIFORM))
    times = [value / base[seed] for seed, value in flops.items() if seed in base]
    charged = (
        Finding("holds" if 3.0 <= mean(times).value <= 3.4 else "contradicted", str(mean(times)))
        if times
        else more({}, {})
    )
    parts = {"points": more(uniform, of(simmim), 2.0), "times": charged}
    yield "mask tokens in the encoder cost over 2 points, and 3.0 to 3.4 times the operations", together(parts)
    pixels, pca = of(Row(settings={"target": "pixels"})), of(Row(settings={"target": "pca"}))
    parts = {"normalised less pixels": tie(uniform, pixels), "pixels less pca": more(pixels, pca)}
    yield "normalised = pixels, pca below pixels", together(parts)
    yield "cross-attention: within a point of vit_mae or better", more(of(Row("vit_cross")), uniform, -1.0)
    yield "uniformity changes nothing", tie(of(Row(settings={"uniformity": 0.01})), uniform)
    rows = {name: Row(name) for name in ("vit_latent", "vit_jepa")}
    parts = {name: more(of(row), of(f"untrained {Row(name, {}, None)}"), 2.0) for name, row in rows.items()}
    yield "latent and jepa beat their untrained selves by 2 points", together(parts)


def proxy(board: Board) -> Finding:
    """Whether the order of reconstruction errors says little of that of the probe, over the maskings of each seed."""
    taus = []
    for seed in board.values(UNIFORM):
        both = [
            (board.values(row, "reconstruction", "mse").get(seed), board.values(row).get(seed))
            for row in filter(plain, board.rows.values())
        ]
        pairs = [(-error, right) for error, right in both if error is not None and right is not None]
        if len(pairs) > 5:
            taus.append(float(kendalltau(*zip(*pairs, strict=True)).statistic))
    return Finding(below(taus, 0.3), str(mean(taus))) if taus else more({}, {})


def half(values: Seeds) -> str:
    """Mean and half of the 95% t interval over seeds."""
    known = spread(values)
    return f"{known.mean:.1f}" + (f" ± {known.half:.1f}" if known.half is not None else "")


def listed(row: Row) -> bool:
    """Whether a table has this row: a masking of `vit_mae` or an objective under uniform masks, at the one ratio."""
    alone = row.masks or row.masking in (None, "uniform")
    return alone and (not isinstance(row.ratio, float) or row.ratio == 0.75)


def table(board: Board) -> Iterator[str]:
    """Every row: probe, its difference from `vit_mae` under uniform masks, other tasks, and what a step costs."""
    done = [name for name in board.own if board.values(name, "cost", "flops_step")]
    found = {name: board.values(name) for name in done if listed(board.rows[name])}
    shown = {title: one for title, one in SHOWN.items() if any(board.values(name, *one[:2]) for name in found)}
    yield f"| row | seeds | probe, % | less uniform | {' | '.join(shown)} | MFLOP an image | masks | collapsed |"
    yield "| --- |" + " ---: |" * (6 + len(shown))
    uniform = board.values(UNIFORM)
    for name in sorted(found, key=lambda name: -statistics.fmean(found[name].values())):
        probe = found[name]
        less = {seed: value - uniform[seed] for seed, value in probe.items() if seed in uniform}
        tasks = [([*board.values(name, task, metric).values()], digits) for task, metric, digits in shown.values()]
        costs = ("flops_step", "masking_flops", "collapsed")
        step, masks, gone = (board.values(name, "cost", one).values() for one in costs)
        cells = [f"{statistics.fmean(values):.{digits}f}" if values else "" for values, digits in tasks]
        cells += [f"{statistics.fmean(step) / 1e6:.1f}", f"{sum(masks) / sum(step):.0%}"]
        cells += [f"{sum(gone):.0f} of {len(gone)}" if sum(gone) else ""]
        change = "" if name == str(UNIFORM) else half(less)
        yield f"| `{name}` | {len(probe)} | {half(probe)} | {change} | {' | '.join(cells)} |"


def ratio_axis(board: Board) -> Iterator[str]:
    """The probe of every masking of `vit_mae` that was trained at all of RATIOS."""
    yield f"| masking | seeds | {' | '.join(map(str, RATIOS))} |"
    yield "| --- | ---: |" + " ---: |" * len(RATIOS)
    for row in filter(plain, board.rows.values()):
        found = [board.values(replace(row, ratio=ratio)) for ratio in RATIOS]
        if all(found):
            yield f"| `{row}` | {min(map(len, found))} | {' | '.join(map(half, found))} |"


def crossed(board: Board) -> Iterator[str]:
    """Two tables of the objectives that were trained under all of CORE: probes, and how the order carries over."""
    every = {str(Row(*one, None)): [board.values(Row(*one, masking)) for masking in CORE] for one in OBJECTIVES}
    found = {name: rows for name, rows in every.items() if all(rows)}
    yield f"| objective | seeds | {' | '.join(CORE)} |"
    yield "| --- |" + " ---: |" * (len(CORE) + 1)
    for name, (uniform, *rest) in found.items():
        less = [half({seed: value - uniform[seed] for seed, value in one.items() if seed in uniform}) for one in rest]
        yield f"| `{name}` | {min(map(len, (uniform, *rest)))} | {half(uniform)} | {' | '.join(less)} |"
    yield ""
    yield f"| order of | {' | '.join(f'`{name}`' for name in found)} |"
    yield "| --- |" + " ---: |" * len(found)
    for name, rows in found.items():
        yield f"| `{name}` | {' | '.join(f'{carried(rows, others):.2f}' for others in found.values())} |"


def carried(some: list[Seeds], others: list[Seeds]) -> float:
    """Kendall's tau between the orders in which two objectives have the maskings, mean over pairs of different seeds.

    Of an objective and itself: how well its order repeats, which is the most that can be expected of two.
    """
    seeds = set.intersection(*map(set, (*some, *others)))
    taus = [
        kendalltau([rows[a] for rows in some], [rows[b] for rows in others]).statistic
        for a, b in permutations(seeds, 2)
    ]
    return statistics.fmean(taus) if taus else math.nan


def main() -> None:
    """Print the tables of each kind of budget; of claims, where steps are not equal, those on rows of other cost."""
    frame = scored(Path(sys.argv[1]))
    kinds: tuple[Kind, ...] = ("steps", "flops", "seconds")
    boards = {kind: Board(frame, kind) for kind in kinds}
    for kind, board in boards.items():
        if not board.own:
            continue
        print(f"### Equal {kind}", "", *table(board), "", sep="\n")
        print("| claim | verdict | points, mean ± sd over seeds |\n| --- | --- | --- |")
        for claim, finding in (*of_maskings(board), *of_objectives(board)):
            if kind == "steps" or claim.startswith(COSTLY):
                print(f"| {claim} | {finding.verdict} | {finding.number} |")
        print()
    board = boards["steps"]
    for title, lines in {"Ratios": [*ratio_axis(board)], "Maskings x objectives": [*crossed(board)]}.items():
        if any(line.startswith("| `") for line in lines):
            print(f"### {title}", "", *lines, "", sep="\n")


if __name__ == "__main__":
    main()
