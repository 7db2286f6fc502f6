"""A request, a response, an error, and the table of routes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

if TYPE_CHECKING:
    from hub_server.hub import Hub


@dataclass(frozen=True)
class Request:
    """A request of a client.

    Attributes:
        path: still quoted, without query.
        user: owner of the token, None without a token.
        groups: named parts of the path, unquoted; None for a part that is missing.
    """

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    user: str | None
    may_write: bool
    base: str  # of the requested origin, "http://127.0.0.1:8000"
    groups: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        return json.loads(self.body)

    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode())

    def flag(self, name: str) -> bool:
        """Whether the query has this name with a true value."""
        return self.query.get(name, [""])[0].lower() in ("1", "true")


@dataclass(frozen=True)
class Response:
    """A response; for HEAD, the body is counted but not sent."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class HubError(Exception):
    """An error response in the Hub's form."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers

    def response(self) -> Response:
        headers = {"X-Error-Message": self.message, **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        return answer({"error": self.message}, status=self.status, **headers)


def answer(content: Any, *, status: int = 200, **headers: str) -> Response:
    """A JSON response; underscores in header names become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, json.dumps(content).encode(), {"Content-Type": "application/json", **named})


Route = Callable[["Hub", Request], Response]
_ROUTES: list[tuple[str, re.Pattern[str], Route]] = []
_PARTS = {
    "{kind}": r"(?P<kind>model|dataset|space)s",
    "{prefix}": r"(?:(?P<kind>dataset|space)s/)?",
    "{repo}": r"(?P<repo>[^/]+/[^/]+)",
    "{rev}": r"(?P<rev>[^/]+)",
    "{path}": r"(?P<path>.+)",
    "{oid}": r"(?P<oid>[0-9a-f]{64})",
}


def route(methods: str, pattern: str) -> Callable[[Route], Route]:
    """Register a function for requests with one of these methods and such a path."""
    for name, part in _PARTS.items():
        pattern = pattern.replace(name, part)

    def register(function: Route) -> Route:
        _ROUTES.extend((method, re.compile(pattern), function) for method in methods.split())
        return function

    return register


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The function for a request, and the parts of its path."""
    for wanted, pattern, function in _ROUTES:
        if method == wanted and (match := pattern.fullmatch(path)):
            return function, {name: unquote(text) for name, text in match.groupdict().items() if text is not None}
    return None
