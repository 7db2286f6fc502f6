"""Raw bytes of tensors and a hash of their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "U8": torch.uint8}
CODES = {dtype: code for code, dtype in DTYPES.items()}


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """Hash tensors by content: the SHA-256 of name, dtype, shape and bytes, in order of the names.

    For each tensor, the hash covers `[dtype, name, shape]` as JSON without spaces (`["F32","images",[9,1,8,8]]`), a
    newline, and the little-endian bytes.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        header = [CODES.get(tensor.dtype, str(tensor.dtype)), name, list(tensor.shape)]
        digest.update(json.dumps(header, separators=(",", ":")).encode() + b"\n")
        digest.update(raw_bytes(tensor))
    return digest.hexdigest()


def raw_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor. A contiguous tensor on the CPU is not copied: writing to the view changes it."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
