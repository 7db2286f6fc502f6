"""Pools: which network each iteration uses, and how networks are trained in between."""

from condensed_data.methods.pools.critic import Critic as Critic
from condensed_data.methods.pools.dynamic_bilevel import DynamicBilevel as DynamicBilevel
from condensed_data.methods.pools.experts import Experts as Experts
from condensed_data.methods.pools.given_weights import GivenWeights as GivenWeights
from condensed_data.methods.pools.inner_loop import TrainedOnReal as TrainedOnReal
from condensed_data.methods.pools.inner_loop import TrainedOnSynthetic as TrainedOnSynthetic
from condensed_data.methods.pools.online import Online as Online
from condensed_data.methods.pools.pretrained import Pretrained as Pretrained
from condensed_data.methods.pools.queue import Queue as Queue
from condensed_data.methods.pools.random_init import RandomInit as RandomInit
from condensed_data.networks.registry import DefaultNetwork as DefaultNetwork
