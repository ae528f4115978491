"""What there is on the Hub: repositories with the tag `arzoo`, as their cards describe them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from arzoo.hub import client
from arzoo.hub.asking import ask_page, dict_in, list_in, text_in
from arzoo.hub.client import OddAnswer, connect
from arzoo.hub.explaining import explained
from arzoo.metrics import METRIC_TYPES
from arzoo.registry import list_families
from arzoo.schema import number_in

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TIMEOUT = 10.0  # seconds for each page but the first
_ALL_TIMEOUT = 60.0  # for all of them
_MOST_PAGES = 50
_LONGEST = 2000  # characters of an address
_PAGE = 100  # models, so few that the first page takes no longer than another first question
_FIELDS = ("cardData", "downloads", "private", "sha")  # and no list of files, which may be as long as anybody likes
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
    wanted = {"filter": "arzoo", "author": author, "search": search, "expand": _FIELDS, "limit": _PAGE}
    found = [_describe(entry) for entry in _pages(api, wanted)]
    return sorted((model for model in found if model is not None), key=lambda model: (-model.downloads, model.name))


def _pages(api: HfApi, wanted: dict[str, Any]) -> Iterator[Any]:
    """The entries of a list, page after page.

    The client's own list ends at the first card that it cannot read, and waits for ever for a Hub that says nothing.
    """
    first = url = f"{api.endpoint}/api/models"
    params: dict[str, Any] | None = {key: value for key, value in wanted.items() if value is not None}
    seconds, deadline = client.ANSWER_TIMEOUT, time.monotonic() + _ALL_TIMEOUT
    for _ in range(_MOST_PAGES):
        with explained(api, "the list of models"):
            told, following = ask_page(api, url, params, seconds)
            if not isinstance(told, list) or len(told) > _PAGE:
                raise OddAnswer(f"it answers with no list of up to {_PAGE}")
            if following is not None and not (following.startswith(f"{first}?") and len(following) < _LONGEST):
                raise OddAnswer(f"its list goes on at {following[:100]!r}")  # where the token is not to go
        yield from told
        if following is None:
            return
        url, params, seconds = following, None, min(_TIMEOUT, max(deadline - time.monotonic(), 0.0))
    warnings.warn(f"{api.endpoint} lists more models than the {_MOST_PAGES * _PAGE} that are shown", stacklevel=2)


def _describe(entry: Any) -> CommunityModel | None:
    """A model from an entry of the list, which anybody may have written; None if it names none."""
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        return None
    card = dict_in(entry.get("cardData"))
    result, metric = _measured(card)
    unit, downloads = _UNITS.get(text_in(metric.get("type")), ""), entry.get("downloads")
    value = number_in(metric.get("value")) if unit else None
    return CommunityModel(
        name=text_in(entry["id"]),
        family=_family(card.get("tags")),
        dataset=text_in(dict_in(result.get("dataset")).get("name")),
        value=value,
        unit="" if value is None else unit,
        license=text_in(card.get("license")),
        downloads=downloads if type(downloads) is int else 0,
        commit=text_in(entry.get("sha")),
        private=entry.get("private") is True,
    )


def _family(tags: object) -> str:
    """The tag that is an installed family, else the one that the card of one that is not has in its place."""
    found, known = [tag for tag in list_in(tags) if isinstance(tag, str)], list_families()
    behind = found[found.index("density-estimation") + 1 :] if "density-estimation" in found else []
    return next((tag for tag in found if tag in known), text_in(_first(behind)))


def _measured(card: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A result and its metric: one that says of which weights it is, as ours do, else the first; empty if none."""
    models = map(dict_in, list_in(card.get("model-index")))
    results = [dict_in(result) for model in models for result in list_in(model.get("results"))]
    found = [(result, dict_in(metric)) for result in results for metric in list_in(result.get("metrics"))]
    ours = [pair for pair in found if "weights_sha256" in dict_in(pair[1].get("args"))]
    return next(iter(ours + found), ({}, {}))


def _first(value: object) -> Any:
    return next(iter(list_in(value)), None)
