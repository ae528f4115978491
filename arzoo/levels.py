"""Levels of a colour: the config of images that have them, how they enter a convolutional network, and the distribution
over them that comes out.

Levels are ordered, and both ends of the network know it.  A level enters as a few cosines of its place in the range,
and the weights of the softmax are cosines of it too plus a free number a level: the same function class, learnt from
fewer images, since what one level teaches holds for those beside it.  Two levels have one logit.

K levels, C colours; feature maps have C equal groups of channels, and a colour's outputs see the groups up to its own.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arzoo.distributions import Bernoulli, Categorical
from arzoo.model import ModelConfig
from arzoo.nn import MaskedConv2d

_INPUT_COSINES = 8
_OUTPUT_COSINES = 32


@dataclass(frozen=True, kw_only=True)
class ImageConfig(ModelConfig):
    """Of models of images (C, H, W) whose colours have the same number of levels."""

    num_categories: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.event_shape) != 3:
            raise ValueError(f"event_shape must be (channels, height, width), got {self.event_shape}")

    def check_groups(self, *names: str) -> None:
        """Refuses numbers of features that cannot be split into a group for each colour.

        Raises:
            ValueError: Names the field.
        """
        for name in names:
            size = getattr(self, name)
            if size < 1 or size % self.event_shape[0]:
                raise ValueError(
                    f"{name} must be a positive multiple of the {self.event_shape[0]} channels, got {size}"
                )


def _cosines(num_levels: int, most: int) -> Tensor:
    """cos(pi m (k + 1/2) / K) of levels k for m = 1, 2, ..., shape (K, min(K - 1, most)): the DCT's smooth half."""
    level = (torch.arange(num_levels, dtype=torch.float64) + 0.5) / num_levels
    frequency = torch.arange(1, min(num_levels - 1, most) + 1)
    return torch.cos(math.pi * level[:, None] * frequency).float()


def level_features(num_levels: int) -> Tensor:
    """The F numbers that each level enters as, shape (K, F); no level is all zeros, as padding is.

    Each cosine is half as large as the one before, so that networks hear of a level's place first, of its digits later.
    """
    cosines = _cosines(num_levels, _INPUT_COSINES)
    return 1.5 * cosines * 0.5 ** torch.arange(cosines.shape[1])


class LevelSoftmax(nn.Module):
    """The masked 1x1 convolution to the logits of K levels a colour, its weights smooth in the level plus free ones."""

    basis: Tensor
    mask: Tensor

    def __init__(self, in_channels: int, num_groups: int, num_levels: int) -> None:
        super().__init__()
        cosines = _cosines(num_levels, _OUTPUT_COSINES)
        basis = torch.cat([cosines * 4 / math.sqrt(cosines.shape[1]), torch.eye(num_levels)], 1)
        self.register_buffer("basis", basis, persistent=False)  # (K, M + K)
        shape = (num_groups, basis.shape[1], in_channels)
        self.coefficients = nn.Parameter(torch.randn(shape) * 0.05 / math.sqrt(in_channels))
        self.bias = nn.Parameter(torch.zeros(num_groups * num_levels))
        like = MaskedConv2d(in_channels, num_groups, 1, include_self=True, num_groups=num_groups)
        self.register_buffer("mask", like.mask.repeat_interleave(num_levels, 0), persistent=False)

    def masked_weight(self) -> Tensor:
        """Shape (C K, in_channels, 1, 1)."""
        with torch.autocast(self.basis.device.type, enabled=False):
            return (self.basis @ self.coefficients).view(self.mask.shape) * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C K, H, W) from features (B, in_channels, H, W)."""
        return F.conv2d(x, self.masked_weight(), self.bias)


def level_output(in_channels: int, num_colours: int, num_levels: int) -> MaskedConv2d | LevelSoftmax:
    """The last layer: one logit a colour if levels are two, else K."""
    if num_levels == 2:
        return MaskedConv2d(in_channels, num_colours, 1, include_self=True, num_groups=num_colours)
    return LevelSoftmax(in_channels, num_colours, num_levels)


@torch.no_grad()
def start_at_marginals(output: MaskedConv2d | LevelSoftmax, x: Tensor, num_levels: int) -> None:
    """Sets the last layer's bias to how often each colour has each level, smoothed by one of each.

    Arguments:
        x: Images (B, C, H, W).
    """
    one_hot = F.one_hot(x.transpose(0, 1).flatten(1), num_levels)  # (C, N, K)
    counts = one_hot.sum(1).double() + 1
    start = (counts / counts.sum(1, keepdim=True)).log()
    assert output.bias is not None
    output.bias.copy_(start[:, 1] - start[:, 0] if num_levels == 2 else start.flatten())


def level_distribution(logits: Tensor, num_levels: int) -> Bernoulli | Categorical:
    """What the last layer's logits (B, C, H, W) or (B, C K, H, W) say, of shape (B, C, H, W)."""
    if num_levels == 2:
        return Bernoulli(logits.float())
    split = logits.permute(0, 2, 3, 1).unflatten(3, (-1, num_levels))  # (B, H, W, C, K)
    return Categorical(split.permute(0, 3, 1, 2, 4).float().contiguous())
