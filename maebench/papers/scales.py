"""How large the MAEs of the figures are at each budget: "quick" for 2 CPU cores, "full" as the source paper has it.

Figures of one scale share their runs. Source of "full": "From Linearity to Non-Linearity" (arXiv 2508.15404), section
4.1; configs/source_paper.yaml, which a test holds it to, says which of its numbers the paper does not print.
Ours: "quick", sized so that all figures together take half an hour. It is far from where such models converge; its
rates and batches are the best of a handful in that time, by linear probe and fine-tuning at ratio 0.75, scored on
CIFAR-10's validation images.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Scale = Literal["quick", "full"]
Settings = dict[Scale, dict[str, Any]]

# Ours: target pixels, as in the paper's theory.
VIT: Settings = {
    "quick": {
        "patch": 4,
        "width": 48,
        "depth": 4,
        "heads": 4,
        "decoder_width": 48,
        "decoder_depth": 1,
        "decoder_heads": 4,
        "target": "pixels",
    },
    "full": {
        **{"patch": 2, "width": 192, "depth": 12, "heads": 12, "target": "pixels"},
        **{"decoder_width": 192, "decoder_depth": 4, "decoder_heads": 16},
    },
}
TINY_VIT: Settings = {
    "quick": {
        **{"width": 32, "depth": 2, "heads": 2, "decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2},
        "target": "pixels",
    },
    "full": {key: value for key, value in VIT["full"].items() if key != "patch"},
}
"""for sweeps over the patch, of which 2 is the smallest and costs the most"""
PRETRAIN: Settings = {
    "quick": {"steps": 500, "batch": 32, "base_lr": 1.6e-2},
    "full": {
        **{"epochs": 2000, "batch": 4096, "base_lr": 1.5e-4, "warmup": 0.025, "augment": "resized_crop_flip"},
        **{"micro_batch": 512, "precision": "bfloat16", "compile": "default"},
    },
}
BRIEF: Settings = {**PRETRAIN, "quick": {"steps": 250, "batch": 32, "base_lr": 3.2e-2}}
"""for TINY_VIT"""
PROBE: Settings = {"quick": {"fit_images": 2000}, "full": {}}
TUNE: Settings = {
    "quick": {"epochs": 3, "batch": 32, "base_lr": 3.2e-2, "fit_images": 2000},
    "full": {"epochs": 100, "batch": 1024, "base_lr": 1e-3, "randaugment": 9},
}


def mae_config(
    settings: Mapping[str, Any],
    models: Sequence[Mapping[str, Any]],
    ratio: float | Sequence[float] = 0.75,
    tasks: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A config, as in YAML: vit_mae with each of these settings under uniform masks, on the `dataset` of the settings.

    It is trained as their `pretrain` says, with their `seeds`.
    """
    return {
        "tracks": [{"dataset": settings["dataset"], "tasks": list(tasks)}],
        "variants": [{"vit_mae": dict(model)} for model in models],
        "masks": {"strategy": "uniform", "ratio": ratio if isinstance(ratio, float) else list(ratio)},
        "pretrain": settings["pretrain"],
        "seeds": settings["seeds"],
    }
