"""Brings the processes of a build to one state before the first iteration."""

from __future__ import annotations

from dataclasses import dataclass

from condensed_data.engine.loop import CondensationRun


@dataclass(frozen=True)
class BuildStarted:
    """Message of rank 0 to the others: it condenses now, instead of having found the result.

    Attributes:
        fingerprint: of the source's content, under which networks trained on it are kept.
    """

    fingerprint: str | None


def broadcast_state(run: CondensationRun) -> None:
    """Bring every rank to the state of rank 0, where rank 0 has resumed a checkpoint."""
    ranks = run.context.ranks
    if not ranks.is_distributed:
        return
    state = ranks.broadcast(run.state_dict() if ranks.is_main and run.iteration else None)
    if state is not None and not ranks.is_main:
        run.load_state_dict(state)
