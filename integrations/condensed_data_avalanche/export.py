"""Turns a memory into a CondensedDataset."""

from __future__ import annotations

import torch

from condensed_data.core import spec as specs
from condensed_data.data.value_space import SampleKind, ValueSpace
from condensed_data.dataset import CondensedDataset
from condensed_data.methods.synthetic import Pixels
from condensed_data.storage.metadata import Metadata
from condensed_data.storage.result import CondensationResult, with_storage_size
from condensed_data.training.protocol import Training
from condensed_data_avalanche.memory import Memory
from condensed_data_avalanche.serialization import recipe_json


def to_condensed_dataset(memory: Memory) -> CondensedDataset:
    """All samples of a memory as a CondensedDataset whose labels are the classes.

    Raises:
        ValueError: for an empty memory.
    """
    parts = [(label, rows) for (label, _), cell in memory.cells.items() for rows in cell.decode()]
    if not sum(len(rows) for _, rows in parts):
        raise ValueError("The buffer is empty. Call update or update_from_dataset before to_condensed_dataset().")
    images = torch.cat([rows for _, rows in parts])
    values, labels = torch.unique(
        torch.cat([torch.full((len(rows),), label) for label, rows in parts]), return_inverse=True
    )
    channels = images.double().transpose(0, 1).flatten(1)
    recipe, seed = memory.settings.recipe, memory.settings.seed
    metadata = Metadata(
        name="memory",
        source_samples=sum(cell.seen for cell in memory.cells.values()),
        fingerprint=None,
        kind=SampleKind.from_name("tensor:float32", tuple(images.shape[1:])),
        space=ValueSpace.from_sums(channels.sum(1), channels.square().sum(1), channels.shape[1]),
        classes=tuple(map(str, values.tolist())),
        class_values=tuple(values.tolist()),
        recipe=recipe_json(recipe),
        recipe_name=recipe.name,
        ipc=int(labels.bincount().max()),
        seed=seed,
        # images are enlarged already: the artifact has no smaller form of them
        encoding=specs.to_json(Pixels()),
        training=recipe.training if isinstance(recipe.training, Training) else Training(),
    )
    result = CondensationResult(images, labels, metadata, recipe)
    return CondensedDataset.from_result(with_storage_size(result, images.numel()))
