"""Muon: momentum, made orthogonal (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

torch has the same optimiser, but multiplies in bfloat16, for which a processor without instructions for it takes many
times as long.  Here all is float32.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

_COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the quintic that takes singular values from (0, 1] to about 1 in few steps
_STEPS = 5
_MOMENTUM = 0.95


def orthogonalize(matrix: Tensor) -> Tensor:
    """The matrix (N, M) with singular values of about 1, in float32: 0.68 to 1.2, but below 0.3 % of the norm less."""
    x = matrix.float()
    if len(x) > x.shape[1]:
        return orthogonalize(x.T).T
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov's momentum; its steps have the size of AdamW's (Liu et al. 2025, arXiv:2502.16982, eq. 4).

    Arguments:
        weights: Parameters of two dimensions or more, each of which is taken as the matrix (outputs, all else).
        lr: Learning rate.
        weight_decay: Decoupled from the gradient: a step shrinks weights by lr * weight_decay.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update from the gradients; weights without one stay."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - _MOMENTUM)
                matrix = weight.grad.lerp(momentum, _MOMENTUM).flatten(1)
                size = 0.2 * math.sqrt(max(matrix.shape))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(orthogonalize(matrix).view_as(weight), alpha=-group["lr"] * size)
