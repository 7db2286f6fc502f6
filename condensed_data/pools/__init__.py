"""Which network looks, and how it learns between steps."""

from condensed_data.pools.fresh import Fresh as Fresh
from condensed_data.pools.lending import UsualNetwork as UsualNetwork
