"""The standard data sets of images."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from arzoo import hookimpl
from arzoo.data import DatasetSpec, Examples
from arzoo.data_decoding import decode_images

if TYPE_CHECKING:
    from datasets import Dataset

_OMNIGLOT_DRAWERS = {"train": range(1, 15), "validation": range(15, 16), "test": range(16, 21)}
"""Of the twenty people who drew each character; a validation on the last characters would hold unknown ones."""


def _binarize(levels: Tensor, generator: torch.Generator) -> Tensor:
    """Ones with probability level / 255."""
    return (torch.rand(levels.shape, generator=generator) * 255 < levels).byte()


def _decode_omniglot(spec: DatasetSpec, rows: "Mapping[str, Dataset]") -> dict[str, Examples]:
    """The grey levels of the drawings that the drawers of each split made."""
    parts = {}
    for split, drawers in _OMNIGLOT_DRAWERS.items():
        kept = [index for index, drawer in enumerate(rows[split]["drawer"]) if drawer in drawers]
        parts[split] = rows[split].select(kept)
    return decode_images(replace(spec, num_categories=256), parts)


@hookimpl
def arzoo_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="mnist",
            event_shape=(1, 28, 28),
            num_categories=256,
            repo="mnist",
            hub_id="ylecun/mnist",
            homepage="http://yann.lecun.com/exdb/mnist/",
            splits={"train": "train[:50000]", "validation": "train[50000:]", "test": "test"},
            column="image",
            context={"digit": "label"},
            decode=decode_images,
            kind="image",
            unit="bits/dim",
            licence="cc-by-sa-3.0",
            protocol="8-bit grey levels as they are; validation on the last 10,000 training images.",
        ),
        DatasetSpec(
            name="binarized_mnist",
            event_shape=(1, 28, 28),
            num_categories=2,
            repo="binarized_mnist",
            homepage="http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
            splits={"train": "train", "validation": "validation", "test": "test"},
            column="image",
            decode=decode_images,
            kind="image",
            unit="nats",
            licence="cc-by-sa-3.0",
            protocol="The fixed binarisation and the three splits of Larochelle's files.",
        ),
        DatasetSpec(
            name="fashion_mnist",
            event_shape=(1, 28, 28),
            num_categories=256,
            repo="fashion_mnist",
            hub_id="zalando-datasets/fashion_mnist",
            homepage="https://github.com/zalandoresearch/fashion-mnist",
            splits={"train": "train[:50000]", "validation": "train[50000:]", "test": "test"},
            column="image",
            context={"class": "label"},
            decode=decode_images,
            kind="image",
            unit="bits/dim",
            licence="mit",
            protocol="8-bit grey levels as they are; validation on the last 10,000 training images.",
        ),
        DatasetSpec(
            name="cifar10",
            event_shape=(3, 32, 32),
            num_categories=256,
            repo="cifar10",
            hub_id="uoft-cs/cifar10",
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            splits={"train": "train[:45000]", "validation": "train[45000:]", "test": "test"},
            column="img",
            context={"class": "label"},
            decode=decode_images,
            kind="image",
            unit="bits/dim",
            licence="unknown",
            protocol="8-bit RGB as it is; validation on the last 5,000 training images.",
        ),
        DatasetSpec(
            name="caltech101_silhouettes",
            event_shape=(1, 28, 28),
            num_categories=2,
            repo="caltech101_silhouettes",
            homepage="https://people.cs.umass.edu/~marlin/data.shtml",
            splits={"train": "train", "validation": "validation", "test": "test"},
            column="image",
            context={"class": "label"},
            decode=decode_images,
            kind="image",
            unit="nats",
            licence="unknown",
            protocol="The three splits of Marlin's file, split 1, with its polarity: the object is 0, the ground 1.",
        ),
        DatasetSpec(
            name="omniglot_28x28",
            event_shape=(1, 28, 28),
            num_categories=2,
            repo="omniglot_28x28",
            homepage="https://github.com/brendenlake/omniglot",
            splits={"train": "train", "validation": "train", "test": "test"},
            column="image",
            context={"alphabet": "label"},
            decode=_decode_omniglot,
            view=_binarize,
            kind="image",
            unit="nats",
            licence="mit",
            protocol=(
                "Drawings reduced to 28x28 by area, not those of chardata.mat, so not comparable with published "
                "numbers; a pixel is ink with probability grey / 255, drawn anew each time in training, but the same "
                "in every evaluation; drawers 1 to 14 of each character train, 15 validates, 16 to 20 test."
            ),
        ),
    ]
