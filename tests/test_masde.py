"""MASDE: its sets against enumerated random fields and networks, its masks against what outputs see, graph files."""

import itertools
import json
import math
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arzoo_made
import arzoo_masde
import numpy as np
import pytest
import torch
from arzoo_masde import MASDE, MASDEConfig, graphs

import arzoo
from arzoo import schema, testing
from arzoo.recipe import Recipe

Sets = list[set[int]]
NUM_NODES = 10


def random_edges(rng: np.random.Generator, num_nodes: int = NUM_NODES, share: float = 0.25) -> graphs.Edges:
    """Each pair with this probability, in either direction."""
    pairs = [pair for pair in itertools.combinations(range(num_nodes), 2) if rng.random() < share]
    return tuple((b, a) if rng.random() < 0.5 else (a, b) for a, b in pairs)


def by_definition(num_nodes: int, edges: graphs.Edges, order: list[int]) -> Sets:
    """B_i of a Markov random field: whatever comes before i and a walk from i through later nodes runs into."""
    rank = {node: place for place, node in enumerate(order)}
    result: Sets = []
    for i in range(num_nodes):
        found, seen, front = set(), {i}, [i]
        while front:
            node = front.pop()
            for a, b in (*edges, *((b, a) for a, b in edges)):
                if a == node and b not in seen:
                    seen.add(b)
                    if rank[b] > rank[i]:
                        front.append(b)
                    else:
                        found.add(b)
        result.append(found)
    return result


def naive_neighbours(num_nodes: int, edges: graphs.Edges, order: list[int]) -> Sets:
    both = {*edges, *((b, a) for a, b in edges)}
    return [{j for j in order[: order.index(i)] if (i, j) in both} for i in range(num_nodes)]


def sets_of(model: Any) -> Sets:
    """B_i as the config has it, from the ranks."""
    kind = graphs.parents if model.config.directed else graphs.separators
    before, order = kind(model.config.dims, model.config.ranked_edges()), model.order().tolist()
    return [{order[j] for j in before[order.index(i)].nonzero()[0]} for i in range(model.config.dims)]


def build(family: Any, **fields: Any) -> Any:
    return testing.random_model(family, family.config_class(**fields))


# ---- B_i is what x_i depends on


def random_field(rng: np.random.Generator, edges: graphs.Edges) -> np.ndarray:
    """All 1,024 probabilities of a binary field, shape (2,) * 10."""
    spins = 2 * np.indices((2,) * NUM_NODES) - 1
    energy = np.tensordot(rng.normal(size=NUM_NODES), spins, 1)
    energy = energy + sum(rng.normal(scale=1.5) * spins[a] * spins[b] for a, b in edges)
    weights = np.exp(energy - energy.max())
    return weights / weights.sum()


def random_network(rng: np.random.Generator, edges: graphs.Edges, order: list[int]) -> np.ndarray:
    """All 1,024 probabilities of a binary Bayesian network, shape (2,) * 10."""
    states = np.indices((2,) * NUM_NODES)
    joint = np.ones((2,) * NUM_NODES)
    for node in order:
        above = sorted(a for a, b in edges if b == node)
        table = rng.uniform(0.05, 0.95, size=(2,) * len(above))
        one = table[tuple(states[a] for a in above)]
        joint = joint * np.where(states[node] == 1, one, 1 - one)
    return joint


def deviation(joint: np.ndarray, order: list[int], i: int, given: set[int]) -> float:
    """The largest difference between p(x_i | x_<i) and p(x_i | x_given)."""

    def conditional(known: set[int]) -> np.ndarray:
        rest = tuple(j for j in range(NUM_NODES) if j not in known and j != i)
        both = joint.sum(rest, keepdims=True)
        return both / both.sum(i, keepdims=True)

    return float(np.abs(conditional(set(order[: order.index(i)])) - conditional(given)).max())


@pytest.mark.parametrize("seed", range(6))
def test_sets_of_a_random_field_hold_all_that_matters_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges, order = random_edges(rng), rng.permutation(NUM_NODES).tolist()
    sets = sets_of(build(MASDE, event_shape=(NUM_NODES,), edges=edges, order=tuple(order)))
    assert sets == by_definition(NUM_NODES, edges, order)
    joint, naive = random_field(rng, edges), naive_neighbours(NUM_NODES, edges, order)
    for i in range(NUM_NODES):
        assert deviation(joint, order, i, sets[i]) < 1e-12
        assert all(deviation(joint, order, i, sets[i] - {j}) > 1e-9 for j in sets[i])
    assert max(deviation(joint, order, i, naive[i]) for i in range(NUM_NODES)) > 0.01


@pytest.mark.parametrize("seed", range(6))
def test_parents_are_all_that_matters_in_a_random_network(seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(NUM_NODES).tolist()
    edges = tuple(tuple(sorted(edge, key=order.index)) for edge in random_edges(rng, share=0.35))
    sets = sets_of(build(MASDE, event_shape=(NUM_NODES,), edges=edges, directed=True, order=tuple(order)))
    assert sets == [{a for a, b in edges if b == i} for i in range(NUM_NODES)]
    joint = random_network(rng, edges, order)
    for i in range(NUM_NODES):
        assert deviation(joint, order, i, sets[i]) < 1e-12
        assert all(deviation(joint, order, i, sets[i] - {j}) > 1e-9 for j in sets[i])


@pytest.mark.parametrize("seed", range(20))
def test_sets_against_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_nodes = int(rng.integers(1, 25))
    edges = random_edges(rng, num_nodes, share=rng.uniform(0, 0.3))
    truth = by_definition(num_nodes, edges, list(range(num_nodes)))
    assert [set(row.nonzero()[0]) for row in graphs.separators(num_nodes, edges)] == truth


@pytest.mark.parametrize(("height", "width"), [(4, 5), (2, 7), (5, 1), (16, 8)])
def test_sets_of_a_grid_are_its_frontier(height: int, width: int) -> None:
    edges = graphs.grid(height, width)
    assert len(edges) == height * (width - 1) + width * (height - 1)
    sets = [set(row.nonzero()[0].tolist()) for row in graphs.separators(height * width, edges)]
    last = width * (height - 1)
    # The last W pixels; in the last row nothing comes later that would join those on the left, but for the neighbour.
    for i in range(height * width):
        assert sets[i] == {j for j in range(max(i - width, 0), i) if i < last or j < last or j == i - 1}


def test_moral_graph_marries_parents() -> None:
    assert graphs.moral_graph(((0, 2), (1, 2), (2, 3))) == ((0, 1), (0, 2), (1, 2), (2, 3))
    rng = np.random.default_rng(0)
    edges = tuple(tuple(sorted(edge)) for edge in random_edges(rng))
    joint = random_network(rng, edges, list(range(NUM_NODES)))
    for order in (list(range(NUM_NODES)), rng.permutation(NUM_NODES).tolist()):
        sets = by_definition(NUM_NODES, graphs.moral_graph(edges), order)
        assert max(deviation(joint, order, i, sets[i]) for i in range(NUM_NODES)) < 1e-12


# ---- masks: an output sees B_i


def seen(model: Any) -> Sets:
    """The scalars that move the logits of each output; with positive weights no path is hidden by a sign."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_().add_(0.1)
    dims, shape = model.config.dims, model.config.event_shape
    ones = torch.eye(dims, dtype=torch.long).view(dims, *shape)
    before, after = (model.conditionals(x).logits.view(dims, dims, -1) for x in (torch.zeros_like(ones), ones))
    moved = (before != after).any(2)  # (input, output)
    return [set(column.nonzero().flatten().tolist()) for column in moved.t()]


GRAPHS: dict[str, dict[str, Any]] = {
    "field": {"event_shape": (8,), "edges": ((0, 5), (5, 2), (2, 7), (1, 6), (6, 3), (3, 7), (4, 0), (4, 6))},
    "field in an order": {
        "event_shape": (2, 4),
        "edges": ((0, 5), (5, 2), (2, 7), (1, 6), (6, 3), (3, 7), (4, 0), (4, 6)),
        "order": (3, 1, 7, 0, 6, 2, 5, 4),
    },
    "network": {
        "event_shape": (7,),
        "num_categories": (2, 3, 2, 4, 2, 3, 2),
        "edges": ((6, 0), (2, 0), (0, 4), (2, 4), (1, 3), (6, 5)),
        "directed": True,
        "order": (2, 6, 1, 0, 5, 3, 4),
    },
    "grid": {"event_shape": (1, 3, 4), "num_categories": 3, "grid": (3, 4)},
    "complete": {"event_shape": (7,), "edges": tuple(itertools.combinations(range(7), 2))},
}


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("hidden_sizes", [(11,), (40,), (11, 11), (30, 12), (12, 30), (11, 15, 12)])
@pytest.mark.parametrize("graph", GRAPHS)
def test_an_output_sees_its_set(graph: str, hidden_sizes: tuple[int, ...], direct: bool) -> None:
    model = build(MASDE, hidden_sizes=hidden_sizes, direct=direct, **GRAPHS[graph])
    assert seen(model) == sets_of(model)


@pytest.mark.parametrize("hidden_sizes", [(4,), (1,), (9, 3), (3, 9), (5, 4, 20)])
@pytest.mark.parametrize("graph", GRAPHS)
def test_few_units_share_what_sets_have_in_common(graph: str, hidden_sizes: tuple[int, ...]) -> None:
    truth = sets_of(build(MASDE, **GRAPHS[graph]))
    assert seen(build(MASDE, hidden_sizes=hidden_sizes, **GRAPHS[graph])) == truth
    got = seen(build(MASDE, hidden_sizes=hidden_sizes, direct=False, **GRAPHS[graph]))
    assert all(ours <= whole for ours, whole in zip(got, truth, strict=True))
    assert any(got)


def test_every_pixel_has_units_though_they_are_fewer_than_pixels() -> None:
    """100 units for the 127 sets of 16 x 8 pixels: 73 have one of their own, 54 share one for two that are alike."""
    model = build(MASDE, event_shape=(128,), grid=(16, 8), hidden_sizes=(100,), direct=False)
    got, truth = seen(model), sets_of(model)
    assert all(got[1:])
    lacks = [len(whole - ours) for ours, whole in zip(got, truth, strict=True)]
    assert lacks.count(0) >= 1 + 73 and max(lacks) <= 2


@pytest.mark.parametrize("hidden_sizes", [(7,), (30, 7), (9, 50)])
def test_units_are_shared_out_evenly(hidden_sizes: tuple[int, ...]) -> None:
    edges = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7))  # a chain: seven sets of one node
    model = build(MASDE, event_shape=(8,), edges=edges, hidden_sizes=hidden_sizes)
    for size, degrees in zip(hidden_sizes, model.degrees()[1:-1], strict=True):
        counts = degrees.bincount(minlength=8)[1:].tolist()
        assert sum(counts) == size and max(counts) - min(counts) <= 1


def test_independent_scalars_are_their_marginals() -> None:
    model = build(MASDE, event_shape=(4,), edges=(), hidden_sizes=(5,))
    assert seen(model) == [set()] * 4
    testing.check_decoder_agrees_with_the_parallel_pass(model)
    testing.check_probabilities_sum_to_one(model)


@pytest.mark.parametrize("dims", [1, 2])
def test_one_and_two_scalars(dims: int) -> None:
    model = build(MASDE, event_shape=(dims,), num_categories=3, edges=((0, 1),)[: dims - 1], hidden_sizes=(3, 2))
    for check in testing.CHECKS:
        if check is not testing.check_every_parameter_is_used or dims > 1:  # alone it depends on nothing
            check(model)


def slow_masde(model: Any, x: np.ndarray) -> np.ndarray:
    """Log-probabilities (N,) by the definition, in float64: an event, a unit and a connection at a time."""
    config, scalars = model.config, model.scalars
    order = model.order().tolist()
    sets = (
        [{a for a, b in config.edges if b == i} for i in range(config.dims)]
        if config.directed
        else by_definition(config.dims, config.all_edges(), order)
    )
    ranked = sorted(sorted((order.index(j) for j in each), reverse=True) for each in sets if each)
    kinds = [{order[rank] for rank in each} for each in ranked]  # no fewer units than these
    sizes = config.num_categories if isinstance(config.num_categories, tuple) else (config.num_categories,) * len(x[0])
    width, bits = scalars.num_inputs, scalars.num_inputs == 1
    parameters = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
    result = np.zeros(len(x))
    for n, event in enumerate(x):
        below = [({j}, value if bits else float(value == k)) for j, value in enumerate(event) for k in range(width)]
        inputs = below
        for layer, size in enumerate(config.hidden_sizes):
            weight, bias = parameters[f"layers.{layer}.weight"], parameters[f"layers.{layer}.bias"]
            above = []
            for k in range(size):
                own = kinds[k * len(kinds) // size]
                total = bias[k] + sum(weight[k, m] * h for m, (other, h) in enumerate(below) if other <= own)
                above.append((own, max(total, 0)))
            below = above
        for i, value in enumerate(event):
            outputs = []
            for row in range(i * width, (i + 1) * width):
                weight = parameters["output.weight"][row]
                total = sum(weight[m] * h for m, (other, h) in enumerate(below) if other <= sets[i])
                if config.direct:
                    weight = parameters["direct.weight"][row]
                    total += sum(weight[m] * h for m, (other, h) in enumerate(inputs) if other <= sets[i])
                outputs.append(total + parameters["output.bias"][row])
            scores = np.array([0, *outputs] if bits else outputs[: sizes[i]])
            result[n] += scores[value] - np.log(np.exp(scores).sum())
    return result


@pytest.mark.parametrize("hidden_sizes", [(13,), (14, 11)])
@pytest.mark.parametrize("graph", GRAPHS)
def test_against_the_definition(graph: str, hidden_sizes: tuple[int, ...]) -> None:
    model = build(MASDE, hidden_sizes=hidden_sizes, **GRAPHS[graph])
    x = testing.random_events(model, 4, torch.Generator().manual_seed(0))
    truth = slow_masde(model, x.flatten(1).numpy())
    np.testing.assert_allclose(model.log_prob(x).detach().numpy(), truth, rtol=1e-5, atol=1e-5)


# ---- with all scalars joined it is MADE


@pytest.mark.parametrize("num_categories", [2, (2, 3, 4, 2, 2, 5, 3, 2)])
@pytest.mark.parametrize("hidden_sizes", [(7,), (20, 9), (14, 21, 7)])
def test_the_complete_graph_is_made(hidden_sizes: tuple[int, ...], num_categories: int | tuple[int, ...]) -> None:
    fields = {"event_shape": (8,), "num_categories": num_categories, "hidden_sizes": hidden_sizes}
    model = build(MASDE, edges=tuple(itertools.combinations(range(8), 2)), **fields)
    made = build(arzoo_made.MADE, ordering="natural", **fields)
    degrees = {f"degrees_{index}": (torch.arange(h) * 7 // h + 1)[None] for index, h in enumerate(hidden_sizes)}
    made.load_state_dict({**model.state_dict(), **degrees, "orders": torch.arange(8)[None]})
    x = testing.random_events(model, 50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.log_prob(x), made.log_prob(x))
    assert seen(model) == seen(made) == [set(range(i)) for i in range(8)]


def test_it_has_the_parameters_of_made() -> None:
    fields = {"event_shape": (12,), "num_categories": 3, "hidden_sizes": (20, 10)}
    ours, made = build(MASDE, grid=(3, 4), **fields), build(arzoo_made.MADE, **fields)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in made.parameters()]


def test_a_unit_waits_for_the_last_of_its_set() -> None:
    model = build(MASDE, **GRAPHS["field in an order"], hidden_sizes=(20,), direct=False)
    rank = {node: place for place, node in enumerate(GRAPHS["field in an order"]["order"])}
    for unit, degree in zip(model.masks()[0], model.degrees()[1], strict=True):
        assert int(degree) == 1 + max(rank[j] for j in unit.nonzero().flatten().tolist())


def test_it_learns_a_field_whose_graph_it_knows() -> None:
    """Trained on the enumerated field, it comes near to it; without a link of the graph it cannot."""
    edges = ((0, 4), (1, 4), (2, 3), (3, 4))
    spins = 2 * np.indices((2,) * 5).reshape(5, -1) - 1
    energy = sum(0.7 * spins[a] * spins[b] for a, b in edges)
    probs = torch.from_numpy(np.exp(energy) / np.exp(energy).sum()).float()
    x = torch.from_numpy((spins.T + 1) // 2)

    def divergence(edges: graphs.Edges) -> float:
        torch.manual_seed(0)
        model = MASDE(MASDEConfig(event_shape=(5,), edges=edges, hidden_sizes=(40,)))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(200):
            optimizer.zero_grad()
            loss = (probs * (probs.log() - model.log_prob(x))).sum()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    assert divergence(edges) < 1e-3
    assert divergence(edges[:-1]) > 0.05


# ---- faults


def check_dependence(model: Any) -> None:
    config = model.config
    assert seen(model) == by_definition(config.dims, config.all_edges(), model.order().tolist())


def _swap(name: str, make: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Any], None]:
    def plant(model: Any) -> None:
        setattr(model, name, make(getattr(model, name)))

    return plant


FAULTS: dict[str, Callable[[Any], None]] = {
    "a unit sees units of sets that are no subsets": _swap("mask_1", torch.ones_like),
    "a unit sees units of larger sets": _swap("mask_1", torch.t),
    "an output sees units of its set and more": _swap("mask_2", torch.ones_like),
    "an output sees no unit": _swap("mask_2", torch.zeros_like),
    "an input sees itself": _swap("direct_mask", lambda mask: mask | torch.eye(len(mask), dtype=torch.bool)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_masks_are_refused(fault: str) -> None:
    fields = {**GRAPHS["field in an order"], "hidden_sizes": (14, 14), "direct": fault == "an input sees itself"}
    model = build(MASDE, **fields)
    check_dependence(model)
    FAULTS[fault](model)
    with pytest.raises(AssertionError):
        check_dependence(model)


def test_naive_neighbours_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def naive(num_nodes: int, edges: graphs.Edges) -> np.ndarray:
        before = np.zeros((num_nodes, num_nodes), dtype=bool)
        for a, b in edges:
            before[max(a, b), min(a, b)] = True
        return before

    monkeypatch.setattr(graphs, "separators", naive)
    model = build(MASDE, **GRAPHS["field"])
    with pytest.raises(AssertionError):
        check_dependence(model)


# ---- configs

BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "edges or grid must be given"),
    ({"edges": (), "grid": (2, 3)}, "edges or grid must be given, and not both"),
    ({"grid": (2, 2)}, "grid must be height and width of the 6 scalars"),
    ({"grid": (-2, -3)}, "grid must be height and width"),
    ({"edges": ((0, 6),)}, r"edge \(0, 6\) must join two of the scalars 0 to 5"),
    ({"edges": ((-1, 3),)}, "must join two of the scalars"),
    ({"edges": ((2, 2),)}, "joins a scalar to itself"),
    ({"edges": ((0, 1, 2),)}, "edges"),
    ({"edges": ((0, "1"),)}, "edges"),
    ({"edges": ((0, 1),), "order": (0, 1, 2, 3, 4, 4)}, "order must visit each of 0 to 5 once"),
    ({"edges": ((0, 1),), "order": (0, 1, 2)}, "order must visit each of 0 to 5 once"),
    ({"edges": ((0, 1), (1, 4), (4, 0)), "directed": True}, "the edges form a cycle: "),
    ({"edges": ((0, 1), (1, 0)), "directed": True}, "the edges form a cycle: "),
    ({"edges": ((3, 1),), "directed": True}, "order must put parents before children, but 3 -> 1 is an edge"),
    ({"grid": (2, 3), "directed": True, "order": (5, 4, 3, 2, 1, 0)}, "order must put parents before children"),
    ({"edges": (), "hidden_sizes": ()}, "hidden_sizes must be"),
    ({"edges": (), "hidden_sizes": (3, 0)}, "hidden_sizes must be"),
    ({"event_shape": (100_000_000,), "grid": (10_000, 10_000)}, "events must have at most"),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=lambda part: part if isinstance(part, str) else "")
def test_configs_refuse(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        MASDEConfig(**{"event_shape": (6,), **fields})
    assert "\n" not in str(caught.value)


def test_real_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no densities of real values"):
        MASDE(MASDEConfig(event_shape=(3,), num_categories=None, edges=()))


def test_topological_order_gives_an_order_that_fits() -> None:
    edges = ((3, 1), (1, 0), (4, 0))
    order = graphs.topological_order(range(5), edges)
    assert order == (2, 3, 1, 4, 0)
    MASDEConfig(event_shape=(5,), edges=edges, directed=True, order=order)
    assert graphs.topological_order(range(4), ((0, 3), (1, 3))) == (0, 1, 2, 3)


def test_a_recipe_and_a_checkpoint_carry_the_structure(tmp_path: Path) -> None:
    fields = {"edges": ((2, 0), (0, 1)), "directed": True, "order": (2, 0, 1), "hidden_sizes": (6,)}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())
    text = f'family = "masde"\ndataset = "any"\n[model]\n{lines}[train]\nsteps = 1\nbatch_size = 1\nlr = 1e-3\n'
    recipe = schema.build(Recipe, tomllib.loads(text), "recipe.toml")
    model = arzoo.create_model(recipe.family, {"event_shape": (3,), "num_categories": 2, **recipe.model})
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model"]["edges"] == [[2, 0], [0, 1]]
    assert sets_of(arzoo.from_pretrained(tmp_path)) == [{2}, {0}, set()]


def test_an_outline_takes_no_memory() -> None:
    """What a checkpoint asks for is built without memory before its weights are looked at."""
    with torch.device("meta"):
        model = MASDE(MASDEConfig(event_shape=(100,), grid=(10, 10), hidden_sizes=(10**9, 10**9)))
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


# ---- files

BIF = """\
// A network whose variables are not in topological order.
network "small one" { property version 1; }
variable wet { type discrete [ 2 ] { yes, no }; }
variable rain {
  type discrete [3] { <5, 5-12, "more than 12" };
  property position = (1, 2) ;
}
variable Asy/Patch { type discrete[2]{>=7.5,<7.5}; }  /* a comment
over two lines */
probability ( wet | rain, Asy/Patch ) {
  (<5, >=7.5) 0.1, 0.9;
  default 5e-1, 0.5;
}
probability ( rain ) { table 0.2, 0.3, 0.5; }
probability(Asy/Patch|rain) { table 0.5, 0.5, 0.5, 0.5, 0.5, 0.5; }
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "graph.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_bif_file(tmp_path: Path) -> None:
    network = graphs.read_bif(write(tmp_path, BIF))
    assert network.names == ("rain", "Asy/Patch", "wet")
    assert network.states == (("<5", "5-12", "more than 12"), (">=7.5", "<7.5"), ("yes", "no"))
    assert network.edges == ((0, 1), (0, 2), (1, 2))
    assert network.model_fields() == {"edges": network.edges, "directed": True}
    fields = network.model_fields(["wet", "rain", "Asy/Patch"])
    assert fields == {"edges": ((1, 0), (1, 2), (2, 0)), "directed": True, "order": (1, 2, 0)}
    model = build(MASDE, event_shape=(3,), num_categories=(2, 3, 2), **fields)
    assert sets_of(model) == [{1, 2}, set(), {1}]
    for columns in (["wet", "rain"], ["wet", "rain", "rain"], ["wet", "rain", "sun"]):
        with pytest.raises(ValueError, match="columns must be the 3 variables"):
            network.model_fields(columns)


BAD_BIF: list[tuple[str, str, str]] = [
    ("discrete [ 2 ] { yes, no }", "discrete [ 2 ] { yes }", "line 3: variable 'wet' must have 2 different states"),
    ("{ yes, no }", "{ yes, yes }", "line 3: variable 'wet' must have 2 different states"),
    ("discrete [3]", "continuous", "line 5: expected 'discrete', got 'continuous'"),
    ("[3]", "3", r"line 5: expected '\[', got '3'"),
    ("variable rain {", "variable rain", "line 5: expected '{', got 'type'"),
    ("variable rain {", "variable wet {", "line 4: variable 'wet' is declared twice"),
    ("variable rain {", "variable {", "line 4: expected a name, got '{'"),
    ("variable Asy/Patch", "variabel Asy/Patch", "line 8: expected 'network' or 'variable' or 'probability'"),
    ("wet | rain, Asy/Patch", "wet | rain, sun", "line 10: variable 'sun' is not declared"),
    ("wet | rain, Asy/Patch", "wet | rain, wet", "line 10: variable 'wet' has a second probability, or a parent"),
    ("wet | rain, Asy/Patch", "wet | rain, rain", "line 10: variable 'wet' has a second probability, or a parent"),
    ("wet | rain, Asy/Patch )", "wet | rain, Asy/Patch", r"line 10: expected '\)' before '{'"),
    ("0.5;\n}\nprob", "0.5;\nprob", "line 13: expected '}' before '{'"),
    ("( rain )", "( wet )", "line 14: variable 'wet' has a second probability"),
    ("( rain )", "( )", r"line 14: expected a name, got '\)'"),
    ("( rain ) {", "( rain | wet ) {", "graph.txt: the edges form a cycle: .*wet"),
    (" 0.5, 0.5, 0.5; }\n", "", "line 15: expected '}', got the end of the file"),
    ("probability ( rain ) { table 0.2, 0.3, 0.5; }", "", "there is no probability of rain"),
    (BIF, "", "there is no probability of any variable"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD_BIF, ids=[message for _, _, message in BAD_BIF])
def test_bif_files_that_are_malformed(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in BIF
    with pytest.raises(ValueError, match=message) as caught:
        graphs.read_bif(write(tmp_path, BIF.replace(old, new, 1)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [graphs.read_bif, graphs.read_edges])
def test_files_that_are_no_text(tmp_path: Path, read: Any) -> None:
    path = tmp_path / "graph.txt"
    path.write_bytes(b"0 1\n\xff\xfe")
    with pytest.raises(
        ValueError, match=r"graph\.txt is no UTF-8 text: invalid start byte at byte 4; save it as UTF-8$"
    ):
        read(path)


def test_edge_list_file(tmp_path: Path) -> None:
    assert graphs.read_edges(write(tmp_path, "# a triangle\n0 1\n\n1,2 # and\n 2 ,\t0\n")) == ((0, 1), (1, 2), (2, 0))
    for line in ("0", "0 1 2", "a b", "0 -1", "0;1", "1.0 2"):
        with pytest.raises(ValueError, match=f"line 2: expected two node numbers, got '{line}'"):
            graphs.read_edges(write(tmp_path, f"0 1\n{line}\n"))


SIZES = {"asia": (8, 8), "sachs": (11, 17), "child": (20, 25), "insurance": (27, 52), "alarm": (37, 46)}


@pytest.mark.parametrize("name", SIZES)
def test_bif_files_of_structured_small(name: str) -> None:
    folder = Path(os.environ.get("ARZOO_DATASETS", "")) / "structured_small" / "bif"
    if not (folder / f"{name}.bif").is_file():
        pytest.skip("ARZOO_DATASETS names no folder with structured_small")
    network = graphs.read_bif(folder / f"{name}.bif")
    assert (len(network.names), len(network.edges)) == SIZES[name]
    told = json.loads((folder / f"{name}.variables.json").read_text())
    order, states = told["order"], dict(zip(network.names, network.states, strict=True))
    assert {name: list(values) for name, values in states.items()} == told["states"]
    fields = network.model_fields(order)
    assert {(order[a], order[b]) for a, b in fields["edges"]} == {(a, b) for a, b in told["edges"]}
    assert "order" not in fields  # the columns of the data are in topological order
    sizes = tuple(told["cardinalities"])
    model = MASDE(MASDEConfig(event_shape=(len(order),), num_categories=sizes, **fields))
    assert sum(map(len, sets_of(model))) == SIZES[name][1]
    assert math.isfinite(float(model.log_prob(torch.zeros(1, len(order), dtype=torch.long)).detach()))


def test_the_reference_names_the_paper() -> None:
    assert arzoo_masde.__doc__ is not None
    assert arzoo_masde.__doc__.startswith("MASDE: Masked Autoencoder for Distribution Estimation on Small Structured")
