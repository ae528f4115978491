"""The decoder of masked multi-layer perceptrons: every hidden unit is computed once, as soon as it can be."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

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
        by_degree = [each.argsort(stable=True) for each in degrees]
        # Features first, the batch last: the hidden layers, then the inputs.
        sizes = [len(each) for each in (*degrees[1:-1], degrees[0])]
        values = layers[0][0].new_zeros(sum(sizes), num_samples)
        *hidden, inputs = values.split(sizes)

        def in_order(weight: Tensor, into: int, out: int) -> Tensor:
            return weight.detach().index_select(0, by_degree[out]).index_select(1, by_degree[into])

        # The units that each scalar completes: (values, bias, weight, what they see), a layer behind the other.
        self._units: list[list[tuple[Tensor, Tensor, Tensor, Tensor]]] = [[] for _ in order]
        *middle, (output_weight, output_bias) = layers
        for index, (weight, bias) in enumerate(middle):
            counts = torch.bincount(degrees[index + 1], minlength=len(order) + 1)[1:].tolist()
            below = hidden[index - 1] if index else inputs
            added = bias.detach()[by_degree[index + 1], None]
            parts = (each.split(counts) for each in (hidden[index], added, in_order(weight, index, index + 1)))
            for units, count, part in zip(self._units, counts, zip(*parts, strict=True), strict=True):
                if count:
                    units.append((*part, below))
        self._inputs = inputs.t().split(scalars.num_inputs, 1)
        seen, output = hidden[-1], in_order(output_weight, -2, -1)
        if direct is not None:  # inputs lie behind the last layer: one product gives the outputs
            seen = values[-len(hidden[-1]) - len(inputs) :]
            output = torch.cat([output, in_order(direct, 0, -1)], 1)
        self._seen, self._output = seen.t(), output.t().split(scalars.num_outputs, 1)
        self._output_bias = output_bias.detach()[by_degree[-1]].split(scalars.num_outputs)

    def conditional(self) -> Distribution:
        outputs = torch.addmm(self._output_bias[self._step], self._seen, self._output[self._step])
        return self._scalars.distribution(outputs, self._order[self._step])

    def append(self, value: Tensor) -> None:
        self._inputs[self._step].copy_(self._scalars.encode(value))
        for out, bias, weight, seen in self._units[self._step]:
            torch.addmm(bias, weight, seen, out=out).relu_()
        self._step += 1
