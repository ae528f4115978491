"""Graphs over the scalars of an event: where they come from, and what a scalar depends on given those before it.

A graph is its edges, pairs of node numbers from 0: what a config, a config.json and a recipe hold.  So whoever reads a
file does that once, and puts the edges into the recipe:

    print(json.dumps(read_bif("asia.bif").model_fields()))
"""

import heapq
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Edges = tuple[tuple[int, int], ...]
T = TypeVar("T", bound=Hashable)


def separators(num_nodes: int, edges: Edges) -> NDArray[np.bool_]:
    """Row i is B_i of a Markov random field: the j < i that a path joins to i whose interior nodes are all above i.

    These are the neighbours that i has when the nodes above it are eliminated one by one, from the last: what a node
    leaves behind becomes a clique.  It is enough to hand its neighbours on to the highest of them, which is the
    first to be eliminated (Rose, Tarjan and Lueker 1976, doi:10.1137/0205021).

    Returns:
        Shape (num_nodes, num_nodes).
    """
    before = np.zeros((num_nodes, num_nodes), dtype=np.bool_)
    for a, b in edges:
        before[max(a, b), min(a, b)] = True
    for node in reversed(range(num_nodes)):
        (neighbours,) = before[node].nonzero()
        if len(neighbours):
            highest = neighbours[-1]
            before[highest] |= before[node]
            before[highest, highest] = False
    return before


def parents(num_nodes: int, edges: Edges) -> NDArray[np.bool_]:
    """Row i is B_i of a Bayesian network in topological order: the parents of i.

    Returns:
        Shape (num_nodes, num_nodes).
    """
    before = np.zeros((num_nodes, num_nodes), dtype=np.bool_)
    for parent, child in edges:
        before[child, parent] = True
    return before


def check_edges(num_nodes: int, edges: Edges) -> None:
    """
    Raises:
        ValueError: An edge names a node that is not there, or joins one to itself.
    """
    for edge in edges:
        if not 0 <= min(edge) <= max(edge) < num_nodes:
            raise ValueError(f"edge {edge} must join two of the scalars 0 to {num_nodes - 1}")
        if edge[0] == edge[1]:
            raise ValueError(f"edge {edge} joins a scalar to itself; leave it out")


def topological_order(nodes: Sequence[T], edges: Iterable[tuple[T, T]]) -> tuple[T, ...]:
    """The nodes with parents before children; of those whose turn it may be, the first comes first.

    Arguments:
        nodes: All of them, as `range(num_nodes)` or by name.
        edges: (parent, child) each.

    Raises:
        ValueError: The edges form a cycle.
    """
    place = {node: index for index, node in enumerate(nodes)}
    sorter = TopologicalSorter[int]({index: () for index in place.values()})
    for parent, child in edges:
        sorter.add(place[child], place[parent])
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " -> ".join(str(nodes[index]) for index in error.args[1])
        raise ValueError(
            f"the edges form a cycle: {cycle}; leave out one of them: a Bayesian network has none"
        ) from None
    order: list[int] = []
    ready: list[int] = []
    while sorter.is_active():
        for index in sorter.get_ready():
            heapq.heappush(ready, index)
        order.append(heapq.heappop(ready))
        sorter.done(order[-1])
    return tuple(nodes[index] for index in order)


def grid(height: int, width: int) -> Edges:
    """Every pixel joined to the one below and the one to the right, in raster order."""
    numbers = np.arange(height * width).reshape(height, width)
    pairs = [(numbers[:-1], numbers[1:]), (numbers[:, :-1], numbers[:, 1:])]
    return tuple(edge for a, b in pairs for edge in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))


def moral_graph(edges: Edges) -> Edges:
    """The Markov random field of a Bayesian network: its edges without direction, and one between any two parents.

    Arguments:
        edges: (parent, child) each.
    """
    families: dict[int, list[int]] = {}
    for parent, child in edges:
        families.setdefault(child, [child]).append(parent)
    return tuple(sorted({pair for family in families.values() for pair in combinations(sorted(set(family)), 2)}))


def read_edges(path: str | Path) -> Edges:
    """The edges in a text file: two node numbers a line, with a comma or space between; # begins a comment.

    Raises:
        ValueError: A line is no edge; the message says which.
    """
    edges = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        found = re.fullmatch(r"(\d+)(?:\s*,\s*|\s+)(\d+)", line.partition("#")[0].strip(), re.ASCII)
        if found:
            edges.append((int(found[1]), int(found[2])))
        elif line.partition("#")[0].strip():
            raise ValueError(f"{path}, line {number}: expected two node numbers, got {line.strip()!r}")
    return tuple(edges)


@dataclass(frozen=True, kw_only=True)
class BayesianNetwork:
    """The structure of a network, without its tables.

    Attributes:
        names: Of the variables, in topological order.
        states: Of each variable.
        edges: (parent, child) each, by their places in `names`.
    """

    names: tuple[str, ...]
    states: tuple[tuple[str, ...], ...]
    edges: Edges

    def model_fields(self, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """What a MASDEConfig takes.

        Arguments:
            columns: The names in the order that the data have them; None if as in `names`.

        Raises:
            ValueError: These are other names.
        """
        columns = self.names if columns is None else columns
        if sorted(columns) != sorted(self.names):
            other = sorted(set(columns) ^ set(self.names)) or "the number of columns"
            raise ValueError(f"columns must be the {len(self.names)} variables of the network; what differs: {other}")
        places = [columns.index(name) for name in self.names]
        edges = tuple(sorted((places[parent], places[child]) for parent, child in self.edges))
        fields: dict[str, Any] = {"edges": edges, "directed": True}
        return fields if all(a < b for a, b in edges) else {**fields, "order": tuple(places)}


def read_bif(path: str | Path) -> BayesianNetwork:
    """The network in a .bif file, as in the Bayesian Network Repository of bnlearn; its tables are skipped.

    Raises:
        ValueError: The file is no network; the message says in which line.
    """
    tokens = _Tokens(path)
    states: dict[str, tuple[str, ...]] = {}
    family: dict[str, list[str]] = {}
    while tokens.left:
        kind = tokens.take("network", "variable", "probability")
        if kind == "network":
            tokens.until("{")
        elif kind == "variable":
            name = tokens.name()
            if name in states:
                raise tokens.error(f"variable {name!r} is declared twice")
            tokens.take("{")
            states[name] = _read_states(tokens, name)
        else:
            tokens.take("(")
            child = tokens.name()
            above = tokens.until(")")
            for name in (child, *above):
                if name not in states:
                    raise tokens.error(f"variable {name!r} is not declared")
            if child in family or len({child, *above}) <= len(above):
                raise tokens.error(f"variable {child!r} has a second probability, or a parent twice")
            family[child] = above
            tokens.take("{")
        tokens.until("}")
    lost = [name for name in states if name not in family]
    if lost or not states:
        raise ValueError(f"{path}: there is no probability of {', '.join(lost) or 'any variable'}")
    pairs = [(name, child) for child in family for name in family[child]]
    try:
        names = topological_order(list(states), pairs)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return BayesianNetwork(
        names=names,
        states=tuple(states[name] for name in names),
        edges=tuple(sorted((names.index(parent), names.index(child)) for parent, child in pairs)),
    )


def _read_states(tokens: "_Tokens", name: str) -> tuple[str, ...]:
    """What stands after `type`: discrete [ 2 ] { yes, no };"""
    while tokens.take("type", "property") == "property":
        tokens.until(";")
    tokens.take("discrete")
    tokens.take("[")
    number = tokens.name()
    tokens.take("]")
    tokens.take("{")
    values = tokens.until("}")
    if str(len(values)) != number or len(set(values)) < len(values) or len(values) < 2:
        raise tokens.error(f"variable {name!r} must have {number} different states, at least 2, got {values}")
    tokens.take(";")
    return tuple(values)


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8") from None


class _Tokens:
    """The words and signs of a .bif file and the line of each."""

    _PATTERN = re.compile(r'//[^\n]*|/\*.*?\*/|("[^"\n]*"|[{}()\[\],;|"]|[^\s{}()\[\],;|"]+)', re.DOTALL)
    _SIGNS = frozenset('{}()[],;|"')

    def __init__(self, path: str | Path) -> None:
        self._path, self._line, self._next = path, 1, 0
        text = _text(path)
        self._tokens: list[tuple[str, int]] = []
        line, end = 1, 0
        for found in self._PATTERN.finditer(text):
            line, end = line + text.count("\n", end, found.start()), found.start()
            if found[1]:
                self._tokens.append((found[1], line))

    @property
    def left(self) -> bool:
        return self._next < len(self._tokens)

    def error(self, what: str) -> ValueError:
        return ValueError(f"{self._path}, line {self._line}: {what}")

    def take(self, *expected: str) -> str:
        """The next token, which must be one of these, if any are given."""
        wanted = " or ".join(map(repr, expected)) or "more"
        if not self.left:
            raise self.error(f"expected {wanted}, got the end of the file")
        token, self._line = self._tokens[self._next]
        if expected and token not in expected:
            raise self.error(f"expected {wanted}, got {token!r}")
        self._next += 1
        return token

    def name(self) -> str:
        """The next token, which must be a word or quoted."""
        token = self.take()
        if token in self._SIGNS:
            raise self.error(f"expected a name, got {token!r}")
        return token.strip('"')

    def until(self, sign: str) -> list[str]:
        """The words before the next such sign, which is taken too; no brace may come before it."""
        words: list[str] = []
        while self.left:
            token = self.take()
            if token == sign:
                return words
            if token in "{}":
                raise self.error(f"expected {sign!r} before {token!r}")
            if token not in self._SIGNS:
                words.append(token.strip('"'))
        raise self.error(f"expected {sign!r}, got the end of the file")
