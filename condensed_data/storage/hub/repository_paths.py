"""Checks file names from the Hub before they become paths on this machine, and puts the shards of a split in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import PurePosixPath

from condensed_data.core.errors import ArtifactError, short_repr, shortened_list

MAX_PART = 255  # bytes of a file name, on all usual systems
_SHARD = re.compile(r"(?<!\d)(\d{1,12})-of-(\d{1,12})(?!\d)")


def check(repo_id: str, paths: Iterable[str]) -> None:
    """Raise ArtifactError for a path that leaves its folder or that not every system can store."""
    for path in paths:
        parts = path.split("/")
        valid = all(part not in ("", ".", "..") and len(part.encode("utf-8", "replace")) <= MAX_PART for part in parts)
        if not valid or re.search(r"[\x00-\x1f\x7f\\\ud800-\udfff]", path):
            raise ArtifactError(
                f"{repo_id} contains a file with the name {short_repr(path)}, which cannot be stored here. Ask its "
                "owner to rename the file."
            )


def in_order(repo_id: str, paths: Sequence[str]) -> list[str]:
    """The paths by their numbers: "x-2-of-12" before "x-10-of-12".

    Raises:
        ArtifactError: if a shard "k-of-n" is missing, or files belong to several splits into shards.
    """
    found = [match for path in paths if (match := _SHARD.search(PurePosixPath(path).name))]
    totals = sorted({int(match[2]) for match in found})
    numbers = sorted(int(match[1]) for match in found)
    if len(totals) > 1 or (found and len(found) < len(paths)):
        raise ArtifactError(
            f"{repo_id} contains shards of several numbers of files, which may repeat samples: "
            f"{shortened_list(sorted(paths), 5)}. Ask its owner to remove the files that do not belong together."
        )
    if found:
        first = 1 if numbers[0] == 1 and numbers[-1] == totals[0] else 0
        expected = range(first, first + totals[0])
        have = set(numbers)
        if len(numbers) != len(expected) or numbers[0] != first or len(have) < len(numbers):
            missing = islice((str(number) for number in expected if number not in have), 5)
            raise ArtifactError(
                f"{repo_id} contains {len(numbers)} of {totals[0]} shards of its train split (missing: "
                f"{', '.join(missing)}). Ask its owner for all of them."
            )
    return sorted(paths, key=_by_numbers)


def _by_numbers(path: str) -> list[tuple[int, str]]:
    """Sort key that compares digits as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path)]
