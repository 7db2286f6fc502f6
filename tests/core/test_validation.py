"""Validators of counts and choices."""

from __future__ import annotations

import pytest

from condensed_data.core.spec import DataDefault, DatasetInfo
from condensed_data.core.validation import check_choice, check_count, is_count


class FromData(DataDefault):
    """A value that the dataset decides."""

    def __call__(self, info: DatasetInfo) -> int:
        return 3


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", None, True])
def test_other_values_are_rejected(value: object) -> None:
    assert not is_count(value)
    with pytest.raises(ValueError, match=r"^Queue\(size=.*\) must be an integer of at least 1\.$"):
        check_count("Queue", "size", value)
    with pytest.raises(ValueError, match=r"^size=.* must be an integer of at least 1\.$"):
        check_count(None, "size", value)


def test_counts_and_values_that_the_dataset_decides_pass() -> None:
    assert is_count(1)
    assert is_count(0, 0)
    check_count("Queue", "size", 3, least=3)
    check_count("Queue", "size", FromData(), or_default=True)
    check_count("Queue", "size", None, optional=True)
    with pytest.raises(ValueError, match=r"Queue\(size=.*\) must be an integer of at least 1"):
        check_count("Queue", "size", FromData())
    with pytest.raises(ValueError, match=r"Queue\(size=2\) must be an integer of at least 3"):
        check_count("Queue", "size", 2, least=3)


def test_a_choice_is_one_of_the_known_values() -> None:
    check_choice("WithSteps", "form", "plain", ("softplus", "plain"))
    check_choice("WithSteps", "form", FromData(), ("softplus", "plain"), or_default=True)
    with pytest.raises(ValueError, match=r"^WithSteps\(form='log'\) must be one of 'softplus', 'plain'\.$"):
        check_choice("WithSteps", "form", "log", ("softplus", "plain"))
