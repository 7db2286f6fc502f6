"""Real samples, indexed by class and group."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sources import ListDataset, real, real_of
from torch.utils.data import TensorDataset

from condensed_data.data.sample import SourceError


def numbered(labels: list[int]) -> torch.Tensor:
    """(n, 2) samples whose values contain their index."""
    index = torch.arange(len(labels), dtype=torch.float32)
    return torch.stack([index, index * 3], 1)


def test_labels_are_numbered_in_increasing_order_and_kept() -> None:
    labels = [70, 3, 3, 1000000, 70, 3]
    source = real(numbered(labels), torch.tensor(labels))
    assert source.class_values.tolist() == [3, 70, 1000000]
    assert source.labels.tolist() == [1, 0, 0, 2, 1, 0]
    assert source.class_values[source.labels].tolist() == labels
    assert (source.num_classes, source.num_groups, len(source)) == (3, 3, 6)
    assert [rows.tolist() for rows in source.members] == [[1, 2, 5], [0, 4], [3]]
    assert source.class_names == ("3", "70", "1000000")
    assert not source.named


@pytest.mark.parametrize(
    ("labels", "names", "named"),
    [([2, 0, 2], ("ant", "owl"), True), ([2, 0, 3], ("0", "2", "3"), False)],
)
def test_class_names_come_from_the_source_if_it_names_all_labels(
    labels: list[int], names: tuple[str, ...], named: bool
) -> None:
    dataset = TensorDataset(numbered(labels), torch.tensor(labels))
    dataset.classes = ["ant", "bee", "owl"]
    source = real_of(dataset)
    assert source.class_names == names
    assert source.named == named


def test_samples_are_standardized_and_in_the_requested_order() -> None:
    labels = list(range(9))
    source = real(numbered(labels), torch.tensor(labels))
    samples = numbered(labels).double()
    expected = (samples - samples.mean(0)) / samples.std(0, unbiased=False)
    index = torch.tensor([8, 0, 0, 4])
    torch.testing.assert_close(source[index], expected[index].float())
    assert source.sample_shape == (2,)


def test_pil_images_are_read_as_fractions_of_255() -> None:
    values = np.array([[0, 255], [51, 102]], dtype=np.uint8)
    source = real_of(ListDataset([(Image.fromarray(255 - values), 0), (Image.fromarray(values), 1)]))
    both = np.stack([255 - values, values])
    assert float(source.space.mean) == pytest.approx(both.mean() / 255)
    assert float(source.space.std) == pytest.approx(both.std() / 255)
    torch.testing.assert_close(source.space.restore(source[torch.tensor([1])])[0, 0], torch.tensor(values) / 255)


def test_groups_are_numbered_class_by_class() -> None:
    labels = [1, 0, 1, 0, 1, 0]
    attribute = ["red", "red", "blue", "green", "blue", "red"]
    source = real(numbered(labels), torch.tensor(labels), attribute)
    # (0, green), (0, red), (1, blue), (1, red)
    assert source.group_class.tolist() == [0, 0, 1, 1]
    assert [rows.tolist() for rows in source.members] == [[3], [1, 5], [2, 4], [0]]
    assert source.groups.tolist() == [3, 1, 2, 0, 2, 1]
    assert torch.equal(source.group_class[source.groups], source.labels)


@pytest.mark.parametrize(
    "groups",
    [
        [5, 5, 2, 5],
        (5, 5, 2, 5),
        np.array([5, 5, 2, 5], dtype=np.int32),
        torch.tensor([5, 5, 2, 5]),
        [torch.tensor(5), torch.tensor(5), torch.tensor(2), torch.tensor(5)],
        [np.int64(5), np.int64(5), np.int64(2), np.int64(5)],
        ["b", "b", "a", "b"],
        np.array(["b", "b", "a", "b"]),
        [True, True, False, True],
    ],
)
def test_attributes_are_integers_or_strings_of_any_kind(groups: object) -> None:
    source = real(numbered([0] * 4), torch.zeros(4, dtype=torch.int64), groups)
    assert [rows.tolist() for rows in source.members] == [[2], [0, 1, 3]]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 1, 0], "groups has 3 entries, but the source has 4 samples"),
        (
            [0.5, 1.5, 0.5, 0.5],
            r"groups contains 0\.5 for source\[0\]; supported: all integers or all strings",
        ),
        ([0, 1, "a", 0], r"groups contains 'a' for source\[2\]; supported: .*not mixed"),
        ([0, None, 1, 0], "groups contains None"),
        (np.zeros((4, 2), dtype=np.int64), r"groups contains \[0, 0\]"),
    ],
)
def test_other_attributes_are_refused(groups: object, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        real(numbered([0] * 4), torch.zeros(4, dtype=torch.int64), groups)


def test_ipc_is_split_evenly_over_the_groups_of_a_class() -> None:
    labels = torch.tensor([0] * 5 + [1] * 4)
    attribute = [0, 1, 2, 2, 2, 0, 0, 1, 1]
    source = real(numbered(labels.tolist()), labels, attribute)
    assert source.group_class.tolist() == [0, 0, 0, 1, 1]
    assert source.group_sizes(3) == (1, 1, 1, 2, 1)
    assert source.group_sizes(7) == (3, 2, 2, 4, 3)
    with pytest.raises(ValueError, match=r"ipc=2 is less than the 3 groups of class '0'.*Use ipc=3 or more"):
        source.group_sizes(2)


def test_unbalanced_classes_get_the_same_ipc() -> None:
    labels = torch.tensor([0] * 20 + [4] * 1 + [9] * 3)
    source = real(numbered(labels.tolist()), labels)
    assert [len(rows) for rows in source.members] == [20, 1, 3]
    assert source.group_sizes(10) == (10, 10, 10)


def test_moving_to_a_device_keeps_everything_else() -> None:
    source = real(numbered([0, 1, 0]), torch.tensor([0, 1, 0]))
    moved = source.to(torch.device("cpu"))
    assert torch.equal(moved[torch.arange(3)], source[torch.arange(3)])
    assert moved.class_names == source.class_names
