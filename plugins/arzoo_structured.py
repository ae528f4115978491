"""Samples of small distributions that are known exactly: five Bayesian networks and an Ising grid."""

from dataclasses import replace

from torch import Tensor

from arzoo import hookimpl
from arzoo.data import DatasetSpec
from arzoo.data_decoding import decode_vectors
from arzoo.data_loading import load_data

_BNLEARN = "https://www.bnlearn.com/bnrepository/"
_ISING = "https://en.wikipedia.org/wiki/Ising_model"

# Number of states of each variable, in topological order, and of how many variables; where it is from.
_SETS: dict[str, tuple[tuple[int, ...], str]] = {
    "asia": ((2,) * 8, _BNLEARN),
    "sachs": ((3,) * 11, _BNLEARN),
    "child": ((2, 6, 2, 2, 3, 4, 2, 3, 3, 3, 3, 3, 2, 3, 5, 5, 2, 2, 2, 3), _BNLEARN),
    "insurance": ((3, 4, 2, 4, 2, 5, 3, 4, 2, 2, 3, 3, 4, 4, 5, 4, 2, 2, 4, 4, 4, 2, 2, 4, 4, 4, 3), _BNLEARN),
    "alarm": (
        (2, 2, 2, 3, 3, 3, 3, 2, 2, 2, 2, 3, 2, 2, 2, 3, 3, 2, 2, 3, 4, 4, 4, 4, 4, 4, 3, 3, 3, 4, 2, 3, 3, 3, 3, 3, 3),
        _BNLEARN,
    ),
    "ising_grid4x4": ((2,) * 16, _ISING),
}


def true_log_prob(spec: DatasetSpec, split: str) -> Tensor:
    """The log-likelihood of each row under the distribution that it was drawn from, in nats, shape (N,).

    The negative of its mean is the smallest cross-entropy that a model can be expected to reach.
    """
    return load_data(replace(spec, column="log_prob", event_shape=(), num_categories=None), split).x


def _known(config: str) -> DatasetSpec:
    states, homepage = _SETS[config]
    return DatasetSpec(
        name=f"structured_small.{config}",
        event_shape=(len(states),),
        num_categories=states[0] if len(set(states)) == 1 else states,
        repo="structured_small",
        homepage=homepage,
        config=config,
        splits={"train": "train", "validation": "validation", "test": "test"},
        column="x",
        decode=decode_vectors,
        unit="nats",
        licence="cc-by-sa-3.0",
        protocol="10,000 independent samples a split of a distribution that is known; no published numbers exist.",
    )


@hookimpl
def arzoo_datasets() -> list[DatasetSpec]:
    return [_known(config) for config in _SETS]
