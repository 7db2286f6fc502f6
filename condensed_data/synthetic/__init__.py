"""What is learned, and how it becomes samples."""

from condensed_data.synthetic.decoders import Hallucinator as Hallucinator
from condensed_data.synthetic.decoders import LatentDecoder as LatentDecoder
from condensed_data.synthetic.factorised import Factorised as Factorised
from condensed_data.synthetic.frequency import Frequency as Frequency
from condensed_data.synthetic.multi_formation import Cells as Cells
from condensed_data.synthetic.multi_formation import MultiFormation as MultiFormation
from condensed_data.synthetic.pixels import Pixels as Pixels
from condensed_data.synthetic.reduced import Reduced as Reduced
from condensed_data.synthetic.step_sizes import WithSteps as WithSteps
