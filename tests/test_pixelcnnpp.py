"""PixelCNN++: the network against a slow one written from the published list of layers, and faults it could have."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from arzoo_pixelcnnpp import PixelCNNPP, PixelCNNPPConfig
from arzoo_pixelcnnpp.decoder import _Conv, _Growth
from arzoo_pixelcnnpp.layers import Growth, NormalisedConv, Window, WindowConv
from torch import Tensor, nn

from arzoo import testing
from arzoo.logistic_mixture import spread_mixture

Array = np.ndarray[Any, Any]
SMALL = {"num_filters": 3, "num_resnets": 1, "num_mixtures": 2}
CASES: list[dict[str, Any]] = [
    {"event_shape": (1, 3, 5), "num_categories": 4, **SMALL, "num_scales": 1},
    {"event_shape": (1, 4, 6), **SMALL, "num_resnets": 2, "num_scales": 2, "dropout": 0.0},
    {"event_shape": (3, 8, 4), "num_categories": 256, **SMALL, "num_scales": 3},
    {"event_shape": (3, 4, 4), "num_categories": 5, **SMALL, "num_scales": 2}
    | {"num_classes": 3, "context_name": "digit"},
]


def build(**fields: Any) -> Any:
    return testing.random_model(PixelCNNPP, PixelCNNPPConfig(**fields)).eval()


def events(model: Any, num_events: int) -> tuple[Tensor, Any]:
    draw = torch.Generator().manual_seed(0)
    return testing.random_events(model, num_events, draw), model.example_context(num_events, draw)


# ---- the definition


class SlowNetwork:
    """The parameters of one image's mixtures in float64: a loop over pixels and taps, with two lists of features.

    The layers are those of the published code: what has been computed on the way to the coarsest resolution is taken
    from the end of the lists on the way back.
    """

    def __init__(self, model: Any) -> None:
        self.state = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
        self.config = model.config

    def weight(self, name: str) -> Array:
        direction = self.state[f"{name}.direction"]
        norm = np.sqrt((direction**2).sum((1, 2, 3), keepdims=True))
        return self.state[f"{name}.gain"][:, None, None, None] * direction / norm

    def conv(self, x: Array, name: str, top: int, left: int, stride: int = 1) -> Array:
        """The kernel's upper left tap lies `top` rows above and `left` columns to the left of the pixel."""
        weight, (_, height, width) = self.weight(name), x.shape
        out = np.zeros((len(weight), height // stride, width // stride)) + self.state[f"{name}.bias"][:, None, None]
        for i, j in np.ndindex(out.shape[1:]):
            for a, b in np.ndindex(weight.shape[2:]):
                row, column = stride * i - top + a, stride * j - left + b
                if 0 <= row < height and 0 <= column < width:
                    out[:, i, j] += weight[:, :, a, b] @ x[:, row, column]
        return out

    def grow(self, x: Array, name: str, left: int) -> Array:
        weight, (_, height, width) = self.weight(name), x.shape
        out = np.zeros((len(weight), 2 * height, 2 * width)) + self.state[f"{name}.bias"][:, None, None]
        for i, j in np.ndindex(height, width):
            for a, b in np.ndindex(weight.shape[2:]):
                row, column = 2 * i + a, 2 * j + b - left
                if 0 <= column < 2 * width:
                    out[:, row, column] += weight[:, :, a, b] @ x[:, i, j]
        return out

    def resnet(self, x: Array, name: str, left: int, extras: list[Array], label: int) -> Array:
        y = self.conv(concat_elu(x), f"{name}.first", 1, left)
        if extras:
            y = y + self.conv(np.concatenate([concat_elu(extra) for extra in extras]), f"{name}.extra", 0, 0)
        y = self.conv(concat_elu(y), f"{name}.second", 1, left)
        if label >= 0:
            y = y + self.state[f"{name}.condition.weight"][:, label, None, None]
        value, gate = np.split(y, 2)
        return x + value / (1 + np.exp(-gate))

    def __call__(self, image: Tensor, label: int) -> Array:
        assert isinstance(self.config.num_categories, int)
        x = 2 * image.double().numpy() / (self.config.num_categories - 1) - 1
        x = np.concatenate([x, np.ones_like(x[:1])])
        downs = [self.conv(x, "rows_above", 2, 1)]
        rights = [self.conv(x, "row_above", 1, 1) + self.conv(x, "left", 1, 1)]
        names = ["scales" + ".inner" * depth for depth in range(self.config.num_scales)]
        for depth, name in enumerate(names):
            if depth:
                downs.append(self.conv(downs[-1], f"{names[depth - 1]}.shrink_down", 1, 1, 2))
                rights.append(self.conv(rights[-1], f"{names[depth - 1]}.shrink_right", 1, 1, 2))
            for k in range(self.config.num_resnets):
                downs.append(self.resnet(downs[-1], f"{name}.first.{k}.down", 1, [], label))
                rights.append(self.resnet(rights[-1], f"{name}.first.{k}.right", 1, [downs[-1]], label))
        down, right = downs.pop(), rights.pop()
        for depth, name in reversed(list(enumerate(names))):
            coarsest = depth == len(names) - 1
            if not coarsest:
                down, right = self.grow(down, f"{name}.grow_down", 1), self.grow(right, f"{name}.grow_right", 0)
            for k in range(self.config.num_resnets + (not coarsest)):
                down = self.resnet(down, f"{name}.second.{k}.down", 1, [downs.pop()], label)
                right = self.resnet(right, f"{name}.second.{k}.right", 1, [down, rights.pop()], label)
        assert not downs and not rights
        return self.conv(elu(right), "output", 0, 0).transpose(1, 2, 0)


def elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def concat_elu(x: Array) -> Array:
    return np.concatenate([elu(x), elu(-x)])


@pytest.mark.parametrize("fields", CASES)
def test_the_network_against_the_definition(fields: dict[str, Any]) -> None:
    model = build(**fields)
    x, context = events(model, 3)
    got = model.conditionals(x, context).parameters.detach()
    assert got.dtype == torch.float32
    slow = SlowNetwork(model)
    for row, image in enumerate(x):
        truth = slow(image, int(context["digit"][row]) if context else -1)
        np.testing.assert_allclose(got[row].numpy(), truth, rtol=1e-4, atol=1e-4)


def test_the_published_network_has_53_7_million_parameters() -> None:
    """Counted from the list of layers: taps of a kernel x inputs x outputs, a gain and a bias for every output."""
    n, resnets, channels = 160, 5, 3

    def conv(taps: int, ins: int, outs: int) -> int:
        return taps * ins * outs + 2 * outs

    first = conv(6, channels + 1, n) + conv(3, channels + 1, n) + conv(2, channels + 1, n)
    forth = conv(6, 2 * n, n) + conv(6, 2 * n, 2 * n)  # down, concat_elu doubles what enters
    forth += conv(4, 2 * n, n) + conv(1, 2 * n, n) + conv(4, 2 * n, 2 * n)  # right, with down beside it
    back = conv(6, 2 * n, n) + conv(1, 2 * n, n) + conv(6, 2 * n, 2 * n)
    back += conv(4, 2 * n, n) + conv(1, 4 * n, n) + conv(4, 2 * n, 2 * n)  # down and the shortcut
    between = conv(6, n, n) + conv(4, n, n)  # there are two steps to coarser ones, and two back
    last = conv(1, n, 100)
    total = first + 3 * resnets * forth + (3 * resnets + 2) * back + 4 * between + last
    with torch.device("meta"):
        model = PixelCNNPP(PixelCNNPPConfig(event_shape=(3, 32, 32), num_categories=256))
    assert sum(parameter.numel() for parameter in model.parameters()) == total == 53_659_080


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 1, 4)])
def test_the_probabilities_of_all_81_images_sum_to_one(shape: tuple[int, int, int]) -> None:
    model = build(event_shape=shape, num_categories=3, **SMALL, num_scales=1 + (shape[1] == 2))
    images = torch.tensor(list(itertools.product(range(3), repeat=4))).view(81, *shape)
    assert float(model.log_prob(images).detach().double().exp().sum()) == pytest.approx(1, abs=1e-6)


# ---- what a pixel sees


def seen_by_pixels(model: Any) -> Tensor:
    """Whether the parameters of a pixel depend on another, boolean (H W, H W), by gradients in float64."""
    model = model.double()
    shape = model.config.event_shape
    images = torch.rand(4, *shape, dtype=torch.float64).mul(2).sub(1).requires_grad_()
    parameters = model.network(images, None).square().sum((0, 1)).flatten()  # (H W,)
    rows = [torch.autograd.grad(each, images, retain_graph=True)[0].abs().amax((0, 1)).flatten() for each in parameters]
    return torch.stack(rows) > 0


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 8)])
@pytest.mark.parametrize("num_scales", [1, 2, 3])
def test_a_pixel_sees_every_pixel_before_it_and_no_other(shape: tuple[int, int, int], num_scales: int) -> None:
    model = build(event_shape=shape, num_filters=4, num_resnets=2, num_mixtures=2, num_scales=num_scales)
    size = shape[1] * shape[2]
    assert torch.equal(seen_by_pixels(model), torch.ones(size, size, dtype=torch.bool).tril(-1))


def to_the_left(columns: set[int], num_convolutions: int) -> set[int]:
    """What convolutions with two columns see of these, themselves among it."""
    return {column - back for column in columns for back in range(num_convolutions + 1)}


@pytest.mark.parametrize("num_scales", [1, 2])
def test_a_pixel_sees_as_far_as_the_kernels_reach(num_scales: int) -> None:
    """In the first row, of which the stream that goes down knows nothing; two convolutions a layer."""
    model = build(event_shape=(1, num_scales, 24), **SMALL, num_scales=num_scales)
    seen = seen_by_pixels(model)[:24, :24]
    for pixel in range(24):
        columns = to_the_left({pixel}, 2 * num_scales)
        if num_scales == 2:
            coarse = to_the_left({column // 2 for column in columns if column >= 0}, 4)
            columns |= to_the_left({2 * column for column in coarse if column >= 0}, 1)  # shortcuts keep the others
        columns = to_the_left(columns, 2)
        truth = {column - 1 for column in columns if column >= 1}
        assert set(seen[pixel].nonzero().flatten().tolist()) == truth


def plant_no_shift(model: Any) -> None:
    model.rows_above.window = Window(rows=(-1, 0), columns=(-1, 1))


def plant_no_shift_to_the_right(model: Any) -> None:
    model.left.window = Window(rows=(-1, 0), columns=(0, 0))


def plant_a_coarse_row_that_comes_early(model: Any) -> None:
    grow = model.scales.grow_down
    grow.forward = lambda x: Growth.forward(grow, x).roll(-1, 2)


def plant_a_coarse_pixel_that_comes_early(model: Any) -> None:
    grow = model.scales.grow_right
    grow.forward = lambda x: Growth.forward(grow, x).roll(-1, 3)


def plant_odd_rows(model: Any) -> None:
    """What is shrunk keeps rows 1, 3, 5, ... instead of 0, 2, 4, ..."""
    shrink = model.scales.shrink_right
    shrink.forward = lambda x: WindowConv.forward(shrink, x.roll(-1, 2))


@pytest.mark.parametrize(
    "plant",
    [
        plant_no_shift,
        plant_no_shift_to_the_right,
        plant_a_coarse_row_that_comes_early,
        plant_a_coarse_pixel_that_comes_early,
        plant_odd_rows,
    ],
)
def test_a_leak_is_caught(plant: Callable[[Any], None]) -> None:
    fields = {"event_shape": (1, 4, 4), "num_categories": 3, **SMALL, "num_resnets": 2, "num_scales": 2}
    model = build(**fields)
    testing.check_causality(model)
    assert not bool(seen_by_pixels(model).triu().any())
    model = build(**fields)
    plant(model)
    with pytest.raises(AssertionError, match="which does not come before it"):
        testing.check_causality(model)
    assert bool(seen_by_pixels(model).triu().any())


def test_padding_is_not_a_black_pixel() -> None:
    """An image of zeros, in the middle of the range, is told from what lies around it by the first layers alone."""
    model = build(event_shape=(1, 4, 4), num_categories=3, **SMALL, num_scales=1)
    seen: list[torch.Tensor] = []
    for conv in (model.rows_above, model.row_above, model.left):
        conv.register_forward_hook(lambda conv, inputs, outputs: seen.append(outputs[0].flatten(1)))
    with torch.no_grad():
        model.conditionals(torch.ones(1, 1, 4, 4, dtype=torch.long))
    # Rows above: none, one or two of them, at the left border, the right one, or neither; a row above, or none; ...
    assert [len(outputs.unique(dim=1).t()) for outputs in seen] == [7, 4, 3]


# ---- conditions, dropout


@torch.no_grad()
def test_a_class_changes_the_density_and_none_is_the_absence_of_all() -> None:
    model = build(event_shape=(1, 4, 4), **SMALL, num_scales=2, num_classes=3)
    x, _ = events(model, 1)
    of_class = torch.stack([model.log_prob(x, torch.tensor([label])) for label in (-1, 0, 1, 2)])
    assert len(of_class.unique()) == 4
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
    assert float(model.log_prob(x, torch.tensor([2]))) == pytest.approx(float(of_class[0]))


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (None, "conditioned on digit"),
        ({"class": torch.tensor([0, 1])}, "a dict with digit"),
        (torch.tensor([0, 2]), "0 to 1, or -1 for none, got 2$"),
        (torch.tensor([0, -2]), "0 to 1, or -1 for none, got -2$"),
        (torch.tensor([0.0, 1.0]), "digit must be integers"),
        (torch.tensor([[0], [1]]), "digit must be integers"),
        (torch.tensor([True, False]), "digit must be integers"),
    ],
)
def test_a_context_that_is_none_is_refused(context: Any, message: str) -> None:
    model = build(event_shape=(1, 2, 2), **SMALL, num_scales=1, num_classes=2, context_name="digit")
    x = torch.zeros(2, 1, 2, 2, dtype=torch.long)
    for call in (lambda: model.log_prob(x, context), lambda: model.sample(2, context)):
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


@torch.no_grad()
def test_only_training_drops_features() -> None:
    model = build(event_shape=(1, 4, 4), num_categories=3, **SMALL, num_scales=2, dropout=0.5)
    x, _ = events(model, 2)
    first = model.log_prob(x)
    assert torch.equal(model.log_prob(x), first)
    model.train()
    dropped = torch.stack([model.log_prob(x) for _ in range(8)])
    assert len(dropped[:, 0].unique()) == 8
    model.eval()
    assert torch.equal(model.log_prob(x), first)


# ---- start


@pytest.mark.parametrize("training", [True, False])
@torch.no_grad()
def test_every_convolution_starts_with_mean_zero_and_a_given_deviation(training: bool) -> None:
    torch.manual_seed(0)
    fields = {"num_filters": 6, "num_resnets": 2, "num_mixtures": 2, "num_scales": 2, "num_classes": 3}
    model = PixelCNNPP(PixelCNNPPConfig(event_shape=(3, 8, 8), num_categories=256, **fields)).train(training)
    x, context = events(model, 80)
    model.initialize(x, context)
    assert model.training == training
    convs = [module for module in model.modules() if isinstance(module, NormalisedConv)]
    assert len(convs) == 3 + 4 * 5 + 5 * 6 + 4 + 1
    outputs: dict[Any, Tensor] = {}
    for conv in convs:
        conv.register_forward_hook(lambda conv, inputs, output: outputs.update({conv: output.double()}))
    model.eval().log_prob(x, context)
    for conv, output in outputs.items():
        mean = output.mean((0, 2, 3))
        if conv is model.output:
            mean = mean - spread_mixture(3, 2)
        torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
        deviation = output.std((0, 2, 3), correction=0)
        scale = {model.output: 0.1}.get(conv, 0.1 if len(mean) == 12 else 1.0)
        torch.testing.assert_close(deviation, torch.full_like(deviation, scale), atol=1e-3 * scale, rtol=0)


@torch.no_grad()
def test_a_batch_of_one_image_that_is_constant_starts_no_infinities() -> None:
    torch.manual_seed(0)
    model = PixelCNNPP(PixelCNNPPConfig(event_shape=(1, 1, 1), **SMALL, num_scales=1))
    model.initialize(torch.zeros(3, 1, 1, 1, dtype=torch.long))
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


@torch.no_grad()
def test_training_starts_at_mixtures_spread_over_the_range() -> None:
    """So grey levels of equal probability cost little more than the 8 bits that they are worth."""
    torch.manual_seed(0)
    fields = {"num_filters": 8, "num_resnets": 1, "num_scales": 2}
    model = PixelCNNPP(PixelCNNPPConfig(event_shape=(1, 8, 8), num_categories=256, **fields))
    x = testing.random_events(model, 64, torch.Generator().manual_seed(0))
    for _ in range(2):  # doing it again changes nothing
        model.initialize(x)
        assert float(model.eval().bits_per_dim(x).mean()) < 8.4


def test_a_weight_has_the_length_of_its_gain() -> None:
    for conv in (
        WindowConv(3, 4, Window(rows=(-1, 0), columns=(-1, 1))),
        Growth(3, 4, Window(rows=(0, 1), columns=(0, 1))),
    ):
        with torch.no_grad():
            conv.gain.copy_(torch.tensor([1.0, 2.0, 0.5, -3.0]))
            conv.direction.mul_(7)
        torch.testing.assert_close(conv.weight().flatten(1).norm(dim=1), conv.gain.detach().abs())


def test_features_lie_with_channels_last() -> None:
    model = build(event_shape=(3, 8, 8), num_categories=5, **SMALL, num_scales=2)
    seen: list[Tensor] = []

    def look(conv: Any, inputs: Any, output: Tensor) -> None:
        seen.append(output)
        output.register_hook(seen.append)

    for module in model.modules():
        if isinstance(module, NormalisedConv):
            module.register_forward_hook(look)
    model(events(model, 4)[0]).sum().backward()
    assert len(seen) == 2 * (3 + 2 * 5 + 3 * 6 + 4 + 1)  # outputs and their gradients
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in seen)


# ---- decoder


@pytest.mark.parametrize("fields", CASES)
@pytest.mark.parametrize("check", testing.DECODER_CHECKS)
def test_the_decoder_is_the_parallel_pass(check: Callable[[Any], None], fields: dict[str, Any]) -> None:
    check(build(**fields))


@torch.no_grad()
def test_the_decoders_parameters_are_those_of_the_pass_at_every_resolution() -> None:
    model = build(event_shape=(3, 8, 16), num_categories=256, num_filters=8, num_resnets=2, num_scales=4)
    x, _ = events(model, 3)
    truth = model.conditionals(x).parameters  # (B, H, W, outputs)
    decoder = model.decoder(3)
    for i, j in np.ndindex(8, 16):
        torch.testing.assert_close(decoder.conditional().parameters, truth[:, i, j], atol=1e-4, rtol=1e-4)
        decoder.append(x[:, :, i, j])


def plant_forgotten_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Conv, "next_row", lambda self: None)


def plant_the_wrong_taps(patch: pytest.MonkeyPatch) -> None:
    pixel = _Growth.pixel
    patch.setattr(_Growth, "pixel", lambda self, row, column, coarse: pixel(self, row, column + 1, coarse))


def plant_a_row_of_the_wrong_parity(patch: pytest.MonkeyPatch) -> None:
    row = _Growth.row
    patch.setattr(_Growth, "row", lambda self, number, coarse: row(self, number + 1, coarse))


@pytest.mark.parametrize("plant", [plant_forgotten_rows, plant_the_wrong_taps, plant_a_row_of_the_wrong_parity])
def test_a_wrong_decoder_is_caught(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: Any) -> None:
    model = build(**CASES[1])
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        testing.check_decoder_agrees_with_the_parallel_pass(model)


def test_an_image_costs_the_decoder_one_output_of_every_kernel_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and pixels that the kernels are applied to, over all layers and a whole image."""
    calls = {"row": 0, "pixel": 0}
    add = _Conv.add

    def counted(self: Any, base: Tensor, columns: int | slice) -> Tensor:
        calls["row" if isinstance(columns, slice) else "pixel"] += 1
        return add(self, base, columns)

    monkeypatch.setattr(_Conv, "add", counted)
    height, width = 4, 8
    model = build(event_shape=(1, height, width), **SMALL, num_scales=2)
    model.sample(2)
    fine, coarse = 2 * 3, 2 * 2  # convolutions of a stream's residual layers at either resolution
    assert calls["row"] == height * (2 + fine) + height // 2 * (1 + coarse)
    assert calls["pixel"] == height * width * (1 + fine) + height * width // 4 * (1 + coarse)


# ---- configs


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event_shape": (4,)}, "event_shape"),
        ({"event_shape": (1, 4, 4), "num_categories": None}, "num_categories"),
        ({"event_shape": (1, 6, 8)}, "height and width must be multiples of 4 for 3 scales, got 6x8"),
        ({"event_shape": (1, 8, 6)}, "height and width must be multiples of 4 for 3 scales, got 8x6"),
        ({"event_shape": (1, 4, 4), "num_scales": 0}, "num_scales"),
        ({"event_shape": (1, 4, 4), "num_filters": 0}, "num_filters"),
        ({"event_shape": (1, 4, 4), "num_resnets": 0}, "num_resnets"),
        ({"event_shape": (1, 4, 4), "num_mixtures": 0}, "num_mixtures"),
        ({"event_shape": (1, 4, 4), "num_classes": 0}, "num_classes"),
        ({"event_shape": (1, 4, 4), "dropout": 1.0}, "dropout"),
        ({"event_shape": (1, 4, 4), "dropout": math.nan}, "dropout"),
        ({"event_shape": (1, 4, 4), "num_classes": 2, "context_name": ""}, "context_name"),
    ],
)
def test_refuses_a_config_that_makes_no_model(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        PixelCNNPPConfig(**fields)
    assert "\n" not in str(error.value)
