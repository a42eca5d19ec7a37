"""What of an image is seen in training: the realised share of hidden pixels, and the tokens that a budget counts."""

import pytest
import torch
from builders.plugins import images

from maebench.contracts import Variant, standardise
from maebench.runs.build import assemble
from maebench.runs.plan import EncoderSpec, Plugin
from maebench.training.budget import Budget
from maebench.training.masker import Masker
from maebench.training.step_cost import step_flops, total_steps
from maebench.training.visible import visible_share, visible_tokens

SMALL = {"width": 8, "depth": 1, "heads": 2, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
SHAPE = (3, 16, 16)  # 16 patches of 4


def built(name: str, settings: dict[str, object], strategy: str | None = None, ratio: float | None = None) -> Variant:
    masking = Plugin(strategy, {}, "") if strategy else None
    spec = EncoderSpec(Plugin("d", {}, ""), Plugin(name, settings, ""), masking, ratio, Budget("steps", 1), 0)
    return assemble(spec, SHAPE)


@pytest.mark.parametrize(("ratio", "hidden"), [(0.75, 12), (0.5, 8), (0.7, 11), (0.0, 0)])
@pytest.mark.parametrize("strategy", ["uniform", "grid"])
def test_the_realised_share_is_that_of_whole_patches(strategy, ratio, hidden):
    variant, batch = built("vit_mae", SMALL, strategy, ratio), standardise(images(5, SHAPE))
    assert visible_share(variant, batch) == pytest.approx(1 - hidden / 16)
    assert visible_tokens(variant, batch) == pytest.approx(16 - hidden)


def test_who_hides_nothing_sees_all_and_a_linear_mae_hides_by_its_settings():
    batch = standardise(images(5, SHAPE))
    assert visible_share(built("vit_ae", SMALL), batch) == 1
    assert visible_tokens(built("vit_ae", SMALL), batch) == 16
    assert visible_share(built("linear_mae", {"k": 9, "patch": 4, "ratio": 0.5}), batch) == 0.5


def test_a_budget_of_tokens_gives_high_ratios_more_steps():
    sample, budget = images(2, SHAPE), Budget("tokens", 64_000, batch=40)
    steps = [
        total_steps(budget, built("vit_mae", SMALL, "uniform", ratio), Masker(), sample, 1000) for ratio in (0.5, 0.75)
    ]
    assert steps == [64_000 / (40 * 8), 64_000 / (40 * 4)]
    assert torch.equal(sample, images(2, SHAPE))


def test_of_a_budget_in_flops_what_was_prepared_is_gone():
    sample, variant = images(2, SHAPE), built("vit_mae", SMALL, "uniform", 0.5)
    step, _ = step_flops(variant, Masker(), standardise(sample))
    budget = Budget("flops", 100 * step * 40, batch=40)
    steps = [total_steps(budget, variant, Masker(), sample, 1000, share * budget.amount) for share in (0, 0.25, 2)]
    assert steps == [100, 75, 1]
