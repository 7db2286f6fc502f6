"""Which network looks, and how it learns between steps."""

from condensed_data.methods.pools.bilevel import Bilevel as Bilevel
from condensed_data.methods.pools.critic import Critic as Critic
from condensed_data.methods.pools.experts import Experts as Experts
from condensed_data.methods.pools.inner_loop import InnerEpochs as InnerEpochs
from condensed_data.methods.pools.inner_loop import OuterLoops as OuterLoops
from condensed_data.methods.pools.inner_loop import Retrained as Retrained
from condensed_data.methods.pools.inner_loop import RetrainedOnReal as RetrainedOnReal
from condensed_data.methods.pools.loaded import Loaded as Loaded
from condensed_data.methods.pools.module_slot import UsualNetwork as UsualNetwork
from condensed_data.methods.pools.pretrained import Pretrained as Pretrained
from condensed_data.methods.pools.queue import Queue as Queue
from condensed_data.methods.pools.random_init import Fresh as Fresh
