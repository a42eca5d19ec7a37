"""Pixels of natural images go together, less with distance"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from maebench import canvas
from maebench.batches import standardise
from maebench.claims import Finding, Mean, Verdict, by_choice, mean
from maebench.runs import Runs
from maebench.theory.spatial import autocorrelation

FIGURES = ("3",)
CLAIMS = {
    "strong": "Neighbouring pixels are strongly correlated, and the correlation falls with distance.",
    "inverse": "The strength of the correlation is inversely proportional to the distance.",
}
CHOICES = (
    "Grey CIFAR-10 (luma), the mean of each pixel over the images removed; also shown: the mean of each image removed.",
    "Pairs at their distance rounded to whole pixels, up to 16.",
    "Strong: a neighbour explains over half of the variance, rho(1)^2 > 0.5.",
    "The exponent of rho(D) = D^-a is fitted on D = 1 to 16; the claim holds where it is within 0.1 of 1.",
    "Uncertainty over three disjoint thirds of the train images.",
)
REACH = 16
MAIN = "mean of each pixel removed"


def compute(runs: Runs) -> pd.DataFrame:
    """Rows: centring, part (third of the images), distance, rho."""
    images = standardise(runs.splits("cifar10", {"channels": "grey"})["train"].images)[:, 0].double()
    centred = {MAIN: images - images.mean(0), "mean of each image removed": images - images.mean((1, 2), keepdim=True)}
    rows = []
    for centring, maps in centred.items():
        for part in range(3):
            distance, rho = autocorrelation(maps[part::3])
            rows += [
                {"centring": centring, "part": part, "distance": int(d), "rho": float(r)}
                for d, r in zip(distance, rho, strict=True)
            ]
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def judge(table: pd.DataFrame) -> Mapping[str, Finding]:
    """rho(1) and whether rho falls; the fitted exponent."""
    near = table[(table["distance"] >= 1) & (table["distance"] <= REACH)]
    strong: dict[str, tuple[Verdict, str]] = {}
    inverse: dict[str, tuple[Verdict, str]] = {}
    for centring, some in near.groupby("centring", sort=False):
        curves = [part.set_index("distance")["rho"] for _, part in some.groupby("part")]
        first = mean([curve[1] for curve in curves])
        falls = all((curve.diff().dropna() < 0).all() for curve in curves)
        strong[str(centring)] = (
            "holds" if falls and first.value**2 > 0.5 else "does not hold",
            f"rho(1) = {first}, {'falls' if falls else 'does not fall'} at every step to {REACH} px",
        )
        power = _exponents(curves)
        inverse[str(centring)] = (
            "holds" if power is not None and abs(power.value - 1) < 0.1 else "does not hold",
            f"rho ~ D^-a with a = {power}" if power else "rho is negative within 16 px, no power of the distance",
        )
    return {"strong": by_choice(strong), "inverse": by_choice(inverse)}


def _exponents(curves: Sequence["pd.Series[float]"]) -> Mean | None:
    """a of the least-squares line log rho = b - a log D of each curve; None where rho is not positive."""
    if any((curve <= 0).any() for curve in curves):
        return None
    logs = [(np.log(curve.index.to_numpy(dtype=float)), np.log(curve.to_numpy())) for curve in curves]
    return mean([-float(np.polyfit(x, y, 1)[0]) for x, y in logs])


def draw(table: pd.DataFrame) -> Mapping[str, Figure]:
    """rho against distance, on plain and on logarithmic axes beside a line of slope -1."""
    figure, ((plain, logarithmic),) = canvas.sheet(1, 2)
    shown = table[table["distance"] <= 2 * REACH]
    canvas.lines(plain, shown, "distance", "rho", "centring")
    plain.axhline(0, color="black", lw=0.6)
    canvas.dress(plain, "Autocorrelation of CIFAR-10, grey", "distance, pixels", "rho")
    canvas.lines(
        logarithmic, shown[shown["distance"].between(1, REACH) & (shown["rho"] > 0)], "distance", "rho", "centring"
    )
    logarithmic.plot([1, REACH], [1, 1 / REACH], color="black", lw=0.8, ls=":", label="1 / distance")
    logarithmic.set(xscale="log", yscale="log")
    logarithmic.legend(fontsize=7, frameon=False)
    canvas.dress(logarithmic, "The same, logarithmic", "distance, pixels", "rho")
    return {"figure_3": figure}
