"""The HTTP servers: the Hub and, as another origin, its content delivery network."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

# each registers its routes
from hub_server import file_routes, repo_routes, upload_routes, xet  # noqa: F401
from hub_server.faults import Fault, Faults
from hub_server.handler import Handler
from hub_server.history import Commit, Repository
from hub_server.hub import Hub


class Origin(ThreadingHTTPServer):
    """One address whose connections can be closed."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, owner: HubServer, port: int, *, is_network: bool) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.owner, self.is_network = owner, is_network
        # another host as well: huggingface_hub 1.x takes addresses for one origin whatever their port
        self.url = f"http://{'localhost' if is_network else '127.0.0.1'}:{self.server_port}"
        self._connections: set[socket.socket] = set()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnected; report anything else."""
        import sys

        if not isinstance(sys.exc_info()[1], ConnectionError):
            self.owner.broken.append(str(sys.exc_info()[1]))
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Stop listening and close all connections."""
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class HubServer:
    """A Hub on the loopback, from construction to `close`.

    Attributes:
        url: what HF_ENDPOINT is set to.
        hub: what it holds; tests may change it at any time.
        requests: lines "METHOD /path?query status", in the order in which they were answered.
        leaks: paths of the network that were asked for with a token.
        broken: errors of the server itself; tests want none.
    """

    def __init__(self, port: int = 0) -> None:
        self.faults = Faults()
        self.requests: list[str] = []
        self.leaks: list[str] = []
        self.broken: list[str] = []
        self._network = Origin(self, 0, is_network=True)
        self._front = Origin(self, port, is_network=False)
        self.url, self.hub = self._front.url, Hub(self._network.url)

    def __enter__(self) -> HubServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.faults.clear()
        self._front.stop()
        self._network.stop()

    def forget(self) -> None:
        """Reset at the same address: no repositories, faults or recorded requests."""
        self.faults.clear()
        for noted in (self.requests, self.leaks, self.broken):
            noted.clear()
        self.hub = Hub(self._network.url)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """While inside, nothing listens at the Hub's address."""
        self._front.stop()
        try:
            yield
        finally:
            self._front = Origin(self, int(self.url.rpartition(":")[2]), is_network=False)

    @staticmethod
    def token(user: str, role: str = "write") -> str:
        return f"hf_{user}" if role == "write" else f"hf_{user}_read"

    def add_repo(
        self, name: str, files: Mapping[str, bytes] | None = None, *, kind: str = "dataset", **settings: Any
    ) -> Repository:
        """Add a repository with these files, in a second commit if any; see `Repository` for settings."""
        repository = Repository(kind, name, name.partition("/")[0], **settings)
        self.hub.repositories[kind, name] = repository
        if files:
            self.commit(repository, files)
        return repository

    def commit(self, repository: Repository, files: Mapping[str, bytes | None], ref: str = "main") -> Commit:
        """Change files (None deletes) as another user would."""
        with repository.lock:
            parent = repository.find(ref)
            tree = {path: file for path, file in parent.tree.items() if files.get(path, b"") is not None}
            tree |= {path: self.hub.store(path, content) for path, content in files.items() if content is not None}
            full = repository.ref_of(ref)
            assert full is not None
            return repository.add_commit(full, tree, "by hand", author=repository.owner, parent=parent)

    def content(self, repository: Repository, revision: str = "main") -> dict[str, bytes]:
        """All files of a revision except .gitattributes."""
        tree = repository.find(revision).tree
        return {path: self.hub.content(file) for path, file in tree.items() if path != ".gitattributes"}

    def keep_in_xet(self, folder: Path) -> None:
        """Keep large files in a Xet store in this folder from now on."""
        self.hub.xet = folder

    def fault(self, match: str, **what: Any) -> Fault:
        """Inject a fault into matching requests; see `Fault`."""
        return self.faults.add(Fault(match, **what))

    def note(self, line: str, status: int) -> None:
        self.requests.append(f"{line} {status}")

    def asked(self, pattern: str) -> list[str]:
        """The answered requests that match."""
        return [line for line in self.requests if re.search(pattern, line)]
