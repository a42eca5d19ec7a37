"""maebench: the reference benchmark for masked autoencoders at small scale.

    runs = maebench.plan("quick.yaml")                    # what would be run
    results = maebench.run("quick.yaml", out="results/q")   # .boards, .table, and itself in a notebook
    results = maebench.results("results/q")               # a folder made elsewhere
    encoder = maebench.load("results/q/RUN_ID")           # a trained encoder, as an nn.Module
    variant = maebench.build("vit_mae", shape=(3, 32, 32), masking="uniform", ratio=0.75, width=96)

and what a plug-in file imports: `Variant`, `Split`, `standardise`, `stream`, ... Every name is loaded on first use, so
that `import maebench` itself takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maebench.contracts import Encode as Encode
    from maebench.contracts import Hide as Hide
    from maebench.contracts import MissingData as MissingData
    from maebench.contracts import Reconstruction as Reconstruction
    from maebench.contracts import Split as Split
    from maebench.contracts import Variant as Variant
    from maebench.contracts import standardise as standardise
    from maebench.face import build as build
    from maebench.face import plan as plan
    from maebench.face import run as run
    from maebench.leaderboard.results import results as results
    from maebench.models.losses import pixel_loss as pixel_loss
    from maebench.models.patches import grid_of as grid_of
    from maebench.models.patches import patchify as patchify
    from maebench.models.patches import scored_pixels as scored_pixels
    from maebench.models.patches import seen_pixels as seen_pixels
    from maebench.models.patches import unpatchify as unpatchify
    from maebench.runs.encoders import load as load
    from maebench.seeding import stream as stream
    from maebench.theory.moments import moments as moments

__version__ = "0.5.0"

_FACE = {
    "face": ("build", "plan", "run"),
    "leaderboard.results": ("results",),
    "contracts": ("Encode", "Hide", "MissingData", "Reconstruction", "Split", "Variant", "standardise"),
    "models.losses": ("pixel_loss",),
    "models.patches": ("grid_of", "patchify", "scored_pixels", "seen_pixels", "unpatchify"),
    "runs.encoders": ("load",),
    "seeding": ("stream",),
    "theory.moments": ("moments",),
}
"""module -> the names of it that are maebench's own"""


def __getattr__(name: str) -> Any:
    for module, names in _FACE.items():
        if name in names:
            return getattr(import_module(f"maebench.{module}"), name)
    raise AttributeError(f"module 'maebench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *(name for names in _FACE.values() for name in names)])
