"""Gradients that are written by hand are right, and have none of their own."""

from typing import Any

import pytest
import torch

import arzoo
from arzoo.testing.events import random_events, random_model

BY_HAND: list[tuple[str, dict[str, Any]]] = [
    ("made", {"event_shape": (4,), "num_categories": 3, "hidden_sizes": (5,)}),
    ("nade", {"event_shape": (4,), "hidden_size": 3}),
    ("rnade", {"event_shape": (4,), "num_categories": None, "hidden_size": 3}),
    ("doc_nade", {"event_shape": (4,), "num_categories": 5, "hidden_size": 3, "softmax": "full"}),
    ("doc_nade", {"event_shape": (4,), "num_categories": 5, "hidden_size": 3, "softmax": "tree"}),
    ("gated_pixelcnn", {"event_shape": (1, 3, 3), "hidden_size": 4, "num_layers": 1, "head_size": 4}),
    ("row_lstm", {"event_shape": (1, 3, 3), "hidden_size": 3, "num_layers": 1, "head_size": 4}),
]


@pytest.mark.parametrize(("family", "fields"), BY_HAND, ids=lambda part: str(part) if isinstance(part, str) else "")
def test_second_derivatives_are_refused_and_not_wrong(family: str, fields: dict[str, Any]) -> None:
    """Those that torch would put together lack what goes through a backward pass without a graph."""
    kind = arzoo.get_family(family)
    model = random_model(kind, kind.config_class(**fields))
    x = random_events(model, 3, torch.Generator().manual_seed(0))
    model.log_prob(x).sum().backward()
    with pytest.raises(RuntimeError, match="first derivatives only; leave create_graph at its default, False"):
        torch.autograd.grad(model.log_prob(x).sum(), next(model.parameters()), create_graph=True, allow_unused=True)
