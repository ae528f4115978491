"""DocNADE: A Neural Autoregressive Topic Model, Larochelle & Lauly 2012,
https://papers.neurips.cc/paper_files/paper/2012/hash/b495ce63ede0f4efc9eec62cb947c162-Abstract.html; Lauly et al.
2017, https://arxiv.org/abs/1603.05962.

    h_i = g(c + sum_{k<i} W_{v_k}),  p(v_i | v_<i) = softmax(b + U h_i), or a walk down a binary tree of words

A document is a sequence of words in the order it is given in, and log_prob is exactly log p(sequence) given how many
words it has.  A bag of words has no order: draw one each time it is seen, else the model learns the order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import arzoo
from arzoo.decoding import check_order
from arzoo.model import Context, NamedContext

from .softmax import FullSoftmax, TreeSoftmax, Words


@dataclass(frozen=True, kw_only=True)
class DocNADEConfig(arzoo.ModelConfig):
    """
    Attributes:
        event_shape: (T,), T the most words of a document; shorter ones are padded at the end with -1.
        num_categories: Number V of words of the vocabulary.
        hidden_size: Units H, the topics.
        activation: The function g; the papers take the sigmoid for perplexity, tanh for retrieval.
        softmax: One over all words, or a product of decisions down a balanced tree of words.
        scale_bias: Whether c is multiplied by the number of words of the document, as in the Replicated Softmax; such
            a model is conditioned on it: context `length`, the words of the whole document, shape (B,), int64.
    """

    hidden_size: int = 50
    activation: Literal["sigmoid", "tanh"] = "sigmoid"
    softmax: Literal["tree", "full"] = "tree"
    scale_bias: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.event_shape) != 1:
            raise ValueError(f"event_shape must be (words,), got {self.event_shape}")
        if not isinstance(self.num_categories, int):
            raise ValueError(f"num_categories must be the size of the vocabulary, got {self.num_categories}")
        if self.hidden_size < 1:
            raise ValueError(f"hidden_size must be at least 1, got {self.hidden_size}")

    @property
    def vocabulary_size(self) -> int:
        assert isinstance(self.num_categories, int)
        return self.num_categories


class DocNADE(arzoo.Autoregressive):
    """Documents as sequences of words, 0 to V - 1, of any length up to T, padded at the end with -1."""

    family = "doc_nade"
    config_class = DocNADEConfig
    config: DocNADEConfig
    variable_length = True

    def __init__(self, config: DocNADEConfig) -> None:
        super().__init__(config)
        self.encoder = nn.Parameter(torch.randn(config.vocabulary_size, config.hidden_size) * 0.01)  # W
        self.encoder_bias = nn.Parameter(torch.zeros(config.hidden_size))  # c
        softmax = TreeSoftmax if config.softmax == "tree" else FullSoftmax
        self.softmax = softmax(config.vocabulary_size, config.hidden_size)
        self.activation = torch.sigmoid if config.activation == "sigmoid" else torch.tanh

    @classmethod
    def tiny_configs(cls) -> Sequence[DocNADEConfig]:
        return [
            DocNADEConfig(event_shape=(4,), num_categories=5, hidden_size=3),
            DocNADEConfig(event_shape=(3,), num_categories=8, hidden_size=4, activation="tanh"),
            DocNADEConfig(event_shape=(4,), num_categories=6, hidden_size=3, softmax="full"),
            DocNADEConfig(event_shape=(5,), num_categories=2, hidden_size=3, scale_bias=True),
        ]

    @property
    def context_names(self) -> tuple[str, ...]:
        return ("length",) if self.config.scale_bias else ()

    def example_context(self, num_examples: int, generator: torch.Generator) -> NamedContext:
        """Documents of full length: what they begin with may have any."""
        if not self.config.scale_bias:
            return None
        return {"length": torch.full((num_examples,), self.config.dims)}

    def check_context(self, num_examples: int, context: Context) -> NamedContext:
        named = super().check_context(num_examples, context)
        if named is not None:
            length, most = named["length"], self.config.dims
            if length.dim() != 1 or length.dtype != torch.int64 or bool(((length < 1) | (length > most)).any()):
                raise ValueError(f"context length must be int64 numbers of words, 1 to {most}, one a document")
        return named

    def context_lengths(self, context: NamedContext) -> Tensor | None:
        return None if context is None else context["length"]

    def check_state(self) -> None:
        super().check_state()
        if isinstance(self.softmax, TreeSoftmax):
            check_order(self.softmax.word_order.tolist(), self.config.vocabulary_size, "the tree's word_order")

    def out_of_range(self, event: int, index: tuple[int, ...], value: int, low: int, high: int) -> str:
        return (
            f"document {event} has word {value}, the vocabulary has words 0 to {high};"
            " leave out what is not in it, and pad with -1"
        )

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Starts from the frequencies of words, each counted once more than it occurs."""
        x = self.check_events(x)
        counts = torch.bincount(x[x >= 0], minlength=self.config.vocabulary_size).double() + 1
        self.softmax.bias.copy_(self.softmax.start(counts))

    def starts(self, num_documents: int, context: NamedContext) -> Tensor:
        """What the sum over words begins with, c or a multiple of it, shape (B, H)."""
        if context is None:
            return self.encoder_bias.expand(num_documents, -1)
        return self.encoder_bias * context["length"][:, None].float()

    def hidden(self, words: Tensor, lengths: list[int], context: NamedContext) -> Tensor:
        """h_i of documents (N,) one behind the other, shape (N, H)."""
        parts = F.embedding(words, self.encoder).split(lengths)
        return torch.cat(
            [
                self.activation(torch.cat([start[None], part[:-1]]).cumsum(0))
                for start, part in zip(self.starts(len(lengths), context), parts, strict=True)
            ]
        )

    def conditionals(self, x: Tensor, context: NamedContext = None, member: int = 0) -> Words:
        with torch.autocast(x.device.type, enabled=False):
            hidden = self.hidden(x.flatten(), [x.shape[1]] * len(x), context)
        return Words(hidden.view(*x.shape, -1), self.softmax)

    def _site_log_prob(self, x: Tensor, context: NamedContext, member: int) -> Tensor:
        """Computes nothing for padding: most documents are far shorter than the longest."""
        there = x >= 0
        lengths = there.sum(1)
        if context is not None and bool((context["length"] < lengths).any()):
            raise ValueError("context length must be at least the number of words that are there")
        with torch.autocast(x.device.type, enabled=False):
            words, sizes = x[there], lengths.tolist()
            log_prob = self.softmax.log_prob(self.hidden(words, sizes, context), words, sizes)
        return torch.zeros(x.shape, device=x.device).masked_scatter(there, log_prob)

    def decoder(self, num_samples: int, context: NamedContext = None, member: int = 0) -> "_Decoder":
        return _Decoder(self, num_samples, context)

    @torch.no_grad()
    def embed(self, x: Tensor, context: Context = None) -> Tensor:
        """What the hidden units are after all words of each document, for retrieval, shape (B, H)."""
        x = self.check_events(x)
        starts = self.starts(len(x), self.check_context(len(x), context))
        lengths = (x >= 0).sum(1)
        sums = F.embedding_bag(x[x >= 0], self.encoder, lengths.cumsum(0) - lengths, mode="sum")
        return self.activation(starts + sums)

    def topic_words(self, vocabulary: Sequence[str], num_words: int = 10) -> list[list[str]]:
        """For each hidden unit the words that raise it most, those of its largest weights first.

        Arguments:
            vocabulary: The V words.
        """
        size = self.config.vocabulary_size
        if len(vocabulary) != size:
            raise ValueError(f"vocabulary must have the model's {size} words, got {len(vocabulary)}")
        if not 1 <= num_words <= size:
            raise ValueError(f"num_words must be 1 to {size}, got {num_words}")
        ranked = self.encoder.detach().topk(num_words, 0).indices.t().tolist()
        return [[vocabulary[word] for word in unit] for unit in ranked]


class _Decoder(arzoo.Decoder):
    def __init__(self, model: DocNADE, num_samples: int, context: NamedContext) -> None:
        self._activation, self._softmax, self._w = model.activation, model.softmax, model.encoder.detach()
        self._a = model.starts(num_samples, context).detach().clone()  # (B, H)

    def conditional(self) -> Words:
        return Words(self._activation(self._a), self._softmax)

    def append(self, value: Tensor) -> None:
        self._a += self._w[value]
