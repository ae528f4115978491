"""The probabilities of all events sum to one: every family, single and ensemble, on three event spaces."""

import itertools

import pytest
import torch

import arzoo

SPACES = {"10 bits": ((1, 5, 2), 2), "binary 2x2x3": ((3, 2, 2), 2), "4-level 2x1x3": ((3, 2, 1), 4)}
FAMILIES = {
    "nade": ("nade", {"hidden_size": 5}),
    "made": ("made", {"hidden_sizes": (9, 11)}),
    "made, natural order": ("made", {"hidden_sizes": (9,), "ordering": "natural", "direct": False}),
    "made, 4 masks": ("made", {"hidden_sizes": (9, 7), "num_masks": 4}),
    "pixelcnn": ("pixelcnn", {"hidden_size": 6, "num_blocks": 2, "head_size": 6}),
    "gated_pixelcnn": ("gated_pixelcnn", {"hidden_size": 6, "num_layers": 2, "head_size": 6}),
    "gated_pixelcnn, mixtures": (
        "gated_pixelcnn",
        {"hidden_size": 4, "num_layers": 2, "head_size": 5, "num_mixtures": 2},
    ),
    "image_gpt": ("image_gpt", {"hidden_size": 6, "num_layers": 2, "num_heads": 2}),
    "row_lstm": ("row_lstm", {"hidden_size": 6, "num_layers": 2, "head_size": 6}),
    "diagonal_bilstm": ("diagonal_bilstm", {"hidden_size": 6, "num_layers": 2, "head_size": 6}),
    "pixelcnnpp": ("pixelcnnpp", {"num_filters": 2, "num_resnets": 1, "num_mixtures": 2, "num_scales": 1}),
    "pixelsnail": (
        "pixelsnail",
        {"hidden_size": 4, "num_blocks": 2, "num_residual": 1, "key_size": 2, "value_size": 3, "num_mixtures": 2},
    ),
    "pixelcnn, 5x5": ("pixelcnn", {"hidden_size": 3, "num_blocks": 1, "head_size": 3, "kernel_size": 5}),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("case", FAMILIES)
def test_probabilities_sum_to_one(case: str, space: str) -> None:
    family, fields = FAMILIES[case]
    shape, categories = SPACES[space]
    torch.manual_seed(0)
    model = arzoo.create_model(family, {"event_shape": shape, "num_categories": categories, **fields}).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    events = torch.tensor(list(itertools.product(range(categories), repeat=model.config.dims))).view(-1, *shape)
    assert len(events) == categories**model.config.dims
    total = model.log_prob(events).detach().double().logsumexp(0).exp()
    assert float(total) == pytest.approx(1, abs=1e-5)
