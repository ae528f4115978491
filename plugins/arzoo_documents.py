"""Documents as bags of words, seen in an order that is drawn anew each time, as DocNADE sees them.

Larochelle & Lauly 2012, A neural autoregressive topic model.  Perplexity is exp of the mean over documents of
-log p(v) / |v|, given the number |v| of words.
"""

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from arzoo import hookimpl
from arzoo.data import DatasetSpec, Examples

if TYPE_CHECKING:
    from datasets import Dataset

_LONGEST = 4741


def decode_bags(spec: DatasetSpec, rows: "Mapping[str, Dataset]") -> dict[str, Examples]:
    """Documents as the counts of all words, integers of shape (N, K), and context `length`, how many these are.

    A word that a document names twice has the sum of its counts; a row without lists is a document without words.

    Raises:
        ValueError: A document is empty or too long, has a word outside the vocabulary, or a count that is none.
    """
    decoded = {}
    for split, split_rows in rows.items():
        words, numbers = ([row or [] for row in split_rows[column][:]] for column in ("word_ids", "counts"))
        counts = _count(spec, split, words, numbers)
        context = {name: torch.tensor(split_rows[column][:]) for name, column in spec.context.items()}
        stored = counts.to(torch.int16 if spec.event_shape[0] < 2**15 else torch.int32)
        decoded[split] = Examples(x=stored, context={**context, "length": counts.sum(1)})
    return decoded


def _count(spec: DatasetSpec, split: str, words: list[list[int]], numbers: list[list[int]]) -> Tensor:
    """How often each word of the vocabulary stands in each document, int64 (N, K), of the words and their counts."""
    assert isinstance(spec.num_categories, int)
    vocabulary, longest = spec.num_categories, spec.event_shape[0]

    def complaint(document: int, fault: str) -> ValueError:
        return ValueError(f"document {document} of split {split!r} of data set {spec.name!r} {fault}")

    sizes = list(map(len, words))
    for document, (size, given) in enumerate(zip(sizes, map(len, numbers), strict=True)):
        if size != given:
            raise complaint(document, f"has {size} words and {given} counts; give each word one")
        for value in chain(words[document], numbers[document]):
            if not _is_whole(value):
                raise complaint(document, f"has {value} among its words and counts; store integers")
    documents = torch.arange(len(words)).repeat_interleave(torch.tensor(sizes, dtype=torch.int64))
    ids, times = (torch.tensor(list(chain.from_iterable(lists)), dtype=torch.int64) for lists in (words, numbers))
    outside, none = (ids < 0) | (ids >= vocabulary), (times < 1) | (times > longest)
    for place in (outside | none).nonzero().flatten().tolist():
        document, word, number = (int(each[place]) for each in (documents, ids, times))
        if outside[place]:
            raise complaint(document, f"has word {word}, the vocabulary ends at {vocabulary - 1}; leave it out")
        raise complaint(document, f"has word {word} {number} times; a count must be 1 to {longest}")
    counts = torch.zeros(len(words), vocabulary, dtype=torch.int64)
    counts.index_put_((documents, ids), times, accumulate=True)
    lengths = counts.sum(1)
    for document in ((lengths < 1) | (lengths > longest)).nonzero().flatten().tolist():
        raise complaint(document, f"has {int(lengths[document])} words, its event shape asks for 1 to {longest}")
    return counts


def _is_whole(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def draw_order(counts: Tensor, generator: torch.Generator) -> Tensor:
    """The words of each document in a random order, then -1.

    Arguments:
        counts: How often each word stands in each document, shape (B, K).

    Returns:
        Words, int16, shape (B, T), T the length of the longest document of the data set.
    """
    rows, words = counts.nonzero(as_tuple=True)
    number = counts[rows, words].long()
    rows, words = rows.repeat_interleave(number), words.repeat_interleave(number)  # (all words,), document by document
    shuffled = torch.randperm(len(rows), generator=generator)
    order = shuffled[rows[shuffled].argsort(stable=True)]  # by document again
    lengths = counts.sum(1)
    places = torch.arange(len(rows)) - (lengths.cumsum(0) - lengths)[rows]
    x = torch.full((len(counts), _LONGEST), -1, dtype=torch.int16)
    x[rows, places] = words[order].short()
    return x


@hookimpl
def arzoo_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="newsgroups_bow",
            event_shape=(_LONGEST,),
            num_categories=2000,
            repo="newsgroups_bow",
            homepage="http://qwone.com/~jason/20Newsgroups/",
            splits={"train": "train", "validation": "validation", "test": "test"},
            column="word_ids",
            context={"group": "label"},
            labels={"word": "vocab.txt", "group": "labels.txt"},
            decode=decode_bags,
            view=draw_order,
            unit="perplexity",
            licence="unknown",
            protocol=(
                "20 Newsgroups by date, the 2,000 words of Miao et al. 2016, so not strictly comparable with DocNADE's "
                "numbers; words in an order drawn anew each time in training, but the same in every evaluation; "
                "given the number of words; 1,000 training documents validate."
            ),
        )
    ]
