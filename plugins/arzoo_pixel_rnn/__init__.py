"""PixelRNN: Pixel Recurrent Neural Networks, van den Oord et al. 2016, https://arxiv.org/abs/1601.06759."""

import arzoo

from .diagonal_bilstm import DiagonalBiLSTM, DiagonalBiLSTMConfig
from .row_lstm import RowLSTM, RowLSTMConfig

__all__ = ["DiagonalBiLSTM", "DiagonalBiLSTMConfig", "RowLSTM", "RowLSTMConfig"]


@arzoo.hookimpl
def arzoo_families() -> list[type[arzoo.Model]]:
    return [RowLSTM, DiagonalBiLSTM]
