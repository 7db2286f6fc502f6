"""Where the sets of a repository lie.

The set "default" is an artifact in the root, every other one an artifact in a folder of its name:

    README.md                                 the card of all of them
    condensed.json, condensed.safetensors, data/train-*.parquet, grid.png
    ipc10/condensed.json, ipc10/condensed.safetensors, ipc10/data/train-*.parquet, ipc10/grid.png

`datasets` calls such a set a config. README.md lists them for it; we read folders, never that list.
"""

from __future__ import annotations

import re
from typing import Any

from condensed_data.core.errors import shown
from condensed_data.storage import atomic_directory as files

DEFAULT = "default"
GRID = "grid.png"
FILES = (files.MANIFEST, files.TENSORS, files.PREVIEW, GRID)  # of a set

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?")
_RESERVED = re.compile(
    r"(?i)data|(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?"
)  # ours, and those of Windows


def check_config(name: Any) -> str:
    """The name of a config.

    Raises:
        ValueError: unless it can be a folder everywhere.
    """
    if not is_config(name):
        raise ValueError(
            f"config_name={shown(name)} cannot name a set: use up to 96 letters, digits, dots, dashes and "
            "underscores, no dot at either end, and not 'data' or a device of Windows."
        )
    return str(name)


def is_config(name: Any) -> bool:
    """Whether a folder of this name may hold a set."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and not _RESERVED.fullmatch(name)


def place(config: str, name: str) -> str:
    """The path of a file of a set in its repository."""
    return name if config == DEFAULT else f"{config}/{name}"


def data_files(config: str) -> list[dict[str, str]]:
    """What `datasets` reads of a set."""
    return [{"split": "train", "path": place(config, "data/train-*.parquet")}]
