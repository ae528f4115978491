"""Gated PixelCNN: both stacks against the paper's equations pixel by pixel, and the faults that such code had."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from arzoo_gated_pixelcnn import GatedPixelCNN, GatedPixelCNNConfig
from arzoo_gated_pixelcnn.layers import GatedLayer, gate
from torch import Tensor, nn

import arzoo
from arzoo import testing
from arzoo.logistic_mixture import LogisticMixture
from arzoo.nn import WindowConv2d

Array = np.ndarray[Any, Any]
CASES: list[dict[str, Any]] = [
    {"event_shape": (1, 5, 4), "hidden_size": 3, "num_layers": 2, "head_size": 4},
    {"event_shape": (1, 3, 4), "num_categories": 3, "hidden_size": 4, "num_layers": 1, "kernel_size": 5},
    {"event_shape": (3, 3, 3), "hidden_size": 6, "num_layers": 2, "head_size": 6, "num_classes": 4},
    {"event_shape": (3, 2, 3), "num_categories": 5, "hidden_size": 3, "num_layers": 2, "head_size": 9}
    | {"num_classes": 2, "context_channels": 2, "context_name": "digit"},
    {"event_shape": (3, 3, 4), "num_categories": 256, "hidden_size": 5, "num_layers": 2, "head_size": 4}
    | {"num_mixtures": 2, "num_classes": 3},
    {"event_shape": (1, 4, 3), "num_categories": 9, "hidden_size": 4, "num_layers": 1, "head_size": 3}
    | {"num_mixtures": 3, "kernel_size": 5},
]


def build(family: Any = GatedPixelCNN, **fields: Any) -> Any:
    return testing.random_model(family, GatedPixelCNNConfig(**fields)).eval()


def events(model: Any, num_events: int) -> tuple[Tensor, Any]:
    draw = torch.Generator().manual_seed(0)
    return testing.random_events(model, num_events, draw), model.example_context(num_events, draw)


# ---- the definition


def sees(outs: int, ins: int, colours: int, itself: bool) -> Array:
    """Which inputs of the same pixel an output may see, by colours, shape (outs, ins)."""
    mask = np.zeros((outs, ins))
    for o in range(outs):
        for i in range(ins):
            mask[o, i] = i * colours // ins < o * colours // outs + itself
    return mask


def slow_outputs(model: Any, image: Tensor, condition: Array | None) -> Array:
    """Logits (H, W, C or C K) of one image, or parameters of mixtures, in float64; the condition is (n, H, W)."""
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    colours, height, width = model.config.event_shape
    if model.config.num_mixtures:
        colours = 1  # of a pixel that is one site
    levels = torch.arange(model.levels).double()[:, None] + 0.5
    waves = torch.arange(1, min(model.levels, 9))
    cosines = torch.cos(torch.pi * levels / model.levels * waves) * 3 / 2.0**waves
    inputs = cosines[image.permute(1, 2, 0)].flatten(2).permute(2, 0, 1).numpy()  # (C F, H, W)

    def conv(x: Array, name: str, rows: range, columns: range, itself: Array | float = 1.0) -> Array:
        weight = state[f"{name}.weight"]
        out = np.zeros((len(weight), height, width))
        if f"{name}.bias" in state:
            out += state[f"{name}.bias"][:, None, None]
        for i, j in np.ndindex(height, width):
            for a, row in enumerate(rows):
                for b, column in enumerate(columns):
                    if i + row >= 0 and 0 <= j + column < width:
                        tap = weight[:, :, a, b] * (itself if (row, column) == (0, 0) else 1.0)
                        out[:, i, j] += tap @ x[:, i + row, j + column]
        return out

    def gate(x: Array, groups: int) -> Array:
        f, g = np.moveaxis(x.reshape(groups, 2, -1, height, width), 1, 0)
        return (np.tanh(f) / (1 + np.exp(-g))).reshape(-1, height, width)

    here = range(1)
    v = h = inputs
    skips: Any = 0.0
    for number in range(model.config.num_layers + 1):
        name, first, last = f"layers.{number}", number == 0, number == model.config.num_layers
        reach = 3 if first else model.config.kernel_size // 2
        rows = range(-reach, 0 if first else 1)
        v = conv(v, f"{name}.vertical", rows, range(-reach, reach + 1))
        left = range(-reach, 0 if first and colours == 1 else 1)
        mask = sees(len(v), len(h), colours, not first)
        a = conv(v, f"{name}.link", here, here) + conv(h, f"{name}.horizontal", here, left, mask)
        if condition is not None:
            above, beside = np.split(conv(condition, f"{name}.condition", here, here), 2)
            v, a = v + above, a + beside
        y = gate(a, colours)
        square = sees(len(y), len(y), colours, True)
        skips = skips + conv(y, f"{name}.skip", here, here, square)
        if not last:
            residual = conv(y, f"{name}.residual", here, here, square)
            v, h = gate(v, 1), residual if first else h + residual

    def pointwise(name: str, x: Array) -> Array:
        outs, ins = state[f"{name}.weight"].shape[:2]
        state[f"{name}.weight"] = state[f"{name}.weight"].reshape(outs, ins, 1, 1)  # may be a linear layer
        return conv(x, name, here, here, sees(outs, ins, colours, True))

    x = np.maximum(pointwise("head", np.maximum(skips, 0)), 0)
    if model.levels == 2 or model.config.num_mixtures:
        return pointwise("output", x).transpose(1, 2, 0)
    weight = model.output.masked_weight().detach().double().numpy()[:, :, 0, 0]
    allowed = sees(colours, weight.shape[1], colours, True).repeat(model.levels, 0)
    assert (weight[allowed == 0] == 0).all()
    return x.transpose(1, 2, 0) @ weight.T + state["output.bias"]


def condition_of(model: Any, context: Any, row: int) -> Array | None:
    """One-hot of the class, nothing for -1, then the map, (n, H, W)."""
    config, parts = model.config, []
    size = config.event_shape[1:]
    if config.num_classes:
        label = int(context[config.context_name][row])
        parts.append(np.stack([np.full(size, float(label == k)) for k in range(config.num_classes)]))
    if config.context_channels:
        parts.append(context["map"][row].double().numpy())
    return np.concatenate(parts) if parts else None


@pytest.mark.parametrize("fields", CASES)
def test_the_likelihood_against_the_definition(fields: dict[str, Any]) -> None:
    model = build(**fields)
    x, context = events(model, 4)
    colours, height, width = fields["event_shape"]
    got = model.site_log_prob(x, context).detach().numpy()
    for row, (image, sites) in enumerate(zip(x, got, strict=True)):
        outputs = slow_outputs(model, image, condition_of(model, context, row))
        if model.config.num_mixtures:
            mixtures = LogisticMixture(torch.from_numpy(outputs), colours, model.levels)
            truth = mixtures.log_prob(image.permute(1, 2, 0)).numpy()
            np.testing.assert_allclose(sites, truth, rtol=1e-4, atol=1e-4)
            continue
        logits = outputs.reshape(height, width, colours, -1)
        if model.levels == 2:
            logits = np.concatenate([np.zeros_like(logits), logits], -1)
        logits = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        truth = np.take_along_axis(logits, image.permute(1, 2, 0)[..., None].numpy(), -1)[..., 0].transpose(2, 0, 1)
        np.testing.assert_allclose(sites, truth, rtol=1e-4, atol=1e-4)


def test_the_parameters_of_ten_layers_of_128() -> None:
    """3.71 M, where a public net of this size has 3.36 M and factors the vertical kernels: 1x3, then 2x1, a 1x1 beside.

    That is 148 k a layer instead of 197 k.  It also keeps four taps of the first horizontal kernel, a bias of each link
    and a residual behind the last layer, which nothing reads.
    """
    h, head = 128, 32
    link, beside, mixing = (2 * h) ** 2, 2 * h * 2 * h + 2 * h, h * h + h
    tail = h * head + head + head + 1
    model = GatedPixelCNN(GatedPixelCNNConfig(event_shape=(1, 28, 28), head_size=head))
    first = (2 * h * 3 * 7 + 2 * h) + link + (2 * h * 3 + 2 * h) + 2 * mixing
    layer = (2 * h * h * 2 * 3 + 2 * h) + link + beside + 2 * mixing
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == first + 10 * layer - mixing + tail == 3_705_025

    def factored(ins: int, rows: int, columns: int) -> int:
        return (h * ins * columns + h) + (2 * h * h * rows + 2 * h) + (2 * h * ins + 2 * h)

    public_first = factored(1, 4, 7) + (link + 2 * h) + (2 * h * 4 + 2 * h) + 2 * mixing
    public_layer = factored(h, 2, 3) + (link + 2 * h) + beside + 2 * mixing
    assert public_first + 10 * public_layer + tail == 3_364_161


# ---- what a pixel sees


@pytest.mark.parametrize("shape", [(1, 7, 9), (3, 5, 6)])
@pytest.mark.parametrize("pixel", [(4, 0), (3, 4), (2, 5), (0, 3)])
def test_there_is_no_blind_spot(shape: tuple[int, int, int], pixel: tuple[int, int]) -> None:
    model = build(event_shape=shape, hidden_size=6, num_layers=6, head_size=12)
    with torch.no_grad():
        for parameter in model.layers.parameters():
            parameter.mul_(1.5)
    field = arzoo.receptive_field(model.double(), pixel, num_events=16)
    assert torch.equal(field.influence > 0, field.before)


def test_a_pixel_that_is_one_site_has_no_blind_spot() -> None:
    model = build(event_shape=(3, 5, 6), num_categories=256, hidden_size=6, num_layers=6, head_size=12, num_mixtures=2)
    field = arzoo.receptive_field(model.double(), (3, 4), num_events=16)
    assert torch.equal(field.influence > 0, field.before)


@pytest.mark.parametrize(("num_layers", "kernel_size"), [(1, 3), (2, 3), (1, 5), (2, 1)])
@pytest.mark.parametrize("colours", [1, 3])
def test_gradients_reach_what_the_kernels_reach_and_nothing_else(
    num_layers: int, kernel_size: int, colours: int
) -> None:
    """Of every logit to every input in float64, against a walk back through the taps of both stacks."""
    height, width = 5, 9
    shape, sizes = (colours, height, width), {"hidden_size": colours, "head_size": 4 * colours}
    model = build(event_shape=shape, num_layers=num_layers, kernel_size=kernel_size, **sizes).double()
    with torch.no_grad():  # no ReLU at rest, no gate at its end, nothing that cancels out
        for parameter in model.parameters():
            parameter.copy_(parameter.abs() / parameter[0].numel() + 0.1 / parameter[0].numel())
    inputs = torch.rand(1, *shape, dtype=torch.float64).requires_grad_()
    logits = model.logits(inputs, None)[0]  # (C, H, W)
    taps = [3, *[kernel_size // 2] * num_layers]
    for colour, i, j in np.ndindex(*shape):
        (gradient,) = torch.autograd.grad(logits[colour, i, j], inputs, retain_graph=True)
        truth = torch.zeros(shape, dtype=torch.bool)
        above, beside = set(), {(i, j)}  # what the vertical and the horizontal stack are asked for
        for depth, reach in reversed(list(enumerate(taps))):
            asked = above | beside
            above = {
                (r - a, c + b) for r, c in asked for a in range(depth == 0, reach + 1) for b in range(-reach, reach + 1)
            }
            beside = {(r, c - b) for r, c in beside for b in range(reach + 1)}
        for r, c in {(r, c) for r, c in above | (beside - {(i, j)}) if r >= 0 and 0 <= c < width}:
            truth[:, r, c] = True
        truth[:colour, i, j] = True
        assert torch.equal(gradient[0] != 0, truth), (colour, i, j)


@pytest.mark.parametrize("window", [((-3, -1), (-3, 3)), ((-1, 0), (-1, 1)), ((0, 0), (-3, -1)), ((0, 0), (-2, 0))])
def test_a_window_is_a_kernel_with_zeros_around(window: tuple[tuple[int, int], tuple[int, int]]) -> None:
    rows, columns = window
    sees_itself = rows[1] == columns[1] == 0
    centre = torch.rand(4, 6) < 0.5 if sees_itself else None
    ours, full = WindowConv2d(6, 4, rows=rows, columns=columns, centre=centre), nn.Conv2d(6, 4, 7, padding=3)
    with torch.no_grad():
        full.weight.zero_()
        full.weight[:, :, 3 + rows[0] : 4 + rows[1], 3 + columns[0] : 4 + columns[1]] = ours.weight
        if centre is not None:
            full.weight[:, :, 3, 3] *= centre
        full.bias.copy_(ours.bias)
    x = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(ours(x), full(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("colours", [1, 3])
def test_features_and_gradients_lie_with_channels_last(colours: int) -> None:
    """Convolutions are slower by a third where they do not."""
    model = GatedPixelCNN(GatedPixelCNNConfig(event_shape=(colours, 6, 6), hidden_size=6, num_layers=2, head_size=6))
    seen: list[Tensor] = []

    def look(layer: Any, inputs: Any, outputs: tuple[Tensor, ...]) -> None:
        for each in outputs:
            seen.append(each)
            each.register_hook(seen.append)

    for layer in model.layers:
        layer.register_forward_hook(look)
    model(events(model, 4)[0]).sum().backward()
    assert len(seen) > 12 and all(each.is_contiguous(memory_format=torch.channels_last) for each in seen)


@pytest.mark.parametrize("x", [torch.randn(2, 12, 3, 4), torch.randn(2, 3, 4, 12).permute(0, 3, 1, 2)])
@pytest.mark.parametrize("groups", [1, 3])
def test_the_gate_has_the_gradient_that_autograd_finds(x: Tensor, groups: int) -> None:
    x = x.double().requires_grad_()
    f, g = x.unflatten(1, (groups, 2, -1)).unbind(2)
    truth = (f.tanh() * g.sigmoid()).flatten(1, 2)
    ours = gate(x, groups)
    torch.testing.assert_close(ours, truth)
    weight = torch.randn_like(truth)
    found = [torch.autograd.grad((y * weight).sum(), x)[0] for y in (ours, truth)]
    torch.testing.assert_close(*found)


# ---- conditions


@torch.no_grad()
def test_a_class_changes_the_density_and_none_is_the_absence_of_all() -> None:
    model = build(event_shape=(1, 4, 4), hidden_size=4, num_layers=1, head_size=4, num_classes=3)
    x, _ = events(model, 1)
    of_class = torch.stack([model.log_prob(x, torch.tensor([label])) for label in (-1, 0, 1, 2)])
    assert len(of_class.unique()) == 4
    for layer in model.layers:
        nn.init.zeros_(layer.condition.weight)
    assert model.log_prob(x, torch.tensor([2])) == pytest.approx(float(of_class[0]))


@torch.no_grad()
def test_training_hides_classes_at_the_given_rate() -> None:
    model = build(event_shape=(1, 3, 3), hidden_size=3, num_layers=1, num_classes=2, class_dropout=0.25)
    x, _ = events(model, 8)
    labels = torch.arange(8) % 2
    noise = model.noise(8, torch.Generator().manual_seed(0))
    hidden = torch.where(noise < 0.25, -1, labels)
    assert 0 < int((hidden < 0).sum()) < 8
    torch.testing.assert_close(model.loss(x, labels, noise), -model.log_prob(x, hidden))
    assert float((model.noise(20_000, torch.Generator()) < 0.25).float().mean()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (None, "conditioned on digit, map"),
        ({"digit": torch.tensor([0, 2])}, "a dict with digit, map"),
        ({"digit": torch.tensor([0, 2]), "map": torch.zeros(2, 2, 3, 3)}, "0 to 1, or -1 for none, got 2$"),
        ({"digit": torch.tensor([0, -2]), "map": torch.zeros(2, 2, 3, 3)}, "0 to 1, or -1 for none, got -2$"),
        ({"digit": torch.tensor([0.0, 1.0]), "map": torch.zeros(2, 2, 3, 3)}, "digit must be integers"),
        ({"digit": torch.tensor([0, 1]), "map": torch.zeros(2, 1, 3, 3)}, "map must be real numbers of shape"),
        ({"digit": torch.tensor([0, 1]), "map": torch.full((2, 2, 3, 3), torch.nan)}, "map must be finite"),
    ],
)
def test_a_context_that_is_none_is_refused(context: Any, message: str) -> None:
    fields = {"num_classes": 2, "context_channels": 2, "context_name": "digit"}
    model = build(event_shape=(1, 3, 3), hidden_size=3, num_layers=1, **fields)
    x = torch.zeros(2, 1, 3, 3, dtype=torch.long)
    for call in (lambda: model.log_prob(x, context), lambda: model.sample(2, context)):
        with pytest.raises(ValueError, match=message):
            call()


# ---- faults


@torch.no_grad()
def check_no_leak(model: Any) -> None:
    """No conditional moves when a site after it, or itself, takes another value; in float64."""
    model = model.double()
    x, context = events(model, 4)
    context = context and {name: part.double() if part.is_floating_point() else part for name, part in context.items()}
    order = model.order().tolist()

    def outputs(images: Tensor) -> Tensor:
        conditionals = model.conditionals(images, context)
        return conditionals.parameters if model.config.num_mixtures else conditionals.logits

    before = outputs(x)
    for place, site in enumerate(order):
        changed = x.clone()
        flat = changed.view(len(x), -1, len(order))  # the colours of a pixel that is one site, the sites
        flat[..., site] = (flat[..., site] + 1) % model.config.num_categories
        moved = (outputs(changed) - before).abs().amax(0).view(len(order), -1).amax(1)
        assert float(moved[order[: place + 1]].max()) < 1e-6, f"site {place} is seen by itself or one before it"


@pytest.mark.parametrize("fields", CASES)
def test_no_leak(fields: dict[str, Any]) -> None:
    check_no_leak(build(**fields))


class _Layer(GatedLayer):
    pass


class _NoShift(_Layer):
    def forward(self, v: Tensor, h: Tensor, conditions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The link brings over the row below: what the vertical stack has of the pixel's own row."""
        lower = torch.cat([v[:, :, 1:], v[:, :, :1] * 0], 2)
        return super().forward(lower, h, conditions)


class _ResidualAtOnce(_Layer):
    def forward(self, v: Tensor, h: Tensor, conditions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        below, after, skip = super().forward(v, h, conditions)
        return below, after + h[:, :1] if self.first else after, skip


class _HorizontalIntoVertical(_Layer):
    def forward(self, v: Tensor, h: Tensor, conditions: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        below, after, skip = super().forward(v, h, conditions)
        return below if self.residual is None else below + after, after, skip


def with_layers(layer: type[_Layer]) -> type[GatedPixelCNN]:
    class Wrong(GatedPixelCNN):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            for each in self.layers:
                each.__class__ = layer

    return Wrong


@pytest.mark.parametrize("layer", [_NoShift, _ResidualAtOnce, _HorizontalIntoVertical])
def test_a_leak_is_caught(layer: type[_Layer]) -> None:
    with pytest.raises(AssertionError, match="is seen by itself"):
        check_no_leak(build(with_layers(layer), **CASES[0]))
    with pytest.raises(AssertionError, match="which does not come before it"):
        testing.check_causality(build(with_layers(layer), **CASES[0]))
    check_no_leak(build(with_layers(_Layer), **CASES[0]))


@pytest.mark.parametrize("fields", CASES)
@pytest.mark.parametrize("check", testing.DECODER_CHECKS)
def test_the_decoder_is_the_parallel_pass(check: Callable[[Any], None], fields: dict[str, Any]) -> None:
    check(build(**fields))


class DecoderThatForgetsTheRowsAbove(GatedPixelCNN):
    def decoder(self, *args: Any, **options: Any) -> Any:
        decoder: Any = super().decoder(*args, **options)
        decoder._begin_row = lambda: None
        return decoder


@pytest.mark.parametrize("check", [testing.check_decoder_agrees_with_the_parallel_pass])
def test_a_wrong_decoder_is_caught(check: Callable[[Any], None]) -> None:
    with pytest.raises(AssertionError):
        check(build(DecoderThatForgetsTheRowsAbove, **CASES[0]))
    check(build(**CASES[0]))


# ---- start, configs


@torch.no_grad()
def test_no_stack_fades_at_the_start() -> None:
    torch.manual_seed(0)
    model = GatedPixelCNN(GatedPixelCNNConfig(event_shape=(1, 8, 8), hidden_size=64, num_layers=20, num_classes=3))
    sizes: list[float] = []
    for layer in model.layers[1:-1]:
        layer.register_forward_hook(lambda layer, inputs, outputs: sizes.extend(float(y.std()) for y in outputs))
    x = events(model, 8)[0]
    of_none = model.log_prob(x, torch.full((8,), -1))
    assert min(sizes) > 0.025 and max(sizes) < 4  # 0.035 to 0.9; with torch's defaults 0.014 to 0.4
    assert torch.equal(model.log_prob(x, torch.zeros(8, dtype=torch.long)), of_none), "a class says something at first"
    assert torch.equal(model.log_prob(x, torch.zeros(8, dtype=torch.uint8)), of_none)


@pytest.mark.parametrize("num_categories", [2, 5])
def test_training_starts_at_the_marginals(num_categories: int) -> None:
    torch.manual_seed(0)
    config = GatedPixelCNNConfig(event_shape=(3, 4, 4), num_categories=num_categories, hidden_size=6, head_size=6)
    model = GatedPixelCNN(config)
    x = torch.randint(0, num_categories, (400, 3, 4, 4)) * torch.randint(0, 2, (400, 3, 4, 4))
    model.initialize(x)
    with torch.no_grad():
        for name, parameter in model.output.named_parameters():
            if name != "bias":
                parameter.zero_()
    probs = model.conditionals(x[:1]).probs.detach().double()
    for colour in range(3):
        counts = torch.bincount(x[:, colour].flatten(), minlength=num_categories).double() + 1
        truth = counts / counts.sum()
        got = probs[0, colour, 0, 0]
        torch.testing.assert_close(got, truth[1] if num_categories == 2 else truth, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_mixture_starts_spread_over_the_levels_whatever_the_data() -> None:
    torch.manual_seed(0)
    config = GatedPixelCNNConfig(event_shape=(1, 4, 4), num_categories=256, hidden_size=8, num_mixtures=5)
    model = GatedPixelCNN(config)
    x = torch.randint(0, 256, (50, 1, 4, 4))
    before = model.log_prob(x)
    model.initialize(x * 0)
    assert torch.equal(model.log_prob(x), before)
    bits = float(-before.mean()) / (16 * math.log(2))
    assert (
        bits == pytest.approx(8, abs=0.2) and float(model.output.weight.std()) < 0.1 * 128**-0.5
    )  # uniform levels under what is nearly uniform


@torch.no_grad()
def test_a_mixture_is_measured_in_float32_under_autocast() -> None:
    model = build(**CASES[4])
    x, context = events(model, 4)
    with torch.autocast("cpu", torch.bfloat16):
        parameters = model.conditionals(x, context).parameters
    assert not torch.equal(parameters.bfloat16().float(), parameters)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event_shape": (3, 2, 2), "hidden_size": 6, "head_size": 4}, "head_size must be a positive multiple of"),
        ({"event_shape": (3, 2, 2), "num_mixtures": 2, "head_size": 0}, "head_size must be at least 1"),
        ({"event_shape": (3, 2, 2), "num_mixtures": 0}, "num_mixtures must be at least 1"),
        ({"event_shape": (3, 2, 2), "num_mixtures": 2, "hidden_size": 0}, "hidden_size must be at least 1"),
        ({"event_shape": (4,)}, "event_shape"),
        ({"event_shape": (1, 2, 2), "num_categories": None}, "num_categories"),
        ({"event_shape": (3, 2, 2), "hidden_size": 4}, "hidden_size must be a positive multiple of the 3"),
        ({"event_shape": (1, 2, 2), "num_layers": 0}, "num_layers"),
        ({"event_shape": (1, 2, 2), "kernel_size": 4}, "kernel_size must be odd"),
        ({"event_shape": (1, 2, 2), "num_classes": 0}, "num_classes"),
        ({"event_shape": (1, 2, 2), "class_dropout": 0.1}, "no classes to hide"),
        ({"event_shape": (1, 2, 2), "num_classes": 2, "class_dropout": 1.0}, "class_dropout"),
        ({"event_shape": (1, 2, 2), "num_classes": 2, "context_name": "map"}, "context_name"),
    ],
)
def test_refuses_a_config_that_makes_no_model(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GatedPixelCNNConfig(**fields)
