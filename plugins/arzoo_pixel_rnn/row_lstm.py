"""Row LSTM: Pixel Recurrent Neural Networks, van den Oord et al. 2016, https://arxiv.org/abs/1601.06759.

An LSTM down the rows, each pixel of which sees three pixels of the row above (section 3.1).  What it sees of the
image is a triangle, so a part of what came before is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arzoo.model import NamedContext
from arzoo.nn import MaskedConv2d, WindowConv2d, group_mask
from arzoo.pixel_decoding import PixelLinear

from .decoder import LayerWalk, PixelRNNDecoder, by_group, update
from .scan import scan
from .trunk import PixelRNN, PixelRNNConfig, gates_last, start_gates


@dataclass(frozen=True, kw_only=True)
class RowLSTMConfig(PixelRNNConfig):
    """As of every PixelRNN."""


class RowLSTMLayer(nn.Module):
    """x + up(LSTM(x)); the input enters by a 3x1 convolution along the row, masked: the pixel and the one before it."""

    def __init__(self, hidden_size: int, num_groups: int) -> None:
        super().__init__()
        width = 2 * hidden_size
        centre = group_mask(width, 4 * hidden_size, num_groups, include_self=True)
        self.gates = WindowConv2d(width, 4 * hidden_size, rows=(0, 0), columns=(-1, 0), centre=centre)
        assert self.gates.bias is not None
        start_gates(self.gates.bias, num_groups)
        self.state = nn.Parameter(torch.randn(3, hidden_size, 4 * hidden_size) / (3 * hidden_size) ** 0.5)
        self.up = MaskedConv2d(hidden_size, width, 1, include_self=True, num_groups=num_groups)
        nn.init.zeros_(self.up.weight)
        self.num_groups = num_groups

    def forward(self, x: Tensor) -> Tensor:
        gates = gates_last(self.gates(x), self.num_groups)  # (H, W, B, 4 h)
        height, width = gates.shape[:2]
        with torch.autocast(x.device.type, enabled=False):
            h = scan(gates[:, None], self.state[None], [(0, width)] * height, (-1, 0, 1))[:, 0]  # (H, W, B, h)
        return x + self.up(h.permute(2, 3, 0, 1))  # type: ignore[no-any-return]


class RowLSTM(PixelRNN):
    """PixelRNN whose layers are Row LSTMs."""

    family = "row_lstm"
    config_class = RowLSTMConfig
    config: RowLSTMConfig

    @classmethod
    def tiny_configs(cls) -> Sequence[RowLSTMConfig]:
        return [
            RowLSTMConfig(event_shape=(1, 4, 3), hidden_size=3, num_layers=2, head_size=4),
            RowLSTMConfig(event_shape=(3, 2, 2), hidden_size=3, num_layers=1, head_size=6),
            RowLSTMConfig(event_shape=(2, 2, 2), num_categories=3, hidden_size=6, num_layers=1, head_size=6),
        ]

    def layer(self) -> RowLSTMLayer:
        return RowLSTMLayer(self.config.hidden_size, self.config.event_shape[0])

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> PixelRNNDecoder:
        width = self.config.event_shape[2]
        return PixelRNNDecoder(self, num_samples, [_Walk(layer, width, num_samples) for layer in self.layers])


class _Walk(LayerWalk):
    """What the row above says to the gates is computed once a row for all columns."""

    def __init__(self, layer: nn.Module, width: int, num_samples: int) -> None:
        assert isinstance(layer, RowLSTMLayer) and layer.gates.bias is not None
        groups, size = layer.num_groups, layer.state.shape[1]
        self._up = PixelLinear(layer.up, num_samples, groups)
        self._bias = layer.gates.bias.detach()[:, None]
        self._above = by_group(layer.state, groups).flatten(0, 1).t().expand(width, -1, -1)  # (W, 4h, 3h)
        lines = layer.state.new_zeros(width + 2, size, num_samples)  # the row above, then this one; zeros around it
        self._windows = lines.flatten(0, 1).as_strided((width, 3 * size, num_samples), (*lines.stride()[:2], 1))
        self._hidden = [line.chunk(groups) for line in lines[1:-1]]
        self._cells = [line.chunk(groups) for line in torch.zeros_like(lines[1:-1])]
        self._base = lines.new_empty(width, 4 * size, num_samples)
        self._bases = [column.chunk(groups) for column in self._base]
        weight = layer.gates.masked_weight().detach()[:, :, 0].transpose(1, 2).flatten(1)  # (4h, 2 * 2h): left, centre
        inputs = lines.new_zeros(1 + width, 2 * size, num_samples)
        sees = [2 * size + 2 * size * (group + 1) // groups for group in range(groups)]
        self._weight = [part[:, :end] for part, end in zip(weight.chunk(groups), sees, strict=True)]
        self._inputs = [column.chunk(groups) for column in inputs[1:]]
        self._seen = [[inputs[c : c + 2].flatten(0, 1)[:end] for end in sees] for c in range(width)]
        self.next_row()

    def next_row(self) -> None:
        torch.baddbmm(self._bias, self._above, self._windows, out=self._base)

    def add(self, column: int, group: int, x: Tensor) -> None:
        self._inputs[column][group].copy_(x)
        a = torch.addmm(self._bases[column][group], self._weight[group], self._seen[column][group])
        h = self._hidden[column][group]
        update(a.unflatten(0, (4, -1)), self._cells[column][group], h)
        self._up.inputs[group].copy_(h)
        x += self._up(group)
