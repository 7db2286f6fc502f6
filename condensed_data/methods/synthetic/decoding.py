"""From the tensors of an artifact to its samples, trusting nothing in it.

A few bytes of a hostile manifest could ask for a decoder of any width, or for any number of samples; so the numbers
in an encoding, the samples that come out and the rows that are decoded at once are bounded. Letters: N samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condensed_data.core import spec as specs
from condensed_data.core.errors import ArtifactError, UnsupportedFormatError, mismatch_message, shown
from condensed_data.methods.base import SyntheticData, SyntheticSpec

_MOST = 1 << 16  # of a number in an encoding; widths and factors are far smaller
_ROWS = 256  # decoded at once

# what content that makes no sense ends in
WRONG = (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, ArithmeticError)


def decoded(synthetic_data: SyntheticData) -> Tensor:
    """All samples on the CPU, in the standardized space."""
    with torch.no_grad():
        rows = torch.arange(len(synthetic_data.labels)).split(_ROWS)
        return torch.cat([synthetic_data.decode(index).cpu() for index in rows])


def decode(
    encoding: Mapping[str, Any],
    parts: Mapping[str, Tensor],
    labels: Tensor,
    sample_shape: tuple[int, ...],
    where: Path,
    max_bytes: int,
) -> tuple[SyntheticData, Tensor]:
    """The synthesis that an artifact holds, and its samples in the standardized space.

    Args:
        encoding: canonical form of a `SyntheticSpec`, from the manifest.
        parts: what it decodes.
        labels: (N,), checked.
        sample_shape: of one sample.
        where: the artifact, for messages.
        max_bytes: refuse more than this for the samples.

    Raises:
        UnsupportedFormatError: for a part that this version does not know.
        ArtifactError: for tensors that do not fit the encoding, or too many samples.
    """
    size = 4 * len(labels) * math.prod(sample_shape)
    if size > max_bytes:
        remedy = "If you trust the source, raise max_bytes."
        raise ArtifactError(
            mismatch_message(where, f"samples of {size} bytes", f"at most {max_bytes}", remedy)
        )
    spec = _spec(encoding, where)
    with fitting(where, "an encoding that does not fit its tensors"):
        synthetic_data = spec.restore(parts, labels, sample_shape)
        if not torch.equal(synthetic_data.labels, labels):
            raise ValueError("its samples have other labels")
        samples = decoded(synthetic_data)
        if samples.shape != (len(labels), *sample_shape) or not bool(samples.isfinite().all()):
            raise ValueError("its samples have another shape, or values that are not finite")
    return synthetic_data, samples


@contextmanager
def fitting(where: Path, found: str) -> Iterator[None]:
    """Fields and tensors of an artifact that make no sense together are told as such."""
    try:
        yield
    except ArtifactError:
        raise
    except WRONG as error:
        reason = shown(" ".join(str(error).split()))
        raise ArtifactError(
            mismatch_message(where, f"{found} ({type(error).__name__} {reason})", "ones that fit")
        ) from error


def _spec(encoding: Mapping[str, Any], where: Path) -> SyntheticSpec:
    with fitting(where, "an encoding that is none"):
        try:
            spec = specs.from_json(dict(encoding))
        except ValueError as error:
            remedy = "Upgrade condensed-data (pip install --upgrade condensed-data)."
            raise UnsupportedFormatError(
                mismatch_message(
                    where, f"the encoding {shown(encoding.get('part'))}", f"another ({error})", remedy
                )
            ) from error
    if not isinstance(spec, SyntheticSpec):
        raise ArtifactError(
            mismatch_message(where, f"the encoding {type(spec).__name__}", "a part that makes samples")
        )
    for path, value in specs.iter_fields(spec):
        if isinstance(value, int) and abs(value) > _MOST:
            raise ArtifactError(mismatch_message(where, f"encoding.{path} = {value}", f"at most {_MOST}"))
    return spec
