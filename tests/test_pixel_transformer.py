"""Transformers over pixels: attention against its definition position by position, and the faults such code had."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from arzoo_pixel_transformer import ImageGPT, ImageGPTConfig, ImageTransformer, ImageTransformerConfig
from arzoo_pixel_transformer.image_gpt import start_positions
from torch import Tensor, nn

import arzoo
from arzoo import testing
from arzoo.attention import BlockCache, Local, SelfAttention, TransformerBlock

Array = np.ndarray[Any, Any]
SMALL = {"hidden_size": 6, "num_heads": 2, "num_layers": 2}
CASES: list[Any] = [
    (ImageGPT, {"event_shape": (1, 4, 3), **SMALL}),
    (ImageGPT, {"event_shape": (3, 2, 2), "num_categories": 5, **SMALL, "num_heads": 3}),
    (ImageTransformer, {"event_shape": (1, 4, 5), **SMALL, "block_size": 6, "memory_size": 4}),
    (ImageTransformer, {"event_shape": (3, 2, 3), "num_categories": 3, **SMALL, "block_size": 4, "memory_size": 7}),
    (ImageTransformer, {"event_shape": (1, 3, 3), **SMALL, "block_size": 4, "memory_size": 0}),
    (ImageTransformer, {"event_shape": (1, 3, 3), **SMALL, "block_size": 50, "memory_size": 3}),
]


def build(family: Any, **fields: Any) -> Any:
    return testing.random_model(family, family.config_class(**fields)).eval()


def events(model: Any, num_events: int) -> Tensor:
    return testing.random_events(model, num_events, torch.Generator().manual_seed(0))


def attended(position: int, config: Any) -> list[int]:
    """The positions that one attends to, by the words of the papers."""
    if isinstance(config, ImageGPTConfig):
        return list(range(position + 1))
    first_of_block = position - position % config.block_size
    return [other for other in range(position + 1) if other >= first_of_block - config.memory_size]


# ---- the definition


def slow_sites(model: Any, image: Tensor) -> Array:
    """log p of every site of one image in the order of the sequence, in float64."""
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    config, heads = model.config, model.config.num_heads
    sequence = image.permute(1, 2, 0).flatten().numpy()
    channels, height, width = config.event_shape
    h = np.zeros((len(sequence), config.hidden_size))
    for t in range(len(sequence)):
        row, column, colour = np.unravel_index(t, (height, width, channels))
        h[t] = state["start"] if t == 0 else state["values"][sequence[t - 1]]
        if isinstance(model, ImageGPT):
            h[t] += state["positions"][t]
        else:
            h[t] += state["rows"][row, 0, 0] + state["columns"][0, column, 0] + state["colours"][0, 0, colour]

    def norm(x: Array, name: str) -> Array:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x: Array, name: str) -> Array:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def gelu(x: Array) -> Array:
        erf = torch.erf(torch.from_numpy(x) / 2**0.5).numpy()
        return x * (1 + erf) / 2

    for layer in range(config.num_layers):
        name = f"blocks.{layer}"
        q, k, v = np.split(linear(norm(h, f"{name}.attention_norm"), f"{name}.attention.qkv"), 3, -1)
        mixed = np.zeros_like(h)
        for t in range(len(h)):
            others = attended(t, config)
            for head in np.split(np.arange(config.hidden_size), heads):
                scores = k[others][:, head] @ q[t, head] / len(head) ** 0.5
                weights = np.exp(scores - scores.max())
                mixed[t, head] = weights / weights.sum() @ v[others][:, head]
        h = h + linear(mixed, f"{name}.attention.out")
        h = h + linear(gelu(linear(norm(h, f"{name}.mlp_norm"), f"{name}.up")), f"{name}.down")
    logits = linear(norm(h, "norm"), "output")
    if model.levels == 2:
        logits = np.concatenate([np.zeros_like(logits), logits], -1)
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.take_along_axis(logits, sequence[:, None], -1)[:, 0]


@pytest.mark.parametrize(("family", "fields"), CASES)
def test_the_likelihood_against_the_definition(family: Any, fields: dict[str, Any]) -> None:
    model = build(family, **fields)
    x = events(model, 3)
    for image, sites in zip(x, model.site_log_prob(x).detach(), strict=True):
        in_order = sites.permute(1, 2, 0).flatten().numpy()
        np.testing.assert_allclose(in_order, slow_sites(model, image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("local", [None, Local(3, 2), Local(4, 0), Local(1, 1), Local(2, 9)])
@torch.no_grad()
def test_a_position_at_a_time_is_the_whole_sequence(local: Local | None) -> None:
    torch.manual_seed(0)
    block = TransformerBlock(8, 2, local=local)
    x = torch.randn(3, 11, 8)
    cache = BlockCache(block, 3, 11)
    steps = torch.stack([cache.step(x[:, t]) for t in range(11)], 1)
    torch.testing.assert_close(steps, block(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("family", "fields"), CASES)
def test_what_a_pixel_sees(family: Any, fields: dict[str, Any]) -> None:
    """With one layer a position sees the values told to those it attends to: each tells that of the one before it."""
    model = build(family, **{**fields, "num_layers": 1})
    channels, height, width = fields["event_shape"]
    for pixel in ((height - 1, width - 1), (height - 1, 0), (0, 1)):
        told = set()
        for colour in range(channels):
            place = (pixel[0] * width + pixel[1]) * channels + colour
            told |= {other - 1 for other in attended(place, model.config)}
        places = {divmod(position // channels, width) for position in told if position >= 0} - {pixel}
        field = arzoo.receptive_field(model, pixel, num_events=16)
        assert {tuple(place) for place in field.seen.nonzero().tolist()} == places


def test_the_parameters_of_the_configuration_that_is_timed() -> None:
    """4 layers of 128 features over 784 positions."""
    d, layers = 128, 4
    block = 3 * d * d + 3 * d + d * d + d + 2 * (4 * d * d) + 4 * d + d + 4 * d
    model = ImageGPT(ImageGPTConfig(event_shape=(1, 28, 28)))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 784 * d + 2 * d + d + layers * block + 2 * d + d + 1


# ---- faults


@torch.no_grad()
def check_no_leak(model: Any) -> None:
    """No conditional moves when a site after it, or itself, takes another value; in float64."""
    model = model.double()
    x, order = events(model, 4), model.order().tolist()
    before = model.conditionals(x).logits
    for place, site in enumerate(order):
        changed = x.clone()
        flat = changed.view(len(x), -1)
        flat[:, site] = (flat[:, site] + 1) % model.config.num_categories
        moved = (model.conditionals(changed).logits - before).abs().amax(0).view(len(order), -1).amax(1)
        assert float(moved[order[: place + 1]].max()) < 1e-10, f"site {place} is seen by itself or one before it"


@torch.no_grad()
def check_all_that_came_before_is_seen(model: Any) -> None:
    x, order = events(model, 8), model.order().tolist()
    before = model.conditionals(x).logits
    for place, site in enumerate(order[:-1]):
        changed = x.clone()
        flat = changed.view(len(x), -1)
        flat[:, site] = (flat[:, site] + 1) % model.config.num_categories
        moved = (model.conditionals(changed).logits - before).abs().amax(0).view(len(order), -1).amax(1)
        assert float(moved[order[place + 1 :]].min()) > 0, f"site {place} is not seen by all after it"


class ShiftedTwice(ImageGPT):
    """Told the value two positions before: the last one is lost."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        rolled = x.flatten(1).roll(1, 1)
        rolled[:, 0] = 0
        return super().conditionals(rolled.view(x.shape), context, member)


class NotShifted(ImageGPT):
    """Told its own value: it need not predict it."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        rolled = x.flatten(1).roll(-1, 1)
        return super().conditionals(rolled.view(x.shape), context, member)


class _Open(SelfAttention):
    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.scaled_dot_product_attention(*self.heads(x))
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class NoMask(ImageGPT):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for block in self.blocks:
            block.attention.__class__ = _Open


class NormedOverPositions(ImageGPT):
    """What batch normalisation does to a sequence: every position knows the mean of all."""

    def conditionals(self, x: Tensor, context: Any = None, member: int = 0) -> Any:
        outputs: Any = super().conditionals(x, context, member)
        return type(outputs)(outputs.logits - outputs.logits.mean())


@pytest.mark.parametrize(
    ("family", "check"),
    [
        (ShiftedTwice, check_all_that_came_before_is_seen),
        (NotShifted, check_no_leak),
        (NoMask, check_no_leak),
        (NormedOverPositions, check_no_leak),
        (NoMask, testing.check_decoder_agrees_with_the_parallel_pass),
    ],
)
def test_fault_is_caught(family: Any, check: Callable[[Any], None]) -> None:
    fields = {"event_shape": (1, 4, 3), **SMALL}
    with pytest.raises(AssertionError):
        check(build(family, **fields))
    check(build(ImageGPT, **fields))


@pytest.mark.parametrize(("family", "fields"), CASES)
@pytest.mark.parametrize("training", [False, True])
def test_no_leak(family: Any, fields: dict[str, Any], training: bool) -> None:
    check_no_leak(build(family, **fields).train(training))


# ---- start, configs


@pytest.mark.parametrize("num_categories", [2, 4])
def test_training_starts_at_the_marginals(num_categories: int) -> None:
    torch.manual_seed(0)
    config = ImageGPTConfig(event_shape=(1, 4, 4), num_categories=num_categories, hidden_size=8, num_heads=2)
    model = ImageGPT(config)
    x = torch.randint(0, num_categories, (500, 1, 4, 4)) * torch.randint(0, 2, (500, 1, 4, 4))
    model.initialize(x)
    nn.init.zeros_(model.output.weight)
    counts = torch.bincount(x.flatten(), minlength=num_categories).double() + 1
    probs = model.conditionals(x[:1]).probs.detach().double()
    truth = counts / counts.sum()
    torch.testing.assert_close(
        probs[0, 0, 0, 0], truth[1] if num_categories == 2 else truth, atol=1e-5, rtol=1e-5, check_dtype=False
    )


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        (ImageGPTConfig, {"event_shape": (4,)}, "event_shape"),
        (ImageGPTConfig, {"event_shape": (1, 2, 2), "num_categories": None}, "num_categories"),
        (ImageGPTConfig, {"event_shape": (1, 2, 2), "num_layers": 0}, "num_layers"),
        (ImageGPTConfig, {"event_shape": (1, 2, 2), "hidden_size": 6}, "multiple of the 4 heads"),
        (ImageGPTConfig, {"event_shape": (1, 2, 2), "dropout": 1.0}, "dropout"),
        (ImageTransformerConfig, {"event_shape": (1, 2, 2), "block_size": 0}, "block_size"),
        (ImageTransformerConfig, {"event_shape": (1, 2, 2), "memory_size": -1}, "memory_size"),
    ],
)
def test_refuses_a_config_that_makes_no_model(family: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        family(**fields)


# ---- where positions start


def test_positions_start_alike_where_pixels_are_near_and_know_the_offset_alone() -> None:
    torch.manual_seed(0)
    start = start_positions((1, 6, 5), 4000).double().view(6, 5, -1) / 0.03
    rates = 1.5 * 81.0 ** -(torch.arange(1000, dtype=torch.float64) / 1000)
    for down, right in ((0, 0), (0, 1), (1, 0), (2, -3), (5, 4)):
        offset = (rates * down).cos().sum() + (rates * right).cos().sum()
        for row in range(6 - down):
            for column in range(max(0, -right), 5 - max(0, right)):
                product = start[row, column] @ start[row + down, column + right]
                noise = 4000 * (0.005 / 0.03) ** 2 if down == right == 0 else 0.0
                assert product == pytest.approx(float(offset + noise), abs=60)  # of up to 2000


def test_colours_of_a_pixel_start_apart_and_a_rest_of_features_starts_from_noise() -> None:
    start = start_positions((3, 2, 2), 6)
    assert start.shape == (12, 6) and len(start.unique(dim=0)) == 12
    assert start[:, 4:].abs().max() < 0.03
