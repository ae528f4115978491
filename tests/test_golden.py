"""Densities do not drift: models whose weights are a formula give the same numbers for ever.

A golden value changes only in a commit whose message says why: every published checkpoint changes with it.
"""

import itertools

import pytest
import torch

import arzoo

GOLDEN = {
    ("conv_nade", 0): -50.65131,
    ("conv_nade", 1): -38.65835,
    ("conv_nade", 2): -32.64053,
    ("deep_nade", 0): -28.93165,
    ("deep_nade", 1): -24.55880,
    ("deep_nade", 2): -28.72692,
    ("deep_nade", 3): -26.34419,
    ("diagonal_bilstm", 0): -116.37440,
    ("diagonal_bilstm", 1): -102.06934,
    ("diagonal_bilstm", 2): -234.64100,
    ("doc_nade", 0): -32.13846,
    ("doc_nade", 1): -25.25183,
    ("doc_nade", 2): -32.39973,
    ("doc_nade", 3): -11.19442,
    ("fvsbn", 0): -34.62893,
    ("fvsbn", 1): -37.43438,
    ("fvsbn", 2): -32.59993,
    ("fvsbn", 3): -20.53449,
    ("gated_pixelcnn", 0): -72.75591,
    ("gated_pixelcnn", 1): -59.04393,
    ("gated_pixelcnn", 2): -133.05021,
    ("gated_pixelcnn", 3): -55.73825,
    ("gated_pixelcnn", 4): -56.59934,
    ("image_gpt", 0): -42.20390,
    ("image_gpt", 1): -30.53969,
    ("image_gpt", 2): -59.55146,
    ("image_transformer", 0): -102.81454,
    ("image_transformer", 1): -55.98591,
    ("image_transformer", 2): -80.33958,
    ("made", 0): -49.38026,
    ("made", 1): -36.99572,
    ("made", 2): -55.86086,
    ("made", 3): -17.97236,
    ("made", 4): -21.90332,
    ("made", 5): -57.94181,
    ("masde", 0): -33.44577,
    ("masde", 1): -33.99938,
    ("masde", 2): -21.81731,
    ("masde", 3): -29.56169,
    ("mlp_ar", 0): -24.31778,
    ("mlp_ar", 1): -41.95148,
    ("mlp_ar", 2): -18.02481,
    ("mlp_ar", 3): -30.39027,
    ("nade", 0): -31.52272,
    ("nade", 1): -40.45594,
    ("nade", 2): -33.71916,
    ("nade", 3): -22.56122,
    ("nade", 4): -32.68518,
    ("pixelcnn", 0): -39.75074,
    ("pixelcnn", 1): -69.79592,
    ("pixelcnn", 2): -113.97691,
    ("pixelcnnpp", 0): -27.26875,
    ("pixelcnnpp", 1): -40.13989,
    ("pixelcnnpp", 2): -76.05829,
    ("pixelsnail", 0): -68.22352,
    ("pixelsnail", 1): -180.08874,
    ("pixelsnail", 2): -55.15312,
    ("rnade", 0): -38.96417,
    ("rnade", 1): -20.17876,
    ("rnade", 2): -133.63792,
    ("row_lstm", 0): -127.28243,
    ("row_lstm", 1): -54.18645,
    ("row_lstm", 2): -127.09350,
    ("tabular", 0): -24.13325,
    ("tabular", 1): -33.52455,
    ("tabular", 2): -15.57880,
    ("tabular", 3): -28.11948,
    ("tabular", 4): -27.58582,
}


def formula_model(family: str, index: int) -> arzoo.Model:
    """Weights from a sine, orders reversed, degrees in turn; nothing is drawn."""
    family_class = arzoo.get_family(family)
    model = family_class(family_class.tiny_configs()[index])
    state = model.state_dict()
    place = itertools.count(1)
    for name, value in state.items():
        numbers = torch.arange(value.numel()).view(value.shape)
        if value.is_floating_point():
            value.copy_(0.8 * torch.sin(0.7 * numbers.double() * next(place) + 1))
        elif "order" in name:
            value.copy_(numbers.flip(-1) % value.shape[-1])
        else:
            value.copy_(numbers % max(model.config.dims - 1, 1) + 1)
    return model.eval()


@pytest.mark.parametrize(("family", "index"), GOLDEN, ids=lambda part: str(part))
def test_the_density_is_what_it_was(family: str, index: int) -> None:
    model = formula_model(family, index)
    sizes, shape = model.config.num_categories, model.config.event_shape
    events = torch.arange(4 * model.config.dims).view(4, *shape) ** 2 % 7
    events = events - 3.0 if sizes is None else events % torch.tensor(sizes).expand(model.config.dims).view(shape)
    context = model.example_context(len(events), torch.Generator().manual_seed(0))
    assert float(model.log_prob(events, context).detach().double().sum()) == pytest.approx(
        GOLDEN[family, index], abs=1e-3
    )


def test_every_tiny_config_of_our_families_has_a_golden_value() -> None:
    ours = [name for name in arzoo.list_families() if arzoo.get_family(name).__module__.startswith("arzoo_")]
    assert {(name, i) for name in ours for i in range(len(arzoo.get_family(name).tiny_configs()))} == set(GOLDEN)
