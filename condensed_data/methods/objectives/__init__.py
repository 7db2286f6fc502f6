"""Objectives: the losses that synthetic data minimizes, one family per file."""

from condensed_data.methods.objectives.characteristic import CharacteristicFunction as CharacteristicFunction
from condensed_data.methods.objectives.classification import CrossEntropy as CrossEntropy
from condensed_data.methods.objectives.covariance import Centralization as Centralization
from condensed_data.methods.objectives.covariance import Covariance as Covariance
from condensed_data.methods.objectives.distribution import Distribution as Distribution
from condensed_data.methods.objectives.diversity import Diversity as Diversity
from condensed_data.methods.objectives.gradient import Gradient as Gradient
from condensed_data.methods.objectives.layers import Discrimination as Discrimination
from condensed_data.methods.objectives.layers import LayerAlignment as LayerAlignment
from condensed_data.methods.objectives.mmd import KernelMMD as KernelMMD
from condensed_data.methods.objectives.ridge_regression import RidgeRegression as RidgeRegression
from condensed_data.methods.objectives.trajectory import Trajectory as Trajectory
from condensed_data.methods.objectives.unrolled import Unrolled as Unrolled
