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
    """Documents as the counts of all words, int16, shape (N, K), and context `length`, how many these are."""
    assert isinstance(spec.num_categories, int)
    decoded = {}
    for split, split_rows in rows.items():
        words, numbers = split_rows["word_ids"][:], split_rows["counts"][:]  # lists, one a document
        sizes = list(map(len, words))
        documents = torch.arange(len(words)).repeat_interleave(torch.tensor(sizes))
        ids, times = (torch.tensor(list(chain.from_iterable(lists))) for lists in (words, numbers))
        if sizes != list(map(len, numbers)) or int(ids.max()) >= spec.num_categories:
            raise ValueError(
                f"split {split!r} of data set {spec.name!r} must have a count for each word and words 0 to "
                f"{spec.num_categories - 1}"
            )
        counts = torch.zeros(len(words), spec.num_categories, dtype=torch.int16)
        counts[documents, ids] = times.short()
        lengths = counts.sum(1)
        wrong = ((lengths < 1) | (lengths > spec.event_shape[0])).nonzero().flatten().tolist()
        if wrong:
            raise ValueError(
                f"document {wrong[0]} of split {split!r} of data set {spec.name!r} has {int(lengths[wrong[0]])} words, "
                f"its event shape asks for 1 to {spec.event_shape[0]}"
            )
        context = {name: torch.tensor(split_rows[column][:]) for name, column in spec.context.items()}
        decoded[split] = Examples(x=counts, context={**context, "length": lengths})
    return decoded


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
