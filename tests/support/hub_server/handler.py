"""One connection: reads a request, applies a fault, responds."""

from __future__ import annotations

import contextlib
import socket
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from hub_server import exchange
from hub_server.exchange import HubError, Request, Response
from hub_server.faults import Fault

if TYPE_CHECKING:
    from hub_server.server import Origin


class Handler(BaseHTTPRequestHandler):
    """Serves the routes of one origin."""

    server: Origin
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        line = f"{self.command} {self.path}"
        fault = self.server.owner.faults.take(line)
        if fault is None:
            self._send(self._answer(line, self._body()))
        else:
            self._fail(fault, line)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def _fail(self, fault: Fault, line: str) -> None:
        if fault.drop and not fault.after:
            self._hang_up()
            return
        body, waits = self._body(), fault.hold and fault.cut is None
        if waits and not fault.after:
            fault.wait()
        done = fault.after or fault.status is None
        response = self._answer(line, body) if done else Response()
        if waits and fault.after:
            fault.wait()
        time.sleep(fault.delay)
        if fault.drop:
            self._hang_up()
            return
        if fault.status is not None:
            response = HubError(fault.status, fault.message, **fault.headers).response()
            self.server.owner.note(line, fault.status)
        self._send(_corrupted(response) if fault.corrupt else response, fault)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size)
            if len(body) < size:  # the client died: ignore a partial request
                raise ConnectionError
            return body
        parts = []
        while size := int(self._line().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self._line()
        self._line()
        return b"".join(parts)

    def _line(self) -> bytes:
        line = self.rfile.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError
        return line

    def _answer(self, line: str, body: bytes) -> Response:
        try:
            response = self._routed(body)
        except HubError as error:
            response = error.response()
        self.server.owner.note(line, response.status)
        return response

    def _routed(self, body: bytes) -> Response:
        hub, parts = self.server.owner.hub, urlsplit(self.path)
        authorization = self.headers.get("Authorization")
        if self.server.is_network:
            self.server.owner.leaks += [self.path] if authorization else []
            authorization = None
        found = exchange.find(self.command, parts.path)
        if found is None or parts.path.startswith(("/objects/", "/uploads/")) != self.server.is_network:
            raise HubError(404, f"Sorry, we can't find the page {parts.path}")
        function, groups = found
        user, may_write = hub.user_of(authorization)
        query = parse_qs(parts.query, keep_blank_values=True)
        base = self.server.url
        request = Request(self.command, parts.path, query, self.headers, body, user, may_write, base, groups)
        return function(hub, request)

    def _send(self, response: Response, fault: Fault | None = None) -> None:
        self.send_response(response.status)
        self.send_header("X-Request-Id", "Root=1-test")
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is None or fault.cut is None:
            self.wfile.write(response.body)
            return
        self.wfile.write(response.body[: fault.cut])
        if fault.hold:
            fault.wait()
        self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client was faster
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *text: object) -> None:
        """Log nothing; the server records requests itself."""


def _corrupted(response: Response) -> Response:
    first = bytes([response.body[0] ^ 0xFF]) if response.body else b""
    return Response(response.status, first + response.body[1:], response.headers)
