"""Paths of the condensed datasets in a Hub repository.

The dataset "default" is an artifact in the root, every other one an artifact in a folder of its name:

    README.md                                 the card of all datasets
    condensed.json, condensed.safetensors, data/train-*.parquet, grid.png
    ipc10/condensed.json, ipc10/condensed.safetensors, ipc10/data/train-*.parquet, ipc10/grid.png

`datasets` calls each of them a config. README.md lists the configs for it; this package reads the folders only.
"""

from __future__ import annotations

import re
from typing import Any

from condensed_data.core.errors import short_repr
from condensed_data.storage import file_names

DEFAULT = "default"
GRID = "grid.png"
FILES = (file_names.MANIFEST, file_names.TENSORS, file_names.PREVIEW, GRID)  # of each dataset

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?")
_RESERVED = re.compile(r"(?i)data|(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")  # our folder, and devices of Windows


def check_config(name: Any) -> str:
    """Return a valid config name unchanged.

    Raises:
        ValueError: unless the name works as a folder on every system.
    """
    if not is_config(name):
        raise ValueError(
            f"config_name={short_repr(name)} is not a valid config name. Use up to 96 letters, digits, dots, dashes "
            "and underscores, without a dot at either end, and not 'data' or a Windows device name."
        )
    return str(name)


def is_config(name: Any) -> bool:
    """Whether a folder of this name may contain a condensed dataset."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and not _RESERVED.fullmatch(name)


def repo_path(config: str, name: str) -> str:
    """Path in the repository of file `name` of a dataset."""
    return name if config == DEFAULT else f"{config}/{name}"


def data_files(config: str) -> list[dict[str, str]]:
    """The files that `datasets` reads for a config."""
    return [{"split": "train", "path": repo_path(config, "data/train-*.parquet")}]
