"""The standard data sets."""

from arzoo import hookimpl
from arzoo.data import DatasetSpec, decode_images


@hookimpl
def arzoo_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="mnist",
            event_shape=(1, 28, 28),
            num_categories=256,
            repo="mnist",
            hub_id="ylecun/mnist",
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
            splits={"train": "train[:45000]", "validation": "train[45000:]", "test": "test"},
            column="img",
            context={"class": "label"},
            decode=decode_images,
            kind="image",
            unit="bits/dim",
            licence="unknown",
            protocol="8-bit RGB as it is; validation on the last 5,000 training images.",
        ),
    ]
