"""A Hub that wants all of our memory, time or tokens gets none: each request ends soon, with an error in one line."""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_zoo
from hub_server import Hub
from hub_server.messages import Answer, Request, answer_json
from hub_server.server import Fault, bomb

import arzoo
from arzoo.hub import check_rights, client, list_models

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

MOST = 2**26  # bytes that may be taken of what has no end, and of memory for it
LONGEST = 3.0  # seconds for a first question

CALLS: dict[str, tuple[str, Callable[[Path], object]]] = {
    # what is asked    the request                           how
    "a repository": ("/api/models/ann/toy/revision/*", lambda folder: arzoo.load("ann/toy")),
    "a file": ("*/config.json", lambda folder: arzoo.load("ann/toy")),
    "the models": ("/api/models", lambda folder: list_models()),
    "rights": ("/api/whoami-v2", lambda folder: check_rights("ann")),
    "tags": ("/api/models/ann/toy/refs", lambda folder: arzoo.push(folder, "ann/toy", tag="v1")),
    "the log": ("/api/models/ann/toy/commits/*", lambda folder: arzoo.push(folder, "ann/toy")),
}


@pytest.fixture
def folder(hub: Hub, tmp_path: Path) -> Path:
    folder = toy_zoo.write_pushable(tmp_path / "toy")
    hub.create("ann/toy", {name: (folder / name).read_bytes() for name in arzoo.hub.FILES[:3]})
    return folder


def ends(call: Callable[[], object], seconds: float = LONGEST) -> str:
    """The error, which comes soon and takes little memory."""
    tracemalloc.start()
    started = time.perf_counter()
    try:
        with pytest.raises((OSError, ValueError, LookupError)) as caught:
            call()
        assert time.perf_counter() - started < seconds
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 1000 and text.isprintable()
    return f"{type(caught.value).__name__}: {text}"


def plant(hub: Hub, pattern: str, kind: Any, status: int, **options: Any) -> Fault:
    headers = {"Location": "/nothing"} if status == 302 else {}
    bomb()  # made before anybody looks at the clock or at the memory
    hub.fault(kind, pattern, method="GET", times=None, status=status, headers=headers, **options)
    return hub.faults[-1]


@pytest.mark.parametrize("kind", ["endless", "bomb"])
@pytest.mark.parametrize("status", [200, 302, 404, 503])
@pytest.mark.parametrize("what", CALLS)
def test_what_has_no_end_is_left(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, what: str, status: int, kind: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    pattern, call = CALLS[what]
    if what == "the log":  # which is asked for a message, after a push was refused
        (folder / "README.md").write_text((folder / "README.md").read_text() + "Mine.\n")
    fault = plant(hub, pattern, kind, status)
    text = ends(lambda: call(folder))
    hub.stop()
    assert fault.sent > 0 or kind == "bomb"
    assert fault.sent < MOST
    assert ("somebody else pushed to ann/toy" if what == "the log" else "Error: ") in text


def test_what_has_no_end_and_comes_slowly_is_left(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT", 0.5)
    for status in (200, 404):
        plant(hub, "/api/models/ann/toy/revision/*", "endless", status, seconds=0.1)
        ends(lambda: arzoo.load("ann/toy"), 1.0)
        hub.faults.clear()


def test_what_was_not_asked_for_is_not_unpacked(hub: Hub, folder: Path) -> None:
    plant(hub, "*/config.json", "bomb", 200)
    assert "does not answer for ann/toy as a Hub does (it answers in 'gzip', which was not asked for)" in ends(
        lambda: arzoo.load("ann/toy")
    )


# ---- lists


def answering(hub: Hub, answer: Callable[[Request], Answer]) -> None:
    """Whatever it is asked, the Hub says the same."""
    hub.stop()
    hub._serve = lambda request, target, body: answer(request)  # type: ignore[method-assign]
    hub.start()


def linked(hub: Hub, following: str) -> None:
    """Every page of the list of models says that it goes on there."""
    answering(hub, lambda request: answer_json([], headers={"Link": f'<{following}>; rel="next"'}))


def test_a_list_that_goes_on_elsewhere_is_not_followed(hub: Hub) -> None:
    with Hub() as other:
        for address in (f"{other.url}/api/models", "//evil.example/api/models", f"{hub.url}/a", "http://[", "ftp:x"):
            linked(hub, address)
            assert "does not answer for the list of models as a Hub does" in ends(list_models)
        assert not other.requests


def test_a_list_without_an_end_is_cut(hub: Hub) -> None:
    linked(hub, f"{hub.url}/api/models?cursor=0")
    with pytest.warns(UserWarning, match="lists more models than the 5000 that are shown"):
        list_models()
    assert len(hub.asked("/api/models")) == 50


# ---- tokens and redirects


def test_a_redirect_to_another_host_has_no_token(hub: Hub, folder: Path) -> None:
    with Hub() as other:
        for path in ("*/config.json", "/api/models", "/api/whoami-v2"):
            elsewhere = {"Location": f"{other.url}/anything"}
            hub.fault("status", path, status=302, headers=elsewhere, times=None)
        for call in (lambda: arzoo.load("ann/toy"), list_models, lambda: check_rights("ann")):
            ends(call)
            assert "authorization" in hub.requests[-1].headers
        assert len(other.requests) == 3
        assert not any("authorization" in request.headers for request in other.requests)


def test_redirects_in_a_circle_end(hub: Hub, folder: Path) -> None:
    hub.fault("status", "*/config.json", status=302, headers={"Location": "config.json"}, times=None)
    assert "more than 5 redirects" in ends(lambda: arzoo.load("ann/toy"))
    assert len(hub.asked("*/config.json")) == 6


def test_a_redirect_here_is_followed_with_the_token(hub: Hub, folder: Path) -> None:
    hub.change("ann/toy", private=True)
    here = {"Location": f"{hub.url}/ann/toy/resolve/{hub.head('ann/toy')}/config.json"}
    hub.fault("status", "*/config.json", status=307, headers=here)
    assert arzoo.load("ann/toy").family == "nade"


# ---- what a refusal says


def test_a_refusal_says_no_more_than_serves(hub: Hub) -> None:
    answering(hub, lambda request: answer_json({"error": "a \x1b[2J" + "long " * 1000}, 418))
    assert "refuses the request for ann/toy: a ?[2Jlong long" in ends(lambda: arzoo.load("ann/toy"))


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"name": 1},
        {"name": "ann", "orgs": {"a": 1}, "auth": []},
        {"name": "ann", "orgs": [None, {"name": None}], "auth": {"accessToken": {"fineGrained": 1, "role": []}}},
        {"name": "ann", "auth": {"accessToken": {"role": "fineGrained", "fineGrained": {"scoped": [{"entity": 1}]}}}},
        {"name": "ann", "auth": {"accessToken": {"role": "fineGrained", "fineGrained": {"global": 1, "scoped": 1}}}},
    ],
    ids=range(7),
)
def test_odd_answers_about_a_token_are_no_tracebacks(hub: Hub, monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    from arzoo.hub import rights

    monkeypatch.setattr(rights, "ask", lambda api, path: answer)
    try:
        check_rights("zoo")
    except (ConnectionError, PermissionError) as error:
        assert "\n" not in str(error)
    else:
        pytest.fail("nobody may write to zoo")
