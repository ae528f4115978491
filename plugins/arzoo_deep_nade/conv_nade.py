"""ConvNADE: Neural Autoregressive Distribution Estimation, Uria et al. 2016, https://arxiv.org/abs/1605.02226.

The orderless training of DeepNADE for images: beside the fully connected network a stack of convolutions sees the
image and its mask as channels, and their outputs are added before the sigmoid.  The first half of the
stack convolves what is inside the image ("valid") and shrinks it, the second half brings it back ("full").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from .orderless import Orderless, OrderlessConfig


@dataclass(frozen=True, kw_only=True)
class ConvNADEConfig(OrderlessConfig):
    """The paper's stack has 64 channels and the kernels (8, 4, 6, 7); the default is one that a CPU can train.

    Attributes:
        num_channels: Feature maps between convolutions.
        kernel_sizes: Widths of the valid convolutions' square kernels; the full ones have the same in reverse.
    """

    num_channels: int = 16
    kernel_sizes: tuple[int, ...] = (5, 5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.event_shape) != 3:
            raise ValueError(f"event_shape must be (channels, height, width), got {self.event_shape}")
        if self.num_channels < 1:
            raise ValueError(f"num_channels must be at least 1, got {self.num_channels}")
        if not self.kernel_sizes or min(self.kernel_sizes) < 1:
            raise ValueError(f"kernel_sizes must be one or more positive numbers, got {self.kernel_sizes}")
        left = min(self.event_shape[1:]) - sum(size - 1 for size in self.kernel_sizes)
        if left < 1:
            shape = f"{self.event_shape[1]}x{self.event_shape[2]}"
            raise ValueError(f"kernel_sizes must leave a pixel of {shape}, got {self.kernel_sizes}")


class ConvNADE(Orderless):
    """Images (C, H, W); one site a colour of a pixel.

    Every step of a likelihood or a sample is a full pass: D of them for each order.
    """

    family = "conv_nade"
    config_class = ConvNADEConfig
    config: ConvNADEConfig

    def __init__(self, config: ConvNADEConfig) -> None:
        super().__init__(config)
        colours, kernels = config.event_shape[0], config.kernel_sizes
        inner = [config.num_channels] * (2 * len(kernels) - 1)
        widths = [colours * (self.scalars.num_inputs + 1), *inner, colours * self.scalars.num_outputs]
        windows = [*((size, 0) for size in kernels), *((size, size - 1) for size in reversed(kernels))]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(*pair, size, padding=padding)
            for pair, (size, padding) in zip(pairwise(widths), windows, strict=True)
        )

    @classmethod
    def tiny_configs(cls) -> Sequence[ConvNADEConfig]:
        return [
            ConvNADEConfig(event_shape=(1, 3, 3), hidden_sizes=(6,), num_channels=3, kernel_sizes=(2, 2)),
            ConvNADEConfig(event_shape=(2, 2, 2), hidden_sizes=(6, 5), num_orders=2, num_channels=2, kernel_sizes=(2,)),
            ConvNADEConfig(
                event_shape=(2, 1, 3), num_categories=3, hidden_sizes=(6,), num_channels=3, kernel_sizes=(1,)
            ),
        ]

    def outputs(self, x: Tensor, known: Tensor) -> Tensor:
        inputs = self.inputs(x, known)  # (B, D, R + 1)
        colours, height, width = self.config.event_shape
        h = inputs.view(len(x), colours, height, width, -1).permute(0, 1, 4, 2, 3).flatten(1, 2)  # (B, C (R + 1), H, W)
        *hidden, last = self.convolutions
        for layer in hidden:
            h = layer(h).relu()
        maps = last(h).view(len(x), colours, -1, height, width).permute(0, 1, 3, 4, 2)  # (B, C, H, W, O)
        flat: Tensor = maps.reshape(len(x), self.config.dims, -1)
        return self.fully_connected(inputs) + flat
