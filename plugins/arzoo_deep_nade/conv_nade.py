"""ConvNADE: Neural Autoregressive Distribution Estimation, Uria et al. 2016, https://arxiv.org/abs/1605.02226.

The orderless training of DeepNADE for images: beside the fully connected network a stack of convolutions sees the
image and its mask as channels, and their outputs are added before the sigmoid.  The first half of the
stack convolves what is inside the image ("valid") and shrinks it, the second half brings it back ("full").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from .evidence import Evidence
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

    A step of a likelihood or a sample convolves what the one site it asks for depends on: the first map is kept, and
    of the others a window is enough.
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
        h = self.maps(inputs)
        *hidden, last = self.convolutions
        for layer in hidden:
            h = layer(h).relu()
        maps = last(h).view(len(x), colours, -1, height, width).permute(0, 1, 3, 4, 2)  # (B, C, H, W, O)
        flat: Tensor = maps.reshape(len(x), self.config.dims, -1)
        return self.fully_connected(inputs) + flat

    def maps(self, inputs: Tensor) -> Tensor:
        """What the convolutions see: inputs (B, D, R + 1) as channels, (B, C (R + 1), H, W)."""
        return inputs.view(len(inputs), *self.config.event_shape, -1).permute(0, 1, 4, 2, 3).flatten(1, 2)

    def evidence(self, x: Tensor, known: Tensor) -> Evidence:
        return _Windows(self, x, known)


class _Windows(Evidence):
    """Keeps the first convolution's map, to which a known scalar adds a kernel, and follows one output back to it."""

    def __init__(self, model: ConvNADE, x: Tensor, known: Tensor) -> None:
        super().__init__(model, x, known)
        first, *rest = cast(list[nn.Conv2d], list(model.convolutions))
        self._shape, self._layers = model.config.event_shape, rest
        self._map: Tensor = first(model.maps(model.inputs(x, known)))  # (B, F, H', W')
        colours = self._shape[0]
        kernels = first.weight.flip(2, 3).transpose(0, 1)  # an input pixel reaches what lies before it
        self._kernels = kernels.reshape(colours, -1, *first.weight.shape[:1], *first.kernel_size).unbind()
        last = rest[-1]
        assert last.bias is not None
        self._ends = tuple(zip(last.weight.chunk(colours), last.bias.chunk(colours), strict=True))
        self._sizes: list[Sequence[int]] = [self._map.shape[2:]]  # of the maps that `rest` take in
        for layer in rest[:-1]:
            grow = 2 * _padding(layer) - layer.kernel_size[0] + 1
            self._sizes.append([size + grow for size in self._sizes[-1]])

    def outputs(self, site: int) -> Tensor:
        colour, *place = self._locate(site)
        # For every layer the rows and columns it must see, from the last to the first, and the zeros around them.
        ranges, steps = [(at, at + 1) for at in place], []
        for layer, sizes in zip(reversed(self._layers), reversed(self._sizes), strict=True):
            padding, kernel = _padding(layer), layer.kernel_size[0]
            wanted = [(begin - padding, end - padding + kernel - 1) for begin, end in ranges]
            ranges = [(max(begin, 0), min(end, size)) for (begin, end), size in zip(wanted, sizes, strict=True)]
            zeros = [(b - begin, end - e) for (begin, end), (b, e) in zip(wanted, ranges, strict=True)]
            steps.append((layer, (*zeros[1], *zeros[0])))
        (top, bottom), (left, right) = ranges
        h = self._map[:, :, top:bottom, left:right]
        for layer, around in reversed(steps):
            weight, bias = self._ends[colour] if layer is self._layers[-1] else (layer.weight, layer.bias)
            h = F.conv2d(F.pad(h.relu(), around), weight, bias)
        return super().outputs(site) + h.flatten(1)

    def _enter(self, site: int, inputs: Tensor) -> None:
        super()._enter(site, inputs)
        colour, *place = self._locate(site)
        kernels = self._kernels[colour]  # (R + 1, F, k, k)
        begins = [at - kernels.shape[-1] + 1 for at in place]
        (top, bottom), (left, right) = (
            (max(begin, 0), min(at + 1, size))
            for begin, at, size in zip(begins, place, self._map.shape[2:], strict=True)
        )
        reached = kernels[:, :, top - begins[0] : bottom - begins[0], left - begins[1] : right - begins[1]]
        added = (inputs @ reached.flatten(1)).view(len(inputs), *reached.shape[1:])
        self._map[:, :, top:bottom, left:right] += added

    def _locate(self, site: int) -> tuple[int, int, int]:
        """Colour, row and column."""
        _, height, width = self._shape
        rest, column = divmod(site, width)
        colour, row = divmod(rest, height)
        return colour, row, column


def _padding(layer: nn.Conv2d) -> int:
    return cast(tuple[int, int], layer.padding)[0]
