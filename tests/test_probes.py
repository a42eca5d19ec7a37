"""Read-outs: ridge and logistic regression are what their formulas say, and rows lie where their pixels do."""

import pytest
import torch
from builders.plugins import images
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from maebench.contracts import Split
from maebench.models.patches import patchify
from maebench.seeding import stream
from maebench.tasks.readouts import logistic, ridge
from maebench.tasks.readouts.dense import CHUNK, chunks, explained, first, fit_dense, from_rows, r2, target_rows
from maebench.tasks.readouts.pooling import pool


def regression(rows: int, seed: int = 0, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    """Correlated features [rows, 12] of unequal scale, and targets [rows, 5] linear in them plus noise."""
    rng, world = stream(seed, "rows"), stream(0, "world")
    mix = torch.randn(12, 12, generator=world) * torch.logspace(-1, 1, 12)
    true = torch.randn(12, 5, generator=world)
    features = torch.randn(rows, 12, generator=rng) @ mix + 3
    return features, features @ true / 10 + noise * torch.randn(rows, 5, generator=rng) + torch.arange(5)


def once(features: Tensor, targets: Tensor) -> ridge.Rows:
    return lambda: [(features, targets)]


def explicit(features: Tensor, target: Tensor, known: Tensor, penalty: float) -> Tensor:
    """The fitted values [R] of one output by the normal equations of the rows where it is known."""
    x = features.double()
    z = torch.cat([(x - x.mean(0)) / x.std(0, correction=0), torch.ones(len(x), 1)], 1)
    damping = torch.full((z.shape[1],), len(x) * penalty, dtype=torch.float64)
    damping[-1] = 0
    inner = z[known]
    return z @ torch.linalg.solve(inner.T @ inner + damping.diag(), inner.T @ target[known].double())


def test_sums_do_not_depend_on_the_chunks():
    features, targets = regression(50)
    targets[3, 1] = torch.nan
    whole = ridge.accumulate([(features, targets)])
    parts = ridge.accumulate(zip(features.split(13), targets.split(13), strict=True))
    assert whole.rows == parts.rows == 50
    for name in ("x", "xx", "y", "xy"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))
    assert parts.gaps.tolist() == [False, True, False, False, False]
    torch.testing.assert_close(whole.xx, features.double().T @ features.double())


@pytest.mark.parametrize("penalty", [1e-4, 0.1, 10.0])
def test_ridge_solves_the_normal_equations_as_scikit_learn_does(penalty):
    features, targets = regression(80)
    fitted = ridge.fit(once(features, targets), once(features, targets), [penalty])(features)
    known = torch.ones(80, dtype=torch.bool)
    for output in range(5):
        wanted = explicit(features, targets[:, output], known, penalty).float()
        torch.testing.assert_close(fitted[:, output], wanted, rtol=1e-4, atol=1e-4)
    z = StandardScaler().fit_transform(features.double().numpy())
    theirs = SklearnRidge(alpha=80 * penalty).fit(z, targets.double().numpy()).predict(z)
    torch.testing.assert_close(fitted, torch.from_numpy(theirs).float(), rtol=1e-4, atol=1e-4)


def test_each_output_gets_the_penalty_of_least_validation_error():
    train, val = once(*regression(30, noise=5)), once(*regression(200, seed=1, noise=5))
    chosen = ridge.fit(train, val)
    alone = [ridge.fit(train, val, [penalty]) for penalty in ridge.PENALTIES]
    features, targets = val()[0]
    errors = torch.stack([(affine(features) - targets).square().sum(0) for affine in alone])
    assert len(set(errors.argmin(0).tolist())) > 1, "the example does not tell the outputs apart"
    for output, best in enumerate(errors.argmin(0).tolist()):
        assert chosen.penalty[output] == ridge.PENALTIES[best]
        torch.testing.assert_close(chosen.weight[:, output], alone[best].weight[:, output])


@pytest.mark.parametrize("penalty", [1e-4, 0.1])
def test_unknown_targets_are_left_out_exactly(penalty):
    features, targets = regression(300)
    gaps = torch.rand(300, 5, generator=stream(0, "gaps")) < torch.tensor([0.02, 0.3, 0.9, 0, 1])
    gaps[:, 1] |= features[:, 3] > features[:, 3].quantile(0.7)  # what is unknown may depend on the image
    rows = targets.masked_fill(gaps, torch.nan)

    def train():
        return zip(features.split(70), rows.split(70), strict=True)

    affine = ridge.fit(train, once(features, rows), [penalty])
    filled = ridge.fit(once(features, rows.nan_to_num()), once(features, targets), [penalty])(features)
    for output in range(4):
        wanted = explicit(features, targets[:, output], ~gaps[:, output], penalty).float()
        spread = float(wanted.std())
        torch.testing.assert_close(affine(features)[:, output], wanted, rtol=0, atol=2e-3 * spread)
        if output < 3:
            assert (filled[:, output] - wanted).abs().max() > 0.01 * spread, "zeros for gaps would pass too"
    assert affine(features)[:, 4].eq(0).all(), "an output that is never known is 0"


def test_constant_features_are_left_out_and_units_do_not_matter():
    features, targets = regression(60)
    val = once(features, targets)
    plain = ridge.fit(val, val, [0.1])(features)
    constant = torch.cat([features, torch.full((60, 1), 1e4), torch.zeros(60, 1)], 1)
    other = ridge.fit(once(constant, targets), once(constant, targets), [0.1])
    torch.testing.assert_close(other(constant), plain)
    constant[:, -2:] += 1e3
    torch.testing.assert_close(other(constant), plain)
    scaled = features / features.std(0) * torch.logspace(-3, 3, 12) + 7
    torch.testing.assert_close(
        ridge.fit(once(scaled, targets), once(scaled, targets), [0.1])(scaled), plain, rtol=1e-3, atol=1e-3
    )


def codes(rows: int, seed: int, offset: float = 0.0) -> Tensor:
    """[rows, 48] float32: 64 correlated values and an offset, in the directions of the first 30 rows of seed 0.

    The first 29 of them differ between those rows; in all others they are alike, but for how float32 rounds.
    """
    mix = torch.randn(64, 64, generator=stream(0, "mix")) * torch.logspace(0, -1, 64)
    inputs = torch.randn(30, 64, generator=stream(0, "inputs")) @ mix.T
    directions = torch.linalg.svd((inputs - inputs.mean(0)).double()).Vh[:48].float()
    if seed:
        inputs = torch.randn(rows, 64, generator=stream(seed, "inputs")) @ mix.T
    return (inputs[:rows] + offset) @ directions.T


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_directions_in_which_the_images_do_not_differ_are_constant_in_any_unit(unit: float, offset: float):
    features = codes(30, 0, offset) * unit
    variance, mean = torch.var_mean(features, 0, correction=0)
    assert variance[29:].gt(0).all(), "the example rounds nothing"
    scale = ridge.inverse_sd(mean, variance)
    assert scale[29:].eq(0).all()
    torch.testing.assert_close(scale[:29] * features.std(0, correction=0)[:29], torch.ones(29))


def test_features_a_million_times_apart_in_size_are_all_kept():
    sizes = torch.logspace(-3, 3, 100)
    for mean in (torch.zeros(100), 100 * sizes):
        torch.testing.assert_close(ridge.inverse_sd(mean, sizes**2) * sizes, torch.ones(100))
    assert ridge.inverse_sd(torch.zeros(3), torch.zeros(3)).eq(0).all()
    assert ridge.inverse_sd(torch.tensor([1e4, 0.0]), torch.tensor([1e-6, 1.0])).tolist() == [0, 1]
    assert ridge.inverse_sd(torch.zeros(2), torch.tensor([1.0, torch.nan])).isnan()[1], "what is no number must show"


def test_ridge_of_fewer_rows_than_features_reads_what_the_rows_tell():
    train, test = codes(30, 0), codes(500, 1)
    true = torch.randn(4, 29, generator=stream(0, "true"))
    targets, wanted = train[:, :29] @ true.T, test[:, :29] @ true.T
    less = ridge.fit(once(train[:, :29], targets), once(train[:, :29], targets))
    all_of_it = ridge.fit(once(train, targets), once(train, targets))
    assert r2(all_of_it(test), wanted) > 0.99
    torch.testing.assert_close(all_of_it(test), less(test[:, :29]), rtol=1e-4, atol=1e-4)


def test_logistic_regression_of_fewer_rows_than_features_reads_what_the_rows_tell():
    train, test = codes(30, 0), codes(500, 1)
    labels, wanted = (rows[:, 0].gt(0).long() for rows in (train, test))
    less = logistic.fit(train[:, :29], labels, train[:, :29], labels, [1e-2])
    all_of_it = logistic.fit(train, labels, train, labels, [1e-2])
    assert torch.equal(all_of_it(test), less(test[:, :29]))
    assert all_of_it(test).eq(wanted).float().mean() > 0.6


def test_of_penalties_that_tie_the_strongest_is_taken():
    rows = once(torch.zeros(20, 3), regression(20)[1])
    assert ridge.fit(rows, rows).penalty.tolist() == [max(ridge.PENALTIES)] * 5


def test_no_rows_is_an_error():
    with pytest.raises(ValueError, match="at least one image"):
        ridge.fit(lambda: [], lambda: [])


def classes(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features [rows, 30] of very unequal scale and 7 overlapping classes, int64 [rows]."""
    rng, world = stream(seed, "classes"), stream(0, "centres")
    centres, mix = torch.randn(7, 30, generator=world) / 3, torch.randn(30, 30, generator=world)
    labels = torch.randint(7, (rows,), generator=rng)
    return (centres[labels] + torch.randn(rows, 30, generator=rng)) @ mix * torch.logspace(-2, 2, 30) + 1, labels


@pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-4])
def test_logistic_regression_is_that_of_scikit_learn(penalty):
    train, test = classes(1500, 0), classes(4000, 1)
    ours = logistic.fit(*train, *test, [penalty])
    scaler = StandardScaler().fit(train[0].double().numpy())
    theirs = LogisticRegression(C=1 / (1500 * penalty), tol=1e-8, max_iter=10_000)
    theirs.fit(scaler.transform(train[0].double().numpy()), train[1].numpy())
    right = torch.from_numpy(theirs.predict(scaler.transform(test[0].double().numpy()))) == test[1]
    accuracy = float((ours(test[0]) == test[1]).double().mean())
    assert 0.3 < accuracy < 0.95
    assert accuracy == pytest.approx(float(right.double().mean()), abs=1e-3)
    weight = torch.from_numpy(theirs.coef_) / torch.from_numpy(scaler.scale_)
    close = 2e-3 * float((weight * torch.from_numpy(scaler.scale_)).abs().max())
    torch.testing.assert_close(
        ours.weight * torch.from_numpy(scaler.scale_).float(),
        torch.from_numpy(theirs.coef_).float(),
        rtol=0,
        atol=close,
    )


@pytest.mark.parametrize("penalty", [1.0, 0.1])
def test_logistic_regression_of_fewer_rows_than_features_is_that_of_scikit_learn(penalty):
    train, labels = classes(20, 0)
    ours = logistic.fit(train, labels, train, labels, [penalty])
    scaled = StandardScaler().fit_transform(train.double().numpy())
    theirs = LogisticRegression(C=1 / (20 * penalty), tol=1e-8, max_iter=10_000).fit(scaled, labels.numpy())
    weight = ours.weight * train.std(0, correction=0)
    torch.testing.assert_close(weight, torch.from_numpy(theirs.coef_).float(), rtol=0, atol=2e-3)
    torch.testing.assert_close(ours.bias.double(), torch.from_numpy(theirs.intercept_).double(), rtol=0, atol=2e-3)


def test_logistic_regression_takes_the_best_penalty_on_validation_and_of_equals_the_strongest():
    train, val = classes(100, 0), classes(500, 1)
    right = [int((logistic.fit(*train, *val, [penalty])(val[0]) == val[1]).sum()) for penalty in logistic.PENALTIES]
    chosen = logistic.fit(*train, *val)
    assert logistic.PENALTIES[0] != chosen.penalty == logistic.PENALTIES[right.index(max(right))]
    easy = torch.eye(3).repeat(20, 1), torch.arange(3).repeat(20)
    assert logistic.fit(*easy, *easy).penalty == max(logistic.PENALTIES)


def test_labels_need_not_count_from_zero_and_constant_features_do_no_harm():
    features, labels = classes(300, 0)
    padded = torch.cat([features, torch.full((300, 1), 5e3)], 1)
    names = torch.tensor([2, 3, 5, 7, 11, 13, 17])
    plain, other = (
        logistic.fit(features, labels, features, labels),
        logistic.fit(padded, names[labels], padded, names[labels]),
    )
    assert torch.equal(names[plain(features)], other(padded))


def test_pooling_is_the_mean_over_the_grid_and_chunks_are_the_split():
    data = Split(images(2 * CHUNK + 3, (1, 2, 2)), {"label": torch.arange(2 * CHUNK + 3)})
    parts = list(chunks(data))
    assert [len(part.images) for part in parts] == [CHUNK, CHUNK, 3]
    assert torch.equal(torch.cat([part.targets["label"] for part in parts]), data.targets["label"])
    assert torch.equal(pool(lambda x: x.float(), data.images), data.images.float().mean((2, 3)))


def test_the_first_images_come_with_their_targets():
    data = Split(images(9, (1, 2, 2)), {"label": torch.arange(9)})
    assert first(data, 4).targets["label"].tolist() == [0, 1, 2, 3]
    assert torch.equal(first(data, 4).images, data.images[:4])
    assert len(first(data, None).images) == len(first(data, 20).images) == 9
    with pytest.raises(ValueError, match="fit_images is 0, but a read-out needs at least one image"):
        first(data, 0)


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (4, 6)])
def test_rows_of_a_target_hold_the_pixels_of_their_patch(grid):
    target = torch.arange(2 * 3 * 8 * 12).float().view(2, 3, 8, 12)
    rows = target_rows(target, grid)
    assert torch.equal(from_rows(rows, (3, 8, 12), grid), target)
    if grid == (4, 6):
        assert torch.equal(rows, patchify(target, 2).flatten(0, 1))
    assert torch.equal(rows[0].view(3, 8 // grid[0], -1), target[0, :, : 8 // grid[0], : 12 // grid[1]])


def tiles(patch: int):
    """An encoder whose features are the pixels of each patch, [N, C*patch*patch, h, w]."""
    return lambda x: functional.pixel_unshuffle(x.float() / 255, patch)


def lattice(stride: int):
    return lambda split: split.images[:, :, stride // 2 :: stride, stride // 2 :: stride].float() / 255


@pytest.mark.parametrize(("patch", "stride"), [(2, 1), (8, 1), (2, 8), (4, 8), (8, 8), (8, 4), (4, 4), (1, 4)])
def test_a_patch_is_read_for_its_own_pixels(patch, stride):
    train, val, test = (Split(images(count, (2, 16, 24), seed)) for seed, count in enumerate((300, 20, 20)))
    predict = fit_dense(tiles(patch), train, val, lattice(stride), stride)
    wanted = lattice(stride)(test)
    assert predict(test.images).shape == wanted.shape == (20, 2, 16 // stride, 24 // stride)
    assert r2(predict(test.images), wanted) > 0.999
    elsewhere = fit_dense(lambda x: tiles(patch)(x).roll(1, 2), train, val, lattice(stride), stride)
    assert r2(elsewhere(test.images), wanted) < 0.05, "a neighbour's pixels would do as well"


def test_a_global_code_is_read_for_all_pixels_at_any_stride():
    train, val, test = (Split(images(count, (1, 6, 7), seed)) for seed, count in enumerate((200, 20, 20)))
    predict = fit_dense(lambda x: x.float().flatten(1)[..., None, None], train, val, lattice(4), 4)
    assert predict(test.images).shape == (20, 1, 1, 2)
    assert r2(predict(test.images), lattice(4)(test)) > 0.999


@pytest.mark.parametrize(("patch", "stride"), [(4, 6), (8, 3)])
def test_a_lattice_that_patches_cannot_share_is_an_error(patch, stride):
    data = Split(images(3, (1, 24, 24)))
    with pytest.raises(
        ValueError, match=f"every {stride} pixels cannot be shared by {24 // patch} patches over 24 pixels"
    ):
        fit_dense(tiles(patch), data, data, lattice(stride), stride)


def test_patches_that_do_not_tile_the_image_are_an_error():
    data = Split(images(3, (1, 10, 10)))
    with pytest.raises(ValueError, match="must divide the image"):
        fit_dense(lambda x: x[:, :, :3, :3].float(), data, data, lattice(1))


def test_r2_is_one_for_the_target_and_zero_for_its_mean_and_skips_what_is_unknown():
    target = torch.randn(30, 2, 3, generator=stream(0, "r2"))
    target[:, 0, 0] = torch.nan
    assert r2(target.nan_to_num(9), target) == 1
    assert r2(target.nanmean(0).nan_to_num(9).expand_as(target), target) == pytest.approx(0, abs=1e-6)
    assert r2(target.nan_to_num() + 2, target) < 0


def test_the_spread_of_the_images_scores_is_the_error_of_r2():
    rng, count = stream(0, "spread"), 500
    loud = torch.rand(count, 1, generator=rng) * 3  # images that vary more, and are guessed worse
    target = loud * torch.randn(count, 8, generator=rng)
    guess = target + 0.6 * loud * torch.randn(count, 8, generator=rng)
    scores = explained(guess, target)
    assert float(scores.mean()) == pytest.approx(r2(guess, target))
    again = [torch.randint(count, (count,), generator=rng) for _ in range(1000)]
    spread = torch.tensor([r2(guess[rows], target[rows]) for rows in again]).std()
    assert float(scores.std() / count**0.5) == pytest.approx(float(spread), rel=0.1)
