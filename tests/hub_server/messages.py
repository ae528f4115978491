"""What goes over the wire: a request as it came, an answer, and a refusal as the Hub words it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request as a test sees it: `path` unquoted and without the query, header names in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class User:
    """Whom a token stands for, and what it may."""

    name: str
    write: bool
    orgs: frozenset[str]

    def owns(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs


@dataclass(frozen=True)
class Call:
    """A request as the routes see it; `target` is the quoted path with the query, `user` None for a stranger."""

    request: Request
    target: str
    body: bytes
    user: User | None
    url: str  # of the Hub

    def json(self) -> Any:
        return json.loads(self.body) if self.body else {}

    def value(self, key: str) -> str | None:
        """The last value of a query parameter."""
        return self.request.query.get(key, [None])[-1]

    def flag(self, key: str) -> bool:
        return self.value(key) in ("1", "true", "True")


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    body = json.dumps(value, default=str).encode()
    return Answer(status, body, {"Content-Type": "application/json; charset=utf-8", **(headers or {})})


class Refusal(Exception):
    """An error that is answered.

    `code` is the X-Error-Code by which the client chooses its exception.
    """

    def __init__(self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}

    def answer(self) -> Answer:
        headers = {"X-Error-Message": self.message, **({"X-Error-Code": self.code} if self.code else {})}
        return answer_json({"error": self.message}, self.status, {**headers, **self.headers})
