"""Compiled loops that draw bits, a site after the other; importing this needs numba (`arzoo.compiling.find_kernels`).

Compiled at the first call, and kept on disk.
"""

import math
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np

P = ParamSpec("P")
T = TypeVar("T")
Float, Int = np.float32, np.int32
LOG_2 = Float(math.log(2))


def compiled(function: Callable[P, T]) -> Callable[P, T]:
    # Sums may be taken in any order, division by zero is none of Python's errors: else no loop becomes vectors.
    return cast(Callable[P, T], numba.njit(function, cache=True, error_model="numpy", fastmath={"reassoc", "contract"}))


@compiled
def sigmoid(a: Any) -> Any:
    """1 / (1 + exp(-a)) to rounding, with exp(-a) = 2^n exp(r), |r| < log(2) / 2, and exp(r) by its series."""
    x = min(max(-a, Float(-87)), Float(87))
    n = np.floor(x / LOG_2 + Float(0.5))
    r = x - n * LOG_2
    series = Float(1 / 5040) * r + Float(1 / 720)
    series = series * r + Float(1 / 120)
    series = series * r + Float(1 / 24)
    series = series * r + Float(1 / 6)
    series = series * r + Float(1 / 2)
    series = (series * r + Float(1)) * r + Float(1)
    power = Int((Int(n) + Int(127)) << Int(23)).view(Float)  # 2^n by its bits
    return Float(1) / (Float(1) + series * power)


@compiled
def draw_bit(logit: Any, uniform: Any) -> Any:
    """As `arzoo.distributions.Bernoulli` does."""
    return Float(1) if uniform >= sigmoid(-logit) else Float(0)


@compiled
def add_product(total: Any, weights: Any, columns: Any, rows: Any) -> None:
    """Adds weights (K,), taken at some columns, times as many rows (., B) to the total (B,)."""
    for k in range(len(columns)):
        weight, row = weights[columns[k]], rows[k]
        for b in range(len(total)):
            total[b] += weight * row[b]


@compiled
def draw_by_degree(
    first: int,
    uniforms: Any,
    values: Any,
    rows: Any,
    by_degree: Any,
    ends: Any,
    weights: Any,
    starts: Any,
    biases: Any,
    order: Any,
    output: Any,
    output_bias: Any,
    direct: Any,
) -> None:
    """The walk of a `DegreeDecoder` from its step `first` on: the bits drawn become the last rows of the values.

    Arguments:
        uniforms: Shape (S, B), of the steps from the first on.
        values: Units of each hidden layer by degree, then the inputs, shape (units + D, B).
        rows: The first row of each hidden layer, and that of the inputs, shape (L + 1,).
        by_degree: Which unit of its layer, or which input, a row is; shape (units + D,).
        ends: How many units of a layer have a degree of at most 0, 1, ... D; shape (L, D + 1).
        weights: Of the hidden layers, one behind the other, rows of units; the first of each at `starts` (L + 1,).
        biases: Of the units, one layer behind the other.
        order: Which output each step is, shape (D,).
        output: Weights (D, units of the last layer).
        output_bias: Shape (D,).
        direct: Weights from inputs to outputs (D, D), or nothing.
    """
    layers, inputs, batch = len(ends), rows[-1], uniforms.shape[1]
    last, from_inputs = rows[layers - 1], by_degree[inputs:]
    total = np.empty(batch, Float)
    for step in range(first, len(order)):
        site = order[step]
        total[:] = output_bias[site]
        add_product(total, output[site], by_degree[last : last + ends[layers - 1, step]], values[last:])
        if len(direct) > 0:
            add_product(total, direct[site], from_inputs[:step], values[inputs:])
        for b in range(batch):
            values[inputs + step, b] = draw_bit(total[b], uniforms[step - first, b])
        for layer in range(layers):
            below, seen, width = inputs, step + 1, len(order)
            if layer > 0:
                below, seen, width = rows[layer - 1], ends[layer - 1, step + 1], rows[layer] - rows[layer - 1]
            columns = by_degree[below : below + seen]
            for row in range(rows[layer] + ends[layer, step], rows[layer] + ends[layer, step + 1]):
                unit = by_degree[row]
                total[:] = biases[rows[layer] + unit]
                start = starts[layer] + unit * width
                add_product(total, weights[start : start + width], columns, values[below:])
                for b in range(batch):
                    values[row, b] = max(total[b], Float(0))
