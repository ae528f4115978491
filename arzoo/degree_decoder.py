"""The decoder of masked multi-layer perceptrons: every hidden unit is computed once, as soon as it can be."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import Distribution

from arzoo.compiling import find_bit_kernels
from arzoo.decoding import Decoder
from arzoo.scalars import Scalars


class DegreeDecoder(Decoder):
    """An event costs about one pass: a unit whose degree is d is complete when the first d scalars of the walk are.

    With the units of each layer sorted by degree, those that a scalar completes lie side by side.  What is not computed
    yet is zero.

    Arguments:
        scalars: How scalars enter and leave the network.
        order: Indices of the D scalars as the walk visits them.
        num_samples: B.
        degrees: Ranks 1 to D of the inputs, shape (D R,), the degrees of each hidden layer, and the ranks of the
            outputs, shape (D O,).
        layers: Weight (above, below) and bias (above,) of each hidden layer and of the output.  Weights that a mask
            takes away must be zero, but for those on units of too high a degree, which are not computed by then.
        direct: Weights from inputs to outputs, shape (D O, D R), of which the same holds.
    """

    def __init__(
        self,
        scalars: Scalars,
        order: Sequence[int],
        num_samples: int,
        degrees: Sequence[Tensor],
        layers: Sequence[tuple[Tensor, Tensor]],
        direct: Tensor | None,
    ) -> None:
        self._scalars, self._order, self._step = scalars, order, 0
        self._layers = [(weight.detach(), bias.detach()) for weight, bias in layers]
        self._direct = None if direct is None else direct.detach()
        self._by_degree = [each.argsort(stable=True) for each in degrees]
        counts = [torch.bincount(each, minlength=len(order) + 1) for each in degrees[1:-1]]
        self._counts = torch.stack(counts)  # (L, D + 1)
        # Features first, the batch last: the hidden layers, then the inputs.
        self._sizes = [len(each) for each in (*degrees[1:-1], degrees[0])]
        self._values = layers[0][0].new_zeros(sum(self._sizes), num_samples)

    @cached_property
    def _inputs(self) -> Sequence[Tensor]:
        """Those of each scalar, (B, R)."""
        inputs: Sequence[Tensor] = self._values[-self._sizes[-1] :].t().split(self._scalars.num_inputs, 1)
        return inputs

    @cached_property
    def _units(self) -> list[list[tuple[Tensor, Tensor, Tensor, Tensor]]]:
        """The units that each scalar completes: (values, bias, weight, what they see), a layer behind the other."""
        *hidden, inputs = self._values.split(self._sizes)
        units: list[list[tuple[Tensor, Tensor, Tensor, Tensor]]] = [[] for _ in self._order]
        for index, (weight, bias) in enumerate(self._layers[:-1]):
            counts, below = self._counts[index, 1:].tolist(), hidden[index - 1] if index else inputs
            added = bias[self._by_degree[index + 1], None]
            parts = (each.split(counts) for each in (hidden[index], added, self._sorted(weight, index, index + 1)))
            for completed, count, part in zip(units, counts, zip(*parts, strict=True), strict=True):
                if count:
                    completed.append((*part, below))
        return units

    @cached_property
    def _outputs(self) -> tuple[Tensor, Sequence[Tensor], Sequence[Tensor]]:
        """What outputs see (B, F); for each scalar the bias (O,) and the weights (F, O)."""
        weight, bias = self._layers[-1]
        rows, output = self._sizes[-2], self._sorted(weight, -2, -1)
        if self._direct is not None:  # inputs lie behind the last layer: one product gives the outputs
            rows += self._sizes[-1]
            output = torch.cat([output, self._sorted(self._direct, 0, -1)], 1)
        first, width = sum(self._sizes[:-2]), self._scalars.num_outputs
        return (
            self._values[first : first + rows].t(),
            bias[self._by_degree[-1]].split(width),
            output.t().split(width, 1),
        )

    def _sorted(self, weight: Tensor, into: int, out: int) -> Tensor:
        return weight.index_select(0, self._by_degree[out]).index_select(1, self._by_degree[into])

    def conditional(self) -> Distribution:
        seen, bias, weight = self._outputs
        outputs = torch.addmm(bias[self._step], seen, weight[self._step])
        return self._scalars.distribution(outputs, self._order[self._step])

    def append(self, value: Tensor) -> None:
        self._inputs[self._step].copy_(self._scalars.encode(value))
        for out, bias, weight, seen in self._units[self._step]:
            torch.addmm(bias, weight, seen, out=out).relu_()
        self._step += 1

    def draw(self, uniforms: Tensor) -> Tensor | None:
        kernels = find_bit_kernels("arzoo.kernels", self._scalars, self._values)
        if kernels is None:
            return None
        inputs, *units, outputs = self._by_degree
        *middle, (output, bias) = self._layers
        tensors = (
            uniforms.t().contiguous(),
            self._values,
            torch.tensor([0, *self._sizes[:-1]]).cumsum(0),
            torch.cat([*units, inputs]),
            self._counts.cumsum(1),
            torch.cat([weight.flatten() for weight, _ in middle]),
            torch.tensor([0, *(weight.numel() for weight, _ in middle)]).cumsum(0),
            torch.cat([bias for _, bias in middle]),
            outputs,
            output,
            bias,
            output.new_empty(0, 0) if self._direct is None else self._direct,
        )
        kernels.draw_by_degree(self._step, *(each.numpy() for each in tensors))
        first, self._step = self._step, len(self._order)
        return self._values[first - self._step :].t().long()
