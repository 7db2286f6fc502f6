"""Who computes what of every iteration, where a run is shared by processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condensed_data.engine.distributed.gradient_exchange import WorkUnit, assign_owners, chunks

if TYPE_CHECKING:
    from condensed_data.engine.run import CondensationRun

Owned = tuple[WorkUnit, int]  # a share and the rank that computes it


class WorkPlan:
    """The shares of all steps of a run and the processes that compute them, found once.

    Args:
        run: whose shares do not change any more.
    """

    def __init__(self, run: CondensationRun) -> None:
        self.run, self.ranks = run, run.context.ranks
        steps = [run.shares(groups) for groups in run.steps()]
        apart = [[share for (share,) in steps]] if run.steps_apart else steps
        assigned = [
            list(zip(shares, assign_owners(shares, self.ranks.count, run.learning), strict=True))
            for shares in apart
        ]
        self.steps: list[list[Owned]] = [[work] for work in assigned[0]] if run.steps_apart else assigned

    @property
    def own_steps(self) -> bool:
        """Whether every process steps for its own groups, and rows meet afterwards."""
        return self.run.steps_apart and self.ranks.is_partitioned

    @property
    def mine(self) -> list[WorkUnit]:
        """The shares that this process computes."""
        return [share for work_plan in self.steps for share, owner in work_plan if owner == self.ranks.rank]

    @property
    def owned(self) -> list[int]:
        """The groups whose samples this process steps, where each process has its own."""
        return sorted({group for share in self.mine for group in share.groups})

    def forwards(self) -> list[tuple[int, ...]]:
        """The groups of every forward that this process makes in an iteration, in order."""
        found = [tuple(piece) for share in self.mine for piece in chunks(share.groups, self.run.pieces)]
        return list(dict.fromkeys(found))
