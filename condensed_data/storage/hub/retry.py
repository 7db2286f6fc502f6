"""Trying again what failed for a moment: the client does so for some requests, and not for others."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from condensed_data.core.hub_errors import HubRateLimitError, HubUnavailableError, translate_hub_errors

ATTEMPTS = 3
T = TypeVar("T")


def with_retries(
    action: Callable[[], T], repo_id: str, revision: str | None = None, *, folder: str | Path = ""
) -> T:
    """What `action` gives, in one of three attempts; the other arguments, and errors, are those of `translate_hub_errors`."""
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
    """Whether the Hub failed, or was not reached, such that another attempt may succeed."""
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
    """Longer from time to time, and not the same for those who go on together."""
    time.sleep(random.SystemRandom().uniform(0, min(8.0, 0.1 * 2**attempt)))
