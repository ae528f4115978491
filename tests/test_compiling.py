"""Compiled walks draw what the walk site by site draws."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

import arzoo
from arzoo.compiling import find_kernels
from arzoo.decoding import Decoder, Sharpening, walk

VECTOR: dict[str, Any] = {"event_shape": (53,)}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("fvsbn", VECTOR),
    ("fvsbn", {"event_shape": (3, 4, 5), "ordering": "random"}),
    ("nade", {**VECTOR, "hidden_size": 37}),
    ("nade", {**VECTOR, "hidden_size": 20, "activation": "relu", "tied": True, "ordering": "random"}),
    ("made", {**VECTOR, "hidden_sizes": (40,)}),
    ("made", {"event_shape": (3, 4, 5), "hidden_sizes": (70, 30), "num_masks": 3}),
    ("made", {**VECTOR, "hidden_sizes": (30, 80, 20, 40), "direct": False, "conditioning": True}),
    ("masde", {"event_shape": (4, 5), "hidden_sizes": (60, 50), "grid": (4, 5)}),
]
NAMES = [f"{family}-{index}" for index, (family, _) in enumerate(CASES)]


def build(family: str, fields: dict[str, Any]) -> arzoo.Autoregressive:
    torch.manual_seed(0)
    model = arzoo.create_model(family, fields).eval()
    assert isinstance(model, arzoo.Autoregressive)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def one_by_one(decoder: Decoder, uniforms: Tensor) -> Tensor:
    """What is drawn where a decoder does no more than it must."""
    decoder.draw = lambda uniforms: None  # type: ignore[method-assign]
    return torch.stack(list(walk(decoder, uniforms, Sharpening())), 1)


@torch.no_grad()
@pytest.mark.parametrize(("family", "fields"), CASES, ids=NAMES)
@pytest.mark.parametrize("batch", [1, 37])
def test_the_compiled_walk_is_the_walk(family: str, fields: dict[str, Any], batch: int) -> None:
    pytest.importorskip("numba")
    model = build(family, fields)
    dims = model.config.dims
    for member in range(model.num_members):
        for first in (0, 1, dims // 2, dims - 1):
            prompt = torch.randint(2, (batch, first), generator=torch.Generator().manual_seed(first))
            uniforms = torch.rand(batch, dims - first, generator=torch.Generator().manual_seed(member))
            decoders = [model.decoder(batch, None, member) for _ in range(2)]
            for decoder in decoders:
                decoder.extend(prompt)
            drawn = decoders[0].draw(uniforms)
            assert drawn is not None
            assert drawn.dtype == torch.int64
            assert torch.equal(drawn, one_by_one(decoders[1], uniforms))


@torch.no_grad()
def test_a_completion_is_the_same_whether_compiled_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    model = build("made", {**VECTOR, "hidden_sizes": (40,), "ordering": "natural"})
    x = torch.randint(2, (5, 53), generator=torch.Generator().manual_seed(0))
    calls, decoder_class = [], type(model.decoder(1))
    compiled = decoder_class.draw
    monkeypatch.setattr(decoder_class, "draw", lambda self, u: calls.append(u.shape) or compiled(self, u))
    known = torch.arange(53) < 20
    fast = model.complete(x, known, generator=torch.Generator().manual_seed(1))
    assert calls == [(5, 33)]
    everything = model.complete(x, torch.ones(53, dtype=torch.bool))
    assert torch.equal(everything.events, x)  # nothing is left to draw
    monkeypatch.setattr(decoder_class, "draw", lambda self, u: None)
    slow = model.complete(x, known, generator=torch.Generator().manual_seed(1))
    assert torch.equal(fast.events, slow.events)
    assert torch.equal(fast.events[:, :20], x[:, :20])


@torch.no_grad()
@pytest.mark.parametrize("family", ["fvsbn", "nade", "made"])
def test_categories_are_drawn_one_by_one(family: str) -> None:
    model = build(family, {"event_shape": (5,), "num_categories": 3})
    assert model.decoder(2).draw(torch.rand(2, 5)) is None


def test_without_numba_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in ("arzoo.kernels", "arzoo_fvsbn.kernels"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        assert find_kernels.__wrapped__(name) is None
