"""What there is on the Hub: repositories with the tag `arzoo`, as their cards describe them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from arzoo.hub.client import ANSWER_TIMEOUT, connect, explained, in_time, library
from arzoo.metrics import METRIC_TYPES
from arzoo.registry import list_families
from arzoo.schema import number_in

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TIMEOUT = 10.0  # seconds for each page but the first
_PAGE = 100  # models, so few that the first page takes no longer than another first question
_UNITS = {metric: unit for unit, metric in METRIC_TYPES.items()}


@dataclass(frozen=True, kw_only=True)
class CommunityModel:
    """A model on the Hub as its card describes it, which nobody has checked; `arzoo verify` does.

    Attributes:
        name: "ORGANISATION/NAME", what `arzoo.load` takes.
        family: "" if the card has none.
        dataset: That a result in the card is on; "" if it has none.
        value: The result; None if there is none in a unit of arzoo's.
        unit: Of the value: nats, bits/dim, perplexity.
        license: As the card has it; "" if it names none.
        downloads: As the Hub counts them.
        commit: The head of main, a revision to pin.
        private: Whether only some may see it.
    """

    name: str
    family: str = ""
    dataset: str = ""
    value: float | None = None
    unit: str = ""
    license: str = ""
    downloads: int = 0
    commit: str = ""
    private: bool = False


def list_models(
    *, author: str | None = None, search: str | None = None, token: str | bool | None = None
) -> list[CommunityModel]:
    """The models on the Hub that are tagged `arzoo`, those with the most downloads first.

    A Hub that does not answer is given up after 3 seconds.

    Arguments:
        author: Only those of this user or organisation.
        search: Only those with this text in their name.
        token: None for the one that `hf auth login` or HF_TOKEN left; private models are listed to those who may
            see them.

    Raises:
        PermissionError: The token is none.
        ConnectionError: The Hub is down.
    """
    api = connect(token)
    wanted = {"filter": "arzoo", "author": author, "search": search, "cardData": True, "full": True, "limit": _PAGE}
    found = [_describe(entry) for entry in _pages(api, wanted)]
    return sorted((model for model in found if model is not None), key=lambda model: (-model.downloads, model.name))


def _pages(api: HfApi, wanted: dict[str, Any]) -> Iterator[Any]:
    """The entries of a list, page after page.

    The client's own list ends at the first card that it cannot read, and waits for ever for a Hub that says nothing.
    """
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = build_hf_headers(token=api.token, **library())
    url: str | None = f"{api.endpoint}/api/models"
    params: dict[str, Any] | None = {key: value for key, value in wanted.items() if value is not None}
    seconds = ANSWER_TIMEOUT
    while url is not None:
        with explained(api, "the list of models"):
            ask = partial(get_session().get, url, params=params, headers=headers, timeout=seconds)
            answer = in_time(seconds, ask)
            hf_raise_for_status(answer)
            entries, url, params = list(answer.json()), answer.links.get("next", {}).get("url"), None
        yield from entries
        seconds = _TIMEOUT


def _describe(entry: Any) -> CommunityModel | None:
    """A model from an entry of the list, which anybody may have written; None if it names none."""
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        return None
    card = _dict(entry.get("cardData"))
    result, metric = _measured(card)
    unit, downloads = _UNITS.get(_text(metric.get("type")), ""), entry.get("downloads")
    value = number_in(metric.get("value")) if unit else None
    return CommunityModel(
        name=entry["id"],
        family=_family(card.get("tags")),
        dataset=_text(_dict(result.get("dataset")).get("name")),
        value=value,
        unit="" if value is None else unit,
        license=_text(card.get("license")),
        downloads=downloads if type(downloads) is int else 0,
        commit=_text(entry.get("sha")),
        private=entry.get("private") is True,
    )


def _family(tags: object) -> str:
    """The tag that is an installed family, else the one that the card of one that is not has in its place."""
    found, known = [tag for tag in _list(tags) if isinstance(tag, str)], list_families()
    behind = found[found.index("density-estimation") + 1 :] if "density-estimation" in found else []
    return next((tag for tag in found if tag in known), _text(_first(behind)))


def _measured(card: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A result and its metric: one that says of which weights it is, as ours do, else the first; empty if none."""
    models = map(_dict, _list(card.get("model-index")))
    results = [_dict(result) for model in models for result in _list(model.get("results"))]
    found = [(result, _dict(metric)) for result in results for metric in _list(result.get("metrics"))]
    ours = [pair for pair in found if "weights_sha256" in _dict(pair[1].get("args"))]
    return next(iter(ours + found), ({}, {}))


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _first(value: object) -> Any:
    return next(iter(_list(value)), None)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
