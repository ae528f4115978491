"""FVSBN, logistic autoregression: Does the Wake-Sleep Algorithm Produce Good Density Estimators?, Frey, Hinton & Dayan
1995, https://papers.nips.cc/paper/1153-does-the-wake-sleep-algorithm-produce-good-density-estimators.

    logits_i = a_i0 + sum_{j < i} a_ij x_j

The negative log-likelihood is convex and falls apart into one logistic regression a site (softmax regression where
sites have categories).  `fit` solves each to its optimum, for several strengths of an L2 penalty, and keeps what
predicts the validation events best.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.compiling import find_kernels
from arzoo.model import Context, NamedContext
from arzoo.scalars import Bits, Categories, discrete_scalars

STRENGTHS = tuple(10 ** (k / 2) for k in range(6, -3, -1))
"""L2 penalties that `fit` tries: from 1000 to 0.1."""
TOLERANCE = 1e-8
"""Largest derivative of the mean loss, in nats, at what counts as an optimum."""
SAMPLED_EVENTS = 2048
"""Training events that stand for all in a Hessian which need only be near the true one."""
ACCURACY = 1e-2
"""Share of an error, squared, that may be left of Newton's step."""
LARGEST_ROOTS = 2**26
"""Numbers in the roots of all Hessians that are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class FVSBNConfig(arzoo.ModelConfig):
    """
    Attributes:
        ordering: The natural order of the sites, or one that is drawn at random and kept with the weights.
    """

    ordering: Literal["natural", "random"] = "natural"


class FVSBN(arzoo.Autoregressive):
    """Bits or categories of any shape, flattened; the weights lie in the order of the walk."""

    family = "fvsbn"
    config_class = FVSBNConfig
    config: FVSBNConfig
    before: Tensor

    def __init__(self, config: FVSBNConfig) -> None:
        super().__init__(config)
        self.scalars = discrete_scalars(config)
        sites = torch.arange(config.dims).repeat_interleave(self.scalars.num_inputs)
        self.register_buffer("before", sites[:, None] < sites, persistent=False)  # (D R, D O); R inputs are O outputs
        # What lies above the diagonal, row by row: all that the first site adds, then all that the second adds, ...
        self.weight = nn.Parameter(torch.zeros(int(self.before.sum())))
        self.bias = nn.Parameter(torch.zeros(config.dims, self.scalars.num_outputs))
        # Drawn at random, so saved: random streams may change between releases of torch, a density may not.
        drawn = torch.randperm(config.dims) if config.ordering == "random" else None
        self.register_buffer("drawn_order", drawn)

    @classmethod
    def tiny_configs(cls) -> Sequence[FVSBNConfig]:
        return [
            FVSBNConfig(event_shape=(10,)),
            FVSBNConfig(event_shape=(3, 2, 2), ordering="random"),
            FVSBNConfig(event_shape=(3, 1, 2), num_categories=4),
            FVSBNConfig(event_shape=(2, 2), num_categories=(2, 3, 5, 2), ordering="random"),
        ]

    def order(self, member: int = 0) -> Tensor:
        drawn = self.get_buffer("drawn_order")
        return super().order() if drawn is None else drawn

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginals."""
        self.bias.copy_(self.scalars.start(self.check_events(x).flatten(1)[:, self.order()]))

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        order = self.order().to(x.device)
        inputs = self.scalars.encode(x.flatten(1)[:, order]).flatten(1)  # (B, D R)
        weight = torch.zeros_like(self.before, dtype=self.weight.dtype).masked_scatter(self.before, self.weight)
        outputs = torch.addmm(self.bias.flatten(), inputs, weight).view(len(x), *self.bias.shape)
        return self.scalars.distribution(outputs[:, order.argsort()].view(*x.shape, -1))

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> "_Decoder":
        return _Decoder(self, num_samples)

    @torch.no_grad()
    def fit(
        self,
        x: Tensor,
        validation: Tensor,
        progress: Callable[[float], None] | None = None,
        *,
        strengths: Sequence[float] = STRENGTHS,
    ) -> None:
        """Minimises  sum_n -log p(x_i | x_<i) + strength / 2 |a_i|^2  for every site i.

        The penalty leaves out the bias, which is smoothed as marginals are: by one more example of each value, in
        which all inputs are zero.

        Arguments:
            strengths: What is tried; each site keeps what is best for it on the validation events.
        """
        if not strengths or not all(0 < strength < torch.inf for strength in strengths):
            raise ValueError(f"strengths must be one or more numbers above 0, got {tuple(strengths)}")
        order = self.order()
        events, held_out = (self.check_events(each).flatten(1)[:, order] for each in (x, validation))
        if not len(events) or not len(held_out):
            raise ValueError("there must be at least one event to fit and one to validate, got none")
        dims, width = self.bias.shape
        sizes = torch.as_tensor(self.config.num_categories, device=x.device).expand(dims)[order]
        values = torch.arange(int(sizes.max()), device=x.device)[:, None] % sizes
        targets = self.scalars.encode(torch.cat([events, values]))  # (N, D, O)
        inputs = F.pad(targets.flatten(1), (1, 0), value=1.0)
        inputs[len(events) :, 1:] = 0
        held_out_targets = self.scalars.encode(held_out)
        held_out_inputs = F.pad(held_out_targets.flatten(1), (1, 0), value=1.0)
        absent = self.scalars.absent.flatten(0, -2)[order] if isinstance(self.scalars, Categories) else None
        weights = torch.zeros(inputs.shape[1], dims, width, dtype=torch.float64, device=x.device)
        weights[0] = self.scalars.start(events)
        place = F.pad(torch.arange(dims, device=x.device).repeat_interleave(width), (1, 0), value=-1)  # of inputs
        side_by_side = min(64, LARGEST_ROOTS // (width * len(weights) ** 2) + 1)
        for sites in torch.arange(dims, device=x.device).split(side_by_side):
            seen = slice(1 + int(sites[-1]) * width)
            before = (place[seen, None] < sites).double()
            missing = None if absent is None else absent[sites]
            regressions = _Regressions(inputs[:, seen], targets[:, sites], before, missing)
            tests = _Regressions(held_out_inputs[:, seen], held_out_targets[:, sites], before, missing)
            solution = weights[seen, sites]
            best = torch.full_like(solution[0, :, 0], torch.inf)
            for count, strength in enumerate(sorted(strengths, reverse=True), start=1):
                solution = regressions.solve(solution, strength)
                losses, _ = tests.losses(solution)
                weights[seen, sites] = torch.where((losses < best)[:, None], solution, weights[seen, sites])
                best = torch.minimum(best, losses)
                if progress is not None:
                    progress((int(sites[0]) + len(sites) * count / len(strengths)) / dims)
        self.bias.copy_(weights[0])
        self.weight.copy_(weights[1:].reshape(self.before.shape)[self.before])


class _Regressions:
    """The regressions of some sites on all that comes before each, side by side, so that large matrices multiply.

    There are N events, F inputs, the first of which is the one of the bias, G sites and O outputs of each.  What is
    solved is solved in float64; float32 is enough for the directions of the steps.

    Arguments:
        inputs: Shape (N, F).
        targets: The outputs that a certain prediction would have as probabilities, shape (N, G, O).
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
            present = outputs + self._absent
            normaliser, probs = present.logsumexp(-1), present.softmax(-1)
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
            direction = self._direction(gradient, probs, penalty, root) * going[:, None]
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


class _Decoder(arzoo.Decoder):
    """Adds what a site means to the logits of all behind it: one product of rank one a step."""

    def __init__(self, model: FVSBN, num_samples: int) -> None:
        self._scalars, self._order, self._step = model.scalars, model.order().tolist(), 0
        self._outputs = model.bias.detach().flatten().repeat(num_samples, 1)  # (B, D O)
        self._weight = model.weight.detach()

    @cached_property
    def _sites(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each: outputs (B, O), those of all behind it (B, L), and what it adds to them, (R, L); R is O."""
        width = self._scalars.num_outputs
        later = [self._outputs[:, site * width :] for site in range(1, len(self._order) + 1)]
        weights = self._weight.split([width * each.shape[1] for each in later])
        added = [weight.view(width, each.shape[1]) for weight, each in zip(weights, later, strict=True)]
        return list(zip(self._outputs.split(width, 1), later, added, strict=True))

    def conditional(self) -> Distribution:
        return self._scalars.distribution(self._sites[self._step][0], self._order[self._step])

    def append(self, value: Tensor) -> None:
        _, later, added = self._sites[self._step]
        later.addmm_(self._scalars.encode(value), added)
        self._step += 1

    def draw(self, uniforms: Tensor) -> Tensor | None:
        bits = isinstance(self._scalars, Bits) and self._outputs.device.type == "cpu"
        kernels = find_kernels("arzoo_fvsbn.kernels") if bits and self._outputs.dtype == torch.float32 else None
        if kernels is None:
            return None
        values = torch.zeros_like(uniforms, dtype=torch.int64)
        tensors = (uniforms.t().contiguous(), self._outputs, self._weight, values)
        kernels.draw(*(each.numpy() for each in tensors))
        self._step = len(self._order)
        return values


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [FVSBN]
