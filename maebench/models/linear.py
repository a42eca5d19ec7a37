"""What the linear variants share: one linear map of the whole image to a code, and one back."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from maebench.theory.closed_form import Corruption, optimum
from maebench.theory.moments import moments


class LinearModel(nn.Module):
    """Image -> code [B, k] -> image, around the mean image; hidden pixels count as the mean.

    Untrained, the mean is 0 and the map a random orthogonal projection. The mean is learned too: for any map, and any
    corruption that does not look at the image, off by e it costs E ||e - A e~||^2 on top, e~ = e with the same hidden
    (Ours), so E[x] is the best mean, which `fit` takes.
    """

    def __init__(self, shape: tuple[int, int, int], k: int) -> None:
        super().__init__()
        d = shape[0] * shape[1] * shape[2]
        if not 1 <= k <= d:
            raise ValueError(f"k {k} is not in 1 to {d}, the number of values in an image of shape {list(shape)}")
        self.encoder = nn.Parameter(nn.init.orthogonal_(torch.empty(k, d)))
        self.decoder = nn.Parameter(self.encoder.detach().T.clone())
        self.mean = nn.Parameter(torch.zeros(d))

    def codes(self, seen: Tensor) -> Tensor:
        """What the model is given, [B, C, H, W] in standard units, NaN = hidden -> codes [B, k]."""
        centred = seen.flatten(1) - self.mean
        return centred.masked_fill(centred.isnan(), 0) @ self.encoder.T

    def rebuild(self, codes: Tensor, shape: torch.Size) -> Tensor:
        """Codes [B, k] -> images of the shape [B, C, H, W], in standard units."""
        return (codes @ self.decoder.T + self.mean).view(shape)

    def fit(self, images: Tensor, corrupt: Callable[[Tensor], Corruption]) -> None:
        """Take the mean of uint8 images [N, C, H, W], and the optimum for their corrupted covariance [d, d]."""
        mean, covariance = (moment.cpu() for moment in moments(images))
        best = optimum(covariance, corrupt(covariance), len(self.encoder))
        with torch.no_grad():
            self.mean.copy_(mean)
            self.encoder.copy_(best.encoder)
            self.decoder.copy_(best.decoder)
