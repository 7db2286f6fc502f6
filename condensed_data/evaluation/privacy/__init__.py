"""What a condensed set gives away about the samples that it was made of."""

from condensed_data.evaluation.privacy.measure import Privacy as Privacy
from condensed_data.evaluation.privacy.measure import measure as measure
from condensed_data.evaluation.privacy.membership_inference import Attack as Attack
from condensed_data.evaluation.privacy.membership_inference import roc as roc
