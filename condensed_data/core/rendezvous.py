"""How the ranks of torch's default process group wait for each other, and learn why one has failed."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

TIMEOUT = timedelta(days=7)  # reading a large source, or training networks on it, takes one rank hours
START_TIMEOUT = timedelta(seconds=600)  # within which all ranks must begin the same build
PATIENCE = 5.0  # seconds after which a waiting rank says so


class LostRankError(ConnectionError):
    """Another process of the build exited, or did not join in time."""


def short(error: BaseException) -> str:
    """The message of an error on one line, at most 200 characters."""
    return " ".join(str(error).split())[:200]


@contextmanager
def translate_dist_errors() -> Iterator[None]:
    """Turn the errors of torch.distributed about a lost rank into a `LostRankError` with a remedy."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostRankError(
            f"{_failure_of_another() or 'Another process of this build exited'}, so this one stops too. Start the same "
            "command again, with any number of processes, to continue from the last checkpoint. "
            f"({short(error)})"
        ) from error


# Weak: a group that outlives destroy_process_group ends with the interpreter, which aborts on gloo's threads.
_CONTROL: weakref.WeakKeyDictionary[Any, Callable[[], Any]] = weakref.WeakKeyDictionary()


def control_group() -> Any:
    """The gloo group of all ranks with a long timeout; made once for the default process group, by all ranks."""
    world = dist.group.WORLD
    _store().delete_key(f"condensed_data/failure/{dist.get_rank()}")  # of an earlier build
    if world not in _CONTROL:
        _wait_in_store()
        _CONTROL[world] = weakref.ref(dist.new_group(backend="gloo", timeout=TIMEOUT))
    return _CONTROL[world]()


def _wait_in_store() -> None:
    """Wait until all ranks are here, without the user's group: another rank may be in a collective of the user's."""
    store, own, began = _store(), f"condensed_data/joined/{dist.get_rank()}", time.monotonic()
    store.set(own, "yes")
    with reported_wait():
        while not store.check([f"condensed_data/joined/{rank}" for rank in range(dist.get_world_size())]):
            seconds = time.monotonic() - began
            # a failure of an earlier build is withdrawn when its rank joins this one
            if seconds > START_TIMEOUT.total_seconds() or (seconds > PATIENCE and _failure_of_another()):
                store.delete_key(own)  # so that a later build, which all ranks join, waits anew
                raise RuntimeError("no sign of life")
            time.sleep(0.02)


@contextmanager
def reported_wait() -> Iterator[None]:
    """Say after a few seconds that the other ranks are awaited; raise LostRankError if they do not come."""
    remedy = "Condense on every rank, or pass distributed=False to condense in this process alone."
    text = f"Rank {dist.get_rank()} waits for the other ranks of the process group to begin this build. {remedy}"
    notice = threading.Timer(PATIENCE, print, (text,), {"file": sys.stderr, "flush": True})
    notice.daemon = True
    notice.start()
    try:
        yield
    except RuntimeError as error:
        reason = _failure_of_another()
        lost = f"Other ranks have exited, or did not begin this build within {START_TIMEOUT.seconds} s. {remedy}"
        raise LostRankError(lost if reason is None else f"{reason}, so this process stops too.") from error
    finally:
        notice.cancel()


def _store() -> Any:
    """Where ranks leave messages for each other: the store of the default process group."""
    return dist.distributed_c10d._get_default_store()


@contextmanager
def failure_shared(shared: bool = True) -> Iterator[None]:
    """Leave the reason of an error to the other ranks, if they share this build: they might wait for this one."""
    try:
        yield
    except BaseException as error:
        if shared and not isinstance(error, LostRankError) and dist.is_available() and dist.is_initialized():
            with suppress(RuntimeError):
                reason = short(error) or type(error).__name__
                _store().set(f"condensed_data/failure/{dist.get_rank()}", f"Rank {dist.get_rank()} stopped: {reason}")
        raise


def _failure_of_another() -> str | None:
    """What another rank left in `failure_shared`."""
    with suppress(RuntimeError):
        keys = [f"condensed_data/failure/{rank}" for rank in range(dist.get_world_size()) if rank != dist.get_rank()]
        return next((str(_store().get(key).decode()).rstrip(".") for key in keys if _store().check([key])), None)
    return None
