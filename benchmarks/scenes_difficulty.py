"""How hard `scenes` is: a linear probe of raw pixels against a small supervised ConvNet, and a contact sheet.

    python benchmarks/scenes_difficulty.py

2 CPU cores: 15 minutes with other work on them. Prints the numbers of docs/data.md and writes docs/images/scenes.png.
"""

import time
import warnings
from pathlib import Path

import matplotlib
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from maebench.contracts import Split, standardise
from maebench.data import scenes
from maebench.data.rendering.solids import SOLIDS
from maebench.seeding import number, stream
from maebench.training.batches import indices

SHEET = Path(__file__).parents[1] / "docs" / "images" / "scenes.png"
PENALTIES = (1e-5, 1e-4, 1e-3)  # scikit-learn's C, the inverse penalty
SEEDS = (0, 1, 2)
EPOCHS, BATCH, RATE = 12, 128, 5e-3
EXAMPLES = 4  # images a class on the sheet


def accuracy(guess: Tensor, split: Split) -> float:
    """guess int64 [N] -> per cent of right labels."""
    return 100 * (guess == split.targets["label"]).double().mean().item()


def linear_probe(train: Split, val: Split, test: Split) -> float:
    """Per cent on test of logistic regression on raw pixels, its L2 penalty chosen on val."""

    def pixels(split: Split) -> Tensor:
        return standardise(split.images).flatten(1)

    best, guess = 0.0, torch.empty(0)
    for penalty in PENALTIES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 200 steps do; more change the second decimal
            probe = LogisticRegression(C=penalty, max_iter=200).fit(pixels(train), train.targets["label"])
        score = accuracy(torch.from_numpy(probe.predict(pixels(val))), val)
        print(f"  C {penalty:g}: val {score:.1f}%", flush=True)
        if score > best:
            best, guess = score, torch.from_numpy(probe.predict(pixels(test)))
    return accuracy(guess, test)


def convnet() -> nn.Sequential:
    """images [B, 3, 32, 32] in standard units -> logits [B, 10]; 0.1 million weights."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4, 10))


def augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """uint8 [B, C, H, W] -> the same, the batch mirrored by chance and moved by up to two pixels."""
    images = images.flip(3) if torch.rand((), generator=rng) < 0.5 else images
    x, y = torch.randint(5, (2,), generator=rng).tolist()
    padded = nn.functional.pad(images.float(), (2, 2, 2, 2), mode="replicate")
    return padded[..., y : y + images.shape[2], x : x + images.shape[3]]


def supervised(train: Split, test: Split, seed: int) -> float:
    """Per cent on test of the ConvNet after EPOCHS epochs; nothing is chosen, so val is not needed."""
    torch.manual_seed(number(seed, "convnet"))
    model = convnet()
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
    steps = EPOCHS * (len(train.images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for step, rows in zip(range(steps), indices(len(train.images), BATCH, seed), strict=False):
        images = standardise(augment(train.images[rows], stream(seed, "augment", step)))
        loss = nn.functional.cross_entropy(model(images), train.targets["label"][rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.inference_mode():
        model.eval()
        return accuracy(torch.cat([model(standardise(part)).argmax(1) for part in test.images.split(500)]), test)


def contact_sheet(split: Split) -> None:
    """Write EXAMPLES images a class, each above its depth."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2 * EXAMPLES, len(SOLIDS), figsize=(10, 2 * EXAMPLES), layout="constrained")
    for kind, name in enumerate(SOLIDS):
        axes[0, kind].set_title(name, fontsize=10)
        for turn, index in enumerate((split.targets["label"] == kind).nonzero()[:EXAMPLES, 0].tolist()):
            axes[2 * turn, kind].imshow(split.images[index].permute(1, 2, 0))
            depth = axes[2 * turn + 1, kind].imshow(split.targets["depth"][index, 0], vmin=1.5, vmax=12, cmap="magma")
    for axis in axes.flat:
        axis.axis("off")
    figure.colorbar(depth, ax=axes, shrink=0.3, aspect=30, label="depth (m)")
    SHEET.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(SHEET, dpi=72)


def main() -> None:
    """Print the numbers and write the sheet."""
    clock = time.perf_counter()
    train, val, test = (scenes.load(split) for split in ("train", "val", "test"))
    print(f"loaded in {time.perf_counter() - clock:.2f} s")
    contact_sheet(test)
    print(f"raw-pixel linear probe: {linear_probe(train, val, test):.1f}%", flush=True)
    scores = torch.tensor([supervised(train, test, seed) for seed in SEEDS])
    print(f"supervised ConvNet: {scores.mean():.1f}% (sd {scores.std():.1f}, n {len(SEEDS)})")
    print(f"{time.perf_counter() - clock:.0f} s in all")


if __name__ == "__main__":
    main()
