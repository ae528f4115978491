"""Pictures show what they are given, and can be read back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from arzoo.data_decoding import quantize
from arzoo.pictures import grid, likelihood_map, read_image, save_png, training_curve


@pytest.mark.parametrize(("num_categories", "channels"), [(2, 1), (5, 3), (255, 1), (256, 3)])
def test_an_event_written_and_read_again_is_the_same(tmp_path: Path, num_categories: int, channels: int) -> None:
    event = torch.randint(num_categories, (channels, 16, 12), generator=torch.Generator().manual_seed(0))
    save_png(grid(event[None], num_categories, scale=1), tmp_path / "new" / "event.png")
    assert torch.equal(read_image(tmp_path / "new" / "event.png", (channels, 16, 12), num_categories), event)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["event.png"]


def test_every_category_comes_back_from_its_grey_level() -> None:
    for num_categories in range(2, 257):
        categories = torch.arange(num_categories)
        picture = np.array(grid(categories.view(1, 1, 1, -1), num_categories, scale=1))
        assert picture[0, 0] == 0 and picture[0, -1] == 255
        assert torch.equal(quantize(torch.from_numpy(picture[0]), num_categories).long(), categories)


def test_a_grid_enlarges_without_blur_and_keeps_images_apart() -> None:
    events = torch.tensor([0, 1, 1]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    picture = np.array(grid(events, 2, scale=3))
    assert picture.shape == (14, 14)
    assert (picture[:6, :6] == 0).all() and (picture[:6, 8:] == 255).all() and (picture[8:, :6] == 255).all()
    assert (picture[6:8] == 128).all() and (picture[:, 6:8] == 128).all() and (picture[8:, 8:] == 128).all()
    assert grid(events, 2, columns=3, scale=1).size == (10, 2)


def test_events_that_are_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"events must be in 0\.\.1 to be shown, got 0 to 3"):
        grid(torch.arange(4).view(1, 1, 2, 2), 2)
    with pytest.raises(ValueError, match=r"got \(5, 8\)"):
        grid(torch.zeros(5, 8), 2)
    with pytest.raises(ValueError, match="2 to 256 categories"):
        grid(torch.zeros(1, 1, 2, 2), 1000)


def test_a_likelihood_map_is_brighter_where_the_model_is_surprised() -> None:
    log_prob = torch.tensor([[[0.0, -1.0], [-3.0, -torch.inf]]])
    brightness = np.array(likelihood_map(log_prob, scale=1)).astype(int).sum(2)
    assert brightness[0, 0] < brightness[0, 1] < brightness[1, 0] <= brightness[1, 1]
    assert likelihood_map(torch.zeros(1, 2, 2)).mode == "RGB"


def test_a_picture_that_is_no_event_is_refused(tmp_path: Path) -> None:
    Image.new("L", (28, 20)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match="has 28x20 pixels, must have 28x28"):
        read_image(tmp_path / "small.png", (1, 28, 28), 2)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png is no image"):
        read_image(tmp_path / "text.png", (1, 28, 28), 2)
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        read_image(tmp_path / "nothing.png", (1, 28, 28), 2)
    with pytest.raises(ValueError, match=r"no event of shape \(12,\)"):
        read_image(tmp_path / "small.png", (12,), 2)


def test_a_grey_picture_of_sixteen_bits_is_refused_as_its_conversion_would_clip(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png has pixels of mode I;16; save it with 8 bits a channel"):
        read_image(tmp_path / "deep.png", (1, 4, 4), 256)


def test_a_colour_picture_becomes_grey_for_grey_events(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (255, 255, 255)).save(tmp_path / "white.png")
    assert (read_image(tmp_path / "white.png", (1, 4, 4), 2) == 1).all()


def test_colours_and_levels_that_are_lost_are_told(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "red.png")
    with pytest.warns(UserWarning, match=r"red\.png is in colour, and is taken as grey$"):
        read_image(tmp_path / "red.png", (1, 4, 4), 256)
    Image.fromarray(np.array([[0, 7], [200, 255]], dtype=np.uint8)).save(tmp_path / "grey.png")
    with pytest.warns(UserWarning, match=r"the 4 levels of .*grey\.png are rounded to 2$"):
        assert read_image(tmp_path / "grey.png", (1, 2, 2), 2).flatten().tolist() == [0, 0, 1, 1]
    assert read_image(tmp_path / "grey.png", (3, 2, 2), 256)[0].flatten().tolist() == [0, 7, 200, 255]


def test_a_training_curve_is_drawn_without_touching_the_state_of_pyplot(tmp_path: Path) -> None:
    records = [{"step": step, "loss": 9.0 / step} for step in range(1, 50)] + [
        {"step": 50, "loss": float("nan"), "validation": 0.2}
    ]
    training_curve(records, "bits/dim", tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as image:
        assert image.size == (840, 480)
    with pytest.raises(ValueError, match="no step was recorded"):
        training_curve([], "nats", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
