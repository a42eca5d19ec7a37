"""Read-outs at real size: ridge on the dense features of 5,000 images, logistic regression on 45,000 pooled ones.

The features are correlated as those of a ViT are: 192 of them, their sd falling as a power law in a rotated basis.
"""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from maebench.seeding import stream
from maebench.tasks.readouts import logistic, ridge
from maebench.tasks.readouts.dense import r2

WIDTH, CLASSES = 192, 10
TRAIN, VAL, TEST = 45_000, 5_000, 10_000  # CIFAR-10, a tenth of its train split kept for val
CHUNKS, ROWS, OUTPUTS = 5, 64_000, 16  # 1,000 images of 8x8 patches a chunk; 4x4 pixels of a patch


def world() -> tuple[Tensor, Tensor]:
    """A rotation [WIDTH, WIDTH] and the sd [WIDTH] of the rotated features, from 1 down to 0.02."""
    rotation, _ = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=stream(0, "rotation")))
    return rotation, torch.arange(1, WIDTH + 1) ** -0.75


def classified() -> tuple[Tensor, Tensor]:
    """Features [N, WIDTH] and labels [N] of the three splits, in that order; classes overlap."""
    rotation, sd = world()
    rng = stream(0, "classes")
    labels = torch.randint(CLASSES, (TRAIN + VAL + TEST,), generator=rng)
    centres = torch.randn(CLASSES, WIDTH, generator=rng) / 8
    noise = torch.randn(len(labels), WIDTH, generator=rng)
    return ((centres[labels] + noise) * sd) @ rotation + 0.5, labels


def accuracy(guess: Tensor, labels: Tensor) -> float:
    """int64 [N] each -> per cent."""
    return 100 * (guess == labels).double().mean().item()


def theirs(features: Tensor, labels: Tensor) -> float:
    """Test accuracy of scikit-learn's classifier over the same penalties, chosen on val in the same way.

    tol 1e-5: at scikit-learn's 1e-4 it stops 0.06 points off its own optimum, at 1e-3 0.3. The five fits take 30 s.
    """
    mean, sd = features[:TRAIN].mean(0), features[:TRAIN].std(0, correction=0)
    train, val, test = ((features - mean) / sd).split([TRAIN, VAL, TEST])
    wanted, wanted_val, wanted_test = labels.split([TRAIN, VAL, TEST])
    scores = []
    for penalty in sorted(logistic.PENALTIES, reverse=True):
        model = LogisticRegression(C=1 / (TRAIN * penalty), tol=1e-5, max_iter=1000).fit(train, wanted)
        guesses = [torch.from_numpy(model.predict(part)) for part in (val, test)]
        scores.append((accuracy(guesses[0], wanted_val), accuracy(guesses[1], wanted_test)))
    return max(scores, key=lambda score: score[0])[1]  # of equals the first, which is the most damped


def test_logistic_probe(benchmark):
    features, labels = classified()
    train, val, test = features.split([TRAIN, VAL, TEST])
    wanted, wanted_val, wanted_test = labels.split([TRAIN, VAL, TEST])
    probe = benchmark(lambda: logistic.fit(train, wanted, val, wanted_val))
    found = accuracy(probe(test), wanted_test)
    assert 40 < found < 90, "the classes are too hard or too easy to tell two read-outs apart"
    assert found == pytest.approx(theirs(features, labels), abs=0.1)


@pytest.mark.parametrize("unknown", [0.0, 0.1])
def test_ridge_probe(benchmark, unknown):
    rotation, sd = world()
    rng = stream(0, "dense")
    true = torch.randn(WIDTH, OUTPUTS, generator=rng)
    noise = (true * sd[:, None]).norm(dim=0)  # as strong as the signal, so that the best r2 is 0.5

    def rows() -> tuple[Tensor, Tensor]:
        hidden = torch.randn(ROWS, WIDTH, generator=rng) * sd
        targets = hidden @ true + noise * torch.randn(ROWS, OUTPUTS, generator=rng)
        gaps = torch.rand(targets.shape, generator=rng) < unknown
        return hidden @ rotation + 0.5, targets.masked_fill(gaps, torch.nan)

    chunks = [rows() for _ in range(CHUNKS + 2)]
    affine = benchmark(lambda: ridge.fit(lambda: chunks[:CHUNKS], lambda: chunks[CHUNKS : CHUNKS + 1]))
    features, targets = chunks[-1]
    assert r2(affine(features), targets) == pytest.approx(0.5, abs=0.005)
