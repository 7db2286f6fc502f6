"""The base of synthetic data around other synthetic data."""

from __future__ import annotations

from condensed_data.methods.base import SyntheticData
from condensed_data.methods.synthetic.wrapper import WrappedData

OWN_STATE = {"state_dict", "load_state_dict"}  # of `learned`, which includes that of `inner`


def test_every_member_is_forwarded_so_that_a_new_one_cannot_be_forgotten() -> None:
    members = {name for name in vars(SyntheticData) if not name.startswith("_")}
    assert members - OWN_STATE - set(vars(WrappedData)) == set()
