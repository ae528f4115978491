"""MASDE: Masked Autoencoder for Distribution Estimation on Small Structured Data Sets, Khajenezhad, Madani & Beigy,
IEEE TNNLS 2021.

MADE with masks from a graph that is known.  Scalar i depends on a set B_i of those before it: on its parents, if the
graph is a Bayesian network in topological order; if it is a Markov random field, on those that a path joins to i whose
interior is drawn after i.  Given B_i, all others before i say nothing more about it.  A hidden unit bears a set S:

    input j -> unit S   where j is in S
    unit S' -> unit S   where S' is a subset of S
    unit S -> output i  where S is a subset of B_i

The paper's text was not at hand: this is a reading of its abstract.  With all scalars joined it is MADE.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.decoding import check_order
from arzoo.degree_decoder import DegreeDecoder
from arzoo.model import Context, NamedContext
from arzoo.nn import MaskedLinear
from arzoo.scalars import discrete_scalars

from . import graphs

MOST_SCALARS = 10_000


@dataclass(frozen=True, kw_only=True)
class MASDEConfig(arzoo.ModelConfig):
    """The graph is given by `edges` or `grid`; a node is the row-major index of a scalar.

    Attributes:
        edges: Pairs of nodes; `arzoo_masde.graphs` reads them from files.
        grid: Height and width of an image of one channel whose pixels are joined to their four neighbours.
        directed: Whether an edge is (parent, child) in a Bayesian network, or joins two nodes of a Markov random field.
        order: The nodes as they are visited; None for 0, 1, 2, ...
        hidden_sizes: Units of each hidden layer.
        direct: Whether inputs are connected to outputs directly too.
    """

    edges: tuple[tuple[int, int], ...] | None = None
    grid: tuple[int, int] | None = None
    directed: bool = False
    order: tuple[int, ...] | None = None
    hidden_sizes: tuple[int, ...] = (100,)
    direct: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dims > MOST_SCALARS:  # a structure has a place for every pair of them
            raise ValueError(f"events must have at most {MOST_SCALARS} scalars, got {self.dims}")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes must be one or more positive numbers, got {self.hidden_sizes}")
        if (self.edges is None) == (self.grid is None):
            raise ValueError("edges or grid must be given, and not both")
        if self.grid is not None and (min(self.grid) < 1 or self.grid[0] * self.grid[1] != self.dims):
            raise ValueError(f"grid must be height and width of the {self.dims} scalars, got {self.grid}")
        graphs.check_edges(self.dims, self.edges or ())
        if self.order is not None:
            check_order(self.order, self.dims, "order")
        backwards = [edge for edge in self.ranked_edges() if edge[0] > edge[1]] if self.directed else []
        if backwards:
            graphs.topological_order(range(self.dims), self.all_edges())  # says so if there is none
            parent, child = (self.visits()[rank] for rank in backwards[0])
            raise ValueError(
                f"order must put parents before children, but {parent} -> {child} is an edge;"
                " arzoo_masde.graphs.topological_order gives one that does"
            )

    def visits(self) -> Sequence[int]:
        """The node of each rank."""
        return range(self.dims) if self.order is None else self.order

    def all_edges(self) -> graphs.Edges:
        return graphs.grid(*self.grid) if self.grid is not None else self.edges or ()

    def ranked_edges(self) -> graphs.Edges:
        """The edges, each node by its rank in the order."""
        rank = {node: rank for rank, node in enumerate(self.visits())}
        return tuple((rank[a], rank[b]) for a, b in self.all_edges())


def label_sets(before: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """The sets that hidden units bear, in every layer the same, so that each set of a layer has its own below.

    These are the B_i.  Where there are more outputs than `most`, similar ones are neighbours when the B_i are sorted
    from their last element on; as many groups of neighbours are formed as there may be sets, and each shares the
    intersection of its B_i, as far as they intersect.

    Arguments:
        before: Row i is B_i, shape (D, D).

    Returns:
        Shape (G, D), none empty; rows are equal where B_i are.  If these are all empty, {0}: a set in none of them.
    """
    rows = sorted((row for row in before if row.any()), key=lambda row: row[::-1].tobytes())
    if not rows:
        return np.eye(1, len(before), dtype=np.bool_)
    num_sets, sets = min(most, len(rows)), []
    for index in range(num_sets):
        shared, *group = rows[index * len(rows) // num_sets : (index + 1) * len(rows) // num_sets]
        for row in group:
            shared = shared & row if (shared & row).any() else shared
        sets.append(shared)
    return np.array(sets)


def _within(inner: Tensor, outer: Tensor) -> Tensor:
    """Whether sets (A, D) are subsets of sets (B, D), shape (B, A)."""
    return (~outer).float() @ inner.float().t() == 0


class MASDE(arzoo.Autoregressive):
    """Discrete events of any shape, flattened."""

    family = "masde"
    config_class = MASDEConfig
    config: MASDEConfig
    visits: Tensor
    direct_mask: Tensor

    def __init__(self, config: MASDEConfig) -> None:
        super().__init__(config)
        self.scalars = discrete_scalars(config)
        into, out = self.scalars.num_inputs, self.scalars.num_outputs
        sizes = (config.dims * into, *config.hidden_sizes)
        self.layers = nn.ModuleList(MaskedLinear(*pair) for pair in pairwise(sizes))
        self.output = MaskedLinear(sizes[-1], config.dims * out)
        self.direct = MaskedLinear(sizes[0], config.dims * out, bias=False) if config.direct else None

        # Sets of ranks, so that what a unit waits for is the last of its set.
        kind = graphs.parents if config.directed else graphs.separators
        known = kind(config.dims, config.ranked_edges())
        before = torch.as_tensor(known)  # (D, D), row i is B_i
        sets = torch.as_tensor(label_sets(known, min(config.hidden_sizes)))  # (G, D)
        visits = torch.tensor(config.visits())
        ranks = visits.argsort()
        inputs, outputs = ranks.repeat_interleave(into), ranks.repeat_interleave(out)
        units = [torch.arange(size) * len(sets) // size for size in config.hidden_sizes]  # set of each unit
        masks = [sets[units[0]][:, inputs]]
        masks += [_within(sets, sets)[above][:, below] for below, above in pairwise(units)]
        masks += [_within(sets, before)[outputs][:, units[-1]]]
        degrees = (sets * torch.arange(1, config.dims + 1)).amax(1)  # 1 to D - 1
        for index, mask in enumerate(masks):
            self.register_buffer(f"mask_{index}", mask, persistent=False)
        for index, degree in enumerate([inputs + 1, *(degrees[each] for each in units), outputs + 1]):
            self.register_buffer(f"degrees_{index}", degree, persistent=False)
        self.register_buffer("direct_mask", before[outputs][:, inputs], persistent=False)
        self.register_buffer("visits", visits, persistent=False)

    @classmethod
    def tiny_configs(cls) -> Sequence[MASDEConfig]:
        path = tuple((i, i + 1) for i in range(9))
        network = ((3, 0), (3, 1), (1, 4), (0, 2), (1, 2))
        return [
            MASDEConfig(event_shape=(10,), hidden_sizes=(20, 12), edges=(*path, (0, 6), (2, 9))),
            MASDEConfig(event_shape=(1, 3, 4), hidden_sizes=(9, 7), grid=(3, 4), direct=False),
            MASDEConfig(
                event_shape=(5,),
                num_categories=(2, 3, 4, 2, 3),
                hidden_sizes=(8,),
                edges=network,
                directed=True,
                order=(3, 1, 0, 4, 2),
            ),
            MASDEConfig(event_shape=(2, 3), num_categories=3, hidden_sizes=(5,), grid=(2, 3), order=(5, 2, 4, 1, 3, 0)),
        ]

    def order(self, member: int = 0) -> Tensor:
        return self.visits

    def masks(self) -> list[Tensor]:
        """Of each hidden layer, then of the output, (above, below)."""
        return [self.get_buffer(f"mask_{index}") for index in range(len(self.layers) + 1)]

    def degrees(self) -> list[Tensor]:
        """Which visit completes an input, a unit of each layer, comes to an output: 1 to D."""
        return [self.get_buffer(f"degrees_{index}") for index in range(len(self.layers) + 2)]

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginals."""
        self.output.bias.copy_(self.scalars.start(self.check_events(x).flatten(1)).flatten())

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        h = inputs = self.scalars.encode(x.flatten(1)).flatten(1)  # (B, D R)
        *masks, output_mask = self.masks()
        for layer, mask in zip(self.layers, masks, strict=True):
            h = layer(h, mask).relu()
        outputs = self.output(h, output_mask)
        if self.direct is not None:
            outputs = outputs + self.direct(inputs, self.direct_mask)
        return self.scalars.distribution(outputs.view(*x.shape, -1))

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> DegreeDecoder:
        layers = []
        for layer, mask in zip((*self.layers, self.output), self.masks(), strict=True):
            assert isinstance(layer, MaskedLinear)
            layers.append((layer.weight * mask, layer.bias))
        direct = None if self.direct is None else self.direct.weight * self.direct_mask
        return DegreeDecoder(self.scalars, self.order().tolist(), num_samples, self.degrees(), layers, direct)


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [MASDE]
