"""Measures distances from condensed to real samples, and runs membership inference attacks.

Letters: m members (samples of the source), n held-out samples, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core import spec
from condensed_data.core.annotations import Natural, checked
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.core.spec import DatasetInfo
from condensed_data.core.torch_settings import own_settings
from condensed_data.engine.evaluate import standardized
from condensed_data.evaluation.privacy.membership_inference import roc
from condensed_data.evaluation.privacy.nearest_neighbors import nearest
from condensed_data.evaluation.privacy.report import Privacy
from condensed_data.networks import NetworkLike
from condensed_data.storage.interfaces import CondensedSamples
from condensed_data.training.compute import split_evenly
from condensed_data.training.protocol import Training
from condensed_data.training.protocols import protocol
from condensed_data.training.trainer import Trainer

MAX_COMPARED = 10_000  # members and held-out samples that networks are evaluated on, at most
MAX_REFERENCE = 2_000  # held-out samples whose nearest members are searched, at most


@own_settings()
@checked
def measure(
    condensed: CondensedSamples,
    source: Any,
    heldout: Any,
    *,
    network: NetworkLike | None = None,
    networks_trained: Natural = 1,
    training: str | Training = "quick",
    seed: Natural = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
    num_workers: Natural = 0,
    progress: bool = False,
) -> Privacy:
    """Measure how much a condensed dataset reveals about its source.

    Two attacks: by distance (a member should be nearer to some condensed sample than a held-out one) and by loss
    (Yeom et al., 2018, https://arxiv.org/abs/1709.01604: a network trained on the condensed samples should have less
    loss on members). Both see all condensed samples, and know nothing of how they were made. That no attack succeeds
    is no proof of privacy.

    Args:
        condensed: a `CondensedDataset` or `CondensationResult`.
        source: the dataset that it was made from; all its samples are kept in memory.
        heldout: samples of the same kind that it was not made from, such as the test split.
        network: of the attack by loss; by default "convnet", for vectors "mlp".
        networks_trained: number of networks whose mean loss that attack uses; 0 skips it.
        training: how they are trained.
        seed: of the networks, and of the subsets of large datasets.
        device, precision, num_workers, progress: see `CondensedDataset`.

    Raises:
        SourceError: for samples of another shape, with other labels or in another value space.
        ValueError: for an argument out of range; for a source of another size than the condensed dataset was made
            from; for fewer than two members or held-out samples.
    """
    torch_device, chosen, rng = choose_device(device), protocol(training), RandomStreams(seed)
    metadata = condensed.metadata
    with preserve_rng_state():
        sides = [
            standardized(metadata, name, dataset, num_workers, progress)
            for name, dataset in (("source", source), ("heldout", heldout))
        ]
        (real, _), (others, _) = sides
        if metadata.source_samples not in (None, len(real)):
            raise ValueError(
                f"source has {len(real):,} samples, but the condensed dataset was made from "
                f"{metadata.source_samples:,}. Give the source that it was made from: only its samples are members."
            )
        images = metadata.space.standardize(condensed.images)
        distances, members = nearest(images, real, torch_device)
        to_heldout, _ = nearest(images, others, torch_device)
        reference, _ = nearest(_subsample(others, MAX_REFERENCE, rng, "reference"), real, torch_device)
        scores = [-nearest(side, images, torch_device)[0] for side, _ in sides]
        attacks = [roc("distance to the nearest condensed sample", *scores)]
        if networks_trained:
            options = {"device": torch_device, "precision": choose_precision(precision, torch_device)}
            modules = _networks(condensed, network, chosen, rng, networks_trained, **options)
            some = [_labeled(*side, rng, name) for side, name in zip(sides, ("in", "out"), strict=True)]
            losses = [-_mean_loss(modules, *side, torch_device) for side in some]
            attacks.append(roc("loss of networks trained on the condensed samples", *losses))
    return Privacy(
        distances,
        members,
        to_heldout,
        reference,
        tuple(attacks),
        len(real),
        len(others),
        condensed.images,
        metadata.space.restore(real[members]),
        metadata.kind.value_range,
    )


def _subsample(rows: Tensor, most: int, rng: RandomStreams, purpose: str) -> Tensor:
    """At most so many rows, drawn at random."""
    return rows if len(rows) <= most else rows[rng.choice(purpose, 0, 0, len(rows), most)]


def _labeled(x: Tensor, y: Tensor, rng: RandomStreams, purpose: str) -> tuple[Tensor, Tensor]:
    index = _subsample(torch.arange(len(x)), MAX_COMPARED, rng, purpose)
    return x[index], y[index]


def _networks(
    condensed: CondensedSamples, network: Any, training: Training, rng: RandomStreams, count: int, **options: Any
) -> list[nn.Module]:
    """Networks trained on the condensed samples."""
    metadata = condensed.metadata
    shape, classes = metadata.kind.shape, metadata.classes
    samples = (metadata.space.standardize(condensed.images), condensed.labels)
    options |= {"network": networks.default_name(shape) if network is None else network, "num_classes": len(classes)}
    options["training"] = spec.resolve(training, DatasetInfo(shape, classes, metadata.ipc))
    streams = (RandomStreams(rng.seed_for("privacy", index)) for index in range(count))
    trainer = Trainer.prepare(*samples, **options)
    return [trainer.fit(stream) for stream in streams]


def _mean_loss(modules: Sequence[nn.Module], x: Tensor, y: Tensor, device: torch.device) -> Tensor:
    """Mean cross-entropy (n,) of networks on each sample."""
    total = torch.zeros(len(x), dtype=torch.float64)
    with torch.inference_mode():
        for module in modules:
            for rows in split_evenly(len(x), 256):
                logits = module(x[rows].to(device)).float()
                total[rows] += F.cross_entropy(logits, y[rows].to(device), reduction="none").cpu()
    return total / len(modules)
