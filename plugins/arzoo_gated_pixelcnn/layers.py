"""The layers of Gated PixelCNN, of both stacks."""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from arzoo.gradients import first_order
from arzoo.nn import WindowConv2d, group_mask

if TYPE_CHECKING:
    from .gated_pixelcnn import GatedPixelCNNConfig

_FIRST_REACH = 3  # of the 7x7 kernels of the first layer


def _halves(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Two maps (B, G, h / G, H, W) of 2h channels (B, 2h, H, W), which hold both for one group after the other."""
    first, second = x.unflatten(1, (groups, 2, -1)).unbind(2)
    return first, second


class _Gate(torch.autograd.Function):
    """tanh(f) . sigma(g); its backward pass writes both halves of the gradient in place, channels last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int) -> Tensor:
        f, g = _halves(x, groups)
        tanh, sigma = f.tanh(), g.sigmoid()
        ctx.save_for_backward(tanh, sigma)
        return (tanh * sigma).flatten(1, 2)

    @staticmethod
    @first_order
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        tanh, sigma = ctx.saved_tensors
        batch, groups, channels, height, width = tanh.shape
        gradient = gradients[0].unflatten(1, (groups, channels))
        result = tanh.new_empty(batch, height, width, 2 * groups * channels).permute(0, 3, 1, 2)
        f, g = _halves(result, groups)
        torch.ops.aten.tanh_backward.grad_input(gradient * sigma, tanh, grad_input=f)
        torch.ops.aten.sigmoid_backward.grad_input(gradient * tanh, sigma, grad_input=g)
        return result, None


def gate(x: Tensor, groups: int) -> Tensor:
    """tanh(f) . sigma(g) of the two halves of each of the groups of channels, (B, h, H, W) of (B, 2h, H, W)."""
    result: Tensor = _Gate.apply(x, groups)  # type: ignore[no-untyped-call]
    return result


class GatedLayer(nn.Module):
    """A layer of both stacks.

    Arguments:
        in_channels: Of what enters the two stacks, each.
        first: Whether images enter: the vertical kernel ends a row above its pixel, the horizontal one has mask A.
        last: Whether no layer follows, and the skip is all that is wanted.
    """

    def __init__(self, in_channels: int, config: "GatedPixelCNNConfig", *, first: bool, last: bool) -> None:
        super().__init__()
        self.first, self.groups = first, config.num_groups
        h, n = config.hidden_size, config.num_conditions
        reach = _FIRST_REACH if first else config.kernel_size // 2

        def own(ins: int, outs: int, include_self: bool) -> Tensor | None:
            return None if self.groups == 1 else group_mask(ins, outs, self.groups, include_self=include_self)

        end = -1 if first and self.groups == 1 else 0  # mask A leaves nothing of a pixel that is one site
        self.vertical = WindowConv2d(in_channels, 2 * h, rows=(-reach, -1 if first else 0), columns=(-reach, reach))
        self.link = nn.Conv2d(2 * h, 2 * h, 1, bias=False)
        self.horizontal = WindowConv2d(
            in_channels, 2 * h, rows=(0, 0), columns=(-reach, end), centre=own(in_channels, 2 * h, not first)
        )
        self.residual = None if last else WindowConv2d(h, h, rows=(0, 0), columns=(0, 0), centre=own(h, h, True))
        self.skip = WindowConv2d(h, h, rows=(0, 0), columns=(0, 0), centre=own(h, h, True))
        self.condition = nn.Conv2d(n, 4 * h, 1, bias=False) if n else None  # for both stacks
        if self.condition is not None:
            nn.init.zeros_(self.condition.weight)
        # A gate halves what is small: with torch's defaults the vertical stack fades within four layers.
        for conv, gain in ((self.vertical, 2.0), (self.link, 1.0), (self.horizontal, math.sqrt(2))):
            nn.init.normal_(conv.weight, std=gain / math.sqrt(conv.weight[0].numel()))

    def forward(self, v: Tensor, h: Tensor, conditions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """
        Arguments:
            v: What the vertical stack has, shape (B, in_channels, H, W).
            h: What the horizontal stack has, the same shape.
            conditions: Shape (B, n, H, W), or (B, n, 1, 1) if the same for all pixels.

        Returns:
            What both have behind this layer, and the skip, shape (B, h, H, W) each.
        """
        v = self.vertical(v)  # (B, 2h, H, W)
        a = self.link(v) + self.horizontal(h)  # (B, 2h, H, W)
        if self.condition is not None:
            above, beside = self.condition(conditions).chunk(2, 1)
            v, a = v + above, a + beside
        y = gate(a, self.groups)
        if self.residual is None:
            return v, h, self.skip(y)
        residual = self.residual(y)
        return gate(v, 1), residual if self.first else h + residual, self.skip(y)
