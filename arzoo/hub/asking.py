"""Questions to the Hub, all of its GETs: bounded in time and in bytes, and the token goes nowhere else.

The client's own requests read whole answers, however long, refusals and redirects among them, and undo whatever
compression they come in.  They are left for what changes something: whoever pushes trusts the Hub with a token.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from arzoo.hub import client
from arzoo.hub.client import OddAnswer, in_time

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LARGEST_ANSWER = 2**21  # bytes of JSON, of which Python makes up to thirty times as many
_LARGEST_REFUSAL = 2**16  # bytes of it that are read
_REDIRECTS = 5
_SUCCESS = (200, 206)


def ask(api: HfApi, path: str, params: Mapping[str, Any] | None = None) -> Any:
    """The JSON that the Hub answers in `client.ANSWER_TIMEOUT` seconds.

    Arguments:
        path: Below the address of the Hub, quoted, as "/api/models/ORG/NAME".

    Raises:
        TimeoutError: It does not.
        OddAnswer: It is no JSON, or too much of it.
        Exception: Whatever the client raises; see `explained`.
    """
    return ask_page(api, f"{api.endpoint}{path}", params, client.ANSWER_TIMEOUT)[0]


def ask_page(api: HfApi, url: str, params: Mapping[str, Any] | None, seconds: float) -> tuple[Any, str | None]:
    """The JSON at an address, and the address of the page that follows it; see `ask`."""

    def call() -> tuple[Any, str | None]:
        deadline = time.monotonic() + seconds
        response = _send(api, url, seconds, params=params)
        try:
            body = b"".join(_chunks(response, _LARGEST_ANSWER, deadline))
            following = response.links.get("next", {}).get("url")
        finally:
            response.close()
        try:
            return json.loads(body), following
        except (ValueError, RecursionError) as error:
            raise OddAnswer(f"it answers with no JSON: {error}") from error

    return in_time(seconds, call)


@contextmanager
def opened(api: HfApi, url: str, seconds: float, start: int = 0) -> Iterator[Any]:
    """An answer, of type httpx.Response, whose body is still to be read with `iter_raw`.

    Arguments:
        seconds: Until it begins, and between any two parts of it.
        start: The first byte wanted.

    Raises:
        TimeoutError: It does not begin.
        OddAnswer: It is neither what was asked for nor a refusal, or it is compressed.
        Exception: Whatever the client raises; see `explained`.
    """
    response = in_time(seconds, lambda: _send(api, url, seconds, start=start), late=lambda response: response.close())
    try:
        yield response
    finally:
        response.close()


def _send(api: HfApi, url: str, seconds: float, *, params: Mapping[str, Any] | None = None, start: int = 0) -> Any:
    """An answer that is no refusal, of which only the head was read."""
    from huggingface_hub.utils import get_session, httpx

    session, deadline = get_session(), time.monotonic() + seconds
    headers = {"User-Agent": f"arzoo/{version('arzoo')}", "Accept-Encoding": "identity"}
    if token := token_of(api):
        headers["Authorization"] = f"Bearer {token}"
    if start:
        headers["Range"] = f"bytes={start}-"
    request = session.build_request("GET", url, params=params, headers=headers, timeout=seconds)
    for _ in range(_REDIRECTS + 1):
        response = session.send(request, stream=True, follow_redirects=False)
        try:
            _check(response, deadline)
        except BaseException:
            response.close()
            raise
        if response.next_request is None:
            return response
        response.close()
        request = response.next_request  # which has no token if it goes to another host
        if request.url.scheme not in ("http", "https"):
            raise OddAnswer(f"it leads to {str(request.url)[:100]!r}")
    raise httpx.TooManyRedirects(f"more than {_REDIRECTS} redirects", request=request)


def token_of(api: HfApi) -> str | None:
    """What the Hub knows the user by: an argument, or what is logged in with unless that is switched off.

    Raises:
        PermissionError: It is nothing that could be sent.
    """
    from huggingface_hub import constants, get_token

    if api.token is False or (api.token is None and constants.HF_HUB_DISABLE_IMPLICIT_TOKEN):
        return None
    try:
        token = api.token if isinstance(api.token, str) else get_token()
    except UnicodeDecodeError:
        token = "\0"
    if token and not re.fullmatch("[!-~]+", token):
        raise PermissionError("the token has signs that no token has; log in: hf auth login, or set HF_TOKEN")
    return token or None


def _check(response: Any, deadline: float) -> None:
    """Raises a refusal as the client does, with no more of its body than serves."""
    from huggingface_hub.utils import hf_raise_for_status, httpx

    if response.next_request is not None:
        return
    if response.status_code in _SUCCESS:
        _refuse_compression(response)
        return
    body, told = {}, [(name, text) for name, text in response.headers.raw if name.lower().startswith(b"x-")]
    with suppress(OddAnswer, TimeoutError, ValueError, RecursionError, httpx.HTTPError):  # the status says enough
        body = dict_in(json.loads(b"".join(_chunks(response, _LARGEST_REFUSAL, deadline))))
    errors = [dict_in(error).get("message") for error in list_in(body.get("errors"))]
    reason = next((text for text in map(text_in, (body.get("error"), *errors)) if text), "")
    plain = httpx.Response(
        response.status_code, headers=told, json={"error": reason} if reason else {}, request=response.request
    )
    hf_raise_for_status(plain)
    raise OddAnswer(f"it answers with status {response.status_code}")


def _chunks(response: Any, largest: int, deadline: float) -> Iterator[bytes]:
    """The body, if it comes in time and is not too large."""
    _refuse_compression(response)
    size = 0
    for chunk in response.iter_raw():
        size += len(chunk)
        if size > largest:
            raise OddAnswer(f"it answers with more than {largest} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("it does not come to an end")
        yield chunk


def _refuse_compression(response: Any) -> None:
    kind = response.headers.get("Content-Encoding", "identity").lower()
    if kind != "identity":
        raise OddAnswer(f"it answers in {kind[:50]!r}, which was not asked for")


# What anybody may have written into an answer, as what it should be, else as nothing.


def dict_in(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def list_in(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def text_in(value: object) -> str:
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""
