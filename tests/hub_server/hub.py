"""The Hub as a test holds it; see the package's docstring for what each method does."""

import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from hub_server import contents, repositories
from hub_server.messages import Answer, Call, Refusal, Request, User
from hub_server.server import Fault, FaultKind, Server
from hub_server.store import Repository
from hub_server.world import PREFIXES, Routes, World, kind_of

_ROUTES: tuple[Routes, ...] = (repositories.routes, contents.routes)


class Hub:
    def __init__(self, xet: bool = True, page_size: int = 1000) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self._folder = tempfile.TemporaryDirectory(prefix="hub-")
        self.folder = Path(self._folder.name).resolve()
        self._world = World(self.folder / "xet" if xet else None, page_size)
        self._lock = threading.RLock()
        self._errors: list[Exception] = []
        self._port = 0
        self._server: Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        self._folder.cleanup()
        if self._errors and kind is None:
            raise ExceptionGroup("in the Hub", self._errors)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = Server(self._port, self._serve, self.requests, self.faults, self._errors)
        self._port = self._server.server_address[1]

    def stop(self) -> None:
        server, self._server = self._server, None
        if server:
            server.close()

    def _serve(self, request: Request, target: str, body: bytes) -> Answer:
        with self._lock:
            user = self._world.user(request.headers.get("authorization"))
            call = Call(request, target, body, user, self.url)
            for routes in _ROUTES:
                if handle := routes.find(call):
                    return handle(self._world, call)
        raise Refusal(404, f"This Hub has nothing at {request}")

    def add_user(self, name: str, token: str, write: bool = True, orgs: Iterable[str] = ()) -> None:
        with self._lock:
            self._world.users[token] = User(name, write, frozenset(orgs))

    def create(
        self,
        repo: str,
        files: Mapping[str, bytes] | None = None,
        private: bool = False,
        gated: str | bool = False,
    ) -> str:
        with self._lock:
            prefix, name = _parts(repo)
            repository = self._world.create(kind_of(prefix), name, name.split("/")[0], private)
            repository.gated = gated
            return self.commit(repo, files) if files else self.head(repo)

    def change(
        self,
        repo: str,
        private: bool | None = None,
        gated: str | bool | None = None,
        allowed: Iterable[str] | None = None,
    ) -> None:
        with self._lock:
            repository = self._repository(repo)
            repository.private = repository.private if private is None else private
            repository.gated = repository.gated if gated is None else gated
            repository.allowed = repository.allowed if allowed is None else frozenset(allowed)

    def delete(self, repo: str) -> None:
        with self._lock:
            prefix, name = _parts(repo)
            del self._world.repositories[kind_of(prefix), name]

    def commit(
        self,
        repo: str,
        files: Mapping[str, bytes | None],
        revision: str = "main",
        message: str = "Upload files",
        author: str = "",
    ) -> str:
        with self._lock:
            repository = self._repository(repo)
            store = self._world.contents
            changes = {path: None if data is None else store.file(path, data) for path, data in files.items()}
            author = author or repository.namespace
            return self._world.commit(repository, revision, changes, message, author=author).oid

    def tag(self, repo: str, tag: str, revision: str = "main") -> None:
        with self._lock:
            self._repository(repo).tags[tag] = self.head(repo, revision)

    def branch(self, repo: str, branch: str, revision: str = "main") -> None:
        with self._lock:
            self._repository(repo).branches[branch] = self.head(repo, revision)

    def head(self, repo: str, revision: str = "main") -> str:
        with self._lock:
            return self._repository(repo).commit_of(revision).oid

    def history(self, repo: str, revision: str = "main") -> list[str]:
        with self._lock:
            return [commit.oid for commit in self._repository(repo).log(revision)]

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        with self._lock:
            tree = self._repository(repo).commit_of(revision).tree
            return {path: self._world.contents.get(file.sha256) for path, file in tree.items()}

    def file(self, repo: str, path: str, revision: str = "main") -> bytes:
        with self._lock:
            return self._world.contents.get(self._repository(repo).commit_of(revision).tree[path].sha256)

    def exists(self, repo: str) -> bool:
        with self._lock:
            prefix, name = _parts(repo)
            return (kind_of(prefix), name) in self._world.repositories

    def is_private(self, repo: str) -> bool:
        with self._lock:
            return self._repository(repo).private

    def refs(self, repo: str) -> dict[str, str]:
        with self._lock:
            repository = self._repository(repo)
            return repository.branches | {f"refs/tags/{tag}": oid for tag, oid in repository.tags.items()}

    def asked(self, pattern: str = "*", method: str = "*") -> list[Request]:
        return [
            each for each in list(self.requests) if fnmatchcase(each.path, pattern) and fnmatchcase(each.method, method)
        ]

    def fault(self, kind: FaultKind, pattern: str, method: str = "*", times: int | None = 1, **options: Any) -> None:
        self.faults.append(Fault(kind, pattern, method, times, **options))

    def before(self, pattern: str, function: Callable[[], object], method: str = "*", times: int | None = 1) -> None:
        self.faults.append(Fault("before", pattern, method, times, function=function))

    def environment(self, token: str | None = None, xet: bool = True, home: Path | None = None) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        return kept | {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home or self.folder / "home"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
            **({} if xet else {"HF_HUB_DISABLE_XET": "1"}),
            **({"HF_TOKEN": token} if token else {}),
        }

    def run(
        self,
        *command: str | Path,
        token: str | None = None,
        xet: bool = True,
        home: Path | None = None,
        check: bool = True,
        **extra_environment: str,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command that talks to this Hub.

        Raises:
            AssertionError: It failed although `check` was asked for; the message has what it printed.
        """
        environment = self.environment(token, xet, home) | extra_environment
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def _repository(self, repo: str) -> Repository:
        prefix, name = _parts(repo)
        return self._world.repositories[kind_of(prefix), name]


def _parts(repo: str) -> tuple[str, str]:
    """The prefix and the name: "datasets/" and "ann/digits"."""
    prefix = next((prefix for prefix in PREFIXES.values() if prefix and repo.startswith(prefix)), "")
    return prefix, repo.removeprefix(prefix)
