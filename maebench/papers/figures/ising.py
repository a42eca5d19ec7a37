"""On a chain of spins, masking puts the weight on patch boundaries"""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from maebench.leaderboard.panels import COLOURS
from maebench.papers import drawing
from maebench.papers.claims import Finding, Verdict, above, all_of, below, by_choice, exactly, mean
from maebench.seeding import stream
from maebench.theory.closed_form import Corruption, Optimum, bernoulli, clean, fixed_count, loss, optimum
from maebench.theory.ising import boundary_ratio, correlation, samples

FIGURES = ("4", "E")
CLAIMS = {
    "identity": "The product of the AE's decoder and encoder is close to the identity.",
    "sinusoids": "The AE's encoder rows are sinusoids of different frequencies.",
    "boundary": "The MAE's encoder prioritises spins at patch boundaries.",
    "plain": "The AE's encoder does not prioritise spins at patch boundaries.",
    "m": "The emphasis on boundaries grows with the masking ratio.",
    "J": "The emphasis on boundaries grows with the coupling.",
}
CHOICES = (
    "The paper prints neither coupling nor masking ratio here: J = 1; m = 0.75, each patch hidden by itself.",
    "Optima for the exact correlation, and for 10,000 sampled chains (5 seeds). The theorem leaves a matrix T free: "
    "encoder rows are made orthonormal before they are read, from the strongest on.",
    "Close to the identity: within 1 % of the least Frobenius distance that rank 6 allows, which every orthogonal "
    "projection reaches. Also shown: whether over half of the identity's squares, or of the data's variance, is kept.",
    "Sinusoids: on each row one sinusoid of any frequency and phase has R^2 > 0.95. Different: their frequencies are "
    "over 1/4 cycle per chain apart. Also shown: another T, a random rotation of the rows.",
    "A spin's weight is the norm of its column; the chain's two ends are left out. Prioritised: the lightest spin at a "
    "boundary outweighs the heaviest inside a patch. Not prioritised: not so, and the means are within 10 %.",
    "Growth is our reading of appendix E, whose text is lost: the ratio of mean weights, boundary to inside, must rise "
    "at every step from m = 0, the AE, to 0.9, or from J = 0.25 to 2, at each J or m; on samples clearly.",
    "What is exact is no matter of chance: a claim about it holds, or is contradicted.",
)
D, PATCH, K, COUNT, SEEDS = 32, 8, 6, 10_000, 5
COUPLINGS, RATIOS = (1.0, 0.25, 0.5, 1.5, 2.0), (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
SIZES = [(PATCH, K), *((patch, k) for patch in (4, 8, 16) for k in (2, 4, 6, 8, 16) if (patch, k) != (PATCH, K))]
EXACT, SAMPLES, ALONE, COUNTED = "exact", "10,000 samples", "patches hidden by themselves", "a fixed number hidden"


def compute() -> pd.DataFrame:
    """Rows: data, seed, J, hidden, m, patch, k and what was read; those with a `name` are entries of a matrix."""
    rows = []
    for coupling in COUPLINGS:
        chains = (samples(COUNT, D, coupling, stream(seed, "chains")).double() for seed in range(SEEDS))
        covariances = [(EXACT, 0, correlation(D, coupling))]
        covariances += [(SAMPLES, seed, x.T @ x / COUNT) for seed, x in enumerate(chains)]
        for data, seed, C in covariances:
            for patch, k in SIZES if data == EXACT else SIZES[:1]:
                about = {"data": data, "seed": seed, "J": coupling, "patch": patch, "k": k}
                for hidden, m, corruption in _corruptions(C, patch, k):
                    properties = read(optimum(C, corruption, k), C, patch, stream(seed, "T"))
                    rows.append({**about, "hidden": hidden, "m": m, **properties})
    table: pd.DataFrame = pd.concat([pd.DataFrame(rows), *_matrices()])
    return table


def _corruptions(C: Tensor, patch: int, k: int) -> list[tuple[str, float, Corruption]]:
    patch_index = torch.arange(D) // patch
    cases = [(ALONE, m, bernoulli(C, patch_index, m)) for m in RATIOS]
    counts = (4, 3, 2, 1) if (patch, k) == (PATCH, K) else ()
    return cases + [(COUNTED, 1 - v / 4, fixed_count(C, patch_index, v)) for v in counts]


def read(best: Optimum, C: Tensor, patch: int, rng: Generator) -> dict[str, float]:
    """What the claims rest on: closeness to the identity, the best sinusoids, and where the weight lies.

    `emphasis` is the mean weight of spins at a boundary over that inside, `margin` the least of them over the greatest.
    """
    encoder, A = orthonormal(best.encoder), best.decoder @ best.encoder
    k, d = encoder.shape
    weight, spin = encoder.norm(dim=0), torch.arange(d)
    inside = (spin % patch > 0) & (spin % patch < patch - 1)
    border = ~inside & (spin > 0) & (spin < d - 1)
    properties = {
        "emphasis": boundary_ratio(encoder, patch),
        "margin": float(weight[border].min() / weight[inside].max()),
        "distance": float((A - torch.eye(d)).norm()),
        "kept": 1 - loss(A, C, clean(C)) / float(C.trace()),
    }
    rotated = orthonormal(torch.randn(k, k, generator=rng, dtype=C.dtype)) @ encoder
    for name, rows in (("", encoder), (" other T", rotated)):
        r2, cycles = sinusoids(rows)
        properties |= {f"r2{name}": float(r2.min()), f"apart{name}": float(cycles.sort().values.diff().min())}
    return properties


def orthonormal(encoder: Tensor) -> Tensor:
    """Rows [k, d] -> orthonormal rows [k, d] of the same span, made from the first on, none turned round."""
    Q, R = torch.linalg.qr(encoder.T)
    return torch.einsum("dk,k->kd", Q, R.diagonal().sign())


def sinusoids(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [k, d] -> R^2 [k], the share of its squares in the best a cos(w t) + b sin(w t), and its cycles [k]."""
    d = rows.shape[1]
    cycles = torch.arange(1, 32 * d, dtype=torch.float64) / 64  # neither 0 nor d / 2, where the sine is 0
    angle = 2 * torch.pi * cycles[:, None] * torch.arange(d) / d
    basis = torch.linalg.qr(torch.stack([angle.cos(), angle.sin()], 2)).Q  # [frequencies, d, 2]
    best, place = ((rows @ basis).square().sum(2) / rows.square().sum(1)).max(0)
    return best, cycles[place]


def _matrices() -> Iterator[pd.DataFrame]:
    C = correlation(D, COUPLINGS[0])
    for m in (0.0, 0.75):
        best = optimum(C, bernoulli(C, torch.arange(D) // PATCH, m), K)
        for name, matrix in (("encoder", orthonormal(best.encoder)), ("product", best.decoder @ best.encoder)):
            wide = pd.DataFrame(matrix.numpy().round(5)).rename_axis("row").reset_index()
            yield wide.melt("row", var_name="column").assign(name=name, m=m)


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """Of the optimum for patch 8 and k = 6, exact and on samples; growth for every patch and k."""
    fits = table[table["name"].isna()]
    findings: dict[str, dict[str, Finding]] = {key: {} for key in CLAIMS}
    for (J, data), rows in fits[(fits["patch"] == PATCH) & (fits["k"] == K)].groupby(["J", "data"], sort=False):
        at, parts = f"J = {J:g}, {data}", rows.groupby(["hidden", "m"])
        plain, masked, single = (parts.get_group(key) for key in ((ALONE, 0.0), (ALONE, 0.75), (COUNTED, 0.75)))
        if data == EXACT:
            findings["identity"] |= _identity(plain, masked, at)
        for name in ("", " other T"):
            r2, apart = plain[f"r2{name}"], plain[f"apart{name}"]
            waves = f"least R^2 {_mean(r2)} (MAE: {_mean(masked[r2.name])}), frequencies {_mean(apart)} cycles apart"
            waved = all_of([_above(r2, 0.95), _above(apart, 0.25)])
            findings["sinusoids"][at + name.replace(" ", ", ", 1)] = Finding(waved, waves)
        findings["boundary"][at] = Finding(_above(masked["margin"], 1), _weights(masked))
        findings["boundary"][f"{at}, 1 of 4 visible"] = Finding(_above(single["margin"], 1), _weights(single))
        weight = plain["emphasis"]
        even = [_below(plain["margin"], 1), _above(weight, 0.9), _below(weight, 1.1)]
        findings["plain"][at] = Finding(all_of(even), _weights(plain))
    for (hidden, data, patch, k), rows in fits.groupby(["hidden", "data", "patch", "k"], sort=False):
        at = f"patch {patch:.0f}, k = {k:.0f}, {data}, {hidden}"
        findings["m"][at], findings["J"][at] = _grows(rows, "m", "J"), _grows(rows[rows["m"] > 0], "J", "m")
    return {key: by_choice(cases) for key, cases in findings.items()}


def _identity(plain: pd.DataFrame, masked: pd.DataFrame, at: str) -> dict[str, Finding]:
    least, distance, kept = (D - K) ** 0.5, float(plain["distance"].iloc[0]), float(plain["kept"].iloc[0])
    words = f"{distance:.3f} away, no less than {least:.3f} at rank {K} (MAE: {masked['distance'].iloc[0]:.3f})"
    share = f"{1 - distance**2 / D:.0%} of the identity's squares"
    return {
        f"{at}, given the rank": Finding(exactly(distance < 1.01 * least), words),
        f"{at}, whatever the rank": Finding(exactly(distance**2 < D / 2), share),
        f"{at}, on the data": Finding(exactly(kept > 0.5), f"{kept:.0%} of the variance"),
    }


def _above(values: "pd.Series[float]", bound: float) -> Verdict:
    """Of seeds by a test; one value is exact."""
    return above(list(values), bound) if len(values) > 1 else exactly(values.iloc[0] > bound)


def _below(values: "pd.Series[float]", bound: float) -> Verdict:
    return below(list(values), bound) if len(values) > 1 else exactly(values.iloc[0] <= bound)


def _weights(fits: pd.DataFrame) -> str:
    return f"mean {_mean(fits['emphasis'])} x that inside, lightest {_mean(fits['margin'])} x the heaviest"


def _mean(values: "pd.Series[float]") -> str:
    return str(mean(list(values))) if len(values) > 1 else f"{values.iloc[0]:.3f}"


def _grows(fits: pd.DataFrame, along: str, lines: str) -> Finding:
    wide = fits.pivot_table(index=[lines, "seed"], columns=along, values="emphasis")
    changes = wide.diff(axis=1).iloc[:, 1:]
    steps = [part[column] for _, part in changes.groupby(lines) for column in part]
    up = [_above(step, 0) for step in steps]
    ends = f"from {wide.iloc[:, 0].mean():.3f} to {wide.iloc[:, -1].mean():.3f} on average"
    least = min(step.mean() for step in steps)
    return Finding(all_of(up), f"{up.count('holds')} of {len(up)} steps up, the least {least:+.2g}; {ends}")


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """Encoder rows, product and weights of AE and MAE; the boundary ratio over m, J, patch and k."""
    figure, panels = drawing.sheet(2, 3)
    for (waves, square, weights), (m, model) in zip(panels, ((0.0, "AE"), (0.75, "MAE")), strict=True):
        parts = table[table["m"] == m].groupby("name")
        matrices = {name: part.pivot(index="row", columns="column", values="value") for name, part in parts}
        drawing.dress(waves, f"{model}: encoder rows, orthonormal", "spin", "row, and its weights")
        drawing.dress(square, f"{model}: decoder x encoder", "input spin", "output spin")
        drawing.dress(weights, f"{model}: weight of each spin", "spin", "norm of its column")
        for number, row in enumerate(matrices["encoder"].to_numpy()):
            waves.plot(row - number, color=COLOURS[number], lw=1.3)
        waves.set_yticks(range(0, -K, -1), [str(number + 1) for number in range(K)])
        drawing.heat(square, matrices["product"].to_numpy(), "RdBu_r", 0.6)
        weights.plot(np.linalg.norm(matrices["encoder"], axis=0), color=COLOURS[0], marker="o", ms=3, lw=1)
        weights.set_ylim(0, 0.8)
        for panel, edge in product((waves, weights), range(PATCH, D, PATCH)):
            panel.axvline(edge - 0.5, color="black", lw=0.6, ls=":")
    growth, ((over_m, over_J, over_k),) = drawing.sheet(1, 3)
    alone = table[(table["data"] == EXACT) & (table["hidden"] == ALONE)].sort_values(["J", "patch"])
    main = alone[(alone["patch"] == PATCH) & (alone["k"] == K)]
    drawing.lines(over_m, main, "m", "emphasis", "J", "J = {:g}")
    drawing.lines(over_J, main.sort_values("m"), "J", "emphasis", "m", "m = {:g}")
    drawing.lines(over_k, alone[(alone["J"] == 1) & (alone["m"] == 0.75)], "k", "emphasis", "patch", "patch {:g}")
    drawing.dress(over_m, f"Patch {PATCH}, k = {K}", "masking ratio m (0: AE)", "boundary weight / inside weight")
    drawing.dress(over_J, f"Patch {PATCH}, k = {K}", "coupling J", "boundary weight / inside weight")
    drawing.dress(over_k, "J = 1, m = 0.75", "latent dimension k", "boundary weight / inside weight")
    return {"figure_4": figure, "appendix_e": growth}
