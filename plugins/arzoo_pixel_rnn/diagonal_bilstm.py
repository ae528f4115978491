"""Diagonal BiLSTM: Pixel Recurrent Neural Networks, van den Oord et al. 2016, https://arxiv.org/abs/1601.06759.

An LSTM that goes diagonally through the image, from both upper corners (section 3.2).  Each pixel sees the pixel above
it and the one beside it, from both sides, so what came before.  The direction from the right would see what comes later
in the row, so what it says enters one row further down.  Of the row above, the last scalar is missing where the first
kernel does not reach it: no feature of a row knows its last scalar.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arzoo.model import NamedContext
from arzoo.nn import MaskedConv2d
from arzoo.pixel_decoding import PixelLinear

from .decoder import LayerWalk, PixelRNNDecoder, by_group, update
from .scan import scan
from .trunk import PixelRNN, PixelRNNConfig, gates_last, start_gates


@dataclass(frozen=True, kw_only=True)
class DiagonalBiLSTMConfig(PixelRNNConfig):
    """As of every PixelRNN."""


class DiagonalBiLSTMLayer(nn.Module):
    """x + up(LSTM from the left + LSTM from the right, one row further down)."""

    def __init__(self, hidden_size: int, num_groups: int) -> None:
        super().__init__()
        width = 2 * hidden_size
        self.left = MaskedConv2d(width, 4 * hidden_size, 1, include_self=True, num_groups=num_groups)
        self.right = MaskedConv2d(width, 4 * hidden_size, 1, include_self=True, num_groups=num_groups)
        for gates in (self.left, self.right):
            assert gates.bias is not None
            start_gates(gates.bias, num_groups)
        # Of each direction, from the pixel above and from the one beside.
        self.state = nn.Parameter(torch.randn(2, 2, hidden_size, 4 * hidden_size) / (2 * hidden_size) ** 0.5)
        self.up = MaskedConv2d(hidden_size, width, 1, include_self=True, num_groups=num_groups)
        nn.init.zeros_(self.up.weight)
        self.num_groups = num_groups

    def forward(self, x: Tensor) -> Tensor:
        left = gates_last(self.left(x), self.num_groups)
        right = gates_last(self.right(x), self.num_groups).flip(1)
        height, width = left.shape[:2]
        lines = skew(torch.stack([left, right], 2)).transpose(0, 1).transpose(1, 2)  # (T, 2, H, B, 4 h)
        spans = [(max(0, t - width + 1), min(height, t + 1)) for t in range(height + width - 1)]
        with torch.autocast(x.device.type, enabled=False):
            states = scan(lines, self.state, spans, (-1, 0))  # (T, 2, H, B, h)
        from_left, from_right = unskew(states.transpose(1, 2).transpose(0, 1), width).unbind(2)  # (H, W, B, h)
        later = F.pad(from_right.flip(1)[:-1], (0, 0, 0, 0, 0, 0, 1, 0))
        return x + self.up((from_left + later).permute(2, 3, 0, 1))  # type: ignore[no-any-return]


def skew(x: Tensor) -> Tensor:
    """Row i moved i places to the right, zeros elsewhere: (H, W, ...) to (H, H + W - 1, ...)."""
    height, width = x.shape[:2]
    padded = F.pad(x.flatten(2), (0, 0, 0, height)).flatten(0, 1)  # rows of W + H places
    return padded[: height * (height + width - 1)].view(height, -1, *x.shape[2:])


def unskew(x: Tensor, width: int) -> Tensor:
    """The inverse of `skew`."""
    height = len(x)
    padded = F.pad(x.flatten(2).flatten(0, 1), (0, 0, 0, height))
    return padded.view(height, -1, *x.shape[2:])[:, :width]


class DiagonalBiLSTM(PixelRNN):
    """PixelRNN whose layers are Diagonal BiLSTMs."""

    family = "diagonal_bilstm"
    config_class = DiagonalBiLSTMConfig
    config: DiagonalBiLSTMConfig

    @classmethod
    def tiny_configs(cls) -> Sequence[DiagonalBiLSTMConfig]:
        return [
            DiagonalBiLSTMConfig(event_shape=(1, 4, 3), hidden_size=3, num_layers=2, head_size=4),
            DiagonalBiLSTMConfig(event_shape=(3, 2, 2), hidden_size=3, num_layers=1, head_size=6),
            DiagonalBiLSTMConfig(event_shape=(2, 2, 2), num_categories=3, hidden_size=6, num_layers=1, head_size=6),
        ]

    def layer(self) -> DiagonalBiLSTMLayer:
        return DiagonalBiLSTMLayer(self.config.hidden_size, self.config.event_shape[0])

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> PixelRNNDecoder:
        width = self.config.event_shape[2]
        return PixelRNNDecoder(self, num_samples, [_Walk(layer, width, num_samples) for layer in self.layers])


class _Walk(LayerWalk):
    """The LSTM from the left goes with the pixels; that from the right goes through a row when it is complete."""

    def __init__(self, layer: nn.Module, width: int, num_samples: int) -> None:
        assert isinstance(layer, DiagonalBiLSTMLayer) and layer.right.bias is not None
        groups, size = layer.num_groups, layer.state.shape[2]
        self._up = PixelLinear(layer.up, num_samples, groups)
        self._left = PixelLinear(layer.left, num_samples, groups)
        state = by_group(layer.state, groups).mT  # (2, 2, 4h, h): of a direction, from above and from beside
        self._above, self._beside = state[:, 0, None].expand(-1, width, -1, -1), state[:, 1]
        self._besides = self._beside[0].chunk(groups)
        self._right = layer.right.masked_weight().detach().flatten(1).expand(width, -1, -1)
        self._bias = layer.right.bias.detach()[:, None]
        lines = layer.state.new_zeros(2, width, size, num_samples)  # hidden states of both directions
        self._hidden, self._later = lines
        self._hiddens = [column.chunk(groups) for column in self._hidden]
        self._laters = [column.chunk(groups) for column in self._later]
        self._none, self._cell = torch.zeros_like(lines[0, 0]), torch.zeros_like(lines[0, 0])
        self._cells, self._groups = self._cell.chunk(groups), groups
        self._row = lines.new_zeros(width, 2 * size, num_samples)  # the layer's input
        self._rows = [column.chunk(groups) for column in self._row]
        self._base = lines.new_zeros(width, 4 * size, num_samples)
        self._bases = [column.chunk(groups) for column in self._base]

    def next_row(self) -> None:
        torch.bmm(self._above[0], self._hidden, out=self._base)
        gates = torch.baddbmm(self._bias, self._right, self._row).baddbmm_(self._above[1], self._later)
        batch = self._none.shape[1]
        beside, cell = self._none, torch.zeros_like(self._none).view(self._groups, -1, batch)
        for a, h in zip(reversed(gates.unbind()), reversed(self._later.unbind()), strict=True):
            a.addmm_(self._beside[1], beside)
            update(a.view(self._groups, 4, -1, batch), cell, h.view(self._groups, -1, batch))
            beside = h
        self._cell.zero_()

    def add(self, column: int, group: int, x: Tensor) -> None:
        self._rows[column][group].copy_(x)
        self._left.inputs[group].copy_(x)
        beside = self._hidden[column - 1] if column else self._none
        a = torch.addmm(self._bases[column][group], self._besides[group], beside)
        a.addmm_(self._left.weight[group], self._left.seen[group])
        h = self._hiddens[column][group]
        update(a.unflatten(0, (4, -1)), self._cells[group], h)
        torch.add(h, self._laters[column][group], out=self._up.inputs[group])
        x += self._up(group)
