"""Decodes the samples of a stored artifact without trusting its content.

A few bytes of a hostile manifest could ask for a decoder of any width or for any number of samples, so the numbers in
an encoding, the size of the decoded samples and the rows decoded at once are bounded.

Letters: N samples.
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
from condensed_data.core.errors import OTHER_RELEASE, ArtifactError, UnsupportedFormatError, short_repr
from condensed_data.methods.base import SyntheticData, SyntheticSpec

_MAX_NUMBER = 1 << 16  # in an encoding; real widths and factors are far smaller
_ROWS = 256  # decoded at once

# raised when invalid content is interpreted
INVALID_CONTENT_ERRORS = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError)


def decode_all(synthetic_data: SyntheticData) -> Tensor:
    """All samples (N, *sample) on the CPU, in the standardized space."""
    with torch.no_grad():
        rows = torch.arange(len(synthetic_data.labels)).split(_ROWS)
        return torch.cat([synthetic_data.decode(index).cpu() for index in rows])


def decode_artifact(
    encoding: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    labels: Tensor,
    sample_shape: tuple[int, ...],
    path: Path,
    max_bytes: int,
) -> tuple[SyntheticData, Tensor]:
    """The synthetic data of an artifact, and its samples (N, *sample) in the standardized space.

    Args:
        encoding, tensors: canonical form of a `SyntheticSpec`, from the manifest, and the stored tensors by name.
        labels: (N,) class indices, already checked.
        sample_shape: of one sample.
        path: of the artifact, for error messages.
        max_bytes: largest allowed size of the decoded samples.

    Raises:
        UnsupportedFormatError: for an encoding that this version does not know.
        ArtifactError: for tensors that do not match the encoding, or too many samples.
    """
    size = 4 * len(labels) * math.prod(sample_shape)
    if size > max_bytes:
        raise ArtifactError.too_large(path, f"samples of {size} bytes", max_bytes)
    spec = _spec(encoding, path)
    with reject_inconsistent(path, "an encoding that does not match its tensors"):
        synthetic_data = spec.restore(tensors, labels, sample_shape)
        if not torch.equal(synthetic_data.labels, labels):
            raise ValueError("the decoded samples have different labels")
        samples = decode_all(synthetic_data)
        if samples.shape != (len(labels), *sample_shape) or not bool(samples.isfinite().all()):
            raise ValueError("the decoded samples have a different shape or values that are not finite")
    return synthetic_data, samples


@contextmanager
def reject_inconsistent(path: Path, found: str) -> Iterator[None]:
    """Turn errors from interpreting an artifact's content into an ArtifactError that names what was `found`."""
    try:
        yield
    except ArtifactError:
        raise
    except INVALID_CONTENT_ERRORS as error:
        reason = short_repr(" ".join(str(error).split()))
        raise ArtifactError.mismatch(
            path, f"{found} ({type(error).__name__} {reason})", "consistent content"
        ) from error


def _spec(encoding: Mapping[str, Any], path: Path) -> SyntheticSpec:
    with reject_inconsistent(path, "an invalid encoding"):
        try:
            spec = specs.from_json(dict(encoding))
        except ValueError as error:
            raise UnsupportedFormatError.mismatch(
                path, f"the encoding {short_repr(encoding.get('part'))}", f"a known one ({error})", OTHER_RELEASE
            ) from error
    if not isinstance(spec, SyntheticSpec):
        raise ArtifactError.mismatch(path, f"the encoding {type(spec).__name__}", "a SyntheticSpec")
    for name, value in specs.iter_fields(spec):
        if isinstance(value, int) and abs(value) > _MAX_NUMBER:
            raise ArtifactError.mismatch(path, f"encoding.{name} = {value}", f"at most {_MAX_NUMBER}")
    return spec
