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
        features, logits, labels, distances = [], [], [], []
        for group in range(real.num_groups):
            sides = pairs(self.run.synthetic_data, rng, iteration, group, self.pool.codes)
            with torch.no_grad():
                rows = [samples.rows(index) for index in sides]
            one, other = (embed(x) for x in rows)
            features += [one, other]
            logits += [head(one), head(other)]
            labels += [real.group_class[group].repeat(2 * len(rows[0]))]
            distances.append((1 - F.cosine_similarity(one, other)) / 2)
        y = torch.cat(labels).to(self.run.context.device)
        contrast = _contrast(torch.cat(features), y, self.pool.temperature)
        distance = torch.cat(distances).mean()
        return F.cross_entropy(torch.cat(logits), y) + self.pool.similarity * distance + self.pool.contrast * contrast


def _contrast(features: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Khosla et al., NeurIPS 2020, equation 2, with every row as an anchor."""
    z = features / features.norm(dim=1, keepdim=True)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = z @ z.T / temperature
    log_p = logits - logits.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    positive = (y[:, None] == y) & ~itself
    return -((log_p * positive).sum(1) / positive.sum(1)).mean()
