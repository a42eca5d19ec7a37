"""A sound variant that reports the error of each patch."""

from torch import nn

from maebench.contracts import Reconstruction, Variant
from maebench.models.losses import patch_loss
from maebench.models.patches import grid_of, patchify, scored_pixels, seen_pixels

PATCH = 8


class Sound(Variant):
    def __init__(self, shape, hide, report):
        super().__init__()
        self.grid, self.hide, self.report = grid_of(shape, PATCH), hide, report
        pixels = shape[0] * shape[1] * shape[2]
        self.inner, self.outer = nn.Linear(pixels, 16), nn.Linear(16, pixels)

    def code(self, seen):
        return self.inner(seen.nan_to_num().flatten(1))

    def paint(self, images, hidden):
        return self.outer(self.code(seen_pixels(images, hidden, PATCH))).view(images.shape)

    def reconstruct(self, images, rng):
        hidden = self.hide(images, self.grid, rng)
        return Reconstruction(
            self.paint(images, hidden), scored_pixels(hidden, PATCH), seen_pixels(images, hidden, PATCH)
        )

    def loss(self, images, rng):
        hidden = self.hide(images, self.grid, rng)
        return patch_loss(patchify(self.paint(images, hidden) - images, PATCH), hidden, self.report)

    def encode(self, images):
        return self.code(images)[..., None, None]


def build(shape, *, hide, report):
    return Sound(shape, hide, report)
