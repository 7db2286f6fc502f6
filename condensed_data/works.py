"""Who computes what of every sweep, where a run is shared by processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from condensed_data.shares import Share, Work, cut, helped, owners
from condensed_data.teams import PIECES, Team

if TYPE_CHECKING:
    from condensed_data.run import Run


class Works:
    """The shares of all steps of a run and the processes that compute them, found once.

    Args:
        run: whose shares do not change any more.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.ranks, self.met = run, run.context.ranks, False
        steps = [run.shares(groups) for groups in run.steps()]
        if run.steps_apart:  # all at the same time, each of one share
            self.steps = [[work] for work in self._assigned([share for (share,) in steps])]
        else:
            self.steps = [self._assigned(shares) for shares in steps]

    @property
    def own_steps(self) -> bool:
        """Whether every process steps for its own groups, and rows meet afterwards."""
        return self.run.steps_apart and self.ranks.divides

    @property
    def owned(self) -> list[int]:
        """The groups whose samples this process steps, where each process has its own."""
        return sorted({group for work in self._all() if self.owns(work) for group in work.share.groups})

    def forwards(self) -> list[tuple[int, ...]]:
        """The groups of every forward that this process makes in a sweep, in order."""
        mine = [work.share for work in self._all() if self.computes(work)]
        found = [tuple(piece) for share in mine for piece in cut(share.groups, self.run.pieces)]
        return list(dict.fromkeys(found))

    def owns(self, work: Work) -> bool:
        """Whether this process takes the gradient."""
        return work.owner == self.ranks.rank

    def computes(self, work: Work) -> bool:
        """Whether it owns the share, or helps its owner."""
        return self.ranks.rank in work.members

    def team(self, work: Work) -> Team:
        """The processes that compute a share, as this one sees them."""
        place = work.members.index(self.ranks.rank) if self.computes(work) else 0
        return Team(work.members, place, not self.owns(work), work.pieces, self.run.context.device)

    def meet(self) -> None:
        """Before the first step: all processes make all teams, each of which cuts its shares into as many pieces."""
        if self.met:
            return
        self.met = True
        teams = {work.members: work for work in self._all() if len(work.members) > 1}
        for work in teams.values():
            team = self.team(work)
            team.meet(self.ranks)
            if self.computes(work):
                self.run.pieces = max(team.say(self.run.pieces))

    def _all(self) -> list[Work]:
        return [work for works in self.steps for work in works]

    def _assigned(self, shares: Sequence[Share]) -> list[Work]:
        """Who computes these shares at the same time."""
        owned = owners(shares, self.ranks.count, self.run.learning)
        pieces = max(1, PIECES // len(shares)) if self.run.blocks else 1
        idle = self.ranks.several and len(set(owned)) < self.ranks.count
        looked = [self._looked(share, pieces) if idle or pieces > 1 else () for share in shares]
        costs = [len(share.groups) * len(some) for share, some in zip(shares, looked, strict=True)]
        members = helped(owned, costs, self.ranks.count) if idle else [(owner,) for owner in owned]
        return [Work(*work, pieces) for work in zip(shares, owned, members, looked, strict=True)]

    def _looked(self, share: Share, pieces: int) -> tuple[int, ...]:
        """The terms of a share that look at its real samples in several pieces."""
        run, found = self.run, []
        for number in share.terms:
            term = run.recipe.terms[number]
            most = run.lenders[term.pool].lend(run.sweep).micro_batch
            drawn = run.drawers[term.sampler].draw(run.sweep, share.groups)
            rows = term.objective.looked(drawn.real_sizes)
            if most is not None and Team(pieces=pieces).rows(rows, most) < rows:
                found.append(number)
        return tuple(found)
