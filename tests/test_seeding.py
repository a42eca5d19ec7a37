"""Random streams named by words."""

import torch

from maebench.seeding import number, stream


def test_the_numbers_of_the_words_never_change() -> None:
    # Every result on disk rests on these: a change makes all of them unrepeatable.
    assert number(0, "masking", 3) == 7688448798175992103
    assert number(7) == 4359823973405836615


def test_numbers_fit_a_generator_and_differ() -> None:
    all_numbers = [
        number(seed, word, step) for seed in range(20) for word in ("order", "masking") for step in range(50)
    ]
    assert len(set(all_numbers)) == len(all_numbers)
    assert all(0 <= one < 2**63 for one in all_numbers)


def test_a_stream_is_the_same_for_the_same_words_only() -> None:
    first = torch.rand(8, generator=stream(0, "masking", 5))
    assert torch.equal(first, torch.rand(8, generator=stream(0, "masking", 5)))
    for other in (stream(1, "masking", 5), stream(0, "masking", 6), stream(0, "order", 5), stream(0, "masking")):
        assert not torch.equal(first, torch.rand(8, generator=other))


def test_a_new_consumer_shifts_nobody_and_the_global_generator_is_untouched() -> None:
    before = torch.get_rng_state()
    alone = torch.rand(4, generator=stream(0, "a"))
    other, again = stream(0, "b"), stream(0, "a")
    torch.rand(1000, generator=other)
    assert torch.equal(torch.rand(4, generator=again), alone)
    assert torch.equal(torch.get_rng_state(), before)
