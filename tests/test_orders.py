"""Orders that are given, and orders that visit a site twice."""

from pathlib import Path
from typing import Any

import pytest
import torch

import arzoo
from arzoo import testing
from arzoo.decoding import check_order
from arzoo.testing.events import random_model

ORDER = (2, 0, 3, 1)
FAMILIES: dict[str, dict[str, Any]] = {
    "fvsbn": {},
    "mlp_ar": {"hidden_size": 3},
    "nade": {"hidden_size": 3},
    "made": {"hidden_sizes": (9,), "num_masks": 2},
    "rnade": {"num_categories": None, "hidden_size": 3, "num_components": 2, "min_scale": 0.1},
}


def build(family: str, **fields: Any) -> arzoo.Autoregressive:
    kind = arzoo.get_family(family)
    model = random_model(kind, kind.config_class(**{"event_shape": (2, 2), **FAMILIES[family], **fields}))
    assert isinstance(model, arzoo.Autoregressive)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_given_order_is_the_one_that_is_walked(family: str) -> None:
    model = build(family, ordering=ORDER)
    assert all(tuple(model.order(k).tolist()) == ORDER for k in range(model.num_members))
    testing.check_causality(model)
    testing.check_decoder_agrees_with_the_parallel_pass(model)
    testing.check_sampling_walks_in_order(model)
    if family != "rnade":
        testing.check_probabilities_sum_to_one(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_given_order_is_kept_by_the_config(family: str, tmp_path: Path) -> None:
    model = build(family, ordering=ORDER)
    model.save_pretrained(tmp_path)
    again = arzoo.load(tmp_path)
    assert again.config.ordering == ORDER
    x = torch.randn(3, 2, 2) if family == "rnade" else torch.randint(2, (3, 2, 2))
    assert torch.equal(again.log_prob(x), model.log_prob(x))


def test_rnade_in_an_order_of_its_own() -> None:
    """The same weights, renamed by the order, are the natural RNADE of the permuted events."""
    model, natural = build("rnade", ordering=ORDER), build("rnade")
    with torch.no_grad():
        for name, value in natural.named_parameters():
            mine = model.get_parameter(name)
            value.copy_(mine[list(ORDER)] if name in ("encoder", "output", "output_bias") else mine)
    x = torch.randn(8, 4)
    torch.testing.assert_close(
        model.log_prob(x.view(8, 2, 2)), natural.log_prob(x[:, ORDER].view(8, 2, 2)), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        ((0, 1, 2), "it has 3 numbers"),
        ((0, 1, 1, 3), "1 stands there 2 times"),
        ((0, 1, 2, 4), "4 stands there 1 times"),
        ((0, 1, 2, -1), "-1 stands there 1 times"),
        ((0, 1, 2, 2**70), f"{2**70} stands there 1 times"),
    ],
)
def test_what_is_no_order_is_refused(order: tuple[int, ...], fault: str) -> None:
    with pytest.raises(ValueError, match=f"ordering must visit each of 0 to 3 once, but {fault}$"):
        check_order(order, 4)
    for family in FAMILIES:
        with pytest.raises(ValueError, match="must visit each of 0 to 3 once"):
            build(family, ordering=order)


@pytest.mark.parametrize("family", ["fvsbn", "mlp_ar", "nade", "rnade", "made", "deep_nade", "conv_nade"])
def test_a_checkpoint_whose_order_visits_a_site_twice_is_refused(family: str, tmp_path: Path) -> None:
    """A walk would leave out another site, and samples would be no events."""
    fields: dict[str, Any] = {"event_shape": (1, 2, 2), **({"num_categories": None} if family == "rnade" else {})}
    fields |= {"deep_nade": {}, "conv_nade": {"kernel_sizes": (1,)}}.get(family, {"ordering": "random"})
    model = arzoo.create_model(family, fields)
    name = next(name for name in model.state_dict() if "order" in name)
    model.state_dict()[name].copy_(torch.tensor([0, 0, 2, 3]))
    model.save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match="holds no density: order 0 must visit each of 0 to 3 once, but 0 stands there 2 times"
    ):
        arzoo.load(tmp_path)


def test_a_checkpoint_of_numbers_that_are_none_is_refused(tmp_path: Path) -> None:
    """It was loaded, and gave samples."""
    model = build("nade")
    with torch.no_grad():
        model.get_parameter("encoder_bias")[1] = torch.nan
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds no density: encoder_bias has numbers that are none \(NaN\)"):
        arzoo.load(tmp_path)
