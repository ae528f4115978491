"""NADE: The Neural Autoregressive Distribution Estimator, Larochelle & Murray 2011,
https://proceedings.mlr.press/v15/larochelle11a.html; Uria et al. 2016, https://arxiv.org/abs/1605.02226.

    a_1 = c,  h_i = sigmoid(a_i),  logit_i = b_i + V_i . h_i,  a_{i+1} = a_i + W_i x_i

The recursion costs O(D H) for a likelihood and O(D H) for a sample: the only step both need is to add one row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.distributions import Bernoulli, Categorical
from arzoo.model import Context, NamedContext


@dataclass(frozen=True, kw_only=True)
class NADEConfig(arzoo.ModelConfig):
    """
    Attributes:
        hidden_size: Units H of the one hidden layer.
    """

    hidden_size: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.num_categories, int):
            raise ValueError(f"num_categories must be one number, got {self.num_categories}")
        if self.hidden_size < 1:
            raise ValueError(f"hidden_size must be at least 1, got {self.hidden_size}")


class _Recursion(torch.autograd.Function):
    """The recursion over D sites without a (B, D, H) tensor: the backward pass rolls the activation back.

    Takes x (D, B, R), W (D, R, H), c (H,), V (D, R, H) and gives V_i . h_i (D, B, R), all float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, c: Tensor, v: Tensor) -> Tensor:
        a = c.repeat(x.shape[1], 1)  # (B, H)
        h = torch.empty_like(a)
        logits = torch.empty_like(x)
        for x_i, w_i, v_i, out in zip(x.unbind(), w.unbind(), v.mT.unbind(), logits.unbind(), strict=True):
            torch.sigmoid(a, out=h)
            torch.mm(h, v_i, out=out)
            a.addmm_(x_i, w_i)
        ctx.save_for_backward(x, w, v, a)
        return logits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, w, v, last = ctx.saved_tensors
        g = gradients[0].contiguous()
        a, h, step = last.clone(), torch.empty_like(last), torch.empty_like(last)
        later = torch.zeros_like(last)  # the gradient of a_{i+1}
        dw, dv = torch.empty_like(w), torch.empty_like(v)
        sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
        for i in reversed(range(len(w))):
            torch.mm(x[i].t(), later, out=dw[i])
            a.addmm_(x[i], w[i], alpha=-1)
            torch.sigmoid(a, out=h)
            torch.mm(g[i].t(), h, out=dv[i])
            torch.mm(g[i], v[i], out=step)
            later += sigmoid_backward(step, h, grad_input=step)
        return None, dw, later.sum(0), dv


class NADE(arzoo.Autoregressive):
    """Discrete events of any shape, flattened; sites in row-major order.

    A binary site is one input and one logit (R = 1), one of K categories is K of each.
    """

    family = "nade"
    config_class = NADEConfig
    config: NADEConfig

    def __init__(self, config: NADEConfig) -> None:
        super().__init__(config)
        assert isinstance(config.num_categories, int)
        self.rows = 1 if config.num_categories == 2 else config.num_categories  # R
        shape = (config.dims, self.rows, config.hidden_size)
        self.encoder = nn.Parameter(torch.randn(shape) * 0.01)  # W
        self.encoder_bias = nn.Parameter(torch.zeros(config.hidden_size))  # c
        self.output = nn.Parameter(torch.randn(shape) * 0.01)  # V
        self.output_bias = nn.Parameter(torch.zeros(config.dims, self.rows))  # b

    @classmethod
    def tiny_configs(cls) -> Sequence[NADEConfig]:
        return [
            NADEConfig(event_shape=(10,), hidden_size=4),
            NADEConfig(event_shape=(3, 2, 2), hidden_size=3),
            NADEConfig(event_shape=(3, 1, 2), num_categories=4, hidden_size=3),
        ]

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginals of the sites, smoothed by one example of each category."""
        x = self.check_events(x).flatten(1)
        counts = F.one_hot(x, max(self.rows, 2)).double().sum(0) + 1  # (D, K)
        start = (counts / counts.sum(1, keepdim=True)).log()
        self.output_bias.copy_(start[:, 1:] - start[:, :1] if self.rows == 1 else start)

    def encode(self, values: Tensor) -> Tensor:
        """Values of sites as inputs (..., R): the bit itself, or one of K."""
        return values[..., None].float() if self.rows == 1 else F.one_hot(values, self.rows).float()

    def distribution(self, logits: Tensor) -> Bernoulli | Categorical:
        """From logits (..., R)."""
        return Bernoulli(logits[..., 0]) if self.rows == 1 else Categorical(logits)

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        with torch.autocast(x.device.type, enabled=False):
            inputs = self.encode(x.flatten(1).t()).contiguous()  # (D, B, R)
            logits = _Recursion.apply(inputs, self.encoder, self.encoder_bias, self.output)  # type: ignore[no-untyped-call]
            logits = logits.transpose(0, 1) + self.output_bias  # (B, D, R)
        return self.distribution(logits.reshape(*x.shape, self.rows))

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> "_Decoder":
        return _Decoder(self, num_samples)


class _Decoder(arzoo.Decoder):
    def __init__(self, model: NADE, num_samples: int) -> None:
        self._model = model
        self._a = model.encoder_bias.detach().repeat(num_samples, 1)  # (B, H)
        self._h = torch.empty_like(self._a)
        self._w = model.encoder.detach().unbind()
        self._v = model.output.detach().mT.unbind()
        self._b = model.output_bias.detach().unbind()
        self._step = 0

    def conditional(self) -> Bernoulli | Categorical:
        torch.sigmoid(self._a, out=self._h)
        return self._model.distribution(torch.addmm(self._b[self._step], self._h, self._v[self._step]))

    def append(self, value: Tensor) -> None:
        self._a.addmm_(self._model.encode(value), self._w[self._step])
        self._step += 1


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [NADE]
