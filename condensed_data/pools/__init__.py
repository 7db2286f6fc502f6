"""Which network looks, and how it learns between steps."""

from condensed_data.pools.bilevel import Bilevel as Bilevel
from condensed_data.pools.critic import Critic as Critic
from condensed_data.pools.experts import Experts as Experts
from condensed_data.pools.fresh import Fresh as Fresh
from condensed_data.pools.lending import UsualNetwork as UsualNetwork
from condensed_data.pools.loaded import Loaded as Loaded
from condensed_data.pools.pretrained import Pretrained as Pretrained
from condensed_data.pools.queue import Queue as Queue
from condensed_data.pools.retrained import InnerEpochs as InnerEpochs
from condensed_data.pools.retrained import OuterLoops as OuterLoops
from condensed_data.pools.retrained import Retrained as Retrained
from condensed_data.pools.retrained import RetrainedOnReal as RetrainedOnReal
