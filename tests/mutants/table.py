"""The mutants: each a sound plug-in of this folder with one thing changed, and the one check that must fail for it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A sound plug-in, the one check that must fail, and the change: text that stands there once -> its replacement."""

    sound: str
    check: str
    changes: dict[str, str]


CALLS = "CALLS = __import__('itertools').count()\n"
OWN = "torch.Generator().manual_seed(next(CALLS))"  # other numbers at each call, whatever the stream
LOSS = "return pixel_loss(self.reconstruct(images, rng), images)"
FLAT = 'FREQUENCY = "flat"'

VARIANTS = {
    "its import is missing": Mutant("variants", "can be loaded", {"from torch import nn": "from torchh import nn"}),
    "encode gives [B, D]": Mutant("variants", "encode gives a feature map", {"[..., None, None]": ""}),
    "width is taken for height": Mutant(
        "variants", "encode gives a feature map", {"shape[1] * shape[2]": "shape[1] ** 2"}
    ),
    "encode adds a little noise": Mutant(
        "variants",
        "encode is repeatable",
        {
            "PATCH = 8": f"PATCH = 8\n{CALLS}import torch",
            "self.code(images)": f"self.code(images + 1e-6 * torch.randn(images.shape, generator={OWN}))",
        },
    ),
    "encode centres the batch": Mutant(
        "variants", "encode ignores batch mates", {"self.code(images)": "self.code(images - images.mean(0))"}
    ),
    "encode hides patches": Mutant(
        "variants",
        "encode hides nothing",
        {
            "return self.code(images)": "import torch\n"
            "        hidden = self.hide(images[:1], self.grid, torch.Generator())\n"
            "        return self.code(seen_pixels(images, hidden, PATCH))"
        },
    ),
    "a layer lies in a list": Mutant(
        "variants",
        "weights survive saving",
        {"= nn.Linear(pixels, 16),": "= [nn.Linear(pixels, 16)],", "self.inner(": "self.inner[0]("},
    ),
    "loss seeds torch": Mutant(
        "variants", "global generators stay untouched", {LOSS: f"import torch; torch.manual_seed(0); {LOSS}"}
    ),
    "loss clips the images": Mutant("variants", "images stay as they are", {LOSS: f"images.clamp_(-1, 1); {LOSS}"}),
    "scored has channels": Mutant(
        "variants", "reconstruct gives images", {"(hidden, PATCH), seen": "(hidden, PATCH).expand_as(images), seen"}
    ),
    "the code sees hidden pixels": Mutant(
        "variants", "hidden pixels change nothing", {"self.code(seen)": "self.code(images)"}
    ),
    "seen is the whole image": Mutant("variants", "seen is what the mask leaves", {"PATCH), seen)": "PATCH), images)"}),
    "seen is in other units": Mutant(
        "variants", "seen is what the mask leaves", {"PATCH), seen)": "PATCH), seen / 4)"}
    ),
    "no pixel is scored at ratio 0": Mutant(
        "variants",
        "scored covers every ratio",
        {"scored_pixels(hidden, PATCH), seen": "seen[:, :1].isnan(), seen", LOSS: f"{LOSS}.nan_to_num()"},
    ),
    "loss is 0/0 at ratio 0": Mutant(
        "variants",
        "loss is a finite scalar",
        {
            LOSS: "result = self.reconstruct(images, rng)\n"
            "        return (result.pixels - images).square()[result.seen.isnan()].mean()"
        },
    ),
    "loss adds noise of its own": Mutant(
        "variants",
        "equal streams give equal losses",
        {
            "PATCH = 8": f"PATCH = 8\n{CALLS}import torch",
            LOSS: f"images = images + 1e-3 * torch.randn(images.shape, generator={OWN})\n        {LOSS}",
        },
    ),
    "loss hides the same patches always": Mutant(
        "variants", "other streams give other losses", {LOSS: f"import torch; rng = torch.Generator(); {LOSS}"}
    ),
    "a layer that nothing uses": Mutant(
        "variants",
        "every parameter gets a gradient",
        {"super().__init__()": "super().__init__(); self.idle = nn.Linear(2, 2)"},
    ),
    "the gradient points uphill": Mutant(
        "variants", "loss falls", {LOSS: f"{LOSS.replace('return', 'loss =')}; return 2 * loss.detach() - loss"}
    ),
    "it reports patches in another order": Mutant(
        "reporting",
        "reports the error of each patch",
        {"hidden, self.report)": "hidden, self.report and (lambda errors: self.report(errors.flip(1))))"},
    ),
    "it reports with the gradient": Mutant(
        "reporting",
        "reports the error of each patch",
        {"hidden, self.report)": "hidden, self.report and (lambda errors: self.report(errors + self.inner.bias[0])))"},
    ),
    "it reports sums": Mutant(
        "reporting",
        "reports the error of each patch",
        {"hidden, self.report)": "hidden, self.report and (lambda errors: self.report(2 * errors)))"},
    ),
    "the mean of the batch is the target": Mutant(
        "variants",
        "images are coupled as declared",
        {
            LOSS: LOSS.replace("images)", "images - 0.1 * images.mean(0))", 2).replace(
                "images - 0.1 * images.mean(0), rng", "images, rng"
            )
        },
    ),
    "it says that images are coupled": Mutant(
        "variants", "images are coupled as declared", {"PATCH = 8": "PATCH = 8\nCOUPLED = True"}
    ),
    "what it predicts has no axes": Mutant(
        "predicting", "reconstruct gives images", {"*self.grid, WIDTH)": "-1, WIDTH)"}
    ),
    "it paints and says that it does not": Mutant(
        "variants", "reconstruct gives images", {"PATCH = 8": "PATCH = 8\nPAINTS = False"}
    ),
    "the prediction sees its target": Mutant(
        "predicting",
        "hidden pixels change nothing",
        {"seen = seen_pixels(images, hidden, PATCH).nan_to_num()": "seen = images"},
    ),
    "the target gives in to a prediction that knows nothing": Mutant(
        "predicting",
        "features do not collapse",
        {
            "seen_pixels(images, hidden, PATCH).nan_to_num()": "0 * images",
            "with torch.no_grad():": "if True:",
            "functional.layer_norm(self.teacher(images).flatten(2).mT, (WIDTH,))": "self.encoder(images).flatten(2).mT",
        },
    ),
    "fit learns the mean alone": Mutant("closed_form", "loss falls", {".Vh[:16]": ".Vh[:16] * 0"}),
    "fit changes the images": Mutant(
        "closed_form", "images stay as they are", {"standardise(images)": "standardise(images.clamp_(max=250))"}
    ),
}

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
