"""What a pretraining follows: the rate, the budget in steps, the parts of a batch."""

import itertools
import json
import math

import pytest

from maebench.training.budget import FITTED, UNTRAINED, Budget, Kind, peak_rate, read_budget
from maebench.training.optimiser import learning_rate, learning_rates


def test_the_rates_of_the_steps_are_those_half_way_through_each() -> None:
    falling = [4 * (1 + math.cos(math.pi * share)) for share in (0.25, 0.75)]
    assert learning_rates(4, 8.0, 0.5) == pytest.approx([2.0, 6.0, *falling])


def test_the_rate_rises_in_a_line_then_falls_in_half_a_cosine() -> None:
    rates = [learning_rate(step / 100, 2.0, 0.1) for step in range(101)]
    assert rates[:11] == pytest.approx([0.2 * step for step in range(11)])
    assert rates[10] == max(rates) == 2.0
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert rates[55] == pytest.approx(1.0)  # half-way down
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert learning_rate(1.5, 2.0, 0.1) == pytest.approx(0.0, abs=1e-12)  # a budget in seconds may run over
    assert learning_rate(0.25, 1.0, 0.0) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


def test_the_rate_follows_the_batch_of_all_processes() -> None:
    assert peak_rate(1.5e-4, 4096) == pytest.approx(2.4e-3)


@pytest.mark.parametrize(("batch", "micro"), [(16, 16), (16, 5), (16, 1), (7, 100), (4096, 512)])
def test_micro_batches_are_the_batch_in_order(batch: int, micro: int) -> None:
    parts = Budget("steps", 1, batch=batch, micro_batch=micro).micro_batches
    assert [one for part in parts for one in range(part.start, part.stop)] == list(range(batch))
    assert all(part.stop - part.start == micro for part in parts[:-1])
    assert Budget("steps", 1, batch=batch).micro_batches == [slice(0, batch)]


@pytest.mark.parametrize(
    ("kind", "amount", "steps"),
    [
        ("steps", 7, 7),
        ("epochs", 1, 10),
        ("epochs", 1.01, 11),
        ("epochs", 0.001, 1),
        ("flops", 50 * 100 * 12.4, 12),
        ("flops", 1.0, 1),
        ("tokens", 16 * 100 * 12.4, 12),
        ("tokens", 1.0, 1),
        ("seconds", 7.0, None),
    ],
)
def test_a_budget_is_so_many_steps(kind: Kind, amount: float, steps: int | None) -> None:
    assert Budget(kind, amount, batch=100).steps(1000, lambda: 50.0, lambda: 16.0) == steps


@pytest.mark.parametrize("budget", [FITTED, UNTRAINED, Budget("epochs", 2.5, micro_batch=16), Budget("steps", 9)])
def test_a_budget_is_read_again_from_its_record(budget: Budget) -> None:
    assert read_budget(json.loads(json.dumps(budget.content()))) == budget
    assert [budget.fitted, budget.untrained, budget.trained].count(True) == 1


def test_the_protocol_is_one_line_and_refuses_an_uneven_share() -> None:
    budget = Budget("steps", 1, batch=128, micro_batch=32, base_lr=2e-3)
    assert budget.protocol(2) == (
        "effective batch 128 = 32 images x 2 micro-batches x 2 processes; peak lr 0.001 = 0.002 x 128 / 256"
    )
    with pytest.raises(ValueError, match=r"3 processes cannot share 4 .* set pretrain.micro_batch to 42"):
        budget.protocol(3)
