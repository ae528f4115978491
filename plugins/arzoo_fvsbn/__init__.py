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

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.compiling import find_bit_kernels
from arzoo.model import Context, NamedContext
from arzoo.orders import Ordered, OrderedConfig
from arzoo.scalars import Categories, discrete_scalars

from .regressions import Regressions

STRENGTHS = tuple(10 ** (k / 2) for k in range(6, -3, -1))
"""L2 penalties that `fit` tries: from 1000 to 0.1."""
MOST_WEIGHTS = 2**28
"""Of a model that is built at all: a GiB of them."""
LARGEST_ROOTS = 2**26
"""Numbers in the roots of all Hessians that are in memory at once."""


@dataclass(frozen=True, kw_only=True)
class FVSBNConfig(OrderedConfig):
    """As of every family of one order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = self.num_categories or 2
        width = max(sizes) if isinstance(sizes, tuple) else sizes
        weights = self.dims * (self.dims - 1) // 2 * (1 if width == 2 else width**2)
        if weights > MOST_WEIGHTS:
            raise ValueError(
                f"{self.dims} scalars of {width} categories need {weights:,} weights, more than {MOST_WEIGHTS:,};"
                " take a family that shares weights, such as nade or made"
            )


class FVSBN(Ordered):
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
        self.set_order()

    @classmethod
    def tiny_configs(cls) -> Sequence[FVSBNConfig]:
        return [
            FVSBNConfig(event_shape=(10,)),
            FVSBNConfig(event_shape=(3, 2, 2), ordering="random"),
            FVSBNConfig(event_shape=(3, 1, 2), num_categories=4),
            FVSBNConfig(event_shape=(2, 2), num_categories=(2, 3, 5, 2), ordering="random"),
        ]

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
        dims, width = self.bias.shape
        sizes = torch.as_tensor(self.config.num_categories, device=x.device).expand(dims)[order]
        values = torch.arange(int(sizes.max()), device=x.device)[:, None].expand(-1, dims)
        targets = self.scalars.encode(torch.cat([events, values]))  # (N, D, O)
        targets[len(events) :][values >= sizes] = 0  # a site has one more example of each of its own values
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
            regressions = Regressions(inputs[:, seen], targets[:, sites], before, missing)
            tests = Regressions(held_out_inputs[:, seen], held_out_targets[:, sites], before, missing)
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
        kernels = find_bit_kernels("arzoo_fvsbn.kernels", self._scalars, self._outputs)
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
