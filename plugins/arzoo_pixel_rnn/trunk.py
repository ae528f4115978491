"""What both PixelRNNs share: a 7x7 convolution with mask A, residual LSTM layers, two 1x1 layers, a softmax."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.levels import ImageConfig, level_distribution, level_features, level_output, start_at_marginals
from arzoo.model import Context, NamedContext
from arzoo.nn import MaskedConv2d


@dataclass(frozen=True, kw_only=True)
class PixelRNNConfig(ImageConfig):
    """
    Attributes:
        hidden_size: Units h of an LSTM; 2h features run between layers.  Divisible by the number of colours.
        num_layers: Residual LSTM layers.
        head_size: Features of the 1x1 layer before the softmax.  Divisible by the number of colours.
    """

    hidden_size: int = 16
    num_layers: int = 7
    head_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_groups("hidden_size", "head_size")
        if self.num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {self.num_layers}")


class PixelRNN(arzoo.Autoregressive):
    """Images (C, H, W) of K levels; one site a colour of a pixel, pixels row by row, R before G before B."""

    config: PixelRNNConfig
    features: Tensor

    def __init__(self, config: PixelRNNConfig) -> None:
        super().__init__(config)
        channels = config.event_shape[0]
        self.levels = config.num_categories
        self.register_buffer("features", level_features(self.levels), persistent=False)  # (K, F)
        inputs, width = channels * self.features.shape[1], 2 * config.hidden_size
        self.first = MaskedConv2d(inputs, width, 7, include_self=False, num_groups=channels)
        self.layers = nn.ModuleList(self.layer() for _ in range(config.num_layers))
        self.head = MaskedConv2d(width, config.head_size, 1, include_self=True, num_groups=channels)
        self.output = level_output(config.head_size, channels, self.levels)

    @abstractmethod
    def layer(self) -> nn.Module:
        """A residual layer, from (B, 2h, H, W) to the same."""

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginal distribution of the levels of each channel."""
        start_at_marginals(self.output, self.check_events(x), self.levels)

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        inputs = self.features[x.permute(0, 2, 3, 1)].flatten(3)  # (B, H, W, C F)
        h = self.first(inputs.permute(0, 3, 1, 2))  # (B, 2h, H, W)
        for layer in self.layers:
            h = layer(h)
        return level_distribution(self.output(self.head(h.relu()).relu()), self.levels)

    def order(self, member: int = 0) -> Tensor:
        channels, height, width = self.config.event_shape
        return torch.arange(channels * height * width).view(channels, -1).t().reshape(-1)


def gates_last(gates: Tensor, num_groups: int) -> Tensor:
    """Gates (B, C 4 h/C, H, W), each colour's together as masks want them, as (H, W, B, 4 h), each gate's together."""
    split = gates.unflatten(1, (num_groups, 4, -1))  # (B, C, 4, h/C, H, W)
    result: Tensor = split.permute(4, 5, 0, 2, 1, 3).flatten(3)
    return result


def start_gates(bias: Tensor, num_groups: int) -> None:
    """Sets the bias of the forget gates to one: at first cells remember."""
    with torch.no_grad():
        bias.view(num_groups, 4, -1)[:, 1] = 1.0
