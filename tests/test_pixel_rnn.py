"""PixelRNN: both recurrences against the paper's equations pixel by pixel, and the faults that such code had."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from arzoo_pixel_rnn import DiagonalBiLSTM, DiagonalBiLSTMConfig, RowLSTM, RowLSTMConfig
from arzoo_pixel_rnn.diagonal_bilstm import DiagonalBiLSTMLayer, skew, unskew
from arzoo_pixel_rnn.row_lstm import RowLSTMLayer
from arzoo_pixel_rnn.scan import scan
from torch import Tensor, nn

import arzoo
from arzoo import testing
from arzoo.provenance import training_flops

Array = np.ndarray[Any, Any]
CASES: list[Any] = [
    (family, fields)
    for family in (RowLSTM, DiagonalBiLSTM)
    for fields in (
        {"event_shape": (1, 5, 4), "hidden_size": 3, "num_layers": 2, "head_size": 4},
        {"event_shape": (1, 3, 6), "hidden_size": 4, "num_layers": 1, "head_size": 4, "num_categories": 3},
        {"event_shape": (3, 3, 3), "hidden_size": 6, "num_layers": 2, "head_size": 6},
        {"event_shape": (3, 2, 3), "hidden_size": 3, "num_layers": 2, "head_size": 9, "num_categories": 5},
    )
]


def build(family: Any, **fields: Any) -> Any:
    return testing.random_model(family, family.config_class(**fields))


def events(model: Any, num_events: int) -> Tensor:
    return testing.random_events(model, num_events, torch.Generator().manual_seed(0))


# ---- the definition


def sees(outs: int, ins: int, colours: int, itself: bool) -> Array:
    """Which inputs of the same pixel an output may see, by colours, shape (outs, ins)."""
    mask = np.zeros((outs, ins))
    for o in range(outs):
        for i in range(ins):
            mask[o, i] = i * colours // ins < o * colours // outs + itself
    return mask


def sigma(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


def cell(a: Array, c: Array, colours: int) -> tuple[Array, Array]:
    """Hidden state and cell from what enters the gates, (4h,) with each gate's together."""
    i, f, o, g = np.split(a, 4)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


def by_gate(a: Array, colours: int) -> Array:
    """Gates with each colour's together as gates with each gate's together."""
    return a.reshape(colours, 4, -1).swapaxes(0, 1).reshape(-1)


def slow_row_lstm(state: dict[str, Array], name: str, x: Array, colours: int) -> Array:
    height, width, _ = x.shape
    weight, bias, kernel = state[f"{name}.gates.weight"], state[f"{name}.gates.bias"], state[f"{name}.state"]
    size = kernel.shape[1]
    mask = sees(4 * size, 2 * size, colours, True)
    h, c = np.zeros((height, width, size)), np.zeros((height, width, size))
    for i in range(height):
        for j in range(width):
            a = bias + (weight[:, :, 0, 1] * mask) @ x[i, j]
            if j:
                a = a + weight[:, :, 0, 0] @ x[i, j - 1]
            a = by_gate(a, colours)
            for tap, column in enumerate((j - 1, j, j + 1)):
                if i and 0 <= column < width:
                    a = a + h[i - 1, column] @ kernel[tap]
            h[i, j], c[i, j] = cell(a, c[i - 1, j] if i else np.zeros(size), colours)
    return h


def slow_diagonal_lstm(x: Array, weight: Array, bias: Array, kernels: Array, colours: int) -> Array:
    """One direction, from the upper left corner."""
    height, width, _ = x.shape
    size = kernels.shape[1]
    mask = sees(4 * size, 2 * size, colours, True)
    h, c = np.zeros((height, width, size)), np.zeros((height, width, size))
    for i in range(height):
        for j in range(width):
            a = by_gate(bias + (weight[:, :, 0, 0] * mask) @ x[i, j], colours)
            if i:
                a = a + h[i - 1, j] @ kernels[0]
            if j:
                a = a + h[i, j - 1] @ kernels[1]
            h[i, j], c[i, j] = cell(a, c[i, j - 1] if j else np.zeros(size), colours)
    return h


def slow_bilstm(state: dict[str, Array], name: str, x: Array, colours: int) -> Array:
    parts = []
    for direction, part in enumerate(("left", "right")):
        image = x if part == "left" else x[:, ::-1]
        weight, bias = state[f"{name}.{part}.weight"], state[f"{name}.{part}.bias"]
        parts.append(slow_diagonal_lstm(image, weight, bias, state[f"{name}.state"][direction], colours))
    later = np.zeros_like(parts[1])
    later[1:] = parts[1][:-1, ::-1]
    return parts[0] + later


def slow_logits(model: Any, image: Tensor) -> Array:
    """Logits (H, W, C or C K) of one image, in float64."""
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    colours, height, width = model.config.event_shape
    levels = torch.arange(model.levels).double()[:, None] + 0.5
    number = torch.arange(1, min(model.levels, 9))
    cosines = torch.cos(torch.pi * levels / model.levels * number) * 3 / 2.0**number
    inputs = cosines[image.permute(1, 2, 0)].flatten(2).numpy()  # (H, W, C F)

    weight = state["first.weight"]
    centre = sees(*weight.shape[:2], colours, False)
    x = np.zeros((height, width, len(weight))) + state["first.bias"]
    for i, j in np.ndindex(height, width):
        for a in range(-3, 1):
            for b in range(-3, 4):
                if (a < 0 or b <= 0) and i + a >= 0 and 0 <= j + b < width:
                    tap = weight[:, :, a + 3, b + 3] * (centre if (a, b) == (0, 0) else 1)
                    x[i, j] += tap @ inputs[i + a, j + b]

    def pointwise(name: str, h: Array) -> Array:
        weight = state[f"{name}.weight"][:, :, 0, 0]
        return h @ (weight * sees(*weight.shape, colours, True)).T + state[f"{name}.bias"]

    slow = slow_row_lstm if isinstance(model, RowLSTM) else slow_bilstm
    for number in range(model.config.num_layers):
        x = x + pointwise(f"layers.{number}.up", slow(state, f"layers.{number}", x, colours))
    h = np.maximum(pointwise("head", np.maximum(x, 0)), 0)
    if model.levels == 2:
        return pointwise("output", h)
    weight = model.output.masked_weight().detach().double().numpy()[:, :, 0, 0]
    allowed = sees(colours, weight.shape[1], colours, True).repeat(model.levels, 0)
    assert (weight[allowed == 0] == 0).all()
    return h @ weight.T + state["output.bias"]


@pytest.mark.parametrize(("family", "fields"), CASES)
def test_the_likelihood_against_the_definition(family: Any, fields: dict[str, Any]) -> None:
    model = build(family, **fields)
    x, (colours, height, width) = events(model, 3), fields["event_shape"]
    got = model.site_log_prob(x).detach().numpy()
    for image, sites in zip(x, got, strict=True):
        logits = slow_logits(model, image).reshape(height, width, colours, -1)
        if model.levels == 2:
            logits = np.concatenate([np.zeros_like(logits), logits], -1)
        logits = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        truth = np.take_along_axis(logits, image.permute(1, 2, 0)[..., None].numpy(), -1)[..., 0].transpose(2, 0, 1)
        np.testing.assert_allclose(sites, truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shifts", [(-1, 0, 1), (-1, 0)])
def test_the_scan_has_the_gradients_of_what_it_computes(shifts: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    spans = [(0, 3)] * 4 if len(shifts) == 3 else [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]
    gates = torch.randn(len(spans), 2, 3, 2, 8, dtype=torch.double, requires_grad=True)
    weight = torch.randn(2, len(shifts), 2, 8, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *given: scan(*given, spans, shifts), (gates, weight))


def test_skewing_moves_each_row_by_its_number() -> None:
    for height, width in ((3, 4), (4, 3), (1, 5), (5, 1)):
        x = torch.rand(height, width, 2, 3)
        skewed = skew(x)
        assert skewed.shape == (height, height + width - 1, 2, 3)
        for i in range(height):
            assert torch.equal(skewed[i, i : i + width], x[i])
            assert not skewed[i, :i].any() and not skewed[i, i + width :].any()
        assert torch.equal(unskew(skewed, width), x)


def test_the_parameters_of_the_papers_layers() -> None:
    """7 layers of h = 16, counting the kernel rows and taps that masks leave."""
    h = 16
    first, head = 2 * h * 4 * 7 + 2 * h, (2 * h * 32 + 32) + (32 + 1)
    up = h * 2 * h + 2 * h
    row = (2 * h * 4 * h * 2 + 4 * h) + 3 * h * 4 * h + up
    diagonal = 2 * (2 * h * 4 * h + 4 * h) + 2 * 2 * h * 4 * h + up
    for family, layer in ((RowLSTM, row), (DiagonalBiLSTM, diagonal)):
        model: Any = family(family.config_class(event_shape=(1, 28, 28)))
        assert sum(parameter.numel() for parameter in model.parameters()) == first + 7 * layer + head


# ---- what a pixel sees


def seen_by(family: Any, shape: tuple[int, int, int], pixel: tuple[int, int]) -> set[tuple[int, ...]]:
    """With one layer, in float64: what is far away makes little difference, but some."""
    model = build(family, event_shape=shape, hidden_size=6, num_layers=1, head_size=12)
    with torch.no_grad():
        for layer in model.layers:
            layer.state.mul_(2)
    field = arzoo.receptive_field(model.double(), pixel, num_events=16)
    return {tuple(place) for place in (field.influence > 0).nonzero().tolist()}


@pytest.mark.parametrize("shape", [(1, 6, 9), (3, 5, 6)])
@pytest.mark.parametrize("pixel", [(4, 0), (3, 2), (4, 5), (2, 3)])
def test_the_bilstm_has_no_blind_spot_but_one_pixel(shape: tuple[int, int, int], pixel: tuple[int, int]) -> None:
    """No feature of its row knows the last scalar of a row, so it enters by the first kernel alone, 3 columns far."""
    row, column = pixel
    before = {(i, j) for i in range(row + 1) for j in range(shape[2]) if (i, j) < pixel}
    blind = {(row - 1, shape[2] - 1)} if shape[0] == 1 and column + 3 < shape[2] - 1 else set()
    assert seen_by(DiagonalBiLSTM, shape, pixel) == before - blind


def test_the_row_lstm_sees_a_triangle() -> None:
    height, width, pixel = 6, 17, (5, 8)
    seen = {pixel}
    for row in range(pixel[0] + 1):  # of the layer's input: the state widens by a column a row, the kernel looks left
        reach = pixel[0] - row
        seen |= {(row, column) for column in range(pixel[1] - reach - 1, pixel[1] + reach + 1)}
    first = [(a, b) for a in range(-3, 1) for b in range(-3, 4) if (a, b) < (0, 0)]
    expected = {(i + a, j + b) for i, j in seen for a, b in first}
    expected = {(i, j) for i, j in expected if i >= 0 and 0 <= j < width}
    assert seen_by(RowLSTM, (1, height, width), pixel) == expected
    assert len(expected) < pixel[0] * width + pixel[1]


# ---- faults


def check_nothing_later_is_seen(model: Any) -> None:
    """No conditional moves when a site after it, or itself, takes another value; in float64."""
    model = model.double()
    x, order = events(model, 4), model.order().tolist()
    before = model.conditionals(x).logits.detach()
    for place, site in enumerate(order):
        changed = x.clone()
        flat = changed.view(len(x), -1)
        flat[:, site] = (flat[:, site] + 1) % model.config.num_categories
        moved = (model.conditionals(changed).logits.detach() - before).abs().amax(0).view(len(order), -1).amax(1)
        assert float(moved[order[: place + 1]].sum()) < 1e-10, f"site {place} is seen by itself or one before it"


@pytest.mark.parametrize(("family", "fields"), CASES)
def test_no_leak(family: Any, fields: dict[str, Any]) -> None:
    check_nothing_later_is_seen(build(family, **fields))


FAULTS: list[Any] = []


def fault(*checks: Callable[[Any], None]) -> Callable[[Any], Any]:
    def mark(family: Any) -> Any:
        FAULTS.extend(pytest.param(family, check, id=f"{family.__name__}-{check.__name__[6:]}") for check in checks)
        return family

    return mark


class _NoShift(DiagonalBiLSTMLayer):
    def forward(self, x: Tensor) -> Tensor:
        lower = F.pad(x, (0, 0, 0, 1))  # a row more, whose shift is undone
        parts = []
        for image in (lower, x):
            parts.append(super().forward(image) - image)
        from_right_shifted = parts[0][:, :, 1:]
        return x + parts[1] + from_right_shifted


@fault(check_nothing_later_is_seen)
class DirectionFromTheRightNotShifted(DiagonalBiLSTM):
    """It then sees what comes later in its own row."""

    def layer(self) -> Any:
        return _NoShift(self.config.hidden_size, self.config.event_shape[0])


class _Wrapped(RowLSTMLayer):
    def forward(self, x: Tensor) -> Tensor:
        """The row is shifted around its end, so that the first pixel's left neighbour is the last one."""
        rolled = torch.cat([x[..., -1:], x], -1)
        return x + (super().forward(rolled) - rolled)[..., 1:]


@fault(check_nothing_later_is_seen)
class WrappedInsteadOfPadded(RowLSTM):
    def layer(self) -> Any:
        return _Wrapped(self.config.hidden_size, self.config.event_shape[0])


class _SeesItself(RowLSTMLayer):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.cat([x[..., 1:], x[..., :1] * 0], -1)) + x


@fault(check_nothing_later_is_seen)
class NextPixelForThisOne(RowLSTM):
    """The kernel along the row is centred instead of masked."""

    def layer(self) -> Any:
        return _SeesItself(self.config.hidden_size, self.config.event_shape[0])


@fault(testing.check_decoder_agrees_with_the_parallel_pass)
class DecoderThatForgetsTheRowAbove(RowLSTM):
    def decoder(self, *args: Any, **options: Any) -> Any:
        decoder: Any = super().decoder(*args, **options)
        for layer in decoder._layers:
            layer.next_row = lambda: None
        return decoder


@pytest.mark.parametrize(("family", "check"), FAULTS)
def test_fault_is_caught(family: Any, check: Callable[[Any], None]) -> None:
    fields = {"event_shape": (1, 4, 4), "hidden_size": 4, "num_layers": 1, "head_size": 4}
    with pytest.raises(AssertionError):
        check(build(family, **fields))
    check(build(family.__mro__[1], **fields))


# ---- start, configs


@pytest.mark.parametrize("family", [RowLSTM, DiagonalBiLSTM])
def test_layers_start_as_the_identity_and_cells_remember(family: Any) -> None:
    torch.manual_seed(0)
    config = family.config_class(event_shape=(3, 4, 4), num_categories=4, hidden_size=6, num_layers=2, head_size=6)
    model = family(config)
    x = torch.rand(2, 12, 4, 4)
    for layer in model.layers:
        bias = layer.up.bias.view(1, -1, 1, 1)
        torch.testing.assert_close(layer(x), x + bias)
        gates = [part for part in layer.children() if isinstance(part, nn.Module) and part is not layer.up]
        for part in gates:
            assert (part.bias.view(3, 4, 2)[:, 1] == 1).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event_shape": (4,)}, "event_shape"),
        ({"event_shape": (1, 2, 2), "num_categories": None}, "num_categories"),
        ({"event_shape": (3, 2, 2)}, "hidden_size must be a positive multiple of the 3"),
        ({"event_shape": (3, 2, 2), "hidden_size": 3, "head_size": 4}, "head_size must be a positive multiple"),
        ({"event_shape": (1, 2, 2), "num_layers": 0}, "num_layers"),
    ],
)
@pytest.mark.parametrize("config", [RowLSTMConfig, DiagonalBiLSTMConfig])
def test_refuses_a_config_that_makes_no_model(config: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**fields)


def test_the_operations_of_the_recurrence_are_counted() -> None:
    """They are added in place, which torch's own counter leaves out: they were missing from cards."""
    model = RowLSTM(RowLSTMConfig(event_shape=(1, 4, 3), hidden_size=8, num_layers=1, head_size=4))
    x = torch.zeros(1, 1, 4, 3, dtype=torch.long)
    recurrence = 4 * 3 * 2 * model.layers[0].state.numel()  # forward, and as much for either gradient
    found = training_flops(model, x, None, None)
    rest = sum(value.numel() for name, value in model.named_parameters() if value.dim() > 1 and "state" not in name)
    first = model.first.weight.numel()  # whose input needs no gradient
    assert found == 3 * recurrence + 4 * 3 * 2 * (3 * rest - first)
