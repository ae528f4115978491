"""NADE: The Neural Autoregressive Distribution Estimator, Larochelle & Murray 2011,
https://proceedings.mlr.press/v15/larochelle11a.html; Uria et al. 2016, https://arxiv.org/abs/1605.02226.

    a_1 = c,  h_i = f(a_i),  logit_i = b_i + V_i . h_i,  a_{i+1} = a_i + W_i x_i

The recursion costs O(D H) for a likelihood and O(D H) for a sample: the only step both need is to add one row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.model import Context, NamedContext
from arzoo.scalars import discrete_scalars

# f from a, and its derivative times a gradient from h = f(a); both into `out`.
ACTIVATIONS: dict[str, Any] = {"sigmoid": torch.sigmoid, "relu": lambda a, out: torch.clamp_min(a, 0, out=out)}
BACKWARDS: dict[str, Any] = {
    "sigmoid": lambda g, h, out: torch.ops.aten.sigmoid_backward.grad_input(g, h, grad_input=out),
    "relu": lambda g, h, out: torch.ops.aten.threshold_backward.grad_input(g, h, 0, grad_input=out),
}


@dataclass(frozen=True, kw_only=True)
class NADEConfig(arzoo.ModelConfig):
    """
    Attributes:
        hidden_size: Units H of the one hidden layer.
        activation: The function f.
        tied: Whether V is W.
        ordering: The natural order of the sites, or one that is drawn at random and kept with the weights.
    """

    hidden_size: int = 500
    activation: Literal["sigmoid", "relu"] = "sigmoid"
    tied: bool = False
    ordering: Literal["natural", "random"] = "natural"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size < 1:
            raise ValueError(f"hidden_size must be at least 1, got {self.hidden_size}")


class _Recursion(torch.autograd.Function):
    """The recursion over D sites without a (B, D, H) tensor: the backward pass rolls the activation back.

    Takes x (D, B, R), W (D, R, H), c (H,), V (D, R, H), the name of f, and gives V_i . h_i (D, B, R), all float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, c: Tensor, v: Tensor, activation: str) -> Tensor:
        a = c.repeat(x.shape[1], 1)  # (B, H)
        h, f = torch.empty_like(a), ACTIVATIONS[activation]
        logits = torch.empty_like(x)
        for x_i, w_i, v_i, out in zip(x.unbind(), w.unbind(), v.mT.unbind(), logits.unbind(), strict=True):
            f(a, out=h)
            torch.mm(h, v_i, out=out)
            a.addmm_(x_i, w_i)
        ctx.save_for_backward(x, w, v, a)
        ctx.activation = activation
        return logits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, w, v, last = ctx.saved_tensors
        f, derive = ACTIVATIONS[ctx.activation], BACKWARDS[ctx.activation]
        g = gradients[0].contiguous()
        a, h, step = last.clone(), torch.empty_like(last), torch.empty_like(last)
        later = torch.zeros_like(last)  # the gradient of a_{i+1}
        dw, dv = torch.empty_like(w), torch.empty_like(v)
        for i in reversed(range(len(w))):
            torch.mm(x[i].t(), later, out=dw[i])
            a.addmm_(x[i], w[i], alpha=-1)
            f(a, out=h)
            torch.mm(g[i].t(), h, out=dv[i])
            torch.mm(g[i], v[i], out=step)
            later += derive(step, h, out=step)
        return None, dw, later.sum(0), dv, None


class NADE(arzoo.Autoregressive):
    """Discrete events of any shape, flattened."""

    family = "nade"
    config_class = NADEConfig
    config: NADEConfig

    def __init__(self, config: NADEConfig) -> None:
        super().__init__(config)
        self.scalars = discrete_scalars(config)
        shape = (config.dims, self.scalars.num_inputs, config.hidden_size)
        self.encoder = nn.Parameter(torch.randn(shape) * 0.01)  # W
        self.encoder_bias = nn.Parameter(torch.zeros(config.hidden_size))  # c
        self.output = self.encoder if config.tied else nn.Parameter(torch.randn(shape) * 0.01)  # V
        self.output_bias = nn.Parameter(torch.zeros(shape[:2]))  # b
        # Drawn at random, so saved: random streams may change between releases of torch, a density may not.
        drawn = torch.randperm(config.dims) if config.ordering == "random" else None
        self.register_buffer("drawn_order", drawn)

    @classmethod
    def tiny_configs(cls) -> Sequence[NADEConfig]:
        return [
            NADEConfig(event_shape=(10,), hidden_size=4),
            NADEConfig(event_shape=(3, 2, 2), hidden_size=3),
            NADEConfig(event_shape=(3, 1, 2), num_categories=4, hidden_size=3),
            NADEConfig(event_shape=(2, 2), num_categories=(2, 3, 5, 2), hidden_size=3, ordering="random"),
            NADEConfig(event_shape=(7,), hidden_size=3, activation="relu", tied=True),
        ]

    def order(self, member: int = 0) -> Tensor:
        drawn = self.get_buffer("drawn_order")
        return super().order() if drawn is None else drawn

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginals."""
        self.output_bias.copy_(self.scalars.start(self.check_events(x).flatten(1)))

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        order = self.get_buffer("drawn_order")
        with torch.autocast(x.device.type, enabled=False):
            inputs: Tensor = self.scalars.encode(x.flatten(1).t())  # (D, B, R)
            w: Tensor = self.encoder
            v: Tensor = self.output
            if order is not None:
                inputs, w, v = inputs[order], w[order], v[order]
            logits = _Recursion.apply(inputs.contiguous(), w, self.encoder_bias, v, self.config.activation)  # type: ignore[no-untyped-call]
            if order is not None:
                logits = logits[order.argsort()]
            logits = logits.transpose(0, 1) + self.output_bias  # (B, D, R)
        return self.scalars.distribution(logits.reshape(*x.shape, -1))

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> "_Decoder":
        return _Decoder(self, num_samples)


class _Decoder(arzoo.Decoder):
    def __init__(self, model: NADE, num_samples: int) -> None:
        self._scalars, self._activation = model.scalars, ACTIVATIONS[model.config.activation]
        self._a = model.encoder_bias.detach().repeat(num_samples, 1)  # (B, H)
        self._h = torch.empty_like(self._a)
        self._w = model.encoder.detach().unbind()
        self._v = model.output.detach().mT.unbind()
        self._b = model.output_bias.detach().unbind()
        self._order, self._step = model.order().tolist(), 0

    def conditional(self) -> Distribution:
        site = self._order[self._step]
        self._activation(self._a, out=self._h)
        return self._scalars.distribution(torch.addmm(self._b[site], self._h, self._v[site]), site)

    def append(self, value: Tensor) -> None:
        self._a.addmm_(self._scalars.encode(value), self._w[self._order[self._step]])
        self._step += 1


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [NADE]
