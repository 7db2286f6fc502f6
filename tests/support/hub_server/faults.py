"""What goes wrong on purpose: refused, dropped, cut, corrupted, late or held answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(eq=False)
class Fault:
    """Something that happens to requests that match, `times` times after `skip` that are let through.

    Attributes:
        match: a pattern that is searched in "METHOD /path?query".
        status: is answered, and nothing is done.
        headers: of that answer.
        message: of that answer.
        drop: the connection is closed without an answer; with `after`, when all was done.
        cut: so many bytes of the body are sent, then the connection is closed; Content-Length tells the whole.
        corrupt: the first byte of the body is another one.
        delay: seconds before the answer.
        hold: the answer waits until `release` is called; `reached` says that a request waits. Where `cut` is given,
            these bytes are sent first.
        after: what is asked for is done before any of this happens.
    """

    match: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "a fault of the test"
    drop: bool = False
    cut: int | None = None
    corrupt: bool = False
    delay: float = 0.0
    hold: bool = False
    after: bool = False
    times: int = 1
    skip: int = 0
    seen: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Let the requests go on that are held."""
        self.released.set()

    def wait(self) -> None:
        """Hold the request that calls this."""
        self.reached.set()
        self.released.wait(60)


class Faults:
    """The faults of a server; the first that matches a request happens to it."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all, and let go what is held."""
        with self._lock:
            for fault in self._faults:
                fault.release()
            self._faults.clear()

    def take(self, line: str) -> Fault | None:
        """The fault that happens to the request with this line."""
        with self._lock:
            for fault in self._faults:
                if not re.search(fault.match, line):
                    continue
                fault.seen += 1
                if fault.skip < fault.seen <= fault.skip + fault.times:
                    return fault
        return None
