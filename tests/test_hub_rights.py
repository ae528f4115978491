"""What a token may do, known before anything is pushed with it."""

from typing import Any

import pytest
from hub_server import Hub
from huggingface_hub import constants

import arzoo.hub
from arzoo.hub import rights


def who(role: str = "write", org: str = "admin", **fine: Any) -> dict[str, Any]:
    """What the Hub says of ann's token."""
    token = {"role": role, **({"fineGrained": fine} if role == "fineGrained" else {})}
    return {"name": "ann", "orgs": [{"name": "zoo", "roleInOrg": org}], "auth": {"accessToken": token}}


def scope(name: str, *permissions: str) -> dict[str, Any]:
    return {"entity": {"name": name}, "permissions": list(permissions)}


@pytest.mark.parametrize(
    ("answer", "namespace", "reason"),
    [
        (who(), "ann", ""),
        (who(), "zoo", ""),
        (who(org="contributor"), "Zoo", ""),
        ({"name": "ann", "orgs": [], "auth": {}}, "ann", ""),
        (who(), "bob", "is that of ann, who may not push to http.*/bob; log in"),
        (who(org="read"), "zoo", "ann may only read in http.*/zoo; ask"),
        (who(org="read"), "ann", ""),
        (who("read"), "ann", "the token of ann can only read; make one"),
        (who("fineGrained"), "ann", "the token of ann has no right to write to repositories of http.*/ann"),
        (who("fineGrained", scoped=[scope("zoo", "repo.write")]), "ann", "has no right to write"),
        (who("fineGrained", scoped=[scope("ann", "repo.content.read")]), "ann", "has no right to write"),
        (who("fineGrained", scoped=[scope("ann", "repo.content.read", "repo.write")]), "ann", ""),
        (who("fineGrained", scoped=[scope("zoo/toy", "repo.write")]), "zoo", ""),
        (who("fineGrained", **{"global": ["repo.write"]}), "ann", ""),
        ({}, "ann", "ConnectionError"),
        ([], "ann", "ConnectionError"),
    ],
)
def test_what_a_token_may_do_is_known_beforehand(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, answer: Any, namespace: str, reason: str
) -> None:
    monkeypatch.setattr(rights, "ask", lambda api, path: answer)
    if not reason:
        return arzoo.hub.check_rights(namespace)
    kind, reason = (ConnectionError, "as a Hub does") if reason == "ConnectionError" else (PermissionError, reason)
    with pytest.raises(kind, match=reason):
        arzoo.hub.check_rights(namespace)


def test_rights_need_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    arzoo.hub.check_rights("zoo")
    with pytest.raises(PermissionError, match="does not take the token for zoo"):
        arzoo.hub.check_rights("zoo", token="hf_no")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    for token in (None, False):
        with pytest.raises(
            PermissionError, match=r"there is no token for http.*/zoo; log in: hf auth login, or set HF"
        ):
            arzoo.hub.check_rights("zoo", token=token)
