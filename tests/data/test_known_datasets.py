"""Tests of the datasets that published settings are for."""

from __future__ import annotations

from pathlib import Path

import fake_data
import pytest
import torch
from sources import real_of
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import MNIST, FashionMNIST
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from condensed_data.cli.main import main
from condensed_data.data.known_datasets import KNOWN, known_name, published_space
from condensed_data.data.value_space import ValueSpace


@pytest.fixture
def fashion(tmp_path: Path) -> FashionMNIST:
    fake_data.fashion_mnist(tmp_path)
    return FashionMNIST(tmp_path)


class Sub(MNIST):
    """A user's own class may yield anything."""


def test_a_torchvision_dataset_is_known_below_subsets_and_others_are_not(fashion: FashionMNIST) -> None:
    shape = (1, 28, 28)
    assert known_name(fashion, shape) == known_name(Subset(Subset(fashion, [1, 2]), [0]), shape) == "fashion-mnist"
    assert known_name(fashion, (1, 32, 32)) is None
    assert known_name(Sub.__new__(Sub), shape) is None
    plain: Dataset[tuple[torch.Tensor, ...]] = TensorDataset(torch.zeros(2, *shape))
    assert known_name(plain, shape) is None


def test_published_constants_are_used_where_the_values_are_those_of_the_authors(fashion: FashionMNIST) -> None:
    mean = torch.tensor(KNOWN["fashion-mnist"].mean)
    near, far = ValueSpace(mean + 0.02, torch.tensor([0.4])), ValueSpace(mean * 0, torch.tensor([1.0]))
    assert torch.equal(published_space("fashion-mnist", near).std, torch.tensor([0.3530]))
    assert published_space("fashion-mnist", far) is far
    assert published_space(None, near) is near


def test_sources_are_known_as_they_are_read(fashion: FashionMNIST) -> None:
    assert real_of(fashion).known == "fashion-mnist"
    fashion.transform = Compose([Resize(32), ToTensor()])
    assert real_of(fashion).known is None
    fashion.transform = Compose([ToTensor(), Normalize([0.5], [0.5])])
    real = real_of(fashion)
    assert real.known == "fashion-mnist"
    assert not torch.equal(real.space.std, torch.tensor([0.3530]))  # the values are others


def test_the_command_line_says_which_settings_are_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "dm", "--data", "cifar10", "--ipc", "1"]) == 0
    assert "by a rule" in capsys.readouterr().out
    assert main(["recipes", "dm", "--data", "cifa10"]) == 1
    assert "Did you mean 'cifar10'?" in capsys.readouterr().err
    assert main(["recipes", "--data", "cifar10"]) == 1
    assert "needs the name of a recipe" in capsys.readouterr().err
