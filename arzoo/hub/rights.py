"""What a token may do, as far as the Hub tells without a change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arzoo.hub.asking import ask, dict_in, list_in, text_in, token_of
from arzoo.hub.client import OddAnswer, connect
from arzoo.hub.explaining import explained, printable

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def require_token(api: HfApi, where: str) -> None:
    """Refuses to change anything as a stranger.

    Raises:
        PermissionError: There is no token.
    """
    if not token_of(api):
        raise PermissionError(f"there is no token for {where}; log in: hf auth login, or set HF_TOKEN")


def check_rights(namespace: str, token: str | bool | None = None) -> None:
    """Refuses a token that cannot write to a user or an organisation, as far as the Hub says what it is for.

    Arguments:
        namespace: The first half of "ORGANISATION/NAME".
        token: None for the one that `hf auth login` or HF_TOKEN left.

    Raises:
        PermissionError: There is no token, it is none, it can only read, or it is for other namespaces.
        ConnectionError: The Hub is down.
    """
    api = connect(token)
    where = f"{api.endpoint}/{namespace}"
    require_token(api, where)
    with explained(api, namespace):
        answer = dict_in(ask(api, "/api/whoami-v2"))
        user = printable(text_in(answer.get("name")))
        if not user:
            raise OddAnswer("it does not say whose the token is")
    members = [dict_in(entry) for entry in list_in(answer.get("orgs"))]
    orgs = {text_in(org.get("name")).lower(): org.get("roleInOrg") for org in members}
    access = dict_in(dict_in(answer.get("auth")).get("accessToken"))
    role, fine = access.get("role"), dict_in(access.get("fineGrained"))
    scopes = [dict_in(entry) for entry in list_in(fine.get("scoped"))]
    owner = namespace.lower()  # no two names on the Hub differ in case alone
    if owner != user.lower() and owner not in orgs:
        raise PermissionError(
            f"the token is that of {user}, who may not push to {where}; log in as one who may: hf auth login, or"
            " propose it in a pull request (--pr)"
        )
    if orgs.get(owner) == "read":
        raise PermissionError(f"{user} may only read in {where}; ask an administrator of it for the right to write")
    if role == "read":
        raise PermissionError(f"the token of {user} can only read; make one that can write to {where}")
    granted = any(
        "repo.write" in list_in(scope.get("permissions"))
        and text_in(dict_in(scope.get("entity")).get("name")).split("/")[0].lower() == owner
        for scope in scopes
    )
    if role == "fineGrained" and not granted and "repo.write" not in list_in(fine.get("global")):
        raise PermissionError(f"the token of {user} has no right to write to repositories of {where}; give it that")
