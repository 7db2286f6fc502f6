"""Injected faults: refused, dropped, truncated, corrupted, late or blocked responses."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(eq=False)
class Fault:
    """A fault for matching requests, `times` times after `skip` that succeed.

    Attributes:
        match: pattern searched in "METHOD /path?query".
        status: status of the response; the request is not executed.
        headers: headers of that response.
        message: message of that response.
        drop: close the connection without a response; with `after`, after executing the request.
        cut: number of bytes of the body to send before closing the connection; Content-Length has the full size.
        corrupt: change the first byte of the body.
        delay: seconds before the response.
        hold: block the response until `release` is called; `reached` is set once a request is blocked. If `cut` is
            given, these bytes are sent first.
        after: execute the request before the fault.
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
        """Unblock the blocked requests."""
        self.released.set()

    def wait(self) -> None:
        """Block the calling request."""
        self.reached.set()
        self.released.wait(60)


class Faults:
    """The faults of a server; the first match applies to a request."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults and unblock all requests."""
        with self._lock:
            for fault in self._faults:
                fault.release()
            self._faults.clear()

    def take(self, line: str) -> Fault | None:
        """The fault for the request with this line, or None."""
        with self._lock:
            for fault in self._faults:
                if not re.search(fault.match, line):
                    continue
                fault.seen += 1
                if fault.skip < fault.seen <= fault.skip + fault.times:
                    return fault
        return None
