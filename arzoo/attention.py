"""Causal self-attention: Transformer blocks over whole sequences, and the same a position at a time.

Attention Is All You Need, Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, in the pre-normalised form of GPT-2.
A sequence is shifted by who embeds it: position t of the input tells of what came before t.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Local:
    """Positions in blocks of their own: each attends to those before it in its block and in the memory before that.

    Image Transformer, Parmar et al. 2018, https://arxiv.org/abs/1802.05751, section 3.3, one dimension.

    Attributes:
        block_size: Positions of a block.
        memory_size: Positions before a block that all of it attends to.
    """

    block_size: int
    memory_size: int

    def begin(self, position: int) -> int:
        """The first position that this one attends to."""
        return max(0, position // self.block_size * self.block_size - self.memory_size)


class SelfAttention(nn.Module):
    """Multi-head attention of every position to itself and to those before it.

    Arguments:
        hidden_size: Features d of a position; divisible by num_heads.
        local: Which of those before it; None for all.
    """

    def __init__(self, hidden_size: int, num_heads: int, local: Local | None = None) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"hidden_size must be a multiple of the {num_heads} heads, got {hidden_size}")
        self.num_heads, self.local = num_heads, local
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of positions (B, T, d), shape (B, heads, T, d / heads) each."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        return q, k, v

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        q, k, v = self.heads(x)
        if self.local is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            y = _local_attention(q, k, v, self.local)
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def _local_attention(q: Tensor, k: Tensor, v: Tensor, local: Local) -> Tensor:
    """Attention block by block, shapes (B, heads, T, d / heads)."""
    length, size, memory = q.shape[2], local.block_size, local.memory_size
    num_blocks = -(-length // size)
    padding = num_blocks * size - length
    q = F.pad(q, (0, 0, 0, padding)).unflatten(2, (num_blocks, size))
    k, v = (F.pad(part, (0, 0, memory, padding)).unfold(2, memory + size, size).mT for part in (k, v))
    query = torch.arange(size, device=q.device)[:, None]
    key = torch.arange(memory + size, device=q.device) - memory  # counted from the block's first position
    block = torch.arange(num_blocks, device=q.device)[:, None, None]
    seen = (key <= query) & (key + block * size >= 0)  # (blocks, size, memory + size)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).flatten(2, 3)[:, :, :length]


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)).

    Arguments:
        dropout: Share of either branch's features that training hides.
    """

    def __init__(self, hidden_size: int, num_heads: int, dropout: float = 0.0, local: Local | None = None) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.attention = SelfAttention(hidden_size, num_heads, local)
        self.mlp_norm = nn.LayerNorm(hidden_size)
        self.up = nn.Linear(hidden_size, 4 * hidden_size)
        self.down = nn.Linear(4 * hidden_size, hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        return x + self.mlp(x)

    def mlp(self, x: Tensor) -> Tensor:
        """What the second branch adds, (..., d) -> (..., d)."""
        return self.dropout(self.down(F.gelu(self.up(self.mlp_norm(x)))))  # type: ignore[no-any-return]


@torch.no_grad()
def start_small(blocks: nn.ModuleList) -> None:
    """Weights of standard deviation 0.02, those that end a branch divided by the root of the number of branches."""
    for block in blocks:
        assert isinstance(block, TransformerBlock)
        ends = (block.attention.out, block.down)
        for layer in (block.attention.qkv, block.up, *ends):
            nn.init.normal_(layer.weight, std=0.02 / (2 * len(blocks)) ** 0.5 if layer in ends else 0.02)
            nn.init.zeros_(layer.bias)


def attend(q: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """What one position makes of T others, for N pairs of a sequence and a head.

    With one query `F.scaled_dot_product_attention` takes up to twice as long as two products and a softmax.

    Arguments:
        q: Queries, shape (N, k).
        keys: Shape (N, T, k).
        values: Shape (N, T, v).
        scale: What products of queries and keys are multiplied by.

    Returns:
        Shape (N, v).
    """
    weights = torch.bmm((q * scale).unsqueeze(1), keys.mT).softmax(2)  # (N, 1, T)
    return torch.bmm(weights, values).squeeze(1)


class BlockCache:
    """A Transformer block a position at a time: keys and values of the positions so far are kept.

    A few samples take as long as the calls do, so there are few: the weights lie as the products take them, the scale
    of queries is in them, and the rows of queries, keys and values are sorted by head.

    Arguments:
        length: Positions there may be.
    """

    @torch.no_grad()
    def __init__(self, block: TransformerBlock, num_samples: int, length: int) -> None:
        attention = block.attention
        heads, hidden_size = attention.num_heads, attention.out.in_features
        size = hidden_size // heads
        scale = torch.tensor([size**-0.5, 1.0, 1.0]).to(attention.qkv.weight)
        rows = torch.cat([attention.qkv.weight, attention.qkv.bias[:, None]], 1).view(3, heads, size, -1)
        rows = (rows * scale[:, None, None, None]).transpose(0, 1).reshape(3 * hidden_size, -1)
        self._qkv = rows[:, -1].contiguous(), rows[:, :-1].contiguous().t()
        self._out, self._up, self._down = (
            (layer.bias, layer.weight.t()) for layer in (attention.out, block.up, block.down)
        )
        self._norms = [
            ((hidden_size,), norm.weight, norm.bias, norm.eps) for norm in (block.attention_norm, block.mlp_norm)
        ]
        cache = attention.out.weight.new_empty(num_samples * heads, 2, length, size)
        self._keys, self._values = cache[:, 0].mT, cache[:, 1]  # (B heads, k, length), (B heads, length, k)
        self._slots = cache.unbind(2)  # of each position, (B heads, 2, k)
        self._heads = (num_samples * heads, 3, size)
        self._local, self._length = attention.local, 0

    def step(self, x: Tensor) -> Tensor:
        """The next position, (B, d) -> (B, d)."""
        t = self._length
        self._length = t + 1
        begin = 0 if self._local is None else self._local.begin(t)
        seen = t + 1 - begin
        qkv = _affine(torch.layer_norm(x, *self._norms[0]), self._qkv).view(self._heads)
        self._slots[t].copy_(qkv.narrow(1, 1, 2))
        weights = torch.bmm(qkv.narrow(1, 0, 1), self._keys.narrow(2, begin, seen)).softmax(2)  # (B heads, 1, seen)
        mixed = torch.bmm(weights, self._values.narrow(1, begin, seen)).view(x.shape)
        x = x + _affine(mixed, self._out)
        return x + _affine(F.gelu(_affine(torch.layer_norm(x, *self._norms[1]), self._up)), self._down)


def _affine(x: Tensor, layer: tuple[Tensor, Tensor]) -> Tensor:
    """A linear layer, given by its bias and its weight (in, out), of positions (B, in)."""
    bias, weight = layer
    return torch.addmm(bias, x, weight)
