"""How the work of an iteration is divided among processes.

The division does not depend on the number of processes, so neither do the bits of the result:

* terms whose loss is a sum over groups are computed in fixed blocks of consecutive groups, one work unit each; the
  gradient of such a unit lies in the rows of its groups;
* terms that need all groups at once (CAFE's discrimination, a whole training run of DD or MTT) are one unit each.

If the optimizer steps group by group (IDC, IDM, DANCE), the steps of one process do not read the rows of another within
an iteration, so each process takes its own steps and rows are synchronized after the iteration.

Letters: U work units, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_BLOCKS = 64  # of several processes, used if recipe.num_blocks is None


@dataclass(frozen=True)
class WorkUnit:
    """The part of an optimizer step that one process computes.

    Attributes:
        groups: groups whose samples it compares.
        terms: numbers of the recipe's terms.
        by_group: whether its gradient lies in the rows of its groups (and in what all groups share).
    """

    groups: tuple[int, ...]
    terms: tuple[int, ...]
    by_group: bool

    @property
    def cost(self) -> int:
        """Relative time that it takes."""
        return len(self.groups) * len(self.terms)


def step_contents(step_per: str, num_groups: int, num_terms: int) -> list[tuple[list[int], tuple[int, ...]]]:
    """The groups and the terms of every optimizer step of an iteration; see `Recipe.step_per`."""
    groups, terms = list(range(num_groups)), tuple(range(num_terms))
    if step_per == "iteration":
        return [(groups, terms)]
    together = [terms] if step_per == "class" else [(term,) for term in terms]
    return [([group], some) for some in together for group in groups]


def partition(
    groups: Sequence[int], num_blocks: int, separable: Sequence[int], coupled: Sequence[int]
) -> list[WorkUnit]:
    """The units of a step over `groups`: `separable` terms block by block, each `coupled` term as a whole."""
    units = [WorkUnit(tuple(block), tuple(separable), True) for block in chunks(groups, num_blocks) if separable]
    return units + [WorkUnit(tuple(groups), (term,), False) for term in coupled]


def chunks(groups: Sequence[int], count: int) -> list[Sequence[int]]:
    """`groups` in at most `count` parts of nearly equal length."""
    length = -(-len(groups) // count)
    return [groups[start : start + length] for start in range(0, len(groups), length)]


def assign_owners(units: Sequence[WorkUnit], world_size: int, main_terms: Sequence[int] = ()) -> list[int]:
    """The rank that computes each unit: the costliest unit first, each to the rank with the least work.

    Args:
        units: of one step.
        world_size: number of processes.
        main_terms: numbers of terms whose loss has trainable state, which lives on rank 0.
    """
    loads, owners = [0] * world_size, [0] * len(units)
    on_main = [bool(set(unit.terms) & set(main_terms)) for unit in units]
    for index in sorted(range(len(units)), key=lambda i: (not on_main[i], -units[i].cost, i)):
        owners[index] = 0 if on_main[index] else loads.index(min(loads))
        loads[owners[index]] += units[index].cost
    return owners


class WorkPlan:
    """The work units of every optimizer step of an iteration, and the ranks that compute them.

    Args:
        steps: the units of each step.
        independent: whether the steps are one unit each and touch only the rows of their own groups, so that ranks
            can take them at the same time.
        main_terms: see `assign_owners`.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        steps: Sequence[Sequence[WorkUnit]],
        *,
        independent: bool,
        main_terms: Sequence[int],
        rank: int,
        world_size: int,
    ) -> None:
        self.rank, self.independent = rank, independent and world_size > 1
        together = [list({unit.groups: unit for (unit,) in steps}.values())] if independent else steps
        owned = [list(zip(units, assign_owners(units, world_size, main_terms), strict=True)) for units in together]
        if independent:  # all steps of a group belong to one rank
            owners = {unit.groups: owner for unit, owner in owned[0]}
            owned = [[(unit, owners[unit.groups])] for (unit,) in steps]
        self.steps = owned

    @property
    def largest_block(self) -> tuple[int, ...]:
        """The most groups that are computed at once."""
        return max((unit.groups for unit, _ in self.steps[0]), key=len)

    @property
    def own_units(self) -> list[WorkUnit]:
        """The units that this process computes."""
        return [unit for step in self.steps for unit, owner in step if owner == self.rank]

    @property
    def own_groups(self) -> list[int]:
        """The groups of this process's units, ascending."""
        return sorted({group for unit in self.own_units for group in unit.groups})

    def forward_order(self, num_chunks: int) -> list[tuple[int, ...]]:
        """The groups of every forward pass of this process in an iteration, in order."""
        found = [tuple(part) for unit in self.own_units for part in chunks(unit.groups, num_chunks)]
        return list(dict.fromkeys(found))
