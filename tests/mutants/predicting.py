"""A sound variant that predicts no pixels but what a copy of its encoder, which follows it, makes of hidden patches."""

import torch
from torch import nn
from torch.nn import functional

from maebench.contracts import Reconstruction, Variant
from maebench.models.losses import patch_loss
from maebench.models.patches import grid_of, scored_pixels, seen_pixels
from maebench.models.teacher import follow, frozen_copy

PATCH, WIDTH = 8, 16
PAINTS = False


class Sound(Variant):
    def __init__(self, shape, hide):
        super().__init__()
        self.grid, self.hide = grid_of(shape, PATCH), hide
        self.encoder = nn.Conv2d(shape[0], WIDTH, PATCH, PATCH)
        nn.init.normal_(self.encoder.weight, std=0.002)
        values = WIDTH * self.grid[0] * self.grid[1]
        self.outer = nn.Linear(values, values)
        nn.init.normal_(self.outer.weight, std=0.01)
        nn.init.zeros_(self.outer.bias)
        self.teacher = frozen_copy(self.encoder)

    def predict(self, images, hidden):
        seen = seen_pixels(images, hidden, PATCH).nan_to_num()
        return self.outer(self.encode(seen).flatten(1)).view(len(images), -1, WIDTH)

    def reconstruct(self, images, rng):
        hidden = self.hide(images, self.grid, rng)
        predicted = self.predict(images, hidden).view(len(images), *self.grid, WIDTH)
        return Reconstruction(None, scored_pixels(hidden, PATCH), seen_pixels(images, hidden, PATCH), predicted)

    def loss(self, images, rng):
        hidden = self.hide(images, self.grid, rng)
        with torch.no_grad():
            target = functional.layer_norm(self.teacher(images).flatten(2).mT, (WIDTH,))
        return patch_loss(self.predict(images, hidden) - target, hidden)

    def after_step(self, advance):
        follow(self.teacher, self.encoder, advance)

    def encode(self, images):
        return self.encoder(images)


def build(shape, *, hide):
    return Sound(shape, hide)
