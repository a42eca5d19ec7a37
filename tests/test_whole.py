"""The read-out of the whole map: components are those of PCA, and each reading is a ridge regression on the first k."""

import pytest
import torch
from builders.plugins import CPU, images
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from torch import Tensor

from maebench.plugins import find
from maebench.runs.build import seeded
from maebench.runs.scoring.features import frozen
from maebench.seeding import stream
from maebench.tasks.readouts.dense import CHUNK, r2
from maebench.tasks.readouts.whole import PENALTIES, components, read, remembered

WIDE, TALL = (2, 4, 5), (3, 16, 16)  # 40 values an image and 768: fewer and more than there are images


def encoder(shape: tuple[int, int, int]):
    """Features [N, C, H, W] with a spectrum that falls, correlated over channels and places, and a mean."""
    count = shape[0] * shape[1] * shape[2]
    mix = torch.randn(count, count, generator=stream(0, "mix")) * torch.logspace(0, -2, count)
    return lambda batch: (batch.float().flatten(1) @ mix.T / 100 + 3).view(-1, *shape)


def flat(encode, batch: Tensor) -> Tensor:
    return encode(batch).flatten(1)


def targets(encode, batch: Tensor, seed: int) -> Tensor:
    """[N, 4], linear in the features plus noise."""
    features = flat(encode, batch)
    true = torch.randn(features.shape[1], 4, generator=stream(0, "true")) / features.shape[1] ** 0.5
    return features @ true + torch.randn(len(batch), 4, generator=stream(seed, "noise")) + torch.arange(4)


@pytest.mark.parametrize("shape", [WIDE, TALL])
def test_components_are_those_of_pca(shape):
    encode, batch = encoder(shape), images(120, shape)
    found, theirs = components(encode, batch), PCA(svd_solver="full").fit(flat(encode, batch).double().numpy())
    count = len(found.variances)
    assert count == min(119, shape[0] * shape[1] * shape[2])
    torch.testing.assert_close(found.basis.T @ found.basis, torch.eye(count), atol=1e-4, rtol=0)
    variances = torch.from_numpy(theirs.explained_variance_[:count]).float() * 119 / 120
    torch.testing.assert_close(found.variances, variances, rtol=1e-3, atol=1e-5 * float(variances[0]))
    overlap = (found.basis[:, :8].T.double() @ torch.from_numpy(theirs.components_[:8]).double().T).abs()
    torch.testing.assert_close(overlap, torch.eye(8, dtype=torch.float64), atol=1e-3, rtol=0)
    torch.testing.assert_close(found(batch).square().mean(0), found.variances, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 32, 32)])
def test_chunks_do_not_matter(shape):
    encode, batch = encoder(shape), images(CHUNK + 7, shape)
    parts = components(encode, batch)
    rows = flat(encode, batch)
    rows -= rows.mean(0)
    values = torch.linalg.svdvals(rows.double())[: len(parts.variances)] ** 2 / len(rows)
    torch.testing.assert_close(parts.variances[:200], values.float()[:200], rtol=1e-3, atol=1e-6 * float(values[0]))


@pytest.mark.parametrize("shape", [WIDE, TALL])
@pytest.mark.parametrize("k", [None, 8, 39])
@pytest.mark.parametrize("penalty", [1e-1, 1e-4])
def test_a_reading_is_the_ridge_regression_of_scikit_learn(shape, k, penalty):
    encode, batch, other = encoder(shape), images(120, shape), images(50, shape, seed=1)
    found, wanted = components(encode, batch), targets(encode, batch, 0)
    (ours,) = read(found, (batch, wanted), (batch, wanted), [k], [penalty])
    pca = PCA(k or len(found.variances), svd_solver="full").fit(flat(encode, batch).double().numpy())
    total = float(found.variances[:k].sum())
    scores = pca.transform(flat(encode, batch).double().numpy())
    theirs = Ridge(alpha=120 * penalty * total).fit(scores, wanted.numpy())
    expected = torch.from_numpy(theirs.predict(pca.transform(flat(encode, other).double().numpy()))).float()
    torch.testing.assert_close(ours(found(other)), expected, rtol=1e-3, atol=2e-3)


def test_each_output_and_each_k_has_the_penalty_of_least_validation_error():
    encode, batch, held = encoder(TALL), images(120, TALL), images(100, TALL, seed=1)
    found, wanted, seen = components(encode, batch), targets(encode, batch, 0), targets(encode, held, 1)
    readings = read(found, (batch, wanted), (held, seen), [4, None])
    for k, chosen in zip([4, None], readings, strict=True):
        each = [read(found, (batch, wanted), (held, seen), [k], [penalty])[0] for penalty in PENALTIES]
        errors = torch.stack([(one(found(held)) - seen).square().sum(0) for one in each])
        chosen_error = (chosen(found(held)) - seen).square().sum(0)
        torch.testing.assert_close(chosen_error, errors.min(0).values, rtol=1e-3, atol=1e-3)
    assert len({float(one) for reading in readings for one in reading.penalty}) > 1, "the example needs no choice"


@pytest.mark.parametrize("shape", [WIDE, TALL])
@pytest.mark.parametrize("k", [None, 8])
def test_unknown_targets_are_left_out_exactly(shape, k):
    encode, batch = encoder(shape), images(120, shape)
    found, wanted = components(encode, batch), targets(encode, batch, 0)
    gaps = torch.rand(120, 4, generator=stream(0, "gaps")) < torch.tensor([0.0, 0.3, 0.8, 1.0])
    rows, penalty = wanted.masked_fill(gaps, torch.nan), 1e-3
    (ours,) = read(found, (batch, rows), (batch, rows), [k], [penalty])
    scores = found(batch)[:, :k].double()
    damping = torch.full((scores.shape[1] + 1,), 120 * penalty * float(found.variances[:k].sum())).double()
    damping[-1] = 0
    ones = torch.cat([scores, torch.ones(120, 1)], 1)
    for output in range(3):
        known = ones[~gaps[:, output]]
        right = known.T @ wanted[~gaps[:, output], output].double()
        expected = ones @ torch.linalg.solve(known.T @ known + damping.diag(), right)
        torch.testing.assert_close(ours(found(batch))[:, output].double(), expected, rtol=0, atol=5e-3)
    assert ours(found(batch))[:, 3].eq(0).all(), "an output that is never known is 0"


def test_a_rotation_of_the_features_changes_nothing():
    encode, batch, other = encoder(WIDE), images(120, WIDE), images(60, WIDE, seed=1)
    turn = torch.linalg.qr(torch.randn(40, 40, generator=stream(0, "turn"))).Q

    def turned(some: Tensor) -> Tensor:
        return (flat(encode, some) @ turn)[..., None, None]

    guesses = []
    for one in (encode, turned):
        found, wanted = components(one, batch), targets(encode, batch, 0)
        readings = read(found, (batch, wanted), (other, targets(encode, other, 1)), [4, 16, None])
        guesses.append(torch.stack([reading(found(other)) for reading in readings]))
    torch.testing.assert_close(guesses[0], guesses[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("k", [4, 30])
def test_raw_pixels_at_k_are_the_linear_autoencoder_of_dimension_k(k):
    shape, batch, other = (3, 8, 8), images(400, (3, 8, 8)), images(200, (3, 8, 8), seed=1)
    pixels = encoder(shape)
    wanted, seen = targets(pixels, batch, 0), targets(pixels, other, 1)
    scores = []
    for name, settings, count in (("raw_pixels", {}, k), ("linear_ae", {"k": k}, None)):
        variant = seeded(find("variants", name), {"shape": shape, **settings}, 0)
        variant.fit(batch)
        encode = frozen(variant, CPU)
        found = components(encode, batch)
        (reading,) = read(found, (batch, wanted), (other, seen), [count])
        scores.append(r2(reading(found(other)), seen))
    assert scores[0] == pytest.approx(scores[1], abs=2e-4)


def test_a_blank_encoder_is_the_mean():
    def blank(batch: Tensor) -> Tensor:
        return torch.zeros(len(batch), 3, 2, 2)

    batch, found = images(30, WIDE), components(blank, images(30, WIDE))
    wanted = torch.randn(30, 4, generator=stream(0, "wanted"))
    for reading in read(found, (batch, wanted), (batch, wanted), [None, 8]):
        torch.testing.assert_close(reading(found(batch)), wanted.mean(0).expand(30, 4))


def test_more_components_than_there_are_read_them_all():
    encode, batch = encoder(WIDE), images(120, WIDE)
    found, wanted = components(encode, batch), targets(encode, batch, 0)
    more, everything = read(found, (batch, wanted), (batch, wanted), [1024, None])
    assert torch.equal(more.weight, everything.weight)


def test_the_same_images_are_analysed_once():
    calls = []

    def encode(some: Tensor) -> Tensor:
        calls.append(len(some))
        return some.float()

    whole, batch = remembered(encode), images(20, WIDE)
    first = whole(batch)
    count = len(calls)
    assert whole(batch[:]) is first
    assert len(calls) == count
    assert whole(batch[:10]) is not first


def test_a_map_of_256_tokens_of_192_features_is_read():
    def encode(some: Tensor) -> Tensor:
        return some.float().mean(1, keepdim=True).repeat(1, 192, 1, 1) + torch.arange(192).view(-1, 1, 1)

    batch = images(60, (3, 16, 16))
    found = components(encode, batch)
    assert found.basis.shape == (192 * 256, 59)
    wanted = batch.float().mean(1).flatten(1)
    (reading,) = read(found, (batch, wanted), (batch, wanted), [None])
    assert r2(reading(found(batch)), wanted) > 0.99
