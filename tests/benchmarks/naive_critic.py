"""HaBa's critic, an adversary of the synthetic samples: part of `naive.py`.

Letters: B rows, D features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from naive_samples import Samples
from naive_training import CurrentNetwork, NaivePool, build_network
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams, seeded_rng
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.pools import Critic
from condensed_data.methods.samplers.decoder_pairs import pairs


class CriticPool(NaivePool):
    """HaBa's critic: it classifies, and pulls embeddings of one code, and those of one class, together."""

    def __init__(self, pool: Critic, run: CondensationRun) -> None:
        self.pool, self.run = pool, run
        self.module = build_network(pool, run, run.context.rng.seed_for("critic"))
        self.optimizer = torch.optim.SGD(self.module.parameters(), pool.lr, pool.momentum)

    def network_at(self, iteration: int) -> CurrentNetwork:
        return CurrentNetwork(self.module)

    def update(self, iteration: int, samples: Samples) -> None:
        self.module.requires_grad_(True)
        rng = RandomStreams(self.run.context.rng.seed_for("critic step", iteration))
        with seeded_rng(rng):
            loss = self._loss(iteration, samples, rng)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.module.requires_grad_(False)

    def _loss(self, iteration: int, samples: Samples, rng: RandomStreams) -> Tensor:
        embed, real = networks.embed_of(self.module), self.run.context.real
        *_, head = (layer for layer in self.module.modules() if isinstance(layer, nn.Linear))
        index = pairs(self.run.synthetic_data, rng, iteration, range(real.num_groups), self.pool.codes)
        with torch.no_grad():
            x = samples.rows(index)
        y = self.run.synthetic_data.labels[index].to(x.device)
        x = self.pool.augment.draw(rng, iteration, [0], real.sample_shape)(Batch(x, y, (len(x),)))
        one, other = (embed(rows) for rows in x.chunk(2))
        features = torch.cat([one, other])
        distance = ((1 - F.cosine_similarity(one, other)) / 2).mean()
        contrast = _contrast(features, y, self.pool.temperature)
        return F.cross_entropy(head(features), y) + self.pool.similarity * distance + self.pool.contrast * contrast


def _contrast(features: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Khosla et al., NeurIPS 2020, equation 2, with every row as an anchor."""
    z = features / features.norm(dim=1, keepdim=True)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = z @ z.T / temperature
    log_p = logits - logits.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    positive = (y[:, None] == y) & ~itself
    return -((log_p * positive).sum(1) / positive.sum(1)).mean()
