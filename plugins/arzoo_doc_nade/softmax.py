"""Distributions over the words of a vocabulary given hidden units, in bounded memory.

The scores of all words at all places of a batch would be its largest tensor by far.  They are computed a chunk of
places at a time, and again in the backward pass, which keeps none of them.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import torch
import torch.distributions as td
import torch.nn.functional as F
from torch import Tensor, nn

from arzoo.distributions import Categorical
from arzoo.gradients import first_order

MOST_PLACES = 512
"""Places whose scores are in memory at once."""

Inputs: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
"""Hidden units (N, H), targets (N, ...), weight U, bias b."""


class _Recomputed(torch.autograd.Function):
    """The log-probabilities of targets, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, softmax: "Softmax", chunks: list[int], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.softmax, ctx.chunks = softmax, chunks
        hidden, targets, weight, bias = inputs
        parts = zip(hidden.split(chunks), targets.split(chunks), strict=True)
        return torch.cat([softmax.score((*part, weight, bias)) for part in parts])

    @staticmethod
    @first_order
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, targets, weight, bias = ctx.saved_tensors
        dweight, dbias, dhidden = torch.zeros_like(weight), torch.zeros_like(bias), []
        parts = (each.split(ctx.chunks) for each in (hidden, targets, gradients[0]))
        with torch.autocast(hidden.device.type, enabled=False):
            for h, target, gradient in zip(*parts, strict=True):
                dhidden.append(ctx.softmax.gradient((h, target, weight, bias), gradient, dweight, dbias))
        return None, None, torch.cat(dhidden), None, dweight, dbias


class Softmax(nn.Module, ABC):
    """V words given H hidden units.

    Arguments:
        num_rows: Of the weight.
    """

    def __init__(self, num_rows: int, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_rows, hidden_size) * 0.01)  # U
        self.bias = nn.Parameter(torch.zeros(num_rows))  # b

    @abstractmethod
    def targets(self, words: Tensor) -> Tensor:
        """Words (N,) as `score` takes them, shape (N, ...)."""

    @abstractmethod
    def score(self, inputs: Inputs) -> Tensor:
        """Log-probabilities of the targets, shape (N,)."""

    @abstractmethod
    def gradient(self, inputs: Inputs, gradient: Tensor, dweight: Tensor, dbias: Tensor) -> Tensor:
        """From that of the scores, shape (N,), that of the hidden units; adds what those of U and b gain."""

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of all words, shape (..., V)."""

    @abstractmethod
    def draw(self, hidden: Tensor, uniforms: Tensor) -> Tensor:
        """The words that uniform numbers (N,) stand for, given hidden units (N, H)."""

    @abstractmethod
    def start(self, counts: Tensor) -> Tensor:
        """The bias that alone makes words as probable as these counts (V,) say."""

    def log_prob(self, hidden: Tensor, words: Tensor, lengths: list[int]) -> Tensor:
        """Log-probabilities of words (N,) given hidden units (N, H), shape (N,).

        Arguments:
            lengths: Words of each document, which lie one behind the other.  Each is computed on its own: products of
                another size round in another way, and no document's likelihood may depend on its batch.
        """
        chunks = [min(MOST_PLACES, length - first) for length in lengths for first in range(0, length, MOST_PLACES)]
        inputs = (hidden, self.targets(words), self.weight, self.bias)
        with torch.autocast(hidden.device.type, enabled=False):
            log_prob: Tensor = _Recomputed.apply(self, chunks, *inputs)  # type: ignore[no-untyped-call]
        return log_prob


class FullSoftmax(Softmax):
    """softmax(b + U h)."""

    def __init__(self, num_words: int, hidden_size: int) -> None:
        super().__init__(num_words, hidden_size)

    def targets(self, words: Tensor) -> Tensor:
        return words

    def score(self, inputs: Inputs) -> Tensor:
        hidden, words, weight, bias = inputs
        return -F.cross_entropy(F.linear(hidden, weight, bias), words, reduction="none")

    def gradient(self, inputs: Inputs, gradient: Tensor, dweight: Tensor, dbias: Tensor) -> Tensor:
        hidden, words, weight, bias = inputs
        dlogits = F.linear(hidden, weight, bias).softmax(1).mul_(-gradient[:, None])
        dlogits.scatter_add_(1, words[:, None], gradient[:, None])
        dweight.addmm_(dlogits.t(), hidden)
        dbias += dlogits.sum(0)
        return dlogits @ weight

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.weight, self.bias)

    def draw(self, hidden: Tensor, uniforms: Tensor) -> Tensor:
        return Categorical(self.logits(hidden)).draw(uniforms)

    def start(self, counts: Tensor) -> Tensor:
        return counts.log() - counts.sum().log()


class TreeSoftmax(Softmax):
    """Words are the leaves of a balanced binary tree; at each node above them a logistic unit says left or right.

    Nodes are numbered as in a heap: 1 is the root, 2 n and 2 n + 1 lie below n, and V to 2 V - 1 are the leaves.
    """

    word_order: Tensor

    def __init__(self, num_words: int, hidden_size: int) -> None:
        super().__init__(num_words - 1, hidden_size)
        # Drawn at random, so saved: random streams may change between releases of torch, a density may not.
        self.register_buffer("word_order", torch.randperm(num_words))  # the words of leaves V, V + 1, ...
        self.num_words, self.depth = num_words, (2 * num_words - 1).bit_length() - 1

    def targets(self, words: Tensor) -> Tensor:
        """The paths to words, shape (N, depth): n for right at node n, -n for left, 0 where a path is shorter."""
        leaves = self.num_words + self.word_order.argsort()[:, None]
        shifts = torch.arange(self.depth, device=words.device)
        paths = (leaves >> (shifts + 1)) * (2 * ((leaves >> shifts) & 1) - 1)  # (V, depth)
        return paths[words]

    @staticmethod
    def _decisions(inputs: Inputs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of the nodes on the paths: rows (N, depth) of the weight, these, signs, logits of going where they go."""
        hidden, paths, weight, bias = inputs
        rows, signs = (paths.abs() - 1).clamp_min(0), paths.sign().float()
        weights = F.embedding(rows, weight)  # (N, depth, H)
        return rows, weights, signs, ((weights * hidden[:, None]).sum(2) + bias[rows]) * signs

    def score(self, inputs: Inputs) -> Tensor:
        _, _, signs, logits = self._decisions(inputs)
        return (F.logsigmoid(logits) * signs.abs()).sum(1)

    def gradient(self, inputs: Inputs, gradient: Tensor, dweight: Tensor, dbias: Tensor) -> Tensor:
        rows, weights, signs, logits = self._decisions(inputs)
        dlogits = torch.sigmoid(-logits) * signs * gradient[:, None]
        dweight.index_add_(0, rows.flatten(), (dlogits[..., None] * inputs[0][:, None]).flatten(0, 1))
        dbias.index_add_(0, rows.flatten(), dlogits.flatten())
        return (dlogits[:, None] @ weights).squeeze(1)

    def logits(self, hidden: Tensor) -> Tensor:
        right = F.linear(hidden, self.weight, self.bias)
        decisions = F.logsigmoid(torch.stack([-right, right], -1))  # (..., V - 1, 2)
        levels = [torch.zeros_like(right[..., :1])]
        for level in range(self.depth):
            first, last = 2**level, min(2 ** (level + 1), self.num_words)  # the nodes of this level
            below = levels[-1][..., : last - first, None] + decisions[..., first - 1 : last - 1, :]
            levels.append(below.flatten(-2))
        leaves = torch.cat(levels, -1)[..., self.num_words - 1 :]
        return leaves[..., self.word_order.argsort()]

    def draw(self, hidden: Tensor, uniforms: Tensor) -> Tensor:
        """Down the tree: the number that decides at a node, rescaled within its share, is uniform again."""
        node, u = torch.ones_like(uniforms, dtype=torch.long), uniforms.double()
        for _ in range(self.depth):
            inside = node < self.num_words
            row = node.clamp_max(self.num_words - 1) - 1
            logits = (F.embedding(row, self.weight) * hidden).sum(1) + self.bias[row]
            left = torch.sigmoid(-logits).double()
            right = u >= left
            rest = torch.where(right, (u - left) / (1 - left), u / left).clamp_max(1 - 2**-53)
            node, u = torch.where(inside, 2 * node + right, node), torch.where(inside, rest, u)
        return self.word_order[node - self.num_words]

    def start(self, counts: Tensor) -> Tensor:
        below = torch.cat([torch.zeros_like(counts), counts[self.word_order]])  # of each node, from 0
        for node in range(self.num_words - 1, 0, -1):
            below[node] = below[2 * node] + below[2 * node + 1]
        left, right = below[2:].view(-1, 2).unbind(1)
        return (right / left).log()


class Words(td.Distribution):
    """The next word given hidden units (..., H); all words are looked at only where one asks for it."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, hidden: Tensor, softmax: Softmax) -> None:
        self._hidden, self._softmax = hidden, softmax
        super().__init__(hidden.shape[:-1], validate_args=False)

    @property
    def logits(self) -> Tensor:
        return self._softmax.logits(self._hidden)

    def log_prob(self, value: Tensor) -> Tensor:
        lengths = [value.shape[-1]] * value[..., 0].numel()
        return self._softmax.log_prob(self._hidden.flatten(0, -2), value.flatten(), lengths).view(value.shape)

    def draw(self, uniforms: Tensor) -> Tensor:
        return self._softmax.draw(self._hidden, uniforms)

    def take(self, index: Any) -> "Words":
        return Words(self._hidden[index], self._softmax)

    def sharpen(self, temperature: float, top_k: int | None, top_p: float | None) -> Categorical:
        return Categorical(self.logits).sharpen(temperature, top_k, top_p)
