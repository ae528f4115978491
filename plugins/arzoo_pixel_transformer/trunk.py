"""What both families share: the colours of pixels as a sequence, and Transformer blocks over it."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import arzoo
from arzoo.attention import BlockCache, Local, TransformerBlock, start_small
from arzoo.distributions import Bernoulli, Categorical
from arzoo.levels import ImageConfig
from arzoo.model import Context, NamedContext


@dataclass(frozen=True, kw_only=True)
class PixelTransformerConfig(ImageConfig):
    """
    Attributes:
        hidden_size: Features of a position.
        num_layers: Transformer blocks.
        num_heads: Heads of attention; divides hidden_size.
        dropout: Share of a branch's features that training hides.
    """

    hidden_size: int = 128
    num_layers: int = 4
    num_heads: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden_size", "num_layers", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size must be a multiple of the {self.num_heads} heads, got {self.hidden_size}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")


class PixelTransformer(arzoo.Autoregressive):
    """Images (C, H, W) of K levels; one site a colour of a pixel, pixels row by row, R before G before B.

    Position t is told the value of t - 1 and which position it is itself.
    """

    config: PixelTransformerConfig

    def __init__(self, config: PixelTransformerConfig) -> None:
        super().__init__(config)
        size = config.hidden_size
        self.levels = config.num_categories
        self.values = nn.Parameter(torch.randn(self.levels, size) * 0.02)
        self.start = nn.Parameter(torch.randn(size) * 0.02)
        self.blocks = nn.ModuleList(
            TransformerBlock(size, config.num_heads, config.dropout, self.local()) for _ in range(config.num_layers)
        )
        start_small(self.blocks)
        self.norm = nn.LayerNorm(size)
        self.output = nn.Linear(size, 1 if self.levels == 2 else self.levels)
        nn.init.normal_(self.output.weight, std=0.02)

    def local(self) -> Local | None:
        """Which positions attention sees; None for all."""
        return None

    @abstractmethod
    def places(self) -> Tensor:
        """What positions are told of where they are, shape (D, hidden_size)."""

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the marginal distribution of the levels."""
        counts = torch.bincount(self.check_events(x).flatten(), minlength=self.levels).double() + 1
        start = (counts / counts.sum()).log()
        self.output.bias.copy_(start[1:] - start[0] if self.levels == 2 else start)

    def distribution(self, outputs: Tensor) -> Bernoulli | Categorical:
        """Of outputs (..., 1 or K)."""
        return Bernoulli(outputs.float().squeeze(-1)) if self.levels == 2 else Categorical(outputs.float())

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Distribution:
        channels, height, width = self.config.event_shape
        sequence = x.permute(0, 2, 3, 1).flatten(1)  # (B, D)
        h = torch.cat([self.start.expand(len(x), 1, -1), self.values[sequence[:, :-1]]], 1) + self.places()
        for block in self.blocks:
            h = block(h)
        outputs = self.output(self.norm(h))  # (B, D, O)
        return self.distribution(outputs.view(len(x), height, width, channels, -1).permute(0, 3, 1, 2, 4))

    def order(self, member: int = 0) -> Tensor:
        channels, height, width = self.config.event_shape
        return torch.arange(channels * height * width).view(channels, -1).t().reshape(-1)

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> "_Decoder":
        return _Decoder(self, num_samples)


class _Decoder(arzoo.Decoder):
    """Keeps the keys and values of what came before."""

    def __init__(self, model: PixelTransformer, num_samples: int) -> None:
        self._model, self._step = model, 0
        self._places = model.places()
        self._told = model.start.expand(num_samples, -1)  # the value before, (B, d)
        self._caches = []
        for block in model.blocks:
            assert isinstance(block, TransformerBlock)
            self._caches.append(BlockCache(block, num_samples, model.config.dims))
        self._distribution: Bernoulli | Categorical | None = None

    def conditional(self) -> Bernoulli | Categorical:
        if self._distribution is None:
            h = self._told + self._places[self._step]
            for cache in self._caches:
                h = cache.step(h)
            self._distribution = self._model.distribution(self._model.output(self._model.norm(h)))
        return self._distribution

    def append(self, value: Tensor) -> None:
        self.conditional()  # a position that is only fixed is attended to all the same
        self._told, self._distribution = self._model.values[value], None
        self._step += 1
