"""Dataset condensation for PyTorch: make a training set small and train on it with an unchanged script.

    from condensed_data import CondensedDataset
    train_set = CondensedDataset(train_set, "dm", ipc=10)

Names are imported when they are first used, so that `import condensed_data` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from condensed_data import recipes
    from condensed_data.callbacks import (
        Callback,
        CSVLogger,
        History,
        JSONLLogger,
        Progress,
        ProgressBar,
        TensorBoardLogger,
    )
    from condensed_data.condense import DivergedError
    from condensed_data.dataset import CondensedDataset
    from condensed_data.evaluation.evaluate import Evaluation, Training
    from condensed_data.hub.errors import (
        ConcurrentPushError,
        HubAccessError,
        HubError,
        HubNotFoundError,
        HubRateLimitError,
        HubUnavailableError,
    )
    from condensed_data.recipe import Optimizer, Recipe, Term
    from condensed_data.sources.sample import SourceError
    from condensed_data.spec import Named
    from condensed_data.storage.errors import (
        ArtefactError,
        IntegrityError,
        NotACondensedDatasetError,
        SaveError,
        UnsupportedFormatError,
    )

    __version__: str

__all__ = [
    "ArtefactError",
    "CSVLogger",
    "Callback",
    "ConcurrentPushError",
    "CondensedDataset",
    "DivergedError",
    "Evaluation",
    "History",
    "HubAccessError",
    "HubError",
    "HubNotFoundError",
    "HubRateLimitError",
    "HubUnavailableError",
    "IntegrityError",
    "JSONLLogger",
    "Named",
    "NotACondensedDatasetError",
    "Optimizer",
    "Progress",
    "ProgressBar",
    "Recipe",
    "SaveError",
    "SourceError",
    "TensorBoardLogger",
    "Term",
    "Training",
    "UnsupportedFormatError",
    "__version__",
    "recipes",
]

_HOMES = {
    "callbacks": (
        "CSVLogger",
        "Callback",
        "History",
        "JSONLLogger",
        "Progress",
        "ProgressBar",
        "TensorBoardLogger",
    ),
    "condense": ("DivergedError",),
    "hub.errors": (
        "ConcurrentPushError",
        "HubAccessError",
        "HubError",
        "HubNotFoundError",
        "HubRateLimitError",
        "HubUnavailableError",
    ),
    "recipe": ("Optimizer", "Recipe", "Term"),
    "dataset": ("CondensedDataset",),
    "evaluation.evaluate": ("Evaluation", "Training"),
    "sources.sample": ("SourceError",),
    "spec": ("Named",),
    "storage.errors": (
        "ArtefactError",
        "IntegrityError",
        "NotACondensedDatasetError",
        "SaveError",
        "UnsupportedFormatError",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name == "__version__":
        value: Any = _version()
    elif name == "recipes":
        value = import_module("condensed_data.recipes")
    elif name in _HOME:
        value = getattr(import_module(f"condensed_data.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'condensed_data' has no attribute {name!r}")
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("condensed-data")
    except PackageNotFoundError:  # imported from a checkout that was never installed
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
