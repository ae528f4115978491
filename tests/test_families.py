"""What is peculiar to one family: its paper's parameter count, masks and recursions, against slow references."""

import itertools
import math
from typing import Any

import arzoo_made
import arzoo_nade
import arzoo_pixelcnn
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import arzoo
from arzoo import testing
from arzoo.nn import MaskedConv2d, MaskedLinear

MADE, MADEConfig = arzoo_made.MADE, arzoo_made.MADEConfig
NADE, NADEConfig = arzoo_nade.NADE, arzoo_nade.NADEConfig
PixelCNN, PixelCNNConfig = arzoo_pixelcnn.PixelCNN, arzoo_pixelcnn.PixelCNNConfig


def build(family: Any, **fields: Any) -> Any:
    return testing.random_model(family, family.config_class(**fields))


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def events(model: Any, num_events: int, seed: int = 0) -> Tensor:
    return testing.random_events(model, num_events, torch.Generator().manual_seed(seed))


# ---- NADE


def test_nade_has_the_parameters_of_the_paper() -> None:
    assert num_parameters(NADE(NADEConfig(event_shape=(1, 28, 28)))) == 785_284


def slow_nade(parameters: dict[str, np.ndarray], x: np.ndarray, rows: int) -> np.ndarray:
    """Log-probabilities (N,) by the definition, in float64, one event, site and unit at a time."""
    w, c, v, b = (parameters[name] for name in ("encoder", "encoder_bias", "output", "output_bias"))
    result = np.zeros(len(x))
    for n, event in enumerate(x):
        a = c.copy()
        for i, value in enumerate(event):
            h = 1 / (1 + np.exp(-a))
            scores = np.array([b[i, r] + sum(v[i, r, k] * h[k] for k in range(len(h))) for r in range(rows)])
            scores = np.array([0, scores[0]]) if rows == 1 else scores
            result[n] += scores[value] - np.log(np.exp(scores).sum())
            a = a + (w[i, 0] * value if rows == 1 else w[i, value])
    return result


@pytest.mark.parametrize("fields", [{"event_shape": (9,)}, {"event_shape": (2, 2, 2), "num_categories": 3}])
def test_nade_against_the_definition(fields: dict[str, Any]) -> None:
    model = build(NADE, hidden_size=5, **fields)
    parameters = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
    x = events(model, 6)
    truth = slow_nade(parameters, x.flatten(1).numpy(), model.scalars.num_inputs)
    np.testing.assert_allclose(model.log_prob(x).detach().numpy(), truth, rtol=1e-5, atol=1e-5)

    model.loss(x).sum().backward()
    generator = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        for _ in range(6):
            place = tuple(int(generator.integers(size)) for size in parameter.shape)
            ends = []
            for step in (1e-5, -1e-5):
                moved = {key: value.copy() for key, value in parameters.items()}
                moved[name][place] += step
                ends.append(-slow_nade(moved, x.flatten(1).numpy(), model.scalars.num_inputs).sum())
            difference = (ends[0] - ends[1]) / 2e-5
            assert float(parameter.grad[place]) == pytest.approx(difference, rel=1e-3, abs=1e-4), (name, place)


def test_nade_gradients_stay_exact_over_many_sites() -> None:
    """The activation that the backward pass rolls back over 784 sites against the one that autograd keeps."""
    model = build(NADE, event_shape=(784,), hidden_size=16)
    with torch.no_grad():
        model.encoder.mul_(0.3)
    x = events(model, 8)
    model.loss(x).mean().backward()
    w, c, v, b = (p.detach().double().requires_grad_() for p in model.parameters())
    values = x.double()
    before = torch.cat([torch.zeros(8, 1, 16), (values[..., None] * w[:, 0]).cumsum(1)[:, :-1]], 1)
    logits = ((c + before).sigmoid() * v[:, 0]).sum(2) + b[:, 0]
    F.binary_cross_entropy_with_logits(logits, values, reduction="none").sum(1).mean().backward()
    for ours, truth in zip(model.parameters(), (w, c, v, b), strict=True):
        error = (ours.grad - truth.grad).norm() / truth.grad.norm()
        assert float(error) < 1e-4


def test_nade_sees_all_that_comes_before() -> None:
    model = build(NADE, event_shape=(6,), hidden_size=8)
    x = events(model, 1).expand(6, 6)
    flipped = x ^ torch.eye(6, dtype=torch.long)
    moved = model.conditionals(x).logits != model.conditionals(flipped).logits
    assert torch.equal(moved, torch.ones(6, 6, dtype=torch.bool).triu(1))  # row j: site j was flipped


@pytest.mark.parametrize("num_categories", [2, 3])
@pytest.mark.parametrize("family", [NADE, MADE])
def test_training_starts_at_the_marginals(family: Any, num_categories: int) -> None:
    torch.manual_seed(0)
    model = family(family.config_class(event_shape=(5,), num_categories=num_categories))
    with torch.no_grad():
        (model.output if family is NADE else model.output.weight).zero_()
        if family is MADE:
            model.direct.weight.zero_()
    x = (torch.rand(5000, 5) ** 2 * num_categories).long()
    model.initialize(x)
    counts = F.one_hot(x, num_categories).double().sum(0) + 1
    truth = counts / counts.sum(1, keepdim=True)
    for k in range(num_categories):
        constant = torch.full((1, 5), k)
        torch.testing.assert_close(model.site_log_prob(constant)[0].double().exp(), truth[:, k], atol=1e-5, rtol=1e-5)


def test_nade_in_an_order_of_its_own() -> None:
    """The same weights, renamed by the order, are the natural NADE of the permuted events."""
    model = build(NADE, event_shape=(7,), hidden_size=5, ordering="random", activation="relu")
    order = model.order()
    assert sorted(order.tolist()) == list(range(7)) and order.tolist() != list(range(7))
    natural = build(NADE, event_shape=(7,), hidden_size=5, activation="relu")
    with torch.no_grad():
        natural.encoder_bias.copy_(model.encoder_bias)
        for name in ("encoder", "output", "output_bias"):
            getattr(natural, name).copy_(getattr(model, name)[order])
    x = events(model, 8)
    torch.testing.assert_close(model.log_prob(x), natural.log_prob(x[:, order]))


def test_tied_nade_has_one_matrix() -> None:
    tied = NADE(NADEConfig(event_shape=(784,), hidden_size=500, tied=True))
    assert num_parameters(tied) == 784 * 500 + 500 + 784


# ---- scalars


@pytest.mark.parametrize("family", [NADE, MADE])
def test_categories_that_a_scalar_lacks_have_no_probability(family: Any) -> None:
    model = build(family, event_shape=(2, 2), num_categories=(2, 3, 5, 2))
    x = model.sample(500, generator=torch.Generator().manual_seed(0)).flatten(1)
    assert x.max(0).values.tolist() == [1, 2, 4, 1]
    probs = model.conditionals(x.view(-1, 2, 2)).probs.flatten(1, 2)  # (B, D, K)
    for scalar, size in enumerate((2, 3, 5, 2)):
        assert (probs[:, scalar, size:] == 0).all()
        torch.testing.assert_close(probs[:, scalar, :size].sum(-1), torch.ones(500))


@pytest.mark.parametrize("component", ["normal", "laplace"])
def test_mixtures_against_the_formula(component: str) -> None:
    model = build(MADE, event_shape=(3,), num_categories=None, num_components=2, component=component, min_scale=0.2)
    x = torch.randn(5, 3)
    captured = []
    model.output.register_forward_hook(lambda module, inputs, output: captured.append(output))
    got = model.site_log_prob(x).detach().double()
    direct = model.direct(x, model.degrees(0)[-1][:, None] > model.degrees(0)[0])
    outputs = (captured[0] + direct).detach().double().view(5, 3, 3, 2)  # logits, locations, widths
    logits, location = outputs[:, :, 0], outputs[:, :, 1]
    scale = 0.2 + (1 + outputs[:, :, 2].exp()).log()
    z = (x.double()[..., None] - location) / scale
    if component == "normal":
        densities = (-0.5 * z**2).exp() / (scale * math.sqrt(2 * math.pi))
    else:
        densities = (-z.abs()).exp() / (2 * scale)
    truth = (logits.softmax(-1) * densities).sum(-1).log()
    torch.testing.assert_close(got, truth, atol=1e-4, rtol=1e-4)


def test_real_values_start_near_the_data() -> None:
    torch.manual_seed(0)
    model = MADE(MADEConfig(event_shape=(2,), num_categories=None, hidden_sizes=(8,), num_components=20))
    x = torch.randn(1000, 2) * torch.tensor([3.0, 0.1]) + torch.tensor([-20.0, 5.0])
    with torch.no_grad():
        model.output.weight.zero_()
        assert model.direct is not None
        model.direct.weight.zero_()
    model.initialize(x)
    normal = torch.distributions.Normal(x.mean(0), x.std(0)).log_prob(x).sum(1).mean()
    assert float(model.log_prob(x).detach().mean()) > float(normal) - 1  # wider than the data, and where they are


# ---- MADE


def test_made_conditioning_weights_tell_what_is_seen() -> None:
    """A unit's bias moves by the sum of U over the inputs that its mask lets it see (section 4.2)."""
    model = build(MADE, event_shape=(5,), hidden_sizes=(6,), conditioning=True, direct=False)
    plain = build(MADE, event_shape=(5,), hidden_sizes=(6,), direct=False)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "conditioning" not in k})
    ranks, hidden, outputs = model.degrees(0)
    with torch.no_grad():
        told = model.layers[0].conditioning * (hidden[:, None] >= ranks)
        plain.layers[0].bias += told.sum(1)
        plain.output.bias += (model.output.conditioning * (outputs[:, None] > hidden)).sum(1)
    x = events(model, 4)
    torch.testing.assert_close(model.log_prob(x), plain.log_prob(x))


def reachable(degrees: list[Tensor], direct: bool) -> set[tuple[int, int]]:
    """Pairs (output, input) with a path of connections that the paper allows, found by walking all paths back."""
    ranks, *hidden = ([int(d) for d in each] for each in degrees)
    pairs = set()
    for output, rank in enumerate(ranks):
        front = {k for k, degree in enumerate(hidden[-1]) if rank > degree}
        for below, above in itertools.pairwise(hidden[::-1]):
            front = {j for j, degree in enumerate(above) if any(below[k] >= degree for k in front)}
        pairs |= {(output, i) for i, r in enumerate(ranks) if any(hidden[0][k] >= r for k in front)}
        if direct:
            pairs |= {(output, i) for i, r in enumerate(ranks) if rank > r}
    return pairs


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("hidden_sizes", [(7,), (8, 3), (5, 6, 7)])
@pytest.mark.parametrize("dims", [1, 2, 3, 7])
def test_made_connects_what_its_degrees_allow(dims: int, hidden_sizes: tuple[int, ...], direct: bool) -> None:
    model = build(MADE, event_shape=(dims,), hidden_sizes=hidden_sizes, num_masks=3, direct=direct)
    with torch.no_grad():  # all positive: no path is hidden by a sign
        for parameter in model.parameters():
            parameter.abs_().add_(0.1)
    for member in range(3):
        x = torch.zeros(dims, dims, dtype=torch.long)
        logits = model.conditionals(x, member=member).logits
        moved = model.conditionals(torch.eye(dims, dtype=torch.long), member=member).logits != logits
        got = {(d, j) for j, d in moved.nonzero().tolist()}
        assert got == reachable(model.degrees(member)[:-1], direct)
        rank = model.order(member).argsort()
        before = {(d, j) for d in range(dims) for j in range(dims) if rank[d] > rank[j]}
        assert got <= before
        assert got == before or not direct


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("num_categories", [2, 4])
def test_made_of_one_and_two_sites(dims: int, num_categories: int) -> None:
    model = build(MADE, event_shape=(dims,), num_categories=num_categories, hidden_sizes=(3, 2), num_masks=2)
    for check in testing.CHECKS:
        if check is not testing.check_every_parameter_is_used:  # with one site nothing comes before it
            check(model)


@pytest.mark.parametrize("hidden_sizes", [(1,), (30,), (2, 40), (40, 2), (9, 8, 7, 6)])
def test_made_of_any_depth(hidden_sizes: tuple[int, ...]) -> None:
    model = build(MADE, event_shape=(7,), hidden_sizes=hidden_sizes)
    testing.check_probabilities_sum_to_one(model)
    testing.check_causality(model)
    testing.check_decoder_agrees_with_the_parallel_pass(model)


def test_made_degrees_are_within_the_papers_bounds() -> None:
    model = build(MADE, event_shape=(9,), hidden_sizes=(40, 40, 40), num_masks=20)
    lasts, firsts = [], []
    for member in range(20):
        ranks, *hidden, _ = model.degrees(member)
        assert ranks.sort().values.tolist() == list(range(1, 10))
        for below, above in itertools.pairwise([ranks, *hidden]):
            assert int(below.min()) <= int(above.min()) and int(above.max()) <= 8
        firsts.append(hidden[0])
        lasts.append(ranks)
    spread = torch.cat(firsts).bincount(minlength=9)[1:]
    assert int(spread.min()) > 60 and int(spread.max()) < 140  # uniform: 100 of each
    assert len({tuple(ranks.tolist()) for ranks in lasts}) == 20  # every mask an order of its own


def test_made_in_natural_order() -> None:
    model = build(MADE, event_shape=(2, 3), ordering="natural", num_masks=3, hidden_sizes=(9,))
    assert all(model.order(member).tolist() == list(range(6)) for member in range(3))
    assert not torch.equal(model.degrees(0)[1], model.degrees(1)[1])


def test_made_trains_on_one_mask_and_reports_the_average() -> None:
    model = build(MADE, event_shape=(8,), num_masks=4, hidden_sizes=(16,))
    x = events(model, 64)
    members = torch.stack([-model.member_log_prob(x, member=k).sum(1) for k in range(4)])
    for k in range(4):
        torch.testing.assert_close(model.loss(x, noise=torch.full((64,), k)), members[k])
    drawn = [model.noise(5, torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert all(len(set(noise.tolist())) == 1 and len(noise) == 5 for noise in drawn)
    assert torch.tensor([int(noise[0]) for noise in drawn]).bincount(minlength=4).min() > 20
    assert float(-model.log_prob(x).mean().detach()) < float(members.mean().detach())  # Jensen


def test_made_masks_do_not_touch_the_weights() -> None:
    model = build(MADE, event_shape=(6,), num_masks=3, hidden_sizes=(8,))
    before = [parameter.clone() for parameter in model.parameters()]
    x = events(model, 4)
    first = model.log_prob(x)
    model.sample(4)
    assert torch.equal(model.log_prob(x), first)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert all(bool((parameter != 0).all()) for parameter in model.parameters())


def test_made_parameters() -> None:
    model = MADE(MADEConfig(event_shape=(1, 28, 28), hidden_sizes=(8000,)))
    assert num_parameters(model) == 784 * 8000 + 8000 + 8000 * 784 + 784 + 784 * 784
    model = MADE(MADEConfig(event_shape=(4,), num_categories=3, hidden_sizes=(5, 6), direct=False))
    assert num_parameters(model) == 12 * 5 + 5 + 5 * 6 + 6 + 6 * 12 + 12


def test_masked_linear_is_a_linear_layer_with_zeros() -> None:
    layer, mask, x = MaskedLinear(4, 3), torch.rand(3, 4) < 0.5, torch.randn(5, 4)
    torch.testing.assert_close(layer(x, mask), F.linear(x, torch.where(mask, layer.weight, 0), layer.bias))


# ---- PixelCNN


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("num_groups", [1, 3])
@pytest.mark.parametrize("include_self", [True, False])
def test_masked_convolution_is_a_convolution_with_zeros(kernel_size: int, num_groups: int, include_self: bool) -> None:
    ours = MaskedConv2d(6, 9, kernel_size, include_self=include_self, num_groups=num_groups)
    reach = kernel_size // 2
    full = nn.Conv2d(6, 9, kernel_size, padding=reach)
    with torch.no_grad():
        full.weight[:, :, : reach + 1] = ours.weight
        full.bias.copy_(ours.bias)
        for out, into, row, column in itertools.product(range(9), range(6), range(kernel_size), range(kernel_size)):
            out_colour, in_colour = out * num_groups // 9, into * num_groups // 6
            earlier = (row, column) < (reach, reach)
            here = (row, column) == (reach, reach)
            colours = in_colour <= out_colour if include_self else in_colour < out_colour
            if not (earlier or (here and colours)):
                full.weight[out, into, row, column] = 0
    x = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(ours(x), full(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("arguments", [(6, 9, 4), (5, 9, 3), (6, 8, 3)])
def test_masked_convolution_refuses(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        MaskedConv2d(*arguments, include_self=True, num_groups=3)


def transparent(**fields: Any) -> Any:
    """A PixelCNN with positive weights and no ReLU at rest: whatever is connected is seen."""
    model = build(PixelCNN, **fields)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:
                parameter.fill_(3.0)
            else:
                parameter.copy_(torch.rand(parameter.shape) + 0.5).div_(parameter[0].numel())
    return model


def seen(model: Any) -> Tensor:
    """Whether the logits of site i move when site j is changed, (D, D), row i."""
    dims = model.config.dims
    x = events(model, 1).expand(dims, *model.config.event_shape)
    other = x.flatten(1) + torch.eye(dims, dtype=torch.long) * (model.config.num_categories // 2)
    before = model.conditionals(x).logits.view(dims, dims, -1)
    after = model.conditionals((other % model.config.num_categories).view(x.shape)).logits.view(dims, dims, -1)
    return (before != after).any(2).t()


def dilated(height: int, width: int, num_blocks: int, kernel_size: int) -> Tensor:
    """Which pixels every pixel sees, (H W, H W), by walking back through the taps that the masks leave."""

    def taps(size: int, include_self: bool) -> list[tuple[int, int]]:
        reach = size // 2
        above = [(-i, j) for i in range(1, reach + 1) for j in range(-reach, reach + 1)]
        return above + [(0, j) for j in range(-reach, 0)] + ([(0, 0)] if include_self else [])

    layers = [taps(kernel_size, True)] * num_blocks + [taps(7, False)]
    result = torch.zeros(height * width, height * width, dtype=torch.bool)
    for row, column in itertools.product(range(height), range(width)):
        front = {(row, column)}
        for layer in layers:
            moved = {(r + i, c + j) for r, c in front for i, j in layer}
            front = {(r, c) for r, c in moved if r >= 0 and 0 <= c < width}
            # A block adds to its input, which the tap on itself stands for.
        for r, c in front:
            result[row * width + column, r * width + c] = True
    return result


@pytest.mark.parametrize(("num_blocks", "kernel_size"), [(1, 3), (2, 3), (1, 5), (1, 1)])
def test_pixelcnn_sees_what_its_masks_reach(num_blocks: int, kernel_size: int) -> None:
    height, width = 7, 12
    model = transparent(
        event_shape=(1, height, width), hidden_size=2, num_blocks=num_blocks, kernel_size=kernel_size, head_size=2
    )
    got = seen(model)
    truth = dilated(height, width, num_blocks, kernel_size)
    assert torch.equal(got, truth)
    earlier = torch.ones_like(truth).tril(-1)
    assert bool((truth <= earlier).all())
    blind = (earlier & ~truth).view(height, width, height, width)[3, 2]
    # The wedge to the upper right: of the row above, only the first layer sees anything, and 3 columns far.
    assert blind[2].tolist() == [column > 2 + 3 for column in range(width)]


@pytest.mark.parametrize("num_categories", [2, 5])
def test_pixelcnn_colours_depend_as_red_green_blue(num_categories: int) -> None:
    model = transparent(event_shape=(3, 2, 3), num_categories=num_categories, hidden_size=3, num_blocks=1, head_size=3)
    got = seen(model).view(3, 6, 3, 6)  # colour and pixel that look, colour and pixel that are seen
    colours = torch.ones(3, 3, dtype=torch.bool).tril(-1)  # green sees red, blue sees red and green
    for pixel in range(6):
        assert torch.equal(got[:, pixel, :, pixel], colours)
        for other in range(6):
            if other != pixel:
                assert bool((got[:, pixel, :, other] == (other < pixel)).all())
    assert model.order().tolist() == [colour * 6 + pixel for pixel in range(6) for colour in range(3)]


def test_pixelcnn_has_the_parameters_of_the_paper() -> None:
    """15 blocks of h = 128 and a head of 1024, counting the kernel rows that masks leave."""
    model = PixelCNN(PixelCNNConfig(event_shape=(1, 28, 28)))
    h = 128
    first = 2 * h * model.first.weight.shape[1] * 4 * 7 + 2 * h
    block = (2 * h * h + h) + (h * h * 2 * 3 + h) + (h * 2 * h + 2 * h)
    assert num_parameters(model) == first + 15 * block + (2 * h * 1024 + 1024) + (1024 + 1)


def test_pixelcnn_blocks_start_as_the_identity() -> None:
    model = PixelCNN(PixelCNNConfig(event_shape=(1, 4, 4), hidden_size=4, num_blocks=3, head_size=4))
    x = torch.randn(2, 8, 4, 4)
    for block in model.blocks:
        assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"event_shape": (3, 4, 4)}, "hidden_size must be a positive multiple of the 3 channels, got 128"),
        ({"event_shape": (3, 4, 4), "hidden_size": 126}, "head_size"),
        ({"event_shape": (16,)}, "channels, height, width"),
        ({"event_shape": (1, 4, 4), "kernel_size": 4}, "odd"),
        ({"event_shape": (1, 4, 4), "num_blocks": 0}, "num_blocks"),
        ({"event_shape": (1, 4, 4), "num_categories": None}, "num_categories"),
    ],
)
def test_pixelcnn_config_refuses(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PixelCNNConfig(**fields)


@pytest.mark.parametrize("num_categories", [2, 4])
def test_pixelcnn_starts_near_the_marginals(num_categories: int) -> None:
    torch.manual_seed(0)
    config = PixelCNNConfig(
        event_shape=(3, 4, 4), num_categories=num_categories, hidden_size=12, num_blocks=2, head_size=12
    )
    model = PixelCNN(config)
    x = (torch.rand(400, 3, 4, 4) ** 2 * num_categories).long()
    model.initialize(x)
    counts = F.one_hot(x, num_categories).double().mean((0, 2, 3))  # (C, K)
    entropy = float(-(counts * counts.log()).sum() * 16)
    nll = float(-model.log_prob(x).mean().detach())
    assert entropy - 0.1 < nll < entropy * 1.1


def test_pixelcnn_levels_are_numbers_in_order() -> None:
    """Uniform logits are one bit a binary pixel, log K nats a site."""
    model = PixelCNN(PixelCNNConfig(event_shape=(3, 2, 2), num_categories=4, hidden_size=3, num_blocks=1, head_size=3))
    with torch.no_grad():
        for parameter in model.output.parameters():
            parameter.zero_()
    x = events(model, 3)
    torch.testing.assert_close(model.log_prob(x), torch.full((3,), -12 * math.log(4)))
    torch.testing.assert_close(model.bits_per_dim(x), torch.full((3,), 2.0))


@torch.no_grad()
@pytest.mark.parametrize("family", arzoo.list_families())
def test_training_mode_does_not_change_samples(family: str) -> None:
    """Decoders are of the density, without what training drops."""
    for config in arzoo.get_family(family).tiny_configs():
        model = testing.random_model(arzoo.get_family(family), config)
        context = model.example_context(4, torch.Generator().manual_seed(1))
        draws = [
            model.train(mode).sample(4, context, generator=torch.Generator().manual_seed(0)) for mode in (False, True)
        ]
        assert torch.equal(*draws)
