"""Several samples stored as one: a grid of smaller samples, which are upsampled when they are decoded.

IDC's multi-formation (Kim et al., ICML 2022, https://arxiv.org/abs/2205.14959, section 4), which equals IDM's partition
and expansion (Zhao G. et al., CVPR 2023, https://arxiv.org/abs/2307.09742, section 3.2).

Letters: N stored samples, f factor, C channels, H, W, L.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.annotations import Count
from condensed_data.core.device import to_device
from condensed_data.core.spec import DataDefault, DatasetInfo, require_resolved
from condensed_data.core.validation import check_choice, check_count
from condensed_data.methods.base import SyntheticData, SyntheticSpec
from condensed_data.methods.coresets import Init
from condensed_data.methods.synthetic.pixels import Pixels, value_range
from condensed_data.methods.synthetic.wrapper import WrappedData
from condensed_data.training.context import Context


@dataclass(frozen=True)
class DownsampledGrids(Init):
    """Grids of downsampled samples: f x f per stored image, f per stored signal.

    The samples of `inner` are averaged over areas (the authors' code picks single pixels). If f, `factor`, does not
    divide a side, the last cells are cropped.
    """

    inner: Init
    factor: int

    def samples(self, context: Context, sizes: Sequence[int]) -> Tensor:
        shape = context.real.sample_shape
        check_cells(self.factor, shape)
        cells = self.factor ** (len(shape) - 1)
        rows = self.inner.samples(context, [size * cells for size in sizes])
        small = F.interpolate(rows, size=cell_sides(self.factor, shape), mode="area")
        grids = _tile(small.unflatten(0, (-1, cells)), self.factor)
        return _crop(grids, shape[1:])


@dataclass(frozen=True)
class MultiFormation(SyntheticSpec):
    """Every stored sample is cut into a grid of f x f (signals: f) cells, each upsampled linearly to full size.

    A cell has sides of ceil(H / f). If f does not divide a side, the stored sample is padded at its end with the middle
    of the source's value range, as in the authors' code. The budget is that of the stored samples.

    Args:
        inner: the stored samples.
        factor: f, at least 1; IDC and IDM use 2, IDC uses 3 for images of 224 pixels. 1 leaves stored samples whole.
        init: "mix" starts with grids of downsampled samples from the `init` of `inner`; "inner" uses that unchanged.

    Raises:
        ValueError: from `check`, for sample shapes that cannot be cut like that.
    """

    inner: SyntheticSpec = field(default_factory=Pixels)
    factor: int | DataDefault = 2
    init: str = "mix"

    def __post_init__(self) -> None:
        check_count("MultiFormation", "factor", self.factor, or_default=True)
        check_choice("MultiFormation", "init", self.init, ("mix", "inner"))
        if self.init == "mix" and not isinstance(getattr(self.inner, "init", None), Init):
            name = type(self.inner).__name__
            raise ValueError(
                f"Cannot use MultiFormation(init='mix') with {name}, which has no `init`. Use init='inner'."
            )

    def check(self, sample_shape: tuple[int, ...]) -> None:
        factor = self.factor(DatasetInfo(sample_shape, (), 1)) if isinstance(self.factor, DataDefault) else self.factor
        check_cells(factor, sample_shape)

    def start(self, context: Context) -> SyntheticData:
        shape, factor = context.real.sample_shape, require_resolved(self.factor)
        self.check(shape)
        if factor == 1:
            return self.inner.start(context)
        inner: Any = self.inner
        if self.init == "mix":
            inner = replace(inner, init=DownsampledGrids(inner.init, factor))
        pad = None
        if any(side % factor for side in shape[1:]):
            low, high = value_range(context.real)
            pad = ((low + high) / 2).to(context.device)
        return _MultiFormationData(inner.start(context), factor, shape, pad)

    def samples_per_class(self, ipc: int, sample_shape: tuple[int, ...]) -> int:
        cells = require_resolved(self.factor) ** (len(sample_shape) - 1)
        return int(cells) * self.inner.samples_per_class(ipc, sample_shape)

    def restore(self, tensors: Mapping[str, Tensor], labels: Tensor, sample_shape: tuple[int, ...]) -> SyntheticData:
        factor = require_resolved(self.factor)
        cells = factor ** (len(sample_shape) - 1)
        if len(labels) % cells:
            raise ValueError(f"{len(labels)} labels are not a multiple of the {cells} cells per stored sample")
        inner = self.inner.restore(tensors, labels[::cells], sample_shape)
        return inner if factor == 1 else _MultiFormationData(inner, factor, sample_shape, tensors.get("pad"))


@dataclass(frozen=True)
class DefaultFactor(DataDefault):
    """This factor for images and signals, and 1 for vectors, which cannot be cut."""

    factor: Count = 2

    def __call__(self, info: DatasetInfo) -> int:
        return self.factor if len(info.sample_shape) > 1 else 1


class _MultiFormationData(WrappedData):
    def __init__(self, inner: SyntheticData, factor: int, sample_shape: tuple[int, ...], pad: Tensor | None) -> None:
        super().__init__(inner)
        self.factor, self.shape, self.pad = factor, sample_shape, pad
        self.cells = factor ** (len(sample_shape) - 1)
        self.labels = inner.labels.repeat_interleave(self.cells)
        self.groups = inner.groups.repeat_interleave(self.cells)

    def decode(self, index: Tensor) -> Tensor:
        stored, row = (index // self.cells).unique(return_inverse=True)
        cells = _cut(self._padded(self.inner.decode(stored)), self.factor)
        selected = cells[to_device(row, cells.device), to_device(index % self.cells, cells.device)]
        return upsample(selected, self.shape[1:])

    def _padded(self, grids: Tensor) -> Tensor:
        if self.pad is None:
            return grids
        sides = [side * self.factor for side in cell_sides(self.factor, self.shape)]
        padded = self.pad.to(grids.dtype).view(1, -1, *[1] * len(sides)).expand(len(grids), -1, *sides).clone()
        _crop(padded, self.shape[1:]).copy_(grids)
        return padded

    def targets(self, index: Tensor) -> Tensor:
        return self.inner.targets(index // self.cells)

    @property
    def stored_floats(self) -> int:
        return self.inner.stored_floats + (0 if self.pad is None else self.pad.numel())

    @property
    def rows_per_decoder(self) -> int:
        return self.cells * self.inner.rows_per_decoder

    def tensors(self) -> dict[str, Tensor]:
        return self.inner.tensors() | ({} if self.pad is None else {"pad": self.pad.cpu()})


def cell_sides(factor: int, sample_shape: tuple[int, ...]) -> list[int]:
    """Sides of one cell: those of the sample divided by f, rounded up."""
    return [-(-side // factor) for side in sample_shape[1:]]


def check_cells(factor: int, sample_shape: tuple[int, ...], name: str = "MultiFormation") -> None:
    """Raise ValueError for a factor by which samples of this shape cannot be cut; `name` is the part in the message."""
    if factor == 1:
        return
    if len(sample_shape) < 2:
        raise ValueError(
            f"{name}(factor={factor}) needs images (C, H, W) or signals (C, L), not vectors of shape {sample_shape}. "
            "Use factor=1."
        )
    cells = zip(sample_shape[1:], cell_sides(factor, sample_shape), strict=True)
    if any((factor - 1) * cell >= side for side, cell in cells):
        raise ValueError(
            f"{name}(factor={factor}) does not fit samples of shape {sample_shape}: "
            "the last cells would be empty. Use a smaller factor."
        )


def _cut(grids: Tensor, factor: int) -> Tensor:
    """(N, C, f*h, f*w) -> (N, f*f, C, h, w), row by row; (N, C, f*l) -> (N, f, C, l)."""
    for dim in range(2, grids.dim()):
        grids = grids.unflatten(2 * dim - 2, (factor, -1))
    # now (N, C, f, h, f, w): move the numbers of cells before the channels
    counts = range(2, grids.dim(), 2)
    return grids.permute(0, *counts, 1, *range(3, grids.dim(), 2)).flatten(1, len(counts))


def _tile(cells: Tensor, factor: int) -> Tensor:
    """The inverse of `_cut`."""
    axes = cells.dim() - 3
    cells = cells.unflatten(1, (factor,) * axes)
    order = [axis for pair in zip(range(1, axes + 1), range(axes + 2, 2 * axes + 2), strict=True) for axis in pair]
    grids = cells.permute(0, axes + 1, *order)
    for dim in range(2, axes + 2):
        grids = grids.flatten(dim, dim + 1)
    return grids


def _crop(grids: Tensor, sides: Sequence[int]) -> Tensor:
    """A view of the first pixels along every side, as many as `sides` gives."""
    for dim, side in enumerate(sides, start=2):
        grids = grids.narrow(dim, 0, side)
    return grids


def upsample(cells: Tensor, sides: Sequence[int]) -> Tensor:
    """Upsample cells (N, C, ...) to `sides` by linear interpolation with `align_corners=False`.

    Computed as matrix products, because the backward pass of `F.interpolate` is not deterministic on an accelerator.
    """
    for dim, side in enumerate(sides, start=2):
        eye = torch.eye(cells.shape[dim], dtype=cells.dtype, device=cells.device)
        weights = F.interpolate(eye[None], size=side, mode="linear")[0]
        cells = (cells.movedim(dim, -1) @ weights).movedim(-1, dim)
    return cells.contiguous()
