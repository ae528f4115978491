"""The recurrence of PixelRNN: an LSTM over lines of pixels, each of which sees the line before it.

A line is a row of the image, or a diagonal of it.  At every step all pixels of a line are one matrix product per
neighbour; the backward pass is written out, so that nothing but activations is kept.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from arzoo.gradients import first_order


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, weight: Tensor, spans: Sequence[tuple[int, int]], shifts: Sequence[int]
    ) -> Tensor:
        steps, directions, places, batch, _ = gates.shape
        size = weight.shape[2]
        acts = gates.to(weight.dtype, copy=True, memory_format=torch.contiguous_format)
        # Of step t the hidden state is hs[t + 1], a line of zeros on either side, and the cell cs[t + 1].
        hs = acts.new_zeros(steps + 1, directions, places + 2, batch, size)
        cs = acts.new_zeros(steps + 1, directions, places, batch, size)
        kernels = weight.unbind(1)
        for t, (low, high) in enumerate(spans):
            a = acts[t, :, low:high]
            flat = a.flatten(1, 2)
            for kernel, shift in zip(kernels, shifts, strict=True):
                flat.baddbmm_(hs[t, :, low + 1 + shift : high + 1 + shift].flatten(1, 2), kernel)
            a[..., : 3 * size].sigmoid_()
            a[..., 3 * size :].tanh_()
            i, f, o, g = a.split(size, -1)
            c, h = cs[t + 1, :, low:high], hs[t + 1, :, low + 1 : high + 1]
            torch.mul(f, cs[t, :, low:high], out=c)
            c.addcmul_(i, g)
            torch.tanh(c, out=h)
            h.mul_(o)
        ctx.save_for_backward(acts, hs, cs, weight)
        ctx.spans, ctx.shifts = spans, shifts
        return hs[1:, :, 1:-1].clone()

    @staticmethod
    @first_order
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        acts, hs, cs, weight = ctx.saved_tensors
        size = weight.shape[2]
        g_gates, g_weight = torch.zeros_like(acts), torch.zeros_like(weight)
        from_right, from_cell = torch.zeros_like(hs[0]), torch.zeros_like(cs[0])  # what the next step sends back
        kernels, g_kernels = weight.mT.unbind(1), g_weight.unbind(1)
        for t in reversed(range(len(acts))):
            low, high = ctx.spans[t]
            i, f, o, g = acts[t, :, low:high].split(size, -1)
            g_i, g_f, g_o, g_g = g_gates[t, :, low:high].split(size, -1)
            g_h = gradients[0][t, :, low:high] + from_right[:, low + 1 : high + 1]
            tanh_c = cs[t + 1, :, low:high].tanh()
            torch.ops.aten.sigmoid_backward.grad_input(g_h * tanh_c, o, grad_input=g_o)
            g_c = torch.ops.aten.tanh_backward(g_h * o, tanh_c).add_(from_cell[:, low:high])
            torch.ops.aten.sigmoid_backward.grad_input(g_c * g, i, grad_input=g_i)
            torch.ops.aten.sigmoid_backward.grad_input(g_c * cs[t, :, low:high], f, grad_input=g_f)
            torch.ops.aten.tanh_backward.grad_input(g_c * i, g, grad_input=g_g)
            from_cell.zero_()
            torch.mul(g_c, f, out=from_cell[:, low:high])
            from_right.zero_()
            flat = g_gates[t, :, low:high].flatten(1, 2)
            for kernel, g_kernel, shift in zip(kernels, g_kernels, ctx.shifts, strict=True):
                seen = slice(low + 1 + shift, high + 1 + shift)
                from_right[:, seen].flatten(1, 2).baddbmm_(flat, kernel)
                g_kernel.baddbmm_(hs[t, :, seen].flatten(1, 2).mT, flat)
        return g_gates, g_weight, None, None


def scan(gates: Tensor, weight: Tensor, spans: Sequence[tuple[int, int]], shifts: Sequence[int]) -> Tensor:
    """Hidden states of an LSTM in which place p of a line sees places p + shift of the line before it.

    Arguments:
        gates: What the input says to the gates i, f, o, g, shape (T, D, P, B, 4 H): T lines of P places, D directions
            with weights of their own.  Taken to the dtype of the weight.
        weight: Shape (D, K, H, 4 H), from each of the K neighbours.
        spans: For each line the places that there are, from and to; elsewhere states are zero.
        shifts: The K neighbours, each -1, 0 or 1.  The cell comes from the same place of the line before.

    Returns:
        Shape (T, D, P, B, H).
    """
    states: Tensor = _Scan.apply(gates, weight, spans, shifts)  # type: ignore[no-untyped-call]
    return states
