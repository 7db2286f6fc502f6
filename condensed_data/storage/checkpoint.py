"""Checkpoints of a run: one safetensors file, written atomically and without pickle.

The state of a run is a tree of dictionaries, lists, plain values and tensors. The tensors go into the file, and the
tree into its only metadata key as JSON, together with the identity of the run: a checkpoint of another recipe, source
or version is refused. A checksum over both tells whether a bit was flipped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from condensed_data.core.atomic import write_atomically
from condensed_data.core.tensor_hash import content_hash

FORMAT = 1
_KEY = "condensed_data_checkpoint"
_DIGITS = 64  # of the checksum


class CheckpointError(ValueError):
    """A checkpoint cannot be resumed; the message says why and what to do."""


def write(path: Path, state: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Replace the checkpoint at `path` by `state` atomically; `read` must be given the same identity.

    Raises:
        OSError: if it cannot be written; the previous checkpoint is then unchanged.
        TypeError: for a value that is neither plain nor a tensor.
    """
    tensors: dict[str, Tensor] = {}
    header = json.dumps({"format": FORMAT, "identity": dict(identity), "state": _flatten(state, tensors)})
    write_atomically(path, save(tensors, {_KEY: _checksum(header, tensors) + header}))


def read(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The state that `write` stored for the run with this identity.

    Raises:
        CheckpointError: if the file is corrupt, of another format, or of another run.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {})[_KEY]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"The checkpoint {path} cannot be read ({error}).") from error
    checksum, header_text = text[:_DIGITS], text[_DIGITS:]
    if checksum != _checksum(header_text, tensors):
        raise CheckpointError(f"The checkpoint {path} cannot be read (its checksum does not match).")
    header = json.loads(header_text)
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"The checkpoint {path} has format {header.get('format')!r}, but this release reads {FORMAT}. The release "
            "of condensed-data that wrote it can continue it."
        )
    for name, value in identity.items():
        found = header["identity"].get(name)
        if found != value:
            raise CheckpointError(
                f"The checkpoint {path} belongs to another run: its {name} is {found!r}, but this run's is {value!r}."
            )
    state: dict[str, Any] = _restore(header["state"], tensors)
    return state


def _checksum(header: str, tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(f"{content_hash(tensors)}\n{header}".encode(errors="surrogatepass")).hexdigest()


def _flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = f"t{len(tensors):06d}"
        tensors[name] = value.detach().cpu().contiguous().clone()  # safetensors refuses tensors that share memory
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[key, _flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list" if isinstance(value, list) else "tuple": [_flatten(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"Cannot store {value!r} of type {type(value).__name__} in a checkpoint. Use plain values and tensors."
    )


def _restore(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return torch.as_tensor(tensors[content])
    if kind == "items":
        return {key: _restore(item, tensors) for key, item in content}
    items = [_restore(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)
