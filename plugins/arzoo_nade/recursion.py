"""The recursion of NADE and RNADE: a_1 = c, h_i = f(rho_i a_i), out_i = V_i h_i, a_{i+1} = a_i + W_i x_i.

It costs O(D H) for a likelihood and O(D H) for a sample: the only step both need is to add what one site says.
"""

from collections.abc import Iterable
from functools import cached_property
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

import arzoo
from arzoo.compiling import find_bit_kernels, find_kernels
from arzoo.gradients import first_order
from arzoo.scalars import Scalars

KERNELS = "arzoo_nade.kernels"

# f from a, and its derivative times a gradient from h = f(a); both into `out`.
ACTIVATIONS: dict[str, Any] = {"sigmoid": torch.sigmoid, "relu": lambda a, out: torch.clamp_min(a, 0, out=out)}
BACKWARDS: dict[str, Any] = {
    "sigmoid": lambda g, h, out: torch.ops.aten.sigmoid_backward.grad_input(g, h, grad_input=out),
    "relu": lambda g, h, out: torch.ops.aten.threshold_backward.grad_input(g, h, 0, grad_input=out),
}


class _Recursion(torch.autograd.Function):
    """All sites without a (B, D, H) tensor: the backward pass rolls the activation back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, c: Tensor, v: Tensor, rho: Tensor | None, activation: str) -> Tensor:
        a = c.repeat(x.shape[1], 1)  # (B, H)
        outputs = x.new_empty(*x.shape[:2], v.shape[1])
        on_cpu = x.device.type == "cpu" and x.dtype == w.dtype == torch.float32
        plain = x.shape[2] == v.shape[1] == 1 and rho is None and not ctx.needs_input_grad[0]
        kernels = find_kernels(KERNELS) if on_cpu and plain else None
        if kernels is not None:
            kernels.forward(x, w, v, a, outputs, activation)
        else:
            h, f = torch.empty_like(a), ACTIVATIONS[activation]
            sites = zip(x.unbind(), w.unbind(), v.mT.unbind(), outputs.unbind(), _sites(rho), strict=False)
            for x_i, w_i, v_i, out, rho_i in sites:
                f(a if rho_i is None else torch.mul(a, rho_i, out=h), out=h)
                torch.mm(h, v_i, out=out)
                a.addmm_(x_i, w_i)
        ctx.save_for_backward(x, w, v, rho, a)
        ctx.activation, ctx.kernels = activation, kernels
        return outputs

    @staticmethod
    @first_order
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, w, v, rho, last = ctx.saved_tensors
        g = gradients[0].contiguous()
        if ctx.kernels is not None:
            return None, *ctx.kernels.backward(x, w, v, g, last.clone(), ctx.activation), None, None
        f, derive = ACTIVATIONS[ctx.activation], BACKWARDS[ctx.activation]
        dw, dv, a = torch.empty_like(w), torch.empty_like(v), last.clone()
        h, step = torch.empty_like(a), torch.empty_like(a)
        later = torch.zeros_like(a)  # the gradient of a_{i+1}
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        drho = None if rho is None else torch.empty_like(rho)
        for i in reversed(range(len(w))):
            if dx is not None:
                torch.mm(later, w[i].t(), out=dx[i])
            torch.mm(x[i].t(), later, out=dw[i])
            a.addmm_(x[i], w[i], alpha=-1)
            f(a if rho is None else torch.mul(a, rho[i], out=h), out=h)
            torch.mm(g[i].t(), h, out=dv[i])
            torch.mm(g[i], v[i], out=step)
            derive(step, h, out=step)
            if rho is None or drho is None:
                later += step
            else:
                torch.dot(step.view(-1), a.view(-1), out=drho[i])
                later.addcmul_(step, rho[i])
        return dx, dw, later.sum(0), dv, drho, None


def recursion(
    x: Tensor, w: Tensor, c: Tensor, v: Tensor, rho: Tensor | None, activation: str, visits: Tensor | None
) -> Tensor:
    """What comes out of every site in turn, all float32.

    Arguments:
        x: R numbers a site that enter for its value, shape (D, B, R).
        w: Shape (D, R, H).
        c: Shape (H,).
        v: Shape (D, O, H).
        rho: Of the first that is visited, of the second, ..., shape (D,); None for ones.
        activation: Name of f.
        visits: The sites as they are visited, shape (D,); None for 0, 1, 2, ...

    Returns:
        Shape (D, B, O).
    """
    if visits is not None:
        x, w, v = x[visits], w[visits], v[visits]
    outputs: Tensor = _Recursion.apply(x.contiguous(), w, c, v, rho, activation)  # type: ignore[no-untyped-call]
    return outputs if visits is None else outputs[visits.argsort()]


class RecursionDecoder(arzoo.Decoder):
    """Holds a_i and adds to it what every site says.

    Arguments:
        b: What is added to the outputs, shape (D, O).
        order: The sites in the order they are visited.
    """

    def __init__(
        self,
        num_samples: int,
        scalars: Scalars,
        w: Tensor,
        c: Tensor,
        v: Tensor,
        b: Tensor,
        rho: Tensor | None,
        activation: str,
        order: list[int],
    ) -> None:
        self._scalars, self._activation = scalars, activation
        self._w, self._v, self._b = w.detach(), v.detach(), b.detach()
        self._a = c.detach().repeat(num_samples, 1)  # (B, H)
        self._h = torch.empty_like(self._a)
        self._rho = None if rho is None else rho.detach().unbind()
        self._order, self._step = order, 0

    @cached_property
    def _sites(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """W (R, H), V (H, O) and b (O,) of each."""
        return list(zip(self._w.unbind(), self._v.mT.unbind(), self._b.unbind(), strict=True))

    def conditional(self) -> Distribution:
        site = self._order[self._step]
        _, v, b = self._sites[site]
        scaled = self._a if self._rho is None else torch.mul(self._a, self._rho[self._step], out=self._h)
        ACTIVATIONS[self._activation](scaled, out=self._h)
        return self._scalars.distribution(torch.addmm(b, self._h, v), site)

    def append(self, value: Tensor) -> None:
        w, _, _ = self._sites[self._order[self._step]]
        self._a.addmm_(self._scalars.encode(value), w)
        self._step += 1

    def draw(self, uniforms: Tensor) -> Tensor | None:
        kernels = find_bit_kernels(KERNELS, self._scalars, self._a) if self._rho is None else None
        if kernels is None:
            return None
        order, self._step = torch.tensor(self._order[self._step :]), len(self._order)
        drawn: Tensor = kernels.draw(uniforms, order, self._w, self._v, self._b, self._a, self._activation)
        return drawn


def _sites(rho: Tensor | None) -> Iterable[Tensor | None]:
    return repeat(None) if rho is None else rho.unbind()
