"""Logistic and softmax regressions with an L2 penalty, solved to their optimum, many side by side."""

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = 1e-8
"""Largest derivative of the mean loss, in nats, at what counts as an optimum."""
SAMPLED_EVENTS = 2048
"""Training events that stand for all in a Hessian which need only be near the true one."""
ACCURACY = 1e-2
"""Share of an error, squared, that may be left of Newton's step."""


class Regressions:
    """The regressions of some sites on all that comes before each, side by side, so that large matrices multiply.

    There are N events, F inputs, the first of which is the one of the bias, G sites and O outputs of each.  What is
    solved is solved in float64; float32 is enough for the directions of the steps.

    Arguments:
        inputs: Shape (N, F).
        targets: The outputs that a certain prediction would have as probabilities, shape (N, G, O); zeros for a site
            with categories where the event does not count.
        before: 1 where a site sees an input, shape (F, G).
        absent: What is added to the outputs, shape (G, O): minus infinity for categories that a site lacks.  None if
            the one output is the logit of a bit.
    """

    def __init__(self, inputs: Tensor, targets: Tensor, before: Tensor, absent: Tensor | None) -> None:
        self._inputs, self._targets, self._before, self._absent = inputs, targets, before, absent
        self._doubles = inputs.double()

    def losses(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of -log p, shape (G,), and the probabilities that outputs stand for, shape (N, G, O).

        Arguments:
            weights: Shape (F, G, O).
        """
        outputs = (self._doubles @ weights.flatten(1)).view_as(self._targets)
        if self._absent is None:
            normaliser, probs = F.softplus(outputs, threshold=40).squeeze(-1), outputs.sigmoid()
        else:
            present, counts = outputs + self._absent, self._targets.sum(-1)
            normaliser, probs = counts * present.logsumexp(-1), counts.unsqueeze(-1) * present.softmax(-1)
        return (normaliser - (outputs * self._targets).sum(-1)).sum(0), probs

    def solve(self, weights: Tensor, strength: float) -> Tensor:
        """The optimum for this L2 penalty, from the given weights, by Newton's method with halved steps."""
        penalty = weights.new_full((len(weights), 1, 1), strength)
        penalty[0] = 0
        losses, probs = self._penalised(weights, penalty)
        root = self._inverse_root(probs, penalty)
        for _ in range(100):
            gradient = (self._doubles.t() @ (probs - self._targets).flatten(1)).view_as(weights)
            gradient = gradient * self._before[..., None] + penalty * weights
            going = ~(gradient.abs().amax((0, 2)) <= TOLERANCE * len(self._inputs))  # (G,)
            if not going.any():
                return weights
            direction = self._direction(gradient, probs, penalty, root)
            direction = torch.where(going[:, None], direction, 0.0)  # an optimum's may be 0 / 0
            slope, step = _dot(gradient, direction), torch.ones_like(losses)
            while True:
                moved = weights + step[:, None] * direction
                new_losses, new_probs = self._penalised(moved, penalty)
                too_far = new_losses > losses * (1 + 1e-12) + 1e-4 * step * slope
                if not too_far.any():
                    break
                step = torch.where(too_far, step / 2, step)
            weights, losses, probs = moved, new_losses, new_probs
        raise ValueError(f"the regressions with penalty {strength:g} found no optimum in 100 steps; try larger ones")

    def _penalised(self, weights: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        losses, probs = self.losses(weights)
        return losses + (penalty * weights.square()).sum((0, 2)) / 2, probs

    def _direction(self, gradient: Tensor, probs: Tensor, penalty: Tensor, root: Tensor) -> Tensor:
        """Newton's step -H^-1 g, nearly: some conjugate gradients, in the metric of `_inverse_root`."""
        before, probs, penalty = self._before[..., None].float(), probs.float(), penalty.float()

        def curvature(v: Tensor) -> Tensor:  # H v
            moved = (self._inputs @ v.flatten(1)).view_as(probs)
            moved = probs * (moved - (probs * moved).sum(-1, keepdim=True))
            return (self._inputs.t() @ moved.flatten(1)).view_as(v) * before + penalty * v

        def precondition(v: Tensor) -> Tensor:
            columns = v.flatten(1).t().unsqueeze(-1)  # (G O, F, 1)
            return (root.mT @ (root @ columns)).squeeze(-1).t().reshape(v.shape)

        rest = -gradient.float()
        direction, search = torch.zeros_like(rest), precondition(rest)
        size = _dot(rest, search)  # (G,)
        enough = ACCURACY * size
        for _ in range(200):
            going = size > enough
            if not going.any():
                break
            bent = curvature(search)
            rate = torch.where(going, size / _dot(search, bent), 0.0)[:, None]
            direction += rate * search
            rest -= rate * bent
            conjugate = precondition(rest)
            new_size = _dot(rest, conjugate)
            search = torch.where(going[:, None], conjugate + (new_size / size)[:, None] * search, search)
            size = torch.where(going, new_size, size)
        return direction.double()

    def _inverse_root(self, probs: Tensor, penalty: Tensor) -> Tensor:
        """L^-1 with L L^T near the Hessian of each output alone, float32, shape (G O, F, F).

        An event counts p (1 - p), so those are sampled, evenly along its running sum, for which that is large.
        """
        weights = (probs * (1 - probs)).flatten(1)  # (N, G O)
        roots = self._inputs.new_zeros(weights.shape[1], *self._inputs.shape[1:] * 2)
        num_seen = self._before.sum(0).long().repeat_interleave(probs.shape[2]).tolist()
        levels = (torch.arange(SAMPLED_EVENTS, dtype=weights.dtype, device=weights.device) + 0.5) / SAMPLED_EVENTS
        for root, weight, num in zip(roots, weights.unbind(1), num_seen, strict=True):
            running = weight.cumsum(0)
            rows = torch.searchsorted(running, levels * running[-1]).clamp_max(len(running) - 1)
            sample = self._inputs[:, :num].index_select(0, rows)
            hessian = (sample.t() @ sample).double() * (running[-1] / SAMPLED_EVENTS)
            # Where all is certain, or a category absent, nothing holds the bias.
            hessian.diagonal().add_(penalty[:num].flatten().clamp_min(1e-6))
            factor = torch.linalg.cholesky(hessian)
            root[:num, :num] = torch.linalg.solve_triangular(factor, torch.eye(num).to(factor), upper=False)
        return roots


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products by site, of (F, G, O) each, shape (G,)."""
    return (a * b).sum((0, 2))
