"""Multinomial logistic regression by preconditioned L-BFGS, with the L2 penalty chosen on validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from maebench.tasks.readouts.ridge import inverse_sd

PENALTIES = (1.0, 0.1, 0.01, 1e-3, 1e-4)  # Ours: too strong to too weak, for pixels and for codes
GRADIENT = 1e-4  # Ours: largest entry of the preconditioned gradient at the end; the accuracy is settled by then
STEPS = 200  # Ours: L-BFGS stops here at the latest; preconditioned it needs 5 to 30


@dataclass(frozen=True)
class Logistic:
    """The class of the largest logit, (features - centre) @ weight.T + bias, fitted at `penalty`."""

    classes: Tensor
    """int64 [K], the labels that train has"""
    centre: Tensor
    """[D]"""
    weight: Tensor
    """[K, D]"""
    bias: Tensor
    """[K]"""
    penalty: float

    def __call__(self, features: Tensor) -> Tensor:
        """[N, D] -> int64 [N], labels."""
        return self.classes[functional.linear(features - self.centre, self.weight, self.bias).argmax(1)]


def fit(
    features: Tensor,
    labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    penalties: Sequence[float] = PENALTIES,
) -> Logistic:
    """features [N, D], labels int64 [N] -> the classifier with the best validation accuracy, of equals the most damped.

    With z = the features at mean 0 and sd 1 on train, constant ones left out, it minimises the mean cross-entropy of
    softmax(W z + b) plus penalty / 2 |W|^2 (scikit-learn's C is 1 / (N penalty)), from the strongest penalty on, each
    started from the one before.
    """
    variance, centre = torch.var_mean(features, 0, correction=0)
    scale = inverse_sd(centre, variance)
    z = (features - centre).mul_(scale)
    # With fewer rows than features the weights lie in the span of the rows: the same problem, in fewer dimensions.
    span = torch.linalg.qr(z.T).Q if len(z) < z.shape[1] else None
    z = z if span is None else z @ span
    second = (z.T @ z / len(z)).double()
    classes, wanted = torch.unique(labels, return_inverse=True)
    weight, bias = torch.zeros(len(classes), z.shape[1]), torch.zeros(len(classes))
    best: Logistic | None = None
    most = -1
    for penalty in sorted(penalties, reverse=True):
        weight, bias = _minimise(z, second, wanted, penalty, weight, bias)
        slopes = weight if span is None else weight @ span.T
        model = Logistic(classes, centre, slopes * scale, bias, penalty)
        right = int((model(val_features) == val_labels).sum())
        if right > most:
            best, most = model, right
    assert best is not None, "no penalties"
    return best


def _minimise(
    z: Tensor, second: Tensor, wanted: Tensor, penalty: float, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """From weight [K, D] and bias [K] to the minimum for features z [N, D] and class numbers [N].

    At equal probabilities the Hessian is about second / K + penalty on every class, second = z'z / N. With the Cholesky
    factor L of that matrix, L-BFGS runs on weight @ L, in which the problem is round: 10 times fewer steps.
    """
    count = len(bias)
    damped = second / count
    damped.diagonal().add_(penalty)
    factor = torch.linalg.cholesky(damped).float()
    stretch = count**0.5  # the same for the bias

    def natural(point: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.solve_triangular(factor.T, point[:, :-1].T, upper=True).T, point[:, -1] * stretch

    def closure() -> Tensor:
        weight, bias = natural(point)
        log_share = functional.linear(z, weight, bias).log_softmax(1)
        loss = functional.nll_loss(log_share, wanted) + penalty / 2 * weight.square().sum()
        excess = log_share.exp_().sub_(truth).div_(len(z))  # the gradient by the logits; autograd takes twice the time
        gradient = torch.addmm(weight, excess.T, z, beta=penalty)
        gradient = torch.linalg.solve_triangular(factor, gradient.T, upper=False).T
        point.grad = torch.cat([gradient, excess.sum(0)[:, None] * stretch], 1)
        return loss

    truth = functional.one_hot(wanted, count).to(z.dtype)
    point = torch.cat([weight @ factor, bias[:, None] / stretch], 1)
    search = torch.optim.LBFGS([point], max_iter=STEPS, tolerance_grad=GRADIENT, line_search_fn="strong_wolfe")
    search.step(closure)  # type: ignore[no-untyped-call]
    return natural(point)
