"""What is known while the sites of an orderless model are visited, kept so that a step costs less than a pass."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .orderless import Orderless


class Evidence:
    """What is known of a batch of events, which differs from row to row, and what the network says given that.

    Keeps the first layer's activation, to which a known scalar adds one row a number, and asks for one output.

    Arguments:
        x: Shape (B, D); any valid values where not known.
        known: Boolean, shape (B, D).
    """

    def __init__(self, model: "Orderless", x: Tensor, known: Tensor) -> None:
        first, *self._middle = model.hidden
        assert isinstance(first, nn.Linear)
        self._scalars = model.scalars
        self._a = first(model.inputs(x, known).flatten(1))  # (B, H)
        self._first = first.weight.t().contiguous().view(x.shape[1], -1, self._a.shape[1]).unbind()  # D of (R + 1, H)
        self._last = model.output.weight.view(x.shape[1], -1, model.output.in_features).mT.unbind()  # D of (H, O)
        self._bias = model.output.bias.view(x.shape[1], -1).unbind()
        self._ones = self._a.new_ones(len(x), 1)
        self._new = (~known).float().t().unsqueeze(-1).unbind() if bool(known.any()) else None  # D of (B, 1)

    def outputs(self, site: int) -> Tensor:
        """Of one site, shape (B, O)."""
        h = self._a.relu()
        for layer in self._middle:
            h = layer(h).relu_()
        return torch.addmm(self._bias[site], h, self._last[site])

    def add(self, site: int, values: Tensor) -> None:
        """Makes a site known; its values, shape (B,), must be the old ones in rows that know it already."""
        inputs = torch.cat([self._scalars.encode(values), self._ones], 1)  # (B, R + 1)
        if self._new is not None:
            inputs *= self._new[site]
        self._enter(site, inputs)

    def _enter(self, site: int, inputs: Tensor) -> None:
        """Adds what the network now sees of a site, shape (B, R + 1), zeros in rows that knew it."""
        self._a.addmm_(inputs, self._first[site])
