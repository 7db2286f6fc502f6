"""How the naive loops decode learned tensors into samples: part of `naive.py`.

    Values              samples stored as they are
    Unit                values in [0, 1], scaled to the source's range  Kim et al., ICML 2022
    Cells               stored samples are grids of smaller ones        Kim et al., ICML 2022; Zhao G. et al., CVPR 2023
    Decoded             codes and decoders                              Liu S. et al., NeurIPS 2022; Lee et al., 2022
    CosineCoefficients  few coefficients of a cosine transform          Shin et al., NeurIPS 2023
    SamplesWithSteps    any of these, with learned step sizes           Wang et al., 2018; Cazenavette et al., 2022

Letters: B rows, n codes, M decoders, P parameters of one, C channels, H, W, k kept frequencies, T steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.spec import require_resolved
from condensed_data.data.real import RealData
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.base import SyntheticSpec
from condensed_data.methods.synthetic import (
    Factorized,
    Frequency,
    Hallucinator,
    LatentDecoder,
    MultiFormation,
    Pixels,
    WithSteps,
)
from condensed_data.methods.synthetic.pixels import value_range
from condensed_data.methods.synthetic.step_sizes import NAME


class Samples(ABC):
    """Learned tensors, and the samples decoded from them.

    Attributes:
        learned: tensors by name, as in the run.
        step_sizes: (T,) or (1,), or None if none are learned.
    """

    learned: dict[str, Tensor]

    @property
    def step_sizes(self) -> Tensor | None:
        return None

    @abstractmethod
    def rows(self, index: Tensor) -> Tensor:
        """Samples (len(index), *sample) on the device of the learned tensors; `index` is on the CPU."""

    def clamp(self) -> None:
        """Clamp learned tensors to their range."""


def samples_of(run: CondensationRun) -> Samples:
    """A copy of the initial samples of a run.

    Raises:
        ValueError: for samples that have no naive loop.
    """
    if run.recipe.soft_labels:
        raise ValueError("There is no naive loop for learned labels. Use soft_labels=False.")
    return _of(run.recipe.synthetic, run.synthetic_data, run.context.real)


def _of(part: SyntheticSpec, synthetic_data: Any, real: RealData) -> Samples:
    if isinstance(part, WithSteps):
        return SamplesWithSteps(part, _of(part.inner, synthetic_data.inner, real), _copy(synthetic_data.raw))
    if isinstance(part, MultiFormation):
        if require_resolved(part.factor) == 1:
            return _of(part.inner, synthetic_data, real)
        return Cells(_of(part.inner, synthetic_data.inner, real), require_resolved(part.factor), real)
    if isinstance(part, Pixels):
        images = _copy(synthetic_data.learned["images"])
        return Unit(images, real) if part.clamp else Values(images)
    if isinstance(part, Factorized):
        return Decoded(part, synthetic_data, real.sample_shape)
    if isinstance(part, Frequency):
        return CosineCoefficients(synthetic_data, real.sample_shape)
    raise ValueError(f"There is no naive loop for samples of {type(part).__name__}.")


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()


class Values(Samples):
    """Samples that are stored as they are."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.learned = images, {"images": images}

    def rows(self, index: Tensor) -> Tensor:
        return self.images[index]


class Unit(Samples):
    """Values in [0, 1], scaled to the range of the real samples in every channel."""

    def __init__(self, units: Tensor, real: RealData) -> None:
        self.units, self.learned = units, {"images": units}
        self.low, self.high = (
            bound.view(1, -1, *[1] * (len(real.sample_shape) - 1)).to(units.device) for bound in value_range(real)
        )

    def rows(self, index: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * self.units[index]

    def clamp(self) -> None:
        self.units.data.clamp_(0, 1)


class Cells(Samples):
    """The upsampled cells of grids; grids are padded with the center of the value range."""

    def __init__(self, inner: Samples, factor: int, real: RealData) -> None:
        _check_images("cells", real.sample_shape)
        self.inner, self.factor, self.learned = inner, factor, inner.learned
        self.sides = real.sample_shape[1:]
        self.cell = [-(-side // factor) for side in self.sides]
        self.pad = None
        if any(side % factor for side in self.sides):
            low, high = value_range(real)
            self.pad = ((low + high) / 2).view(1, -1, 1, 1)

    def rows(self, index: Tensor) -> Tensor:
        count = self.factor**2
        stored, position = (index // count).unique(return_inverse=True)
        decoded = torch.stack(self._cells(self._whole(self.inner.rows(stored))), 1).flatten(0, 1)
        return decoded[position * count + index % count]

    def _cells(self, grids: Tensor) -> list[Tensor]:
        height, width = self.cell
        found = []
        for i in range(self.factor):
            for j in range(self.factor):
                cell = grids[:, :, i * height : (i + 1) * height, j * width : (j + 1) * width]
                found.append(F.interpolate(cell, tuple(self.sides), mode="bilinear", align_corners=False))
        return found

    def _whole(self, grids: Tensor) -> Tensor:
        if self.pad is None:
            return grids
        height, width = (side * self.factor for side in self.cell)
        whole = self.pad.to(grids.device).expand(len(grids), -1, height, width).clone()
        whole[:, :, : self.sides[0], : self.sides[1]] = grids
        return whole

    def clamp(self) -> None:
        self.inner.clamp()


class Decoded(Samples):
    """Sample i * M + m is the output of decoder m for code i."""

    def __init__(self, part: Factorized, synthetic_data: Any, sample_shape: tuple[int, ...]) -> None:
        _check_images("decoders", sample_shape)
        if not isinstance(part.decoder, Hallucinator | LatentDecoder):
            raise ValueError(f"There is no naive loop for {type(part.decoder).__name__}.")
        self.hallucinates = isinstance(part.decoder, Hallucinator)
        self.codes, self.decoders = _copy(synthetic_data.codes), _copy(synthetic_data.decoders)
        self.learned = {"codes": self.codes, "decoders": self.decoders}
        self.shapes: dict[str, torch.Size] = synthetic_data.shapes
        self.sides = sample_shape[1:]

    def rows(self, index: Tensor) -> Tensor:
        which = index % len(self.decoders)
        decoded, places = [], []
        for number in range(len(self.decoders)):
            place = (which == number).nonzero()[:, 0]
            if len(place):
                decoded.append(self._decode(self.codes[index[place] // len(self.decoders)], number))
                places.append(place)
        return torch.cat(decoded)[torch.cat(places).argsort()]

    def _decode(self, codes: Tensor, number: int) -> Tensor:
        sizes = [shape.numel() for shape in self.shapes.values()]
        pieces = zip(self.shapes.items(), self.decoders[number].split(sizes), strict=True)
        weights = {name: piece.view(shape) for (name, shape), piece in pieces}
        return self._hallucinator(codes, weights) if self.hallucinates else self._latent_decoder(codes, weights)

    def _hallucinator(self, bases: Tensor, w: dict[str, Tensor]) -> Tensor:
        """Liu S. et al., section 3.2: encoder, scale and shift, decoder."""
        encoded = F.conv2d(bases, w["conv.weight"], w["conv.bias"])
        return F.conv_transpose2d(
            encoded * w["scale"] + w["shift"], w["conv_transpose.weight"], w["conv_transpose.bias"]
        )

    def _latent_decoder(self, codes: Tensor, w: dict[str, Tensor]) -> Tensor:
        hidden = F.conv_transpose2d(codes, w["first.weight"], w["first.bias"], stride=2, padding=1).relu()
        decoded = F.conv_transpose2d(hidden, w["second.weight"], w["second.bias"], stride=2, padding=1)
        return decoded[:, :, : self.sides[0], : self.sides[1]]


class CosineCoefficients(Samples):
    """Coefficients at their frequencies, transformed back along both sides."""

    def __init__(self, synthetic_data: Any, sample_shape: tuple[int, ...]) -> None:
        _check_images("frequencies", sample_shape)
        self.coefficients = _copy(synthetic_data.coefficients)
        self.learned = {"coefficients": self.coefficients}
        self.places: Tensor = synthetic_data.positions  # (K, C, k)
        self.labels: Tensor = synthetic_data.labels
        self.shape = sample_shape
        self.height, self.width = (_waves(side).to(self.coefficients.device) for side in sample_shape[1:])

    def rows(self, index: Tensor) -> Tensor:
        coefficients = self.coefficients[index]
        places = self.places[self.labels[index]].to(coefficients.device)
        planes = coefficients.new_zeros(len(index), *self.shape).flatten(2).scatter(2, places, coefficients)
        return self.height.T @ planes.view(-1, *self.shape) @ self.width


def _waves(side: int) -> Tensor:
    """(side, side): row f is wave f of the orthonormal DCT-II, sqrt(2 / side) cos(pi f (x + 1/2) / side)."""
    rows = []
    for f in range(side):
        wave = torch.cos(torch.pi * f * (torch.arange(side, dtype=torch.float64) + 0.5) / side)
        rows.append(wave * ((2 if f else 1) / side) ** 0.5)
    return torch.stack(rows).float()


class SamplesWithSteps(Samples):
    """Other samples with step sizes, which are a learned tensor or its softplus."""

    def __init__(self, part: WithSteps, inner: Samples, raw: Tensor) -> None:
        self.part, self.inner, self.raw = part, inner, raw
        self.learned = inner.learned | {NAME: raw}

    @property
    def step_sizes(self) -> Tensor:
        return self.raw if self.part.form == "plain" else F.softplus(self.raw)

    def rows(self, index: Tensor) -> Tensor:
        return self.inner.rows(index)

    def clamp(self) -> None:
        self.inner.clamp()
        if self.part.form == "plain":
            self.raw.data.clamp_(min=self.part.smallest)


def _check_images(what: str, sample_shape: tuple[int, ...]) -> None:
    if len(sample_shape) != 3:
        raise ValueError(f"The naive loop for {what} takes images (C, H, W), not samples of {sample_shape}.")
