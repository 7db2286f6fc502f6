"""HaBa's critic: a network trained to embed samples of one code similarly, while the samples learn to differ.

Liu S. et al., NeurIPS 2022, https://arxiv.org/abs/2210.16774, section 3.3, and the authors' code.

Letters: B pairs, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data import networks
from condensed_data.core.batch import Batch, NetworkView
from condensed_data.core.device import to_device
from condensed_data.core.rng import RandomStreams, seeded_rng
from condensed_data.core.validation import check_count
from condensed_data.data.augment import Augment, DefaultDSAOps, SiameseAugment
from condensed_data.methods.base import PoolState, SyntheticData
from condensed_data.methods.objectives.diversity import supervised_contrast
from condensed_data.methods.pools.network_slot import NetworkPool, NetworkSlot, load_training_state, training_state
from condensed_data.methods.samplers.decoder_pairs import check_decoder_pairs, pairs
from condensed_data.training.context import Context


@dataclass(frozen=True)
class Critic(NetworkPool):
    """One network for the whole run, which takes one step after each iteration on pairs of samples of one code.

    It minimizes the cross-entropy of all rows, plus `similarity` times the mean of (1 - cosine) / 2 over the pairs (the
    adversary of `Diversity`), plus `contrast` times the supervised contrastive loss of all rows.

    Args:
        similarity, contrast: weights, at least 0; 0.1 and 0.1 as published.
        temperature: of the contrastive loss, positive; 0.07 as published.
        lr, momentum: of SGD, positive and in [0, 1); 0.001 and 0.9 as published.
        codes: random codes per group and step; None for all.
        augment: of the pairs; DSA with parameters of their own for all rows as published.

    Raises:
        ValueError: after the first iteration, for synthetic data with fewer than two decoders per code.
    """

    similarity: float = 0.1
    contrast: float = 0.1
    temperature: float = 0.07
    lr: float = 0.001
    momentum: float = 0.9
    codes: int | None = None
    augment: Augment = field(default=SiameseAugment(DefaultDSAOps(), per_sample=True))
    trains_on_synthetic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("similarity", "contrast"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"Critic({name}={getattr(self, name)!r}) must be at least 0.")
        for name in ("temperature", "lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Critic({name}={getattr(self, name)!r}) must be positive.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"Critic(momentum={self.momentum!r}) must be in [0, 1).")
        check_count("Critic", "codes", self.codes, optional=True)

    def start(self, context: Context) -> PoolState:
        return _CriticState(self, context)

    def loss(self, features: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        """The critic's loss.

        Args:
            features: (2 B, D); rows i and B + i come from the same code.
            logits: (2 B, K).
            y: (2 B,) class indices.
        """
        first, second = features.chunk(2)
        distance = (1 - F.cosine_similarity(first, second)).mean() / 2
        contrast = supervised_contrast(features, y, self.temperature)
        return F.cross_entropy(logits, y) + self.similarity * distance + self.contrast * contrast


class _CriticState(PoolState):
    def __init__(self, spec: Critic, context: Context) -> None:
        self.spec, self.context = spec, context
        self.slot = NetworkSlot(spec.network, context)
        self.slot.reinitialize(context.rng.seed_for("critic"))
        self.optimizer = torch.optim.SGD(self.slot.module.parameters(), spec.lr, spec.momentum)

    def network_at(self, iteration: int) -> NetworkView:
        return self.slot.net

    def update(self, iteration: int, synthetic_data: SyntheticData) -> None:
        check_decoder_pairs("Critic", synthetic_data)
        rng = RandomStreams(self.context.rng.seed_for("critic step", iteration))
        groups = range(self.context.real.num_groups)
        index = pairs(synthetic_data, rng, iteration, groups, self.spec.codes)
        with torch.no_grad():
            x = synthetic_data.decode(index)
        y = to_device(synthetic_data.labels[index], x.device)
        augmented = self.spec.augment.draw(rng, iteration, [0], tuple(x.shape[1:]))(Batch(x, y, (len(x),)))
        self._step(augmented, y, rng)

    def _step(self, x: Tensor, y: Tensor, rng: RandomStreams) -> None:
        module = self.slot.module.requires_grad_(True)
        try:
            with seeded_rng(rng), torch.enable_grad(), self.slot.net.autocast(x):
                features = networks.embed_of(module)(x).float()
                loss = self.spec.loss(features, module(x).float(), y)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        finally:
            module.requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        return training_state(self.slot.module, self.optimizer)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load_training_state(self.slot.module, self.optimizer, state)
