"""The mutants that are variants."""

from mutants.mutant import CALLS, OWN, Mutant

LOSS = "return pixel_loss(self.reconstruct(images, rng), images)"

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
    "prepare keeps the mean image from the weights": Mutant(
        "variants",
        "training goes on from saved weights",
        {
            "    def code(self, seen):": "    def prepare(self, images):\n"
            "        self.centre = images.float().mean(0) / 64 - 2\n\n"
            "    def code(self, seen):",
            LOSS: "return pixel_loss(self.reconstruct(images, rng), images - getattr(self, 'centre', 0))",
        },
    ),
    "after_step counts in a number": Mutant(
        "predicting",
        "training goes on from saved weights",
        {
            "follow(self.teacher, self.encoder, advance)": "self.steps = getattr(self, 'steps', 0) + 1\n"
            "        follow(self.teacher, self.encoder, advance)",
            "self.predict(images, hidden) - ": "(self.predict(images, hidden) + getattr(self, 'steps', 0)) - ",
        },
    ),
    "fit learns the mean alone": Mutant("closed_form", "loss falls", {".Vh[:16]": ".Vh[:16] * 0"}),
    "fit changes the images": Mutant(
        "closed_form", "images stay as they are", {"standardise(images)": "standardise(images.clamp_(max=250))"}
    ),
}
