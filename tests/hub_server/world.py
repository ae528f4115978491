"""Everything that is on the Hub, and who may do what with it."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

from hub_server.messages import Answer, Call, Refusal, User
from hub_server.store import GITATTRIBUTES, Commit, Contents, File, Kind, Repository
from hub_server.xet import XetStore

PREFIXES: dict[Kind, str] = {"model": "", "dataset": "datasets/", "space": "spaces/"}

Handler = Callable[..., Answer]
_GROUPS = {
    "kind": f"(?P<kind>{'|'.join(get_args(Kind))})",
    "prefix": "(?P<prefix>(?:datasets/|spaces/)?)",
    "id": "(?P<id>[^/]+/[^/]+)",
    "revision": "(?P<revision>[^/]+)",
    "path": "(?P<path>.+)",
    "name": "(?P<name>[^/]+)",
}


class Routes:
    """Functions by method and path; a path is matched as it came, since a quoted slash parts no names."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []

    def route(self, methods: str, *templates: str) -> Callable[[Handler], Handler]:
        """Registers a function of world, call and the names in braces, which it is given unquoted."""

        def register(handler: Handler) -> Handler:
            for template in templates:
                pattern = re.compile(
                    re.sub(r"\{(\w+)\}", lambda match: _GROUPS[match[1]], template.replace(".", r"\."))
                )
                self._routes += [(method, pattern, handler) for method in methods.split()]
            return handler

        return register

    def find(self, call: Call) -> Handler | None:
        """A function of world and call, if there is one for this method and path."""
        path = call.target.split("?")[0]
        for method, pattern, handler in self._routes:
            if method == call.request.method and (match := pattern.fullmatch(path)):
                return partial(handler, **{name: unquote(value) for name, value in match.groupdict().items()})
        return None


def kind_of(prefix: str) -> Kind:
    return next(kind for kind, known in PREFIXES.items() if known == prefix)


class World:
    def __init__(self, xet: Path | None, page_size: int) -> None:
        self.users: dict[str, User] = {}
        self.repositories: dict[tuple[Kind, str], Repository] = {}
        self.moved: dict[tuple[Kind, str], str] = {}
        self.xet = XetStore(xet) if xet else None
        self.contents = Contents(self.xet)
        self.page_size = page_size

    def user(self, authorization: str | None) -> User | None:
        if authorization is None:
            return None
        token = authorization.removeprefix("Bearer ")
        if token not in self.users:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.users[token]

    def create(self, kind: Kind, name: str, author: str, private: bool = False) -> Repository:
        repository = Repository(kind, name, private)
        tree = {".gitattributes": self.contents.small_file(GITATTRIBUTES)}
        repository.commit("main", tree, "initial commit", "", author)
        self.moved.pop((kind, name), None)
        self.repositories[kind, name] = repository
        return repository

    def sees(self, user: User | None, repository: Repository) -> bool:
        return not repository.private or (user is not None and user.owns(repository.namespace))

    def visible(self, call: Call, kind: str) -> Iterable[Repository]:
        return [each for each in self.repositories.values() if each.kind == kind and self.sees(call.user, each)]

    def repository(self, call: Call, kind: Kind, name: str) -> Repository:
        """A repository of which the caller may know.

        Raises:
            Refusal: There is none, it is private, or it was moved.
        """
        if (kind, name) in self.moved:
            target = call.target.replace(name, self.moved[kind, name], 1)
            raise Refusal(307, "This repository was moved", headers={"Location": target})
        repository = self.repositories.get((kind, name))
        if repository is None or not self.sees(call.user, repository):
            # The Hub gives strangers no code with the 401, which clients understand under https:// only.
            raise Refusal(404 if call.user else 401, "Repository not found", "RepoNotFound")
        return repository

    def readable(self, call: Call, kind: Kind, name: str) -> Repository:
        """A repository whose files the caller may read."""
        repository = self.repository(call, kind, name)
        user = call.user
        if repository.gated and not (user and (user.owns(repository.namespace) or user.name in repository.allowed)):
            message = f"Access to {kind} {name} is restricted: ask for access at {call.url}/{PREFIXES[kind]}{name}"
            raise Refusal(403 if user else 401, message, "GatedRepo")
        return repository

    def writable(self, call: Call, kind: Kind, name: str, pull_request: bool = False) -> Repository:
        """A repository that the caller may change, or in which they may at least open a pull request."""
        repository = self.repository(call, kind, name)
        if call.user is None:
            raise Refusal(401, "Invalid username or password.")
        if not call.user.write:
            raise Refusal(403, "Forbidden: you must use a write token to upload to a repository.")
        if not (pull_request or call.user.owns(repository.namespace)):
            message = "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request"
            raise Refusal(403, message)
        return repository

    def owner(self, call: Call, kind: str, namespace: str | None) -> str:
        """The namespace in which the caller may create a repository; None stands for their own."""
        if call.user is None:
            raise Refusal(401, "Invalid username or password.")
        namespace = namespace or call.user.name
        if not (call.user.write and call.user.owns(namespace)):
            raise Refusal(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')
        return namespace

    def commit(
        self,
        repository: Repository,
        branch: str,
        changes: dict[str, File | None],
        title: str,
        description: str = "",
        author: str = "",
        base: str | None = None,
    ) -> Commit:
        """A commit on top of a branch (a new one begins at `base`); None deletes a path."""
        tree = {**repository.commit_of(base or branch).tree, **changes}
        whole = {path: file for path, file in tree.items() if file is not None}
        return repository.commit(branch, whole, title, description, author, base)
