"""Tables of conditionals, smoothed as in A hierarchical Dirichlet language model, MacKay & Peto 1995,
https://doi.org/10.1017/S1351324900000218.

    p(x_i = v | c) = (N(c, v) + a K p(x_i = v | c')) / (N(c) + a K)

N counts training events, K is the number of categories of x_i, c the context (all values before x_i, or the last k of
them) and c' the context without its oldest value; below the empty context stands the uniform distribution.  So a
context that never occurred backs off to a shorter one, and a = 0 gives the relative frequencies of those that did.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.model import NamedContext
from arzoo.scalars import Bits, discrete_scalars

MOST_NUMBERS = 2**22
"""Tables that would need more numbers are refused."""


@dataclass(frozen=True, kw_only=True)
class TabularConfig(arzoo.ModelConfig):
    """
    Attributes:
        markov_order: Number k of sites before a site, in row-major order, that are its context; None takes all.
        smoothing: Pseudo-count a of every category in every context; 0 gives what never occurred probability zero.
    """

    markov_order: int | None = None
    smoothing: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.markov_order is not None and self.markov_order < 0:
            raise ValueError(f"markov_order must not be negative, got {self.markov_order}")
        if self.smoothing < 0:
            raise ValueError(f"smoothing must not be negative, got {self.smoothing}")
        for length in range(self.reach + 1) if self.num_categories else ():
            if self._num_numbers(length) > MOST_NUMBERS:
                cure = f"markov_order must be below {length}" if length else "there are too many scalars or categories"
                raise ValueError(
                    f"tables of markov_order {self.markov_order} for {self.dims} scalars need more than"
                    f" {MOST_NUMBERS:,} numbers; {cure}"
                )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Categories of every scalar."""
        sizes = self.num_categories
        return sizes if isinstance(sizes, tuple) else (sizes or 0,) * self.dims

    @property
    def reach(self) -> int:
        """The longest context that a site has."""
        return self.dims - 1 if self.markov_order is None else min(self.markov_order, self.dims - 1)

    def num_contexts(self, site: int, length: int) -> int:
        """Of a site, if contexts are its last `length` predecessors."""
        return prod(self.sizes[max(site - length, 0) : site])

    def _num_numbers(self, length: int) -> int:
        columns = 1 if set(self.sizes) == {2} else max(self.sizes)
        return columns * sum(self.num_contexts(site, length) for site in range(self.dims))


class Tabular(arzoo.Autoregressive):
    """Bits or categories of any shape, flattened."""

    family = "tabular"
    config_class = TabularConfig
    config: TabularConfig
    first_row: Tensor
    strides: Tensor

    def __init__(self, config: TabularConfig) -> None:
        super().__init__(config)
        self.scalars = discrete_scalars(config)
        self.num_rows = [config.num_contexts(site, config.reach) for site in range(config.dims)]
        # A row holds the outputs for a context: site after site, in each the contexts as numbers in the mixed base of
        # their sizes, the site just before as the last digit.
        self.table = nn.Parameter(torch.zeros(sum(self.num_rows), self.scalars.num_outputs))
        rows = torch.tensor(self.num_rows)
        self.register_buffer("first_row", rows.cumsum(0) - rows, persistent=False)  # (D,)
        strides = torch.zeros(config.reach, config.dims, dtype=torch.long)  # of the site `lag` before: strides[lag - 1]
        for site in range(config.dims):
            for lag in range(1, min(site, config.reach) + 1):
                strides[lag - 1, site] = config.num_contexts(site, lag - 1)
        self.register_buffer("strides", strides, persistent=False)

    @classmethod
    def tiny_configs(cls) -> Sequence[TabularConfig]:
        return [
            TabularConfig(event_shape=(8,)),
            TabularConfig(event_shape=(3, 2, 2), markov_order=2),
            TabularConfig(event_shape=(2, 2), num_categories=(2, 3, 5, 2)),
            TabularConfig(event_shape=(6,), num_categories=(2, 4, 3, 2, 3, 4), markov_order=2),
            TabularConfig(event_shape=(2, 1, 3), num_categories=3, markov_order=0),
        ]

    def _rows(self, x: Tensor) -> Tensor:
        """The row of every site given its context, shape (N, D); x has this shape too."""
        rows = self.first_row.repeat(len(x), 1)
        for lag, strides in enumerate(self.strides, start=1):
            rows[:, lag:] += x[:, :-lag] * strides[lag:]
        return rows

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        outputs = F.embedding(self._rows(x.flatten(1)), self.table)
        return self.scalars.distribution(outputs.view(*x.shape, -1))

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> "_Decoder":
        return _Decoder(self, num_samples)

    @torch.no_grad()
    def fit(self, x: Tensor, validation: Tensor, progress: Callable[[float], None] | None = None) -> None:
        """Counts the training events; those of the validation split are not needed."""
        x = self.check_events(x).flatten(1)
        if not len(x):
            raise ValueError("there must be at least one event to count, got none")
        rows = self._rows(x) - self.first_row
        for site, (table, size) in enumerate(zip(self.table.split(self.num_rows), self.config.sizes, strict=True)):
            flat = torch.bincount(rows[:, site] * size + x[:, site], minlength=len(table) * size)
            log_probs = self._smoothed(site, flat.view(-1, size).double()).log()
            if isinstance(self.scalars, Bits):
                table.copy_(log_probs[:, 1:] - log_probs[:, :1])
            else:
                table[:, :size] = log_probs
            if progress is not None:
                progress((site + 1) / self.config.dims)

    def _smoothed(self, site: int, counts: Tensor) -> Tensor:
        """Probabilities from counts, both of shape (contexts, K)."""
        size, pseudo = counts.shape[1], self.config.smoothing * counts.shape[1]
        probs = counts.new_full((1, size), 1 / size)
        for length in range(min(site, self.config.reach) + 1):
            num_contexts = self.config.num_contexts(site, length)
            seen = counts.view(-1, num_contexts, size).sum(0)  # whatever stands before the context
            shorter = probs.repeat(num_contexts // len(probs), 1)
            total = seen.sum(1, keepdim=True) + pseudo
            probs = torch.where(total > 0, (seen + pseudo * shorter) / total, shorter)
        return probs


class _Decoder(arzoo.Decoder):
    """Reads the row of the context that it carries along."""

    def __init__(self, model: Tabular, num_samples: int) -> None:
        self._scalars, self._sizes, self._step = model.scalars, model.config.sizes, 0
        self._tables = model.table.detach().split(model.num_rows)
        self._context = torch.zeros(num_samples, dtype=torch.long, device=model.device)
        self._num_contexts = [*model.num_rows[1:], 1]  # of the next site

    def conditional(self) -> Distribution:
        return self._scalars.distribution(self._tables[self._step].index_select(0, self._context), self._step)

    def append(self, value: Tensor) -> None:
        self._context.mul_(self._sizes[self._step]).add_(value).remainder_(self._num_contexts[self._step])
        self._step += 1


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [Tabular]
