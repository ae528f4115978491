"""PixelSNAIL: the network against its definition pixel by pixel, and the faults that such code had."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from arzoo_pixelsnail import PixelSNAIL, PixelSNAILConfig
from arzoo_pixelsnail.pixelsnail import Attention, strict_attention
from torch import Tensor
from torch.nn import functional as F

import arzoo
from arzoo import distributions, testing
from arzoo.logistic_mixture import LogisticMixture
from arzoo.nn import MaskedConv2d

Array = np.ndarray[Any, Any]
SMALL = {"hidden_size": 5, "num_blocks": 2, "num_residual": 2, "key_size": 3, "value_size": 4}
CASES: list[dict[str, Any]] = [
    {"event_shape": (1, 4, 3), **SMALL},
    {"event_shape": (1, 3, 4), "num_categories": 6, **SMALL, "num_mixtures": 3, "num_heads": 2},
    {"event_shape": (3, 3, 3), "num_categories": 256, **SMALL, "num_mixtures": 2, "value_size": 2, "dropout": 0.2},
    {"event_shape": (2, 4, 3), **SMALL, "num_blocks": 1, "num_mixtures": 1, "kernel_size": 3, "first_kernel_size": 5},
    {"event_shape": (1, 3, 3), **SMALL, "kernel_size": 1, "num_heads": 3},
]


def build(family: Any = PixelSNAIL, **fields: Any) -> Any:
    return testing.random_model(family, PixelSNAILConfig(**fields)).eval()


def events(model: Any, num_events: int) -> Tensor:
    return testing.random_events(model, num_events, torch.Generator().manual_seed(0))


def outputs(conditionals: Any) -> Tensor:
    """The numbers that distributions of pixels are made of, (B, H, W, n)."""
    mixture = isinstance(conditionals, LogisticMixture)
    return conditionals.parameters if mixture else conditionals.base_dist.logits


# ---- the definition


def slow_outputs(model: Any, image: Tensor) -> Array:
    """What the network says of every pixel of one image, (H W, n), in float64 and with loops."""
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    config = model.config
    _, height, width = config.event_shape
    k = config.num_categories
    number = np.arange(1, min(k, 9))
    cosines = np.cos(np.pi * (np.arange(k)[:, None] + 0.5) / k * number) * 3 / 2.0**number
    pixels = list(np.ndindex(height, width))  # as they are visited
    inputs = {
        (i, j): np.concatenate(
            [*cosines[image[:, i, j].numpy()], [(2 * i + 1) / height - 1], [(2 * j + 1) / width - 1]]
        )
        for i, j in pixels
    }
    places = {pixel: inputs[pixel][-2:] for pixel in pixels}

    def elu(x: Array) -> Array:
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    def gated(x: Array) -> Array:
        a, b = np.split(x, 2)
        return a / (1 + np.exp(-b))

    def linear(x: Array, name: str) -> Array:
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    def conv(x: dict[Any, Array], name: str, taps: list[tuple[int, int]]) -> dict[Any, Array]:
        """Taps are (row, column) from the pixel; the weight is counted from the first of them."""
        weight, out = state[f"{name}.weight"], {}
        top, left = (min(tap[axis] for tap in taps) for axis in (0, 1))
        for i, j in pixels:
            out[i, j] = state[f"{name}.bias"].copy()
            for r, c in taps:
                if (i + r, j + c) in x:
                    out[i, j] += weight[:, :, r - top, c - left] @ x[i + r, j + c]
        return out

    reach, size = config.first_kernel_size // 2, config.kernel_size
    first = [(r, c) for r in range(-reach, 1) for c in range(-reach, reach + 1) if r < 0 or c < 0]
    near = [(r, c) for r in range(1 - size, 1) for c in range(1 - size, 1)]
    h = conv(inputs, "first", first)
    for b in range(config.num_blocks):
        for r in range(config.num_residual):
            name = f"blocks.{b}.residuals.{r}"
            y = conv({pixel: elu(x) for pixel, x in h.items()}, f"{name}.first", near)
            y = conv({pixel: elu(x) for pixel, x in y.items()}, f"{name}.second", near)
            h = {pixel: x + gated(y[pixel]) for pixel, x in h.items()}
        name, heads = f"blocks.{b}.attention", config.num_heads
        queries = [linear(np.concatenate([h[p], places[p]]), f"{name}.query").reshape(heads, -1) for p in pixels]
        both = [linear(np.concatenate([inputs[p], h[p]]), f"{name}.key_value").reshape(heads, -1) for p in pixels]
        after = {}
        for t, pixel in enumerate(pixels):
            mixed = np.zeros((heads, config.value_size))
            for head in range(heads if t else 0):
                keys = np.stack([each[head, : config.key_size] for each in both[:t]])
                values = np.stack([each[head, config.key_size :] for each in both[:t]])
                weights = np.exp(keys @ queries[t][head] / config.key_size**0.5)
                mixed[head] = weights / weights.sum() @ values
            y = elu(linear(elu(h[pixel]), f"{name}.features") + linear(elu(mixed.flatten()), f"{name}.mixed"))
            after[pixel] = h[pixel] + gated(linear(y, f"{name}.gate"))
        h = after
    return np.stack([linear(elu(h[pixel]), "output") for pixel in pixels])


@pytest.mark.parametrize("fields", CASES)
@torch.no_grad()
def test_the_network_against_the_definition(fields: dict[str, Any]) -> None:
    model = build(**fields)
    x = events(model, 3)
    got = outputs(model.conditionals(x)).flatten(1, 2)
    for image, pixels in zip(x, got, strict=True):
        np.testing.assert_allclose(pixels.numpy(), slow_outputs(model, image), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("fields", CASES)
@torch.no_grad()
def test_the_likelihood_is_of_what_the_network_says(fields: dict[str, Any]) -> None:
    model = build(**fields)
    x = events(model, 4)
    channels = fields["event_shape"][0]
    says = outputs(model.conditionals(x))
    pixels = x.permute(0, 2, 3, 1)
    if channels == 1 and model.config.num_categories == 2:
        truth = -F.binary_cross_entropy_with_logits(says, pixels.float(), reduction="none").sum(-1)
    else:
        truth = LogisticMixture(says, channels, model.config.num_categories).log_prob(pixels)
    torch.testing.assert_close(model.site_log_prob(x), truth)
    assert truth.shape == (4, *fields["event_shape"][1:])


@pytest.mark.parametrize(("key_size", "value_size"), [(2, 5), (5, 2), (3, 3)])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_attention_is_to_those_before_and_zero_at_the_first(key_size: int, value_size: int, length: int) -> None:
    torch.manual_seed(0)
    sizes = (key_size, key_size, value_size)
    q, k, v = (torch.randn(3, 2, length, size, dtype=torch.float64, requires_grad=True) for size in sizes)
    got = strict_attention(q, k, v)
    assert got.shape == v.shape and not got[:, :, 0].any()
    for t in range(1, length):
        weights = torch.einsum("bhd,bhsd->bhs", q[:, :, t], k[:, :, :t]).div(key_size**0.5).softmax(2)
        torch.testing.assert_close(got[:, :, t], torch.einsum("bhs,bhsd->bhd", weights, v[:, :, :t]))
    for gradient in torch.autograd.grad(got.sum(), (q, k, v)):
        assert bool(gradient.isfinite().all())


def test_the_parameters_of_the_published_size() -> None:
    """12 blocks of 4 residual layers and 256 features, keys of 16, values of 128, 10 components: 41.2 M.

    Without what the paper's code has beside it, gated layers before queries and keys and the gains of weight
    normalisation, and with the two taps of the first layer that its mask hides.
    """
    h, key, value, inputs = 256, 16, 128, 3 * 8 + 2
    config = PixelSNAILConfig(
        event_shape=(3, 32, 32),
        num_categories=256,
        hidden_size=h,
        num_blocks=12,
        num_residual=4,
        key_size=key,
        value_size=value,
        dropout=0.5,
    )
    model = PixelSNAIL(config)
    in_attention = (h + 2 + 1) * key + (inputs + h + 1) * (key + value) + (h + 1) * h + (value + 1) * h
    in_attention += (h + 1) * 2 * h
    residual = (4 * h + 1) * h + (4 * h + 1) * 2 * h
    total = 6 * inputs * h + h + 12 * (4 * residual + in_attention) + (h + 1) * 100
    assert sum(parameter.numel() for parameter in model.parameters()) == total == 41_155_044


def test_the_first_layer_is_the_two_shifted_convolutions() -> None:
    """One row of three, shifted down, and two rows of one column, shifted down and right (PixelCNN++, section 2.4)."""
    torch.manual_seed(0)
    above, left = torch.nn.Conv2d(2, 3, (1, 3), bias=False), torch.nn.Conv2d(2, 3, (2, 1), bias=False)
    ours = MaskedConv2d(2, 3, 3, include_self=False)
    x = torch.randn(2, 2, 5, 4)
    with torch.no_grad():
        ours.weight.zero_()
        ours.weight[:, :, 0] = above.weight[:, :, 0]
        ours.weight[:, :, :, 0] += left.weight[:, :, :, 0]
        ours.bias.zero_()  # type: ignore[union-attr]
        down = above(F.pad(x, (1, 1, 1, 0)))[:, :, :-1]
        down_right = left(F.pad(x, (1, 0, 1, 0)))[:, :, :, :-1]
        torch.testing.assert_close(ours(x), down + down_right)


# ---- what a pixel sees


@pytest.mark.parametrize("pixel", [(4, 0), (3, 4), (2, 5), (0, 3)])
@pytest.mark.parametrize("shape", [(1, 7, 9), (3, 5, 6)])
def test_there_is_no_blind_spot(shape: tuple[int, int, int], pixel: tuple[int, int]) -> None:
    """Already with one block, as attention sees all."""
    model = build(event_shape=shape, hidden_size=6, num_blocks=1, num_residual=1, num_mixtures=2)
    field = arzoo.receptive_field(model.double(), pixel, num_events=16)
    assert torch.equal(field.influence > 0, field.before)


class WithoutAttention(PixelSNAIL):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for block in self.blocks:
            block.attention = _Nothing()

    def decoder(self, *args: Any, **options: Any) -> Any:
        return arzoo.Autoregressive.decoder(self, *args, **options)


class _Nothing(torch.nn.Module):
    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        return x


def test_convolutions_see_what_their_kernels_reach() -> None:
    model = build(WithoutAttention, event_shape=(1, 6, 7), hidden_size=8, num_blocks=1, num_residual=1)
    field = arzoo.receptive_field(model.double(), (4, 3), num_events=16)
    near = [(r, c) for r in (0, -1, -2) for c in (0, -1, -2)]  # two convolutions of 2x2
    first = [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
    truth = torch.zeros(6, 7, dtype=torch.bool)
    for r, c in near:
        for below, right in first:
            truth[4 + r + below, 3 + c + right] = True
    assert torch.equal(field.influence > 0, truth)


@torch.no_grad()
def test_a_pixel_knows_its_place() -> None:
    """Its inputs say where it is, each part of it from -1 to 1, and conditionals listen."""
    model = build(event_shape=(1, 12, 12), **SMALL)
    x = torch.zeros(1, 1, 12, 12, dtype=torch.long)
    says = outputs(model.conditionals(x))
    assert len(model.places.unique(dim=0)) == 144 and float(model.places.abs().max()) < 1
    model.places.copy_(model.places.flip(0).clone())
    assert int((outputs(model.conditionals(x)) != says).sum()) == 143  # before the first there is nothing to ask


# ---- faults


@torch.no_grad()
def check_no_leak(model: Any) -> None:
    """No conditional moves when its own pixel or one after it takes another value; in float64."""
    model = model.double()
    x = events(model, 4)
    before = outputs_in_double(model, x)
    channels, height, width = model.config.event_shape
    for place in range(height * width):
        for channel in range(channels):
            changed = x.clone()
            flat = changed.view(4, channels, -1)
            flat[:, channel, place] = (flat[:, channel, place] + 1) % model.config.num_categories
            moved = (outputs_in_double(model, changed) - before).abs().amax((0, 2))  # (T,)
            assert not moved[: place + 1].any(), f"pixel {place} is seen by itself or one before it"


@torch.no_grad()
def check_all_that_came_before_is_seen(model: Any) -> None:
    model = model.double()
    x = events(model, 8)
    before = outputs_in_double(model, x)
    for place in range(before.shape[1] - 1):
        changed = x.clone()
        flat = changed.view(8, x.shape[1], -1)
        flat[:, :, place] = (flat[:, :, place] + 1) % model.config.num_categories
        moved = (outputs_in_double(model, changed) - before).abs().amax((0, 2))
        assert bool(moved[place + 1 :].all()), f"pixel {place} is not seen by all after it"


def outputs_in_double(model: Any, x: Tensor) -> Tensor:
    """What the network says before it is rounded to float32, (B, T, n)."""
    seen: list[Tensor] = []
    handle = model.output.register_forward_hook(lambda layer, inputs, result: seen.append(result))
    model.conditionals(x)
    handle.remove()
    assert seen[0].dtype == torch.float64
    return seen[0].flatten(1, -2)


class _MaskWithItself(Attention):
    def forward(self, x: Tensor, inputs: Tensor, places: Tensor) -> Tensor:
        q, (k, v) = self.queries(x, places), self.keys_values(x, inputs)
        return self.merge(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))


class _NoMask(Attention):
    def forward(self, x: Tensor, inputs: Tensor, places: Tensor) -> Tensor:
        return self.merge(x, F.scaled_dot_product_attention(self.queries(x, places), *self.keys_values(x, inputs)))


class _QueriesOfTheImage(Attention):
    def forward(self, x: Tensor, inputs: Tensor, places: Tensor) -> Tensor:
        q = self.queries(x + inputs[:, :, :1], places)
        return self.merge(x, strict_attention(q, *self.keys_values(x, inputs)))


class _TwoBefore(Attention):
    """Shifted once too often: the last pixel is lost."""

    def forward(self, x: Tensor, inputs: Tensor, places: Tensor) -> Tensor:
        k, v = self.keys_values(x, inputs)
        k, v = (F.pad(part[:, :, :-1], (0, 0, 1, 0)) for part in (k, v))
        return self.merge(x, strict_attention(self.queries(x, places), k, v))


def with_attention(kind: type[Attention]) -> type[PixelSNAIL]:
    class Wrong(PixelSNAIL):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            for block in self.blocks:
                block.attention.__class__ = kind

    return Wrong


class SeesItself(PixelSNAIL):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.first.mask[:, :, -1, self.first.reach] = 1


@pytest.mark.parametrize("fields", CASES)
@pytest.mark.parametrize("training", [False, True])
def test_no_leak(fields: dict[str, Any], training: bool) -> None:
    check_no_leak(build(**{**fields, "dropout": 0.0}).train(training))


@pytest.mark.parametrize("fields", CASES)
def test_all_that_came_before_is_seen(fields: dict[str, Any]) -> None:
    check_all_that_came_before_is_seen(build(**fields))


@pytest.mark.parametrize(
    "family", [with_attention(_MaskWithItself), with_attention(_NoMask), with_attention(_QueriesOfTheImage), SeesItself]
)
def test_a_leak_is_caught(family: type[PixelSNAIL]) -> None:
    with pytest.raises(AssertionError, match="is seen by itself"):
        check_no_leak(build(family, **CASES[0]))
    with pytest.raises(AssertionError, match="which does not come before it"):
        testing.check_causality(build(family, **CASES[0]))


def test_a_shift_too_many_is_caught() -> None:
    fields = {"event_shape": (1, 3, 3), **SMALL, "num_blocks": 1, "num_residual": 1, "kernel_size": 1}
    with pytest.raises(AssertionError):
        testing.check_decoder_agrees_with_the_parallel_pass(build(with_attention(_TwoBefore), **fields))
    testing.check_decoder_agrees_with_the_parallel_pass(build(**fields))


@pytest.mark.parametrize("fields", [*CASES, {"event_shape": (1, 1, 1), **SMALL}, {"event_shape": (3, 1, 4), **SMALL}])
@pytest.mark.parametrize("check", testing.DECODER_CHECKS)
def test_the_decoder_is_the_parallel_pass(check: Callable[[Any], None], fields: dict[str, Any]) -> None:
    check(build(**fields))


class DecoderThatForgetsKeys(PixelSNAIL):
    def decoder(self, *args: Any, **options: Any) -> Any:
        decoder: Any = super().decoder(*args, **options)
        for _, attention in decoder._blocks:
            attention._keys.zero_()
            attention.append = lambda inputs, cache=attention: setattr(cache, "_length", cache._length + 1)
        return decoder


class DecoderThatForgetsTheRowsAbove(PixelSNAIL):
    def decoder(self, *args: Any, **options: Any) -> Any:
        decoder: Any = super().decoder(*args, **options)
        decoder._first.next_row = lambda: None
        return decoder


@pytest.mark.parametrize("family", [DecoderThatForgetsKeys, DecoderThatForgetsTheRowsAbove])
def test_a_wrong_decoder_is_caught(family: type[PixelSNAIL]) -> None:
    with pytest.raises(AssertionError):
        testing.check_decoder_agrees_with_the_parallel_pass(build(family, **CASES[0]))


@torch.no_grad()
def test_every_feature_is_computed_once() -> None:
    """A step calls every linear layer once, for one pixel; the first pixel has nothing to query."""
    model = build(event_shape=(1, 4, 3), **SMALL)
    counts: dict[str, int] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(lambda *_, name=name: counts.update({name: counts.get(name, 0) + 1}))
    model.sample(2)
    assert len(counts) == 2 * 5 + 1
    assert all(count == (11 if name.endswith("query") else 12) for name, count in counts.items())


# ---- start, training, configs


def test_features_and_gradients_lie_with_channels_last() -> None:
    """Convolutions are slower by a third where they do not."""
    model = PixelSNAIL(PixelSNAILConfig(event_shape=(3, 6, 6), num_categories=256, hidden_size=8))
    seen: list[Tensor] = []

    def look(layer: Any, inputs: Any, output: Tensor) -> None:
        seen.append(output)
        output.register_hook(seen.append)  # type: ignore[no-untyped-call]

    for block in model.blocks:
        for residual in block.residuals:
            for layer in (residual, residual.first, residual.second):
                layer.register_forward_hook(look)
    model(events(model, 4)).sum().backward()
    assert len(seen) == 2 * 3 * 8 and all(each.is_contiguous(memory_format=torch.channels_last) for each in seen)


@torch.no_grad()
def test_training_starts_at_the_share_of_ones() -> None:
    torch.manual_seed(0)
    model = PixelSNAIL(PixelSNAILConfig(event_shape=(1, 6, 6), hidden_size=8))
    x = (torch.rand(100, 1, 6, 6) < 0.2).long()
    model.initialize(x)
    model.output.weight.zero_()
    share = (x.sum() + 1) / (x.numel() + 2)
    says: Any = model.conditionals(x[:1])
    torch.testing.assert_close(says.base_dist.probs, share.expand(1, 6, 6, 1))


@torch.no_grad()
def test_a_mixture_starts_near_eight_bits_and_grey_a_little_below() -> None:
    torch.manual_seed(0)
    model = PixelSNAIL(PixelSNAILConfig(event_shape=(3, 8, 8), num_categories=256, hidden_size=32))
    grey = torch.randint(256, (16, 1, 8, 8)).expand(-1, 3, -1, -1)
    model.initialize(grey)
    assert 6 < float(model.bits_per_dim(grey).mean()) < 8


def test_mixed_precision_costs_little() -> None:
    torch.manual_seed(0)
    model = PixelSNAIL(PixelSNAILConfig(event_shape=(3, 6, 6), num_categories=256, hidden_size=16))
    x = events(model, 4)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(x)
    mixed.sum().backward()
    torch.testing.assert_close(mixed, model(x), rtol=2e-3, atol=0.0)
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters() if parameter.grad is not None)


@torch.no_grad()
def test_the_channels_of_a_pixel_are_drawn_given_one_another() -> None:
    model = build(**CASES[2])
    says = model.conditionals(events(model, 2))
    red = torch.zeros(2, 3, 3, 1, dtype=torch.long)
    green, other = (distributions.component(says, first).log_prob(red[..., 0]) for first in (red, red + 200))
    assert not torch.allclose(green, other)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event_shape": (4,)}, "event_shape"),
        ({"event_shape": (1, 2, 2), "num_categories": None}, "num_categories"),
        ({"event_shape": (1, 2, 2), "hidden_size": 0}, "hidden_size"),
        ({"event_shape": (1, 2, 2), "num_blocks": 0}, "num_blocks"),
        ({"event_shape": (1, 2, 2), "num_residual": 0}, "num_residual"),
        ({"event_shape": (1, 2, 2), "num_heads": 0}, "num_heads"),
        ({"event_shape": (1, 2, 2), "key_size": 0}, "key_size"),
        ({"event_shape": (1, 2, 2), "value_size": 0}, "value_size"),
        ({"event_shape": (1, 2, 2), "num_mixtures": 0}, "num_mixtures"),
        ({"event_shape": (1, 2, 2), "kernel_size": 0}, "kernel_size must be at least 1"),
        ({"event_shape": (1, 2, 2), "first_kernel_size": 1}, "first_kernel_size must be odd and at least 3, got 1"),
        ({"event_shape": (1, 2, 2), "first_kernel_size": 4}, "first_kernel_size must be odd"),
        ({"event_shape": (1, 2, 2), "dropout": 1.0}, "dropout"),
    ],
)
def test_refuses_a_config_that_makes_no_model(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        PixelSNAILConfig(**fields)
    assert "\n" not in str(refusal.value)
