"""The recursion with one input and one output a site, that of bits, as compiled loops; importing this needs numba.

Where x_i is zero nothing changes, so f is computed at the ones only, and so is its derivative: the gradients that
reach one h from several sites are added up first.  Compiled at the first call, and kept on disk.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from arzoo.kernels import Float, compiled, draw_bit, sigmoid


@compiled
def activate(a: Any, h: Any, relu: bool) -> None:
    if relu:
        for k in range(len(a)):
            h[k] = max(a[k], Float(0))
    else:
        for k in range(len(a)):
            h[k] = sigmoid(a[k])


@compiled
def add_derivative(later: Any, gradient: Any, h: Any, relu: bool) -> None:
    """Adds f'(a) times the gradient from h = f(a), and sets that to zero."""
    if relu:
        for k in range(len(h)):
            later[k] += gradient[k] if h[k] > 0 else Float(0)
    else:
        for k in range(len(h)):
            later[k] += gradient[k] * h[k] * (Float(1) - h[k])
    gradient[:] = 0


@compiled
def roll_forward(x: Any, w: Any, v: Any, a: Any, outputs: Any, relu: bool) -> None:
    h = np.empty_like(a)
    for b in range(len(a)):
        activate(a[b], h[b], relu)
    for i in range(len(x)):
        w_i, v_i = w[i], v[i]
        for b in range(len(a)):
            a_b, h_b, x_ib, total = a[b], h[b], x[i, b], Float(0)
            for k in range(len(v_i)):
                total += h_b[k] * v_i[k]
            outputs[i, b] = total
            if x_ib != 0:
                for k in range(len(w_i)):
                    a_b[k] += x_ib * w_i[k]
                activate(a_b, h_b, relu)


@compiled
def roll_back(x: Any, w: Any, v: Any, g: Any, a: Any, later: Any, dw: Any, dv: Any, relu: bool) -> None:
    h, waiting = np.empty_like(a), np.zeros_like(a)  # what has reached h, and not yet a
    for b in range(len(a)):
        activate(a[b], h[b], relu)
    for i in range(len(x) - 1, -1, -1):
        w_i, v_i, dw_i, dv_i = w[i], v[i], dw[i], dv[i]
        for b in range(len(a)):
            a_b, h_b, waiting_b, later_b, x_ib, g_ib = a[b], h[b], waiting[b], later[b], x[i, b], g[i, b]
            if x_ib != 0:
                add_derivative(later_b, waiting_b, h_b, relu)
                for k in range(len(w_i)):
                    dw_i[k] += x_ib * later_b[k]
                for k in range(len(w_i)):
                    a_b[k] -= x_ib * w_i[k]
                activate(a_b, h_b, relu)
            for k in range(len(v_i)):
                waiting_b[k] += g_ib * v_i[k]
            for k in range(len(v_i)):
                dv_i[k] += g_ib * h_b[k]
    for b in range(len(a)):
        add_derivative(later[b], waiting[b], h[b], relu)


@compiled
def roll_drawing(uniforms: Any, order: Any, w: Any, v: Any, bias: Any, a: Any, values: Any, relu: bool) -> None:
    h = np.empty_like(a)
    for b in range(len(a)):
        activate(a[b], h[b], relu)
    for step in range(len(order)):
        site = order[step]
        w_i, v_i = w[site], v[site]
        for b in range(len(a)):
            a_b, h_b, logit = a[b], h[b], bias[site]
            for k in range(len(v_i)):
                logit += h_b[k] * v_i[k]
            if draw_bit(logit, uniforms[step, b]) > 0:
                values[b, step] = 1
                for k in range(len(w_i)):
                    a_b[k] += w_i[k]
                activate(a_b, h_b, relu)


def forward(x: Tensor, w: Tensor, v: Tensor, a: Tensor, outputs: Tensor, activation: str) -> None:
    """Rolls a (B, H) from c over x (D, B, 1) and fills the outputs (D, B, 1)."""
    tensors = (x[:, :, 0], w[:, 0], v[:, 0], a, outputs[:, :, 0])
    arguments: list[Any] = [*(each.detach().numpy() for each in tensors), activation == "relu"]
    roll_forward(*arguments)


def backward(x: Tensor, w: Tensor, v: Tensor, g: Tensor, a: Tensor, activation: str) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of W, c and V from those of the outputs, g (D, B, 1); rolls a back."""
    later, dw, dv = torch.zeros_like(a), torch.zeros_like(w), torch.zeros_like(v)
    tensors = (x[:, :, 0], w[:, 0], v[:, 0], g[:, :, 0], a, later, dw[:, 0], dv[:, 0])
    arguments: list[Any] = [*(each.detach().numpy() for each in tensors), activation == "relu"]
    roll_back(*arguments)
    return dw, later.sum(0), dv


def draw(uniforms: Tensor, order: Tensor, w: Tensor, v: Tensor, b: Tensor, a: Tensor, activation: str) -> Tensor:
    """Rolls a (B, H) over the sites of an order (S,), drawing each; the bits (B, S).

    Arguments:
        uniforms: Shape (B, S).
    """
    values = torch.zeros_like(uniforms, dtype=torch.int64)
    tensors = (uniforms.t().contiguous(), order, w[:, 0], v[:, 0], b[:, 0], a, values)
    arguments: list[Any] = [*(each.detach().numpy() for each in tensors), activation == "relu"]
    roll_drawing(*arguments)
    return values
