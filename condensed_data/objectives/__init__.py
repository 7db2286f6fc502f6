"""What is made small: one family of losses a file."""

from condensed_data.objectives.distribution import Distribution as Distribution
