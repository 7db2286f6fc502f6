"""Retries after transient failures of the Hub; the client itself retries only some requests."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from condensed_data.core.hub_errors import HubRateLimitError, HubUnavailableError, translate_hub_errors

ATTEMPTS = 3
T = TypeVar("T")


def with_retries(action: Callable[[], T], repo_id: str, revision: str | None = None, *, folder: str | Path = "") -> T:
    """Return the result of `action`, trying up to three times; see `translate_hub_errors`."""
    attempt = 0
    while True:
        attempt += 1
        try:
            with translate_hub_errors(repo_id, revision, folder=folder):
                return action()
        except HubRateLimitError:
            raise
        except HubUnavailableError as error:
            if attempt == ATTEMPTS or not is_transient(error):
                raise
        pause(attempt)


def is_transient(error: BaseException | None) -> bool:
    """Whether an error or one of its causes is a failure after which another attempt may succeed."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # httpx2 from version 2 on

    while error is not None:
        if isinstance(error, OfflineModeIsEnabled):
            return False
        if isinstance(error, httpx.TransportError):
            return True
        if isinstance(error, HfHubHTTPError):
            return bool(error.response.status_code >= 500)
        error = error.__cause__
    return False


def pause(attempt: int) -> None:
    """Sleep before the next attempt: exponential backoff with jitter, at most 8 seconds."""
    time.sleep(random.SystemRandom().uniform(0, min(8.0, 0.1 * 2**attempt)))
