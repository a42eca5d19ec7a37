"""The mutants: each a sound plug-in of this folder with one thing changed, and the one check that must fail for it."""

from mutants.mutant import CALLS, OWN, Mutant
from mutants.of_variants import VARIANTS

FLAT = 'FREQUENCY = "flat"'

MASKINGS = {
    "a lone image loses its axis": Mutant("maskings", "hides the right count", {"=rng)": "=rng).squeeze()"}),
    "the last row is never hidden": Mutant(
        "maskings",
        "hides and shows every position",
        {FLAT: "", "return ": "return (torch.arange(grid[0]) < grid[0] - 1)[:, None] + "},
    ),
    "the last column is always hidden": Mutant(
        "maskings",
        "hides and shows every position",
        {FLAT: "", "return ": "return (torch.arange(grid[1]) == grid[1] - 1) + "},
    ),
    "the left is hidden more often": Mutant(
        "maskings", "frequency is as declared", {"return ": "return (torch.arange(grid[1]) == 0) / 4 + "}
    ),
    "fixed, it says, and is random": Mutant("maskings", "frequency is as declared", {'"flat"': '"fixed"'}),
    "a word that means nothing": Mutant("maskings", "frequency is as declared", {'"flat"': '"uniform"'}),
    "it draws masks of its own": Mutant("maskings", "equal streams give equal masks", {FLAT: CALLS, "=rng": f"={OWN}"}),
    "it draws globally": Mutant("maskings", "global generators stay untouched", {"return ": "torch.rand(1); return "}),
    "it blanks the images": Mutant("maskings", "images stay as they are", {"return ": "images.zero_(); return "}),
    "it hides neighbours together": Mutant("maskings", "neighbours are visible as declared", {FLAT: "PAIR = 0.341"}),
    "a free count is half of what it says": Mutant(
        "maskings", "hides the right count", {FLAT: 'COUNT = "free"', "=rng)": "=rng) ** 2"}
    ),
    "it counts calls for progress": Mutant(
        "maskings",
        "equal streams give equal masks",
        {FLAT: CALLS, "return ": "return next(CALLS) % 2 * torch.arange(grid[1]) + "},
    ),
    "it learns the wrong way": Mutant(
        "learning", "follows what it says", {"(guess - patch_loss)": "(guess + patch_loss)"}
    ),
    "its network is detached": Mutant(
        "learning", "follows what it says", {"(guess - patch_loss)": "(guess.detach().requires_grad_() - patch_loss)"}
    ),
    "it shows what it says to hide": Mutant("learning", "follows what it says", {'"high"': '"low"'}),
    "rows are taken for columns": Mutant(
        "learning",
        "follows what it says",
        {"return guess + ": "guess = guess.transpose(1, 2).reshape(guess.shape)\n    return guess + "},
    ),
    "scores count in a buffer": Mutant(
        "learning",
        "scores change no state",
        {"return guess + ": "network[1].num_batches_tracked += 1; return guess + "},
    ),
    "a layer of the network lies in a list": Mutant(
        "learning",
        "masks survive saving",
        {
            "return nn.Sequential(nn.Conv2d(shape[0], width, 4, stride=4),": "first = [nn.Conv2d(shape[0], width, 4, "
            "stride=4)]\n    rest = nn.Sequential(",
            ".eval(), nn.Tanh(), last)": ".eval(), nn.Tanh(), last)\n"
            "    rest.register_forward_pre_hook(lambda module, given: first[0](*given))\n    return rest",
        },
    ),
    "prepare looks at the first image": Mutant(
        "learning", "prepare ignores the order", {"images.double()": "images[:1].double()"}
    ),
}

TASKS = {
    "a metric has the name of a detail": Mutant(
        "tasks",
        "declaration is valid",
        {'"higher")}': '"higher"), "at@8": ("", "lower")}'},
    ),
    "measure asks for train": Mutant(
        "tasks", "asks for what is offered", {"(guess, targets)": "(guess, targets, train=None)"}
    ),
    "check asks for test": Mutant(
        "tasks", "asks for what is offered", {"def measure": "def check(test=None):\n    pass\n\n\ndef measure"}
    ),
    "a metric is not declared": Mutant("tasks", "guesses and measures", {"return {": 'return {"error": 0.0, '}),
    "the headline is missing": Mutant(
        "tasks", "guesses and measures", {"METRICS = {": 'METRICS = {"error": ("%", "lower"), '}
    ),
    "depth is read, not declared": Mutant(
        "tasks", "reads no undeclared target", {"    def predict": '    train.targets["depth"]\n\n    def predict'}
    ),
    "fit draws numbers of its own": Mutant(
        "tasks",
        "fit is repeatable",
        {
            "VERSION = 1": f"{CALLS}VERSION = 1",
            "    def predict": f"    means += torch.randn(means.shape, generator={OWN})\n\n    def predict",
        },
    ),
    "guesses are centred on the test images": Mutant(
        "tasks", "a guess ignores batch mates", {"cdist(features, ": "cdist(features - features.mean(0), "}
    ),
    "fit clips the images": Mutant(
        "tasks", "data stay as they are", {"    features, ": "    train.images.clamp_(max=250)\n    features, "}
    ),
    "measure changes the labels": Mutant(
        "tasks", "data stay as they are", {"    right =": '    targets["label"].clamp_(max=1)\n    right ='}
    ),
    "predict scales the features in place": Mutant(
        "tasks",
        "features stay as they are",
        {"features = encode(images).mean": "features = encode(images).mul_(1.5).div_(1.5).add_(1).sub_(1).mean"},
    ),
    "fit draws globally": Mutant(
        "tasks", "global generators stay untouched", {"    features, ": "    torch.rand(1)\n    features, "}
    ),
}

DATASETS = {
    "a target that no task knows": Mutant(
        "datasets",
        "declaration is valid",
        {'("label",)': '("label", "colour")', "% 4}": '% 4, "colour": torch.zeros(count, 1)}'},
    ),
    "labels are real numbers": Mutant("datasets", "splits are as declared", {"% 4": "/ 4"}),
    "a target is not declared": Mutant(
        "datasets", "splits are as declared", {"% 4}": '% 4, "latents": torch.zeros(count, 1)}'}
    ),
    "images are real numbers": Mutant("datasets", "splits are as declared", {"Split(images,": "Split(images / 255,"}),
    "a class is in test alone": Mutant(
        "datasets", "splits are as declared", {"% 4}": '% (5 if split == "test" else 4)}'}
    ),
    "test is grey": Mutant(
        "datasets", "splits are as declared", {"Split(images,": 'Split(images[:, : 1 if split == "test" else 3],'}
    ),
    "val repeats train": Mutant("datasets", "splits are disjoint", {', "sound", split': ', "sound"'}),
    "other images at each load": Mutant(
        "datasets", "loads the same bytes", {"VERSION = 1": f"{CALLS}VERSION = 1", "stream(0, ": "stream(next(CALLS), "}
    ),
    "other images once the cache is lost": Mutant(
        "datasets",
        "loads the same bytes",
        {
            "VERSION = 1": f"from maebench.data.reading.cache import cached\n{CALLS}VERSION = 1",
            "rng = stream(0, ": 'seed = cached("mutant", split, lambda: {"seed": torch.tensor(next(CALLS)).numpy()})\n'
            '    rng = stream(int(seed["seed"]), ',
        },
    ),
    "data without their files": Mutant(
        "datasets", "a missing archive is one line", {"*, count": "*, root: object, count"}
    ),
    "load draws globally": Mutant(
        "datasets", "global generators stay untouched", {"    rng = ": "    torch.rand(1)\n    rng = "}
    ),
}

MUTANTS = VARIANTS | MASKINGS | TASKS | DATASETS
