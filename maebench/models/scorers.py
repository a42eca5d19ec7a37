"""What maskings that learn are built of: a small network that scores patches, and the two ways it is taught."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvScorer(nn.Module):
    """images [B, C, H, W] -> scores [B, h, w]: a patch embedding, then two convolutions over the grid.

    Ours: sizes, and that the grid closes to a torus, on which no position differs from another.
    """

    def __init__(self, shape: tuple[int, int, int], grid: tuple[int, int], width: int = 32) -> None:
        super().__init__()
        patch = (shape[1] // grid[0], shape[2] // grid[1])
        self.embed = nn.Conv2d(shape[0], width, patch, stride=patch)
        self.mix, self.head = (nn.Conv2d(width, out, 3, padding=1, padding_mode="circular") for out in (width, 1))

    def forward(self, images: Tensor) -> Tensor:
        """images [B, C, H, W] -> [B, h, w]."""
        hidden = functional.gelu(self.embed(images))
        return self.head(hidden + functional.gelu(self.mix(hidden)))[:, 0]  # type: ignore[no-any-return]


def gumbel(uniform: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) -> noise by which the highest of logits + noise are a draw without replacement.

    Each is as likely as exp(logit). Source: Gumbel 1954; Kool et al. 2019, top k.
    """
    return -(-uniform.clamp_min(1e-12).log()).log()


def policy_loss(logits: Tensor, gain: Tensor, hidden: Tensor) -> Tensor:
    """-mean over the hidden patches of gain x log softmax(logits), all [B, h, w]: gain raises the chance of a patch.

    The gain is taken about its mean over the hidden patches of the image, which leaves the gradient right on average
    and makes it vary less. Source: Williams 1992 (REINFORCE), as Bandara et al. 2023 (AdaMAE) has it.
    """
    chance = logits.flatten(1).log_softmax(1).view_as(logits)
    told = hidden & ~gain.isnan()  # a variant may predict a share of the hidden patches
    about = gain - gain.where(told, torch.nan).nanmean((1, 2), keepdim=True)
    return -(about[told] * chance[told]).mean()


def order_loss(guess: Tensor, truth: Tensor, hidden: Tensor) -> Tensor:
    """Mean over pairs of hidden patches of an image of softplus(-(g_i - g_j) sign(l_i - l_j)); all [B, h, w].

    Source: Wang et al. 2023 (HPM), where the predictor learns the order of the losses, not their size.
    """
    told = hidden & ~truth.isnan()  # a variant may predict a share of the hidden patches
    guess, truth, both = guess.flatten(1), truth.nan_to_num().flatten(1), told.flatten(1)
    higher = (truth[:, :, None] > truth[:, None, :]) & both[:, :, None] & both[:, None, :]
    return functional.softplus(guess[:, None, :] - guess[:, :, None])[higher].mean()
