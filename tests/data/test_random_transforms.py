"""Random transforms of torchvision datasets are separated from the source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sources import contents
from torch import nn
from torch.utils.data import ConcatDataset, Subset
from torchvision import transforms
from torchvision.datasets import FakeData, VisionDataset
from torchvision.transforms import v2

from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect


class Pictures(VisionDataset):
    """Twelve fixed RGB pictures of 10x10 in three classes."""

    classes = ("a", "b", "c")

    def __init__(self, transform: Any = None, target_transform: Any = None) -> None:
        super().__init__(".", transform=transform, target_transform=target_transform)
        self.data = np.random.default_rng(0).integers(0, 256, (12, 10, 10, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        item = Image.fromarray(self.data[index]), index % 3
        return item if self.transforms is None else self.transforms(*item)


NORMALIZE = transforms.Normalize((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
SCRIPT = [
    transforms.RandomCrop(10, padding=2),
    transforms.RandomHorizontalFlip(),
    transforms.ToTensor(),
    NORMALIZE,
]
PLAIN = transforms.Compose([transforms.ToTensor(), NORMALIZE])


def random_names(source: Any) -> list[str]:
    return [type(step).__name__ for step in source.random_transform.transforms]


def test_random_transforms_are_removed_and_kept() -> None:
    dataset = Pictures(transforms.Compose(SCRIPT))
    before = dataset.transforms
    source = inspect(dataset)
    assert random_names(source) == ["RandomCrop", "RandomHorizontalFlip"]
    assert source.kind.name == "tensor:float32"
    expected = torch.stack([Pictures(PLAIN)[index][0] for index in range(12)])
    assert torch.equal(contents(source)[0], expected)
    assert dataset.transforms is before  # the user's dataset does not change
    assert len(dataset.transform.transforms) == 4


def test_they_apply_to_a_condensed_sample() -> None:
    source = inspect(Pictures(transforms.Compose(SCRIPT)))
    sample = contents(source)[0][0]
    augmented = source.random_transform(source.kind.to_sample(sample))
    assert augmented.shape == sample.shape
    assert augmented.dtype == torch.float32


def test_transforms_below_subsets_are_removed() -> None:
    dataset = Pictures(transforms.Compose(SCRIPT))
    source = inspect(Subset(Subset(dataset, range(2, 12)), [3, 1, 2]))
    assert random_names(source) == ["RandomCrop", "RandomHorizontalFlip"]
    expected = torch.stack([Pictures(PLAIN)[index][0] for index in (5, 3, 4)])
    samples, labels = contents(source)
    assert torch.equal(samples, expected)
    assert labels.tolist() == [2, 0, 1]
    assert source.class_names == ("a", "b", "c")


def test_a_dataset_without_random_transforms_is_not_copied() -> None:
    for transform in (None, PLAIN, transforms.ToTensor()):
        dataset = Pictures(transform)
        source = inspect(dataset)
        assert source.random_transform is None
        assert source.dataset is dataset
    subset = Subset(Pictures(PLAIN), [0, 1])
    assert inspect(subset).dataset is subset


def test_target_transforms_stay() -> None:
    dataset = Pictures(transforms.Compose(SCRIPT), target_transform=lambda label: label + 5)
    assert contents(inspect(dataset))[1].tolist() == [5, 6, 7] * 4


def test_random_crops_become_fixed_ones_of_the_same_size() -> None:
    crop = Pictures(transforms.Compose([transforms.RandomCrop(8), transforms.ToTensor()]))
    source = inspect(crop)
    assert source.kind.shape == (3, 8, 8)
    center = torch.from_numpy(crop.data[:, 1:9, 1:9]).permute(0, 3, 1, 2) / 255
    assert torch.equal(contents(source)[0], center)
    resized = Pictures(transforms.Compose([transforms.RandomResizedCrop((6, 7)), transforms.ToTensor()]))
    source = inspect(resized)
    assert source.kind.shape == (3, 6, 7)
    whole = transforms.Compose([transforms.Resize((6, 7)), transforms.ToTensor()])
    assert torch.equal(contents(source)[0][4], Pictures(whole)[4][0])


def test_pil_images_stay_pil_images() -> None:
    source = inspect(Pictures(transforms.RandomHorizontalFlip()))
    assert source.kind.name == "pil:RGB"
    assert isinstance(source.random_transform(source.kind.to_sample(torch.rand(3, 10, 10))), Image.Image)
    jitter = inspect(Pictures(transforms.Compose([transforms.Resize(8), transforms.ColorJitter(0.4)])))
    assert random_names(jitter) == ["ColorJitter"]  # no transform follows, so its input is the same


def test_torchvision_datasets_with_v2_transforms() -> None:
    steps = [
        v2.RandomHorizontalFlip(),
        v2.Compose([v2.RandomCrop(8), v2.RandomApply([v2.GaussianBlur(3)])]),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize((0.5,) * 3, (0.5,) * 3),
    ]
    source = inspect(FakeData(6, (3, 10, 10), 3, transform=v2.Compose(steps)))
    assert random_names(source) == ["RandomHorizontalFlip", "RandomCrop", "RandomApply"]
    assert source.kind.shape == (3, 8, 8)
    samples, labels = contents(source)
    assert -1 <= float(samples.min()) < -0.5
    assert set(labels.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize(
    "step",
    [
        transforms.ColorJitter(0.4),
        transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
        transforms.TrivialAugmentWide(),
        transforms.RandomSolarize(128),
        transforms.RandomApply([transforms.RandomHorizontalFlip(), transforms.ColorJitter(0.4)]),
        v2.RandomChoice([v2.RandomHorizontalFlip(), v2.RandomPosterize(4)]),
    ],
    ids=lambda step: type(step).__name__,
)
def test_transforms_that_depend_on_values_are_refused_before_a_normalization(step: nn.Module) -> None:
    # they clamp to [0, 1] or expect 8 bits, so they would destroy a normalized sample
    steps = [transforms.RandomHorizontalFlip(), step, transforms.ToTensor(), NORMALIZE]
    with pytest.raises(SourceError, match=r"before Normalize, ToTensor.*CondensedDataset\(\.\.\., transform="):
        inspect(Pictures(transforms.Compose(steps)))


def test_color_transforms_are_accepted_before_to_tensor() -> None:
    source = inspect(Pictures(transforms.Compose([transforms.ColorJitter(0.4), transforms.ToTensor()])))
    assert random_names(source) == ["ColorJitter"]
    with pytest.raises(SourceError, match="contains RandAugment before ToTensor"):
        inspect(Pictures(transforms.Compose([transforms.RandAugment(), transforms.ToTensor()])))


def test_random_transforms_that_fail_on_the_output_of_the_others_are_refused() -> None:
    steps = [transforms.RandomCrop(9), transforms.Resize(5), transforms.ToTensor()]
    with pytest.raises(SourceError, match=r"fails on the output of the other transforms.*pass the full pipeline"):
        inspect(Pictures(transforms.Compose(steps)))


def test_concatenated_datasets_with_random_transforms_are_refused() -> None:
    both = ConcatDataset([Pictures(PLAIN), Pictures(transforms.Compose(SCRIPT))])
    for dataset in (both, Subset(both, [0, 1])):
        with pytest.raises(SourceError, match="concatenates datasets with random transforms"):
            inspect(dataset)
    assert inspect(ConcatDataset([Pictures(PLAIN), Pictures(PLAIN)])).random_transform is None


def test_other_random_transforms_are_detected_by_reading_twice() -> None:
    noise = transforms.Lambda(lambda image: image + torch.rand(()))
    with pytest.raises(SourceError, match=r"source\[0\] differs between two reads"):
        inspect(Pictures(transforms.Compose([transforms.ToTensor(), noise])))


def test_checking_and_reading_do_not_change_random_states(untouched_rng: None) -> None:
    for workers in (0, 2):
        contents(inspect(Pictures(transforms.Compose(SCRIPT)), workers))
