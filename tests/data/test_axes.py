"""Axes: images without a channel axis and channels-last images are recognized; real signals stay accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sources import ListDataset, contents
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from condensed_data import CondensedDataset, condense_tensors, recipes
from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect
from condensed_data.evaluation.real_data import in_memory


def tensors(*shape: int, count: int = 4, dtype: torch.dtype = torch.float32) -> TensorDataset:
    samples = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0)) * 255
    return TensorDataset(samples.to(dtype), torch.arange(count) % 2)


@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (62, 47), (47, 62), (64, 64), (128, 9), (96, 128)])
def test_images_without_a_channel_axis_are_refused_with_the_remedy(shape: tuple[int, int]) -> None:
    """MNIST's `data`, scikit-learn's digits, faces in the wild, Olivetti's faces, a signal with channels last."""
    for dataset in (tensors(*shape), tensors(*shape, dtype=torch.uint8), ListDataset(list(tensors(*shape)))):
        with pytest.raises(SourceError, match=rf"{shape[0]} channels.* images\.unsqueeze\(1\)") as error:
            inspect(dataset)
        assert "signal.T" in str(error.value)
        assert "sample_axes = 'CL'" in str(error.value)
    samples, labels = tensors(*shape).tensors
    assert inspect(TensorDataset(samples.unsqueeze(1), labels)).kind.shape == (1, *shape)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (20, 30, 4), (32, 100, 3), (5, 5, 3)])
def test_channels_last_images_are_refused_with_the_remedy(shape: tuple[int, int, int]) -> None:
    for dataset in (tensors(*shape), tensors(*shape, dtype=torch.uint8), ListDataset(list(tensors(*shape)))):
        with pytest.raises(SourceError, match=r"images\.permute\(0, 3, 1, 2\).* sample_axes = 'CHW'"):
            inspect(dataset)
    samples, labels = tensors(*shape).tensors
    plain = TensorDataset(samples.permute(0, 3, 1, 2), labels)
    assert inspect(plain).kind.shape == (shape[2], shape[0], shape[1])


@pytest.mark.parametrize(
    "shape",
    [
        *((1, 8), (2, 9), (3, 3), (6, 100), (9, 128), (12, 1000), (22, 1125), (40, 101), (64, 128), (80, 3000)),
        *((1, 28, 28), (3, 32, 32), (4, 64, 64), (13, 64, 64), (1, 40, 101), (3, 4, 4), (64, 3, 3), (512, 4, 4)),
        *((256, 1, 1), (64, 1125, 1), (8, 8, 8), (28, 1, 28), (784,), (28,)),
    ],
)
def test_signals_and_images_of_many_channels_are_accepted(shape: tuple[int, ...]) -> None:
    assert inspect(tensors(*shape)).kind.shape == shape


@pytest.mark.parametrize(("shape", "axes"), [((28, 28), "CL"), ((300, 50), "CL"), ((32, 32, 3), "CHW")])
def test_a_dataset_can_state_that_its_axes_are_right(shape: tuple[int, ...], axes: str) -> None:
    dataset: Any = tensors(*shape)
    dataset.sample_axes = axes
    for source in (dataset, Subset(dataset, [0, 1]), Subset(Subset(dataset, [0, 1]), [1]), ConcatDataset([dataset])):
        assert inspect(source).kind.shape == shape
    assert len(contents(inspect(dataset))[0]) == 4
    assert inspect(in_memory(dataset)).kind.shape == shape
    samples, labels = dataset.tensors
    chosen = condense_tensors(samples, labels, recipes.random(ipc=1), sample_axes=axes)[0]
    assert chosen.shape == (2, *shape)


@pytest.mark.parametrize(("shape", "axes"), [((28, 28), "CHW"), ((32, 32, 3), "HWC"), ((3, 32, 32), "CL"), ((5,), "D")])
def test_axes_that_do_not_fit_are_refused(shape: tuple[int, ...], axes: str) -> None:
    dataset: Any = tensors(*shape)
    dataset.sample_axes = axes
    with pytest.raises(SourceError, match=f"sample_axes='{axes}', but samples of shape .*supported: CL and CHW"):
        inspect(dataset)


def test_every_door_refuses_them() -> None:
    source, good = tensors(28, 28, count=8), tensors(1, 28, 28, count=8)
    with pytest.raises(SourceError, match="unsqueeze"):
        CondensedDataset(source, "random", ipc=1, cache=False, progress=False)
    with pytest.raises(SourceError, match="unsqueeze"):
        condense_tensors(*source.tensors, recipes.random(ipc=1))
    small = CondensedDataset(good, "random", ipc=1, cache=False, progress=False)
    with pytest.raises(SourceError, match="unsqueeze"):
        small.evaluate(source)


def test_a_condensed_dataset_of_signals_is_a_source_again() -> None:
    dataset: Any = tensors(28, 28, count=8)
    dataset.sample_axes = "CL"
    small = CondensedDataset(dataset, "random", ipc=2, cache=False, progress=False)
    for source in (small, ConcatDataset([small, dataset]), CondensedDataset.from_result(small.result)):
        assert inspect(source).kind.shape == (28, 28)
    assert inspect(CondensedDataset(tensors(5), "random", ipc=1, cache=False, progress=False)).kind.shape == (5,)


def test_arrays_of_either_kind_are_not_led_there() -> None:
    image = np.zeros((28, 28), dtype=np.float32)
    with pytest.raises(SourceError, match=r"\[None\] for an image"):
        inspect(ListDataset([(image, 0)]))
    with pytest.raises(SourceError, match=r"permute\(2, 0, 1\)"):
        inspect(ListDataset([(np.zeros((28, 28, 3)), 0)]))
