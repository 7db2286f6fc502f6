"""What a condensed set gives away about the samples that it was made of."""

from condensed_data.privacy.attacks import Attack as Attack
from condensed_data.privacy.attacks import roc as roc
from condensed_data.privacy.measure import Privacy as Privacy
from condensed_data.privacy.measure import measure as measure
