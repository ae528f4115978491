"""What a pixel is found to see, against what the taps of the kernels reach and the orders allow."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from arzoo_made import MADE, MADEConfig
from arzoo_nade import NADE, NADEConfig, RNADEConfig
from arzoo_pixelcnn import PixelCNN, PixelCNNConfig
from PIL import Image

import arzoo
from arzoo import pictures, testing

HEIGHT, WIDTH = 8, 11


def taps(kernel_size: int, centre: bool) -> set[tuple[int, int]]:
    """Where a masked kernel looks, relative to the pixel."""
    reach = range(-(kernel_size // 2), kernel_size // 2 + 1)
    return {place for place in itertools.product(reach, reach) if place < (0, 0) or (centre and place == (0, 0))}


def reached(pixel: tuple[int, int], num_blocks: int) -> set[tuple[int, int]]:
    """What a PixelCNN with a 7x7 kernel and blocks of 3x3 kernels sees of a small image, by following its taps."""
    seen = {pixel}
    layers = [taps(3, True)] * num_blocks + [taps(7, False)]  # from the output back to the image
    for layer in layers:
        seen = {(i + a, j + b) for i, j in seen for a, b in layer if 0 <= i + a < HEIGHT and 0 <= j + b < WIDTH}
    return seen


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize(("pixel", "num_blocks"), [((4, 5), 1), ((6, 2), 2), ((7, 0), 2), ((0, 10), 1), ((0, 0), 1)])
def test_a_pixelcnn_sees_what_its_taps_reach(colours: int, pixel: tuple[int, int], num_blocks: int) -> None:
    shape = (colours, HEIGHT, WIDTH)
    config = PixelCNNConfig(event_shape=shape, hidden_size=6, num_blocks=num_blocks, head_size=6)
    model = testing.random_model(PixelCNN, config)
    field = arzoo.receptive_field(model, pixel)
    assert field.pixel == pixel and int(field.before.sum()) == pixel[0] * WIDTH + pixel[1]
    assert {tuple(place) for place in field.seen.nonzero().tolist()} == reached(pixel, num_blocks)


def test_there_is_a_blind_spot_to_the_upper_right() -> None:
    config = PixelCNNConfig(event_shape=(1, HEIGHT, WIDTH), hidden_size=6, num_blocks=3, head_size=6)
    field = arzoo.receptive_field(testing.random_model(PixelCNN, config), (5, 4))
    blind = (field.before & ~field.seen).nonzero().tolist()
    assert [4, 10] in blind and all(row < 5 and column > 4 for row, column in blind)


def test_an_order_says_what_comes_before() -> None:
    torch.manual_seed(0)
    config = MADEConfig(event_shape=(1, 4, 5), hidden_sizes=(40,), num_masks=2, ordering="random")
    model = testing.random_model(MADE, config)
    for member in range(2):
        order = model.order(member).tolist()
        field = arzoo.receptive_field(model, (2, 3), member=member)
        earlier = order[: order.index(2 * 5 + 3)]
        assert field.before.flatten().nonzero().flatten().tolist() == sorted(earlier)
        assert not (field.seen & ~field.before).any()


def test_it_finds_all_that_nade_sees_and_says_how_far_it_is() -> None:
    model = testing.random_model(NADE, NADEConfig(event_shape=(1, 4, 4), num_categories=3, hidden_size=8))
    shares: list[float] = []
    field = arzoo.receptive_field(model, num_events=7, progress=shares.append)
    assert field.pixel == (2, 2) and torch.equal(field.seen, field.before)
    assert shares[-1] == 1 and shares == sorted(shares)
    again = arzoo.receptive_field(model, num_events=7)
    assert torch.equal(field.influence, again.influence)


@torch.no_grad()
def test_influence_is_the_mean_change_of_the_conditional() -> None:
    """Against changes made one by one, for bits, which can change in one way."""
    model = testing.random_model(NADE, NADEConfig(event_shape=(1, 2, 3), hidden_size=4))
    x = model.sample(5, generator=torch.Generator().manual_seed(3))
    field = arzoo.receptive_field(model, (1, 1), num_events=5, generator=torch.Generator().manual_seed(3))
    for i, j in [(0, 0), (0, 2), (1, 0)]:
        flipped = x.clone()
        flipped[:, 0, i, j] = 1 - x[:, 0, i, j]
        moved = model.site_log_prob(flipped)[:, 0, 1, 1] - model.site_log_prob(x)[:, 0, 1, 1]
        assert float(field.influence[i, j]) == pytest.approx(float(moved.abs().mean()), rel=1e-4)


def test_refuses_what_has_no_pixels() -> None:
    rnade = arzoo.create_model("rnade", RNADEConfig(event_shape=(3,)).to_dict())
    assert isinstance(rnade, arzoo.Autoregressive)
    with pytest.raises(ValueError, match=r"of images .* this rnade is of \(3,\)"):
        arzoo.receptive_field(rnade)
    nade = testing.random_model(NADE, NADEConfig(event_shape=(1, 4, 4), hidden_size=8))
    with pytest.raises(ValueError, match="an image of 4x4"):
        arzoo.receptive_field(nade, (4, 0))


def test_the_picture_shows_what_is_blind(tmp_path: Path) -> None:
    config = PixelCNNConfig(event_shape=(1, HEIGHT, WIDTH), hidden_size=6, num_blocks=1, head_size=6)
    field = arzoo.receptive_field(testing.random_model(PixelCNN, config), (5, 4))
    pictures.save_png(pictures.receptive_field(field, scale=1), tmp_path / "field.png")
    pixels = np.array(Image.open(tmp_path / "field.png"))
    blue = (pixels == (40, 80, 220)).all(2)
    assert np.array_equal(blue, (field.before & ~field.seen).numpy())
    assert tuple(pixels[5, 4]) == (0, 200, 80) and (pixels[6:] == 128).all() and (pixels[5, 5:] == 128).all()
