"""State dicts and files of a memory: tensors and plain values, loaded without executing code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from condensed_data.core import spec as specs
from condensed_data.methods.recipe import Recipe
from condensed_data_avalanche.memory import Memory, Settings
from condensed_data_avalanche.storage import Cell, QuantizedSamples

FORMAT = 1
Plain = dict[str, Any]


def memory_state(memory: Memory) -> Plain:
    """The state of a memory, for `load_memory_state`."""
    cells = [
        {
            "label": label,
            "task": task,
            "seen": cell.seen,
            "limit": cell.limit,
            "kept": None if cell.kept is None else _pack(cell.kept),
            "staged": [_pack(part) for part in cell.staged],
        }
        for (label, task), cell in memory.cells.items()
    ]
    return {"format": FORMAT, **_storage(memory.settings), "updates": memory.updates, "cells": cells}


def load_memory_state(memory: Memory, state: Mapping[str, Any]) -> None:
    """Replace the content of a memory.

    Raises:
        ValueError: for another format, or a state whose samples are stored differently.
    """
    if state.get("format") != FORMAT:
        raise ValueError(f"Cannot load a state of format {state.get('format')!r}: only format {FORMAT} is supported.")
    for name, value in _storage(memory.settings).items():
        if state[name] != value:
            raise ValueError(
                f"The state has {name}={state[name]}, but this buffer has {name}={value}. Create the buffer with "
                f"{name}={state[name]}."
            )
    memory.updates = state["updates"]
    memory.cells = {
        (cell["label"], cell["task"]): Cell(
            None if cell["kept"] is None else _unpack(cell["kept"]),
            [_unpack(part) for part in cell["staged"]],
            cell["seen"],
            cell["limit"],
        )
        for cell in state["cells"]
    }


def save(path: str | Path, arguments: Plain, settings: Settings, state: Plain) -> None:
    """Write a buffer to a file: its plain arguments, the settings of its memory, and its state.

    A recipe that holds an unnamed callable is left out.
    """
    recipe = recipe_json(settings.recipe)
    arguments = {**arguments, **_storage(settings), "seed": settings.seed}
    stored = None if recipe is None else json.dumps(recipe)
    torch.save({"arguments": arguments, "state": state, "recipe": stored}, path)


def load(path: str | Path, overrides: Mapping[str, Any]) -> tuple[Plain, Plain]:
    """Read the arguments and the state of a buffer from a file; `overrides` replace stored arguments.

    Raises:
        ValueError: if the file holds no buffer, or its recipe was not stored and is not in `overrides`.
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or not {"arguments", "state", "recipe"} <= content.keys():
        raise ValueError(f"{path} holds no CondensedBuffer. Load a file that CondensedBuffer.save wrote.")
    if content["recipe"] is None and "recipe" not in overrides:
        raise ValueError(f"{path} was saved without its recipe, which holds an unnamed callable. Pass recipe=.")
    arguments = content["arguments"]
    arguments["storage_dtype"] = getattr(torch, arguments["storage_dtype"])
    if "recipe" not in overrides:
        arguments["recipe"] = specs.from_json(json.loads(content["recipe"]))
    return arguments | dict(overrides), content["state"]


def recipe_json(recipe: Recipe) -> Plain | None:
    """A recipe as JSON, or None if it holds an unnamed callable."""
    try:
        return recipe.to_json()
    except specs.UnnamedCallableError:
        return None


def _storage(settings: Settings) -> Plain:
    return {"factor": settings.factor, "storage_dtype": str(settings.dtype).removeprefix("torch.")}


def _pack(part: QuantizedSamples) -> Plain:
    return {**vars(part), "shape": list(part.shape)}


def _unpack(state: Mapping[str, Any]) -> QuantizedSamples:
    codes, offset, step = (state[name].cpu().clone() for name in ("codes", "offset", "step"))
    logits = None if state["logits"] is None else state["logits"].cpu().clone()
    return QuantizedSamples(codes, offset, step, tuple(state["shape"]), state["real"], logits)
