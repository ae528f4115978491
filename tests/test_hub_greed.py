"""A Hub that wants all of our memory, time or tokens gets none: each request ends soon, with an error in one line."""

import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy_zoo
from hub_server import Hub
from hub_server.messages import Answer, Request, answer_json
from hub_server.server import Fault, bomb
from huggingface_hub import constants

import arzoo
from arzoo.hub import asking, check_rights, client, list_models, listing

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")

MOST = 2**26  # bytes that may be taken of what has no end, and of memory for it
LONGEST = 3.0  # seconds for a first question

CALLS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    # what is asked    the request                           how, and what the error is about
    "a repository": ("/api/models/ann/toy/revision/*", lambda folder: arzoo.load("ann/toy"), "ann/toy"),
    "a file": ("*/config.json", lambda folder: arzoo.load("ann/toy"), "ann/toy"),
    "the models": ("/api/models", lambda folder: list_models(), "the list of models"),
    "rights": ("/api/whoami-v2", lambda folder: check_rights("ann"), "for ann"),
    "tags": ("/api/models/ann/toy/refs", lambda folder: arzoo.push(folder, "ann/toy", tag="v1"), "ann/toy"),
    # which is asked for a message, after a push was refused
    "the log": (
        "/api/models/ann/toy/commits/*",
        lambda folder: arzoo.push(folder, "ann/toy"),
        "somebody else pushed to ann/toy",
    ),
}


@pytest.fixture
def folder(hub: Hub, tmp_path: Path) -> Path:
    folder = toy_zoo.write_pushable(tmp_path / "toy")
    hub.create("ann/toy", {name: (folder / name).read_bytes() for name in arzoo.hub.FILES[:3]})
    return folder


def ends(call: Callable[[], object], seconds: float = LONGEST) -> str:
    """The error, which comes soon."""
    started = time.perf_counter()
    with pytest.raises((OSError, ValueError, LookupError)) as caught:
        call()
    assert time.perf_counter() - started < seconds
    text = str(caught.value)
    assert "\n" not in text and len(text) < 1000 and text.isprintable()
    return f"{type(caught.value).__name__}: {text}"


def ends_small(call: Callable[[], object]) -> str:
    """The error, which takes little memory; the clock stands still, for to watch memory takes time."""
    tracemalloc.start()
    try:
        text = ends(call, 60.0)
        assert tracemalloc.get_traced_memory()[1] < MOST
        return text
    finally:
        tracemalloc.stop()


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
    pattern, call, about = CALLS[what]
    if what == "the log":
        (folder / "README.md").write_text((folder / "README.md").read_text() + "Mine.\n")
    fault = plant(hub, pattern, kind, status)
    text = (ends if kind == "endless" else ends_small)(lambda: call(folder))
    hub.stop()
    assert fault.sent < MOST and (fault.sent or kind == "bomb")
    assert about in text


def test_what_has_no_end_and_comes_slowly_is_left(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT", 0.5)
    for status in (200, 404):
        plant(hub, "/api/models/ann/toy/revision/*", "endless", status, seconds=0.1)
        ends(lambda: arzoo.load("ann/toy"), 2.0)
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


def test_a_page_with_more_than_was_asked_for_is_refused(hub: Hub) -> None:
    for told in ([{"id": "a/b"}] * 101, {"id": "a/b"}, "x"):
        answering(hub, lambda request, told=told: answer_json(told))  # type: ignore[misc]
        assert "it answers with no list of up to 100" in ends(list_models)


def test_a_list_has_an_end_in_time(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_ALL_TIMEOUT", 0.3)
    linked(hub, f"{hub.url}/api/models?cursor=0")
    hub.fault("slow", "/api/models", times=None, seconds=0.1)
    assert "does not answer" in ends(list_models, 1.5)


def test_what_no_terminal_can_show_is_replaced(hub: Hub) -> None:
    answering(hub, lambda request: Answer(200, b'[{"id": "a/\\ud800", "cardData": {"license": "\\udfff"}}]'))
    assert [(model.name, model.license) for model in list_models()] == [("a/?", "?")]


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


def test_a_redirect_to_what_is_no_web_is_no_answer_of_a_hub(hub: Hub, folder: Path) -> None:
    arzoo.load("ann/toy")
    for place in ("ftp://127.0.0.1/x", "file://127.0.0.1/etc/passwd"):
        hub.fault("status", "*/revision/*", status=302, headers={"Location": place})
        with pytest.warns(UserWarning, match=f"as a Hub does .it leads to '{place}'.*is used, from the cache"):
            arzoo.load("ann/toy")


def test_a_token_that_is_none_is_not_shown(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert arzoo.from_pretrained("ann/toy", token="hf_ann\n").family == "nade"
    (tmp_path / "token").write_bytes(b"hf_\xff")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    for token in ("hf_a\nb", "hf_ä", "hf a", None):
        for call in (
            lambda token=token: arzoo.from_pretrained("ann/toy", token=token),
            lambda token=token: arzoo.push(folder, "ann/toy", token=token),
            lambda token=token: check_rights("ann", token=token),
            lambda token=token: list_models(token=token),
        ):
            assert ends(call) == (  # type: ignore[arg-type]
                "PermissionError: the token has signs that no token has; log in: hf auth login, or set HF_TOKEN"
            )


def test_what_comes_too_late_is_closed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, closed = threading.Event(), threading.Event()

    class Late:
        def close(self) -> None:
            closed.set()

    def send(*_: object, **__: object) -> Late:
        go_on.wait()
        return Late()

    monkeypatch.setattr(asking, "_send", send)
    with pytest.raises(TimeoutError), asking.opened(client.connect(), hub.url, 0.01):
        pass
    go_on.set()
    assert closed.wait(5)


# ---- what a refusal says


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "PermissionError"), (403, "PermissionError"), (429, "too many requests"), (503, "is out of order")],
)
@pytest.mark.parametrize(
    "answer",
    [
        Answer(0, b"\xff", {"X-Error-Message": "fün"}),
        Answer(0, b"[1]"),
        Answer(0, b'"x"'),
        Answer(0, b'{"errors": [1]}'),
        Answer(0, b'{"error": {"a": 1}, "errors": {"b": 2}}'),
        Answer(0, b"[" * 10**4),
        Answer(0, b"<html>", {"X-Request-Id": "ü"}),
    ],
    ids=range(7),
)
def test_a_refusal_is_what_its_status_says(hub: Hub, status: int, words: str, answer: Answer) -> None:
    answering(hub, lambda request: replace(answer, status=status))
    assert words in ends(lambda: arzoo.load("ann/toy"))


def test_a_reason_may_lie_in_a_list(hub: Hub) -> None:
    answering(hub, lambda request: answer_json({"errors": [{"message": "because"}]}, 503))
    assert "(because)" in ends(lambda: arzoo.load("ann/toy"))


def test_a_refusal_says_no_more_than_serves(hub: Hub) -> None:
    answering(hub, lambda request: answer_json({"error": "a \x1b[2J" + "long " * 1000}, 418))
    assert "refuses the request for ann/toy: a ?[2Jlong long" in ends(lambda: arzoo.load("ann/toy"))


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"name": 1},
        {"name": "a\nb\x1b[2J" + "z" * 10**5},
        {"name": "ann", "orgs": {"a": 1}, "auth": []},
        {"name": "ann", "orgs": [None, {"name": None}], "auth": {"accessToken": {"fineGrained": 1, "role": []}}},
        {"name": "ann", "auth": {"accessToken": {"role": "fineGrained", "fineGrained": {"scoped": [{"entity": 1}]}}}},
        {"name": "ann", "auth": {"accessToken": {"role": "fineGrained", "fineGrained": {"global": 1, "scoped": 1}}}},
    ],
    ids=range(8),
)
def test_odd_answers_about_a_token_are_no_tracebacks(hub: Hub, monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    from arzoo.hub import rights

    monkeypatch.setattr(rights, "ask", lambda api, path: answer)
    try:
        check_rights("zoo")
    except (ConnectionError, PermissionError) as error:
        assert str(error).isprintable() and len(str(error)) < 1000
    else:
        pytest.fail("nobody may write to zoo")
