"""Synthetic data: which tensors are learned, and how they are decoded into samples."""

from condensed_data.methods.synthetic.decoders import Hallucinator as Hallucinator
from condensed_data.methods.synthetic.decoders import LatentDecoder as LatentDecoder
from condensed_data.methods.synthetic.factorized import Factorized as Factorized
from condensed_data.methods.synthetic.frequency import Frequency as Frequency
from condensed_data.methods.synthetic.low_resolution import LowResolution as LowResolution
from condensed_data.methods.synthetic.multi_formation import DefaultFactor as DefaultFactor
from condensed_data.methods.synthetic.multi_formation import MultiFormation as MultiFormation
from condensed_data.methods.synthetic.pixels import Pixels as Pixels
from condensed_data.methods.synthetic.scores import WithScores as WithScores
from condensed_data.methods.synthetic.step_sizes import WithSteps as WithSteps
