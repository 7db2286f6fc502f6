"""Measures how much a condensed dataset reveals about the samples that it was made from."""

from condensed_data.evaluation.privacy.measure import measure as measure
from condensed_data.evaluation.privacy.membership_inference import MembershipInference as MembershipInference
from condensed_data.evaluation.privacy.membership_inference import roc as roc
from condensed_data.evaluation.privacy.report import Privacy as Privacy
