"""The closed forms against enumeration of every mask, against PCA, and against each other."""

from itertools import combinations, product

import pytest
import torch

from maebench.models.patches import patch_of_pixel
from maebench.seeding import stream
from maebench.theory.closed_form import (
    bernoulli,
    block_diagonal,
    clean,
    counted,
    critical_point,
    fixed_count,
    full_rank,
    independent,
    loss,
    masked_only,
    noisy,
    optimum,
)

SHAPE, PATCHES, D = (2, 4, 4), 4, 32
INDEX = patch_of_pixel(SHAPE, 2)
EYE = torch.eye(D, dtype=torch.float64)


def random(*shape, words="matrix"):
    return torch.randn(*shape, generator=stream(0, words), dtype=torch.float64)


@pytest.fixture(name="C")
def covariance():
    root = random(D, 2 * D, words="covariance")
    return root @ root.T / (2 * D)


def masks(ratio=None, visible=None):
    """Every mask of the patches with its probability: which of the D values are seen."""
    if visible is None:
        sets = [torch.tensor(seen) for seen in product([0.0, 1.0], repeat=PATCHES)]
        weights = [(1 - ratio) ** float(seen.sum()) * ratio ** float(PATCHES - seen.sum()) for seen in sets]
    else:
        sets = [torch.eye(PATCHES)[list(chosen)].sum(0) for chosen in combinations(range(PATCHES), visible)]
        weights = [1 / len(sets)] * len(sets)
    return [(seen.double()[INDEX], weight) for seen, weight in zip(sets, weights, strict=True)]


def enumerated(A, C, every):
    """The expected squared error, mask by mask: x - A R x has the covariance (I - A R) C (I - A R)'."""
    return sum(weight * ((EYE - A * seen) @ C @ (EYE - A * seen).T).trace() for seen, weight in every)


CASES = [
    *[(f"bernoulli {m}", lambda C, m=m: bernoulli(C, INDEX, m), masks(ratio=m)) for m in (0.0, 0.3, 0.75)],
    *[(f"{v} of 4", lambda C, v=v: fixed_count(C, INDEX, v), masks(visible=v)) for v in (1, 2, 3, 4)],
]
every_case = pytest.mark.parametrize(
    ("corrupt", "every"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)


@every_case
def test_loss_of_any_map_is_its_mean_over_all_masks(C, corrupt, every):
    A = random(D, D)
    assert loss(A, C, corrupt(C)) == pytest.approx(float(enumerated(A, C, every)), rel=1e-12)


@every_case
@pytest.mark.parametrize("k", [1, 6, D])
def test_minimum_is_the_mean_over_all_masks_at_the_optimum(C, corrupt, every, k):
    best = optimum(C, corrupt(C), k)
    A = best.decoder @ best.encoder
    assert best.encoder.shape == (k, D)
    assert best.loss == pytest.approx(float(enumerated(A, C, every)), abs=1e-8)
    assert best.loss == pytest.approx(loss(A, C, corrupt(C)), abs=1e-10)


@every_case
def test_without_a_bottleneck(C, corrupt, every):
    best, A = optimum(C, corrupt(C), D), full_rank(C, corrupt(C))
    torch.testing.assert_close(A, best.decoder @ best.encoder, rtol=0, atol=1e-8)
    (gradient,) = torch.autograd.grad(enumerated(A.requires_grad_(), C, every), A)
    assert float(gradient.abs().max()) < 1e-7


@every_case
def test_no_step_from_the_optimum_lowers_the_loss(C, corrupt, every):
    best = optimum(C, corrupt(C), 6)
    encoder, decoder = best.encoder.requires_grad_(), best.decoder.requires_grad_()
    gradients = torch.autograd.grad(enumerated(decoder @ encoder, C, every), [encoder, decoder])
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-7
    for number in range(20):
        step = [1e-2 * random(*matrix.shape, words=f"step {number}") for matrix in (encoder, decoder)]
        moved = ((decoder + step[1]) @ (encoder + step[0])).detach()
        assert enumerated(moved, C, every) > best.loss


@every_case
def test_gradient_descent_from_anywhere_ends_at_the_minimum(C, corrupt, every):
    weights = [0.1 * random(6, D, words="encoder"), 0.1 * random(D, 6, words="decoder")]
    encoder, decoder = (weight.requires_grad_() for weight in weights)
    optimiser = torch.optim.LBFGS([encoder, decoder], max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        value = enumerated(decoder @ encoder, C, every)
        value.backward()
        return value

    optimiser.step(closure)
    reached, best = closure().item(), optimum(C, corrupt(C), 6).loss
    assert best - 1e-8 < reached < 1.01 * best


def test_autoencoder_is_pca(C):
    best = optimum(C, clean(C), 6)
    values, vectors = torch.linalg.eigh(C)
    top = vectors[:, -6:]
    torch.testing.assert_close(best.decoder @ best.encoder, top @ top.T, rtol=0, atol=1e-8)
    assert best.loss == pytest.approx(float(values[:-6].sum()), abs=1e-8)


@pytest.mark.parametrize("corrupt", [lambda C: bernoulli(C, INDEX, 0.0), lambda C: fixed_count(C, INDEX, PATCHES)])
def test_hiding_nothing_is_the_autoencoder(C, corrupt):
    plain, masked = optimum(C, clean(C), 6), optimum(C, corrupt(C), 6)
    assert masked.loss == pytest.approx(plain.loss, abs=1e-10)
    torch.testing.assert_close(masked.decoder @ masked.encoder, plain.decoder @ plain.encoder, rtol=0, atol=1e-10)


@pytest.mark.parametrize("corrupt", [lambda C: bernoulli(C, INDEX, 0.75), lambda C: fixed_count(C, INDEX, 1)])
def test_independent_patches_give_the_subspace_of_the_autoencoder(C, corrupt):
    """Remark 1: between patches that say nothing of each other there is nothing to fill in."""
    B = block_diagonal(C, INDEX)
    plain, masked = optimum(B, clean(B), 6), optimum(B, corrupt(B), 6)
    torch.testing.assert_close(masked.decoder @ masked.decoder.T, plain.decoder @ plain.decoder.T, rtol=0, atol=1e-8)
    correlated = optimum(C, corrupt(C), 6).decoder
    assert not torch.allclose(correlated @ correlated.T, plain.decoder @ plain.decoder.T, atol=1e-2)


def test_block_diagonal_keeps_what_lies_in_one_patch(C):
    B = block_diagonal(C, INDEX)
    for i, j in product(range(D), repeat=2):
        assert B[i, j] == (C[i, j] if INDEX[i] == INDEX[j] else 0)


def test_denoising_is_an_autoencoder_with_a_penalty_on_its_weights(C):
    A = random(D, D)
    penalty = 0.3**2 * float(A.square().sum())
    assert loss(A, C, noisy(C, 0.3)) == pytest.approx(loss(A, C, clean(C)) + penalty, rel=1e-12)
    shrink = torch.linalg.eigvalsh(C)
    known = float(shrink.sum() - (shrink**2 / (shrink + 0.3**2))[-6:].sum())  # the Wiener filter of the top 6
    assert optimum(C, noisy(C, 0.3), 6).loss == pytest.approx(known, abs=1e-8)


def test_the_code_of_corrupted_images_is_uncorrelated_and_sorted(C):
    """The gauge T = I: the code's variances are the eigenvalues that the minimum takes off tr C."""
    corruption = fixed_count(C, INDEX, 2)
    best = optimum(C, corruption, 6)
    code = best.encoder @ corruption.second_moment @ best.encoder.T
    torch.testing.assert_close(best.decoder.T @ best.decoder, EYE[:6, :6], rtol=0, atol=1e-10)
    torch.testing.assert_close(code, code.diagonal().sort(descending=True).values.diag(), rtol=0, atol=1e-8)
    assert best.loss == pytest.approx(float(C.trace() - code.trace()), abs=1e-8)


@pytest.mark.parametrize("corrupt", [clean, lambda C: bernoulli(C, INDEX, 0.75), lambda C: fixed_count(C, INDEX, 1)])
def test_fewer_images_than_pixels_and_a_constant_pixel(corrupt):
    few = random(5, D)
    few[:, 3] = 0
    C = few.T @ few / 5
    best = optimum(C, corrupt(C), 6)
    assert best.encoder.isfinite().all()
    assert best.loss == pytest.approx(loss(best.decoder @ best.encoder, C, corrupt(C)), abs=1e-10)
    if corrupt is clean:
        assert best.loss == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_images_that_do_not_vary_are_refused(value):
    C = torch.full((D, D), value, dtype=torch.float64)
    with pytest.raises(ValueError, match="images that vary"):
        optimum(C, clean(C), 6)


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], [31, 0, 7], [5]])
def test_every_choice_of_eigenvectors_is_a_critical_point_and_the_first_alone_a_minimum(C, chosen):
    """Lemma 2: no gradient at any of them; all but the first k have a way down, towards a stronger eigenvector."""
    every, corruption = masks(ratio=0.6), bernoulli(C, INDEX, 0.6)
    point = critical_point(C, corruption, chosen)
    encoder, decoder = point.encoder.requires_grad_(), point.decoder.requires_grad_()
    value = enumerated(decoder @ encoder, C, every)
    assert point.loss == pytest.approx(float(value.detach()), abs=1e-8)
    gradients = torch.autograd.grad(value, [encoder, decoder])
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-6
    k = len(chosen)
    best = optimum(C, corruption, k)
    assert (point.loss < best.loss + 1e-9) == (chosen == list(range(k)))
    missing = next(one for one in range(k + 1) if one not in chosen)
    if missing < k:
        worst = chosen.index(max(chosen))
        better = critical_point(C, corruption, [missing])
        tilted = [matrix.detach().clone() for matrix in (encoder, decoder)]
        tilted[0][worst] += 0.01 * better.encoder[0]
        tilted[1][:, worst] += 0.01 * better.decoder[:, 0]
        assert enumerated(tilted[1] @ tilted[0], C, every) < point.loss


LAWS = [
    *[(f"independent {m}", independent(m), m, masks(ratio=m)) for m in (0.1, 0.3, 0.75)],
    *[(f"{v} of 4", counted(v, PATCHES - 1), 1 - v / PATCHES, masks(visible=v)) for v in (1, 2, 3)],
]


@pytest.mark.parametrize(("others", "hidden", "every"), [case[1:] for case in LAWS], ids=[case[0] for case in LAWS])
def test_filling_in_hidden_patches_alone(C, others, hidden, every):
    """The masked-only loss is its mean over all masks, its gradient is zero, and a patch never reads itself."""
    W, minimum = masked_only(C, INDEX, others, hidden)
    same = INDEX[:, None] == INDEX
    assert float(W[same].abs().max()) < 1e-9

    def expected(W):
        parts = [(EYE - W * seen)[seen == 0] for seen, _ in every]
        return sum(weight * (part @ C @ part.T).trace() for part, (_, weight) in zip(parts, every, strict=True))

    assert minimum == pytest.approx(float(expected(W)), abs=1e-8)
    (gradient,) = torch.autograd.grad(expected(W.requires_grad_()), W)
    assert float(gradient[~same].abs().max()) < 1e-7
