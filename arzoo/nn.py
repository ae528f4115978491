"""What makes a layer autoregressive: masks that multiply the weights at every forward pass.

A mask never writes into a weight: several masks may share one, and what one hides another needs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedLinear(nn.Linear):
    """A linear layer whose mask comes with the call.

    Arguments:
        conditioning: Whether a unit is told which inputs it sees: a weight U of the mask itself, (U * mask) @ 1
            (Germain et al. 2015, arXiv:1502.03509, section 4.2).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, conditioning: bool = False) -> None:
        super().__init__(in_features, out_features, bias)
        self.conditioning = nn.Parameter(torch.zeros(out_features, in_features)) if conditioning else None

    def masked_bias(self, mask: Tensor) -> Tensor | None:
        """The bias and what the mask itself adds, shape (out_features,); None if there is neither."""
        if self.conditioning is None:
            return self.bias
        told = torch.where(mask, self.conditioning, 0.0).sum(1)
        return told if self.bias is None else self.bias + told

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """
        Arguments:
            x: Shape (..., in_features).
            mask: Boolean, shape (out_features, in_features); false where an output must not see an input.

        Returns:
            Shape (..., out_features).
        """
        weight = torch.where(mask, self.weight, 0.0)  # a product with booleans takes five times as long
        return F.linear(x, weight, self.masked_bias(mask))


def group_mask(in_channels: int, out_channels: int, num_groups: int, *, include_self: bool) -> Tensor:
    """Which channels see which, boolean (out_channels, in_channels): a group those before it, or up to itself.

    Raises:
        ValueError: Channels cannot be split into so many equal groups.
    """
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % num_groups:
            raise ValueError(f"{name} must be divisible by the {num_groups} colour groups, got {channels}")
    into = torch.arange(in_channels) * num_groups // in_channels
    out = torch.arange(out_channels) * num_groups // out_channels
    return into[None] <= out[:, None] if include_self else into[None] < out[:, None]


class MaskedConv2d(nn.Module):
    """A convolution that sees the rows above, the columns to the left and, by channel groups, its own pixel.

    Only the causal rows of the kernel exist, so no arithmetic is spent on weights that are always zero.  The
    channels of every feature map are split into `num_groups` equal groups, one per colour in order; in the centre
    tap group g sees the groups before it (`include_self=False`, mask A) or up to itself (mask B) (van den Oord 2016,
    arXiv:1601.06759, section 3.4).

    Arguments:
        kernel_size: Odd width of the square kernel that is cropped; 1 is a masked 1x1 convolution.
    """

    mask: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, include_self: bool, num_groups: int = 1
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {kernel_size}")
        centre = group_mask(in_channels, out_channels, num_groups, include_self=include_self)
        reach = kernel_size // 2
        conv = nn.Conv2d(in_channels, out_channels, (reach + 1, kernel_size))
        self.reach = reach
        self.columns = (-reach, reach)
        self.weight = conv.weight  # (out, in, reach + 1, kernel_size)
        self.bias = conv.bias
        mask = torch.ones_like(conv.weight)
        mask[:, :, -1, reach + 1 :] = 0
        mask[:, :, -1, reach] = centre.to(mask.dtype)
        self.register_buffer("mask", mask, persistent=False)

    def masked_weight(self) -> Tensor:
        """Shape (out_channels, in_channels, reach + 1, kernel_size); the last row is the pixel's own."""
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """
        Arguments:
            x: Shape (B, in_channels, H, W).

        Returns:
            Shape (B, out_channels, H, W).
        """
        if self.reach:
            x = F.pad(x, (self.reach, self.reach, self.reach, 0))
        return F.conv2d(x, self.masked_weight(), self.bias)


class WindowConv2d(nn.Conv2d):
    """A convolution that sees a window of rows and columns, counted from its pixel: only what it sees is computed.

    Arguments:
        rows: The first and the last row: (-2, -1) for the two above, (0, 0) for the pixel's own.
        columns: The first and the last column.
        centre: Which inputs an output sees at the last tap, the pixel itself, boolean (out_channels, in_channels);
            None for all.
    """

    mask: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        rows: tuple[int, int],
        columns: tuple[int, int],
        centre: Tensor | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, (rows[1] - rows[0] + 1, columns[1] - columns[0] + 1))
        self.rows, self.columns = rows, columns
        mask = None
        if centre is not None:
            mask = torch.ones_like(self.weight)
            mask[:, :, -1, -1] = centre.to(mask.dtype)
        self.register_buffer("mask", mask, persistent=False)

    def masked_weight(self) -> Tensor:
        """Shape (out_channels, in_channels, rows, columns)."""
        return self.weight if self.mask is None else self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """
        Arguments:
            x: Shape (B, in_channels, H, W).

        Returns:
            Shape (B, out_channels, H, W).
        """
        around = (-self.columns[0], self.columns[1], -self.rows[0], self.rows[1])
        if any(around):
            x = F.pad(x, around)
        return F.conv2d(x, self.masked_weight(), self.bias)
