"""Dataset condensation for PyTorch: shrink a training set and train on it with an unchanged script.

    from condensed_data import CondensedDataset
    train_set = CondensedDataset(train_set, "dm", ipc=10)

Public names are imported on first use, so that `import condensed_data` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from condensed_data.core.errors import (
        ArtifactError,
        IntegrityError,
        NotACondensedDatasetError,
        SaveError,
        UnsupportedFormatError,
    )
    from condensed_data.core.hub_errors import (
        ConcurrentPushError,
        HubAccessError,
        HubError,
        HubNotFoundError,
        HubRateLimitError,
        HubUnavailableError,
    )
    from condensed_data.core.spec import NamedCallable
    from condensed_data.data.sample import SourceError
    from condensed_data.dataset import CondensedDataset
    from condensed_data.engine.callbacks import (
        Callback,
        CSVLogger,
        History,
        JSONLLogger,
        Progress,
        ProgressBar,
        TensorBoardLogger,
    )
    from condensed_data.engine.divergence import DivergedError
    from condensed_data.engine.functional import condense_tensors
    from condensed_data.methods import recipes
    from condensed_data.methods.recipe import Optimizer, Recipe, Term
    from condensed_data.training.evaluation_result import Evaluation
    from condensed_data.training.protocol import Training

    __version__: str

__all__ = [
    "ArtifactError",
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
    "NamedCallable",
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
    "condense_tensors",
    "recipes",
]

_HOMES = {
    "engine.callbacks": (
        "CSVLogger",
        "Callback",
        "History",
        "JSONLLogger",
        "Progress",
        "ProgressBar",
        "TensorBoardLogger",
    ),
    "engine.functional": ("condense_tensors",),
    "engine.divergence": ("DivergedError",),
    "core.hub_errors": (
        "ConcurrentPushError",
        "HubAccessError",
        "HubError",
        "HubNotFoundError",
        "HubRateLimitError",
        "HubUnavailableError",
    ),
    "methods.recipe": ("Optimizer", "Recipe", "Term"),
    "dataset": ("CondensedDataset",),
    "training.evaluation_result": ("Evaluation",),
    "training.protocol": ("Training",),
    "data.sample": ("SourceError",),
    "core.spec": ("NamedCallable",),
    "core.errors": (
        "ArtifactError",
        "IntegrityError",
        "NotACondensedDatasetError",
        "SaveError",
        "UnsupportedFormatError",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name == "__version__":
        from condensed_data.core.version import installed_version

        value: Any = installed_version()
    elif name == "recipes":
        value = import_module("condensed_data.methods.recipes")
    elif name in _HOME:
        value = getattr(import_module(f"condensed_data.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'condensed_data' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
