"""Bags of words that are none, and how the page of documents chooses what DocNADE is compared with."""

import importlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import arzoo_documents
import numpy as np
import pytest
import torch
from datasets import Dataset

SCRIPTS = Path(__file__).parent.parent / "scripts" / "reproduce"
BAGS = replace(arzoo_documents.arzoo_datasets()[0], event_shape=(3,), num_categories=4, context={}, labels={})


@pytest.mark.parametrize(
    ("ids", "counts", "fault"),
    [
        ([0.5], [1], "has 0.5 among its words and counts; store integers"),
        ([0], [1.5], "has 1.5 among its words and counts; store integers"),
        ([0], [math.nan], "has nan among its words and counts; store integers"),
        ([0], [None], "has None among its words and counts; store integers"),
        (None, None, "has 0 words, its event shape asks for 1 to 3"),
    ],
)
def test_bags_without_whole_numbers_are_refused_by_document(ids: Any, counts: Any, fault: str) -> None:
    """Half a word once became word 0, and one count and a half became one."""
    rows = Dataset.from_dict({"word_ids": [[1], ids], "counts": [[1], counts]})
    with pytest.raises(ValueError, match=f"^document 1 of split 'test' of data set 'newsgroups_bow' {fault}$"):
        arzoo_documents.decode_bags(BAGS, {"test": rows})


def test_whole_numbers_that_are_stored_as_real_ones_are_counts() -> None:
    rows = {"test": Dataset.from_dict({"word_ids": [[1.0, 3.0]], "counts": [[2.0, 1.0]]})}
    assert arzoo_documents.decode_bags(BAGS, rows)["test"].x.tolist() == [[0, 2, 0, 1]]


# ---- the script


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module scripts/reproduce/documents.py."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("documents")


def test_the_bound_of_lda_is_below_the_likelihood_and_not_far(script: Any) -> None:
    """Against the integral over the shares of two topics, on a grid."""
    topics = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    documents = script.csr_matrix(np.array([[1, 0, 0], [2, 1, 0], [0, 1, 4], [3, 3, 3]]))
    model = script.LatentDirichletAllocation(2, doc_topic_prior=0.5, max_iter=1, random_state=0).fit(documents)
    angle = (np.arange(10_000) + 0.5) / 10_000 * math.pi / 2
    share = np.sin(angle) ** 2  # Beta(1/2, 1/2) is uniform in the angle
    for components in (topics, topics[[0, 0]]):
        model.components_ = components
        model.exp_dirichlet_component_ = components
        words = np.log(share[:, None] * components[0] + (1 - share[:, None]) * components[1])  # (grid, V)
        exact = np.log(np.exp(documents @ words.T).mean(1))
        bound = script.lda_bound(model, documents)
        assert (bound <= exact + 1e-6).all() and (bound > exact - 2).all()


def test_lda_is_chosen_by_validation_and_only_the_chosen_one_meets_the_test_split(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    splits = {split: script.csr_matrix(draw.poisson(1.0, (30, 6)) + 1) for split in ("train", "validation", "test")}
    met: list[tuple[int, str]] = []
    bound = script.lda_bound

    def watched(model: Any, documents: Any) -> Any:
        met.append((len(model.components_), next(name for name, each in splits.items() if each is documents)))
        return bound(model, documents)

    monkeypatch.setattr(script, "counts", splits.__getitem__)
    monkeypatch.setattr(script, "lda_bound", watched)
    monkeypatch.setattr(script, "LDA", ((2, 0.2, 0.1), (3, 0.2, 0.1), (4, 1.0, 0.5)))
    found = script.baselines(tmp_path / "baselines.json")
    best = min(found["validations"], key=found["validations"].__getitem__)
    assert len(found["validations"]) == 3 and found["chosen"] == best
    chosen = int(best.split()[0])
    assert met == [(2, "validation"), (3, "validation"), (4, "validation"), (chosen, "test")]

    met.clear()
    assert script.baselines(tmp_path / "baselines.json") == found and not met  # it goes on where it was
    monkeypatch.setattr(script, "LDA", ((2, 0.2, 0.1),))
    assert script.baselines(tmp_path / "baselines.json")["chosen"].startswith("2 topics")  # but not with another grid
    assert len(json.loads((tmp_path / "baselines.json").read_text())["validations"]) == 1


def test_unigrams_of_a_uniform_corpus_have_the_perplexity_of_the_vocabulary(script: Any) -> None:
    same = script.csr_matrix(torch.full((5, 8), 3).numpy())
    assert script.unigrams(same, same) == pytest.approx(8)
