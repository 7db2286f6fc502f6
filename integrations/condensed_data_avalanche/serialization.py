"""A memory on disk: tensors and plain values, read again without executing anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from condensed_data.core import spec as specs
from condensed_data.data.value_space import SampleKind, ValueSpace
from condensed_data.dataset import CondensedDataset
from condensed_data.methods.synthetic import Pixels
from condensed_data.storage.metadata import Metadata
from condensed_data.storage.result import CondensationResult, with_storage_size
from condensed_data.training.protocol import Training
from condensed_data_avalanche.condenser import names_of
from condensed_data_avalanche.experience import BenchmarkFormat
from condensed_data_avalanche.memory import Cell
from condensed_data_avalanche.quantized import QuantizedSamples

if TYPE_CHECKING:
    from condensed_data_avalanche.buffer import CondensedBuffer

FORMAT = 1
_PLAIN = ("max_size", "adaptive_size", "total_num_classes", "factor", "condense_on", "real_fraction")
_MORE = ("logits", "reduced_inputs", "precision", "max_bytes")


def state_of(buffer: CondensedBuffer) -> dict[str, Any]:
    """All that is needed to go on."""
    return {
        "format": FORMAT,
        "max_size": buffer.max_size,
        "factor": buffer.factor,
        "storage_dtype": str(buffer.storage_dtype).removeprefix("torch."),
        "form": None if buffer.form is None else asdict(buffer.form),
        "sample_shape": None if buffer.sample_shape is None else list(buffer.sample_shape),
        "updates": buffer.memory.updates,
        "cells": [
            {
                "label": label,
                "task": task,
                "seen": cell.seen,
                "limit": cell.limit,
                "kept": None if cell.kept is None else _packed(cell.kept),
                "staged": [_packed(part) for part in cell.staged],
            }
            for (label, task), cell in buffer.memory.cells.items()
        ],
    }


def load_state(buffer: CondensedBuffer, state: Mapping[str, Any]) -> None:
    """Put `state` in the place of what the buffer holds."""
    if state.get("format") != FORMAT:
        raise ValueError(f"This state has format {state.get('format')!r}, and {FORMAT} is known.")
    mine = {"factor": buffer.factor, "storage_dtype": str(buffer.storage_dtype).removeprefix("torch.")}
    for name, value in mine.items():
        if state[name] != value:
            raise ValueError(
                f"This state has {name}={state[name]}, the buffer {value}. Make the buffer with the former."
            )
    buffer.max_size = state["max_size"]
    buffer.form = None if state["form"] is None else BenchmarkFormat(**state["form"])
    shape = state["sample_shape"]
    buffer.sample_shape = None if shape is None else tuple(shape)
    buffer.memory.updates = state["updates"]
    buffer.memory.cells = {
        (cell["label"], cell["task"]): Cell(
            None if cell["kept"] is None else _unpacked(cell["kept"]),
            [_unpacked(part) for part in cell["staged"]],
            cell["seen"],
            cell["limit"],
        )
        for cell in state["cells"]
    }
    buffer.refresh()


def save(buffer: CondensedBuffer, path: str | Path) -> None:
    """Write the buffer to a file."""
    settings = buffer.memory.settings
    recipe = names_of(settings.recipe)
    arguments = {name: getattr(buffer, name) for name in (*_PLAIN, *_MORE)}
    arguments |= {
        "storage_dtype": str(buffer.storage_dtype).removeprefix("torch."),
        "device": None if buffer.device is None else str(buffer.device),
        "seed": settings.seed,
    }
    stored = {"arguments": arguments, "state": state_of(buffer)}
    torch.save({**stored, "recipe": None if recipe is None else json.dumps(recipe)}, path)


def load(cls: type[CondensedBuffer], path: str | Path, given: Mapping[str, Any]) -> CondensedBuffer:
    """Read a buffer from a file.

    Raises:
        ValueError: for a file that holds no buffer, or whose recipe has to be given.
    """
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not {"arguments", "state", "recipe"} <= found.keys():
        raise ValueError(f"{path} holds no CondensedBuffer: it was not written by its save.")
    if found["recipe"] is None and "recipe" not in given:
        raise ValueError(f"{path} was saved with a recipe that holds a callable: pass recipe=.")
    arguments = found["arguments"]
    arguments["storage_dtype"] = getattr(torch, arguments["storage_dtype"])
    if "recipe" not in given:
        arguments["recipe"] = specs.from_json(json.loads(found["recipe"]))
    buffer = cls(**(arguments | dict(given)))
    load_state(buffer, found["state"])
    return buffer


def to_condensed_dataset(buffer: CondensedBuffer) -> CondensedDataset:
    """All samples as a CondensedDataset whose labels are the classes.

    Raises:
        ValueError: for an empty buffer.
    """
    if not len(buffer.buffer):
        raise ValueError("The buffer is empty: update it before to_condensed_dataset().")
    parts = [(label, rows) for (label, _), cell in buffer.memory.cells.items() for rows in cell.decode()]
    images = torch.cat([rows for _, rows in parts])
    values, labels = torch.unique(
        torch.cat([torch.full((len(rows),), label) for label, rows in parts]), return_inverse=True
    )
    channels = images.double().transpose(0, 1).flatten(1)
    space = ValueSpace.of(channels.sum(1), channels.square().sum(1), channels.shape[1])
    recipe = buffer.memory.settings.recipe
    metadata = Metadata(
        name="memory",
        source_samples=sum(cell.seen for cell in buffer.memory.cells.values()),
        fingerprint=None,
        kind=SampleKind.known("tensor:float32", tuple(images.shape[1:])),
        space=space,
        classes=tuple(map(str, values.tolist())),
        class_values=tuple(values.tolist()),
        recipe=names_of(recipe),
        recipe_name=recipe.name,
        ipc=int(labels.bincount().max()),
        seed=buffer.memory.settings.seed,
        # what is enlarged on its way out has no smaller form in an artifact
        encoding=specs.to_json(Pixels()),
        training=recipe.training if isinstance(recipe.training, Training) else Training(),
    )
    return CondensedDataset._of(
        with_storage_size(CondensationResult(images, labels, metadata, recipe), images.numel())
    )


def _packed(part: QuantizedSamples) -> dict[str, Any]:
    tensors = {"codes": part.codes, "offset": part.offset, "step": part.step, "logits": part.logits}
    return {**tensors, "shape": list(part.shape), "real": part.real}


def _unpacked(state: Mapping[str, Any]) -> QuantizedSamples:
    names = ("codes", "offset", "step")
    codes, offset, step = (state[name].cpu().clone() for name in names)
    logits = None if state["logits"] is None else state["logits"].cpu().clone()
    return QuantizedSamples(codes, offset, step, tuple(state["shape"]), state["real"], logits)
