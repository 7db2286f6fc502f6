"""Distances to real samples, and attacks that try to tell members of the source from held-out samples.

Letters: N condensed samples, m members (samples of the source), n held-out samples, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data import networks
from condensed_data.core import spec
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rng import RandomStreams, preserve_rng_state
from condensed_data.core.spec import DatasetInfo
from condensed_data.core.validation import check_count
from condensed_data.evaluation.privacy.membership_inference import Attack, roc
from condensed_data.evaluation.privacy.nearest_neighbors import nearest
from condensed_data.training.compute import split_evenly
from condensed_data.training.evaluate import Training, protocol, train

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset

COMPARED = 10_000  # members and held-out samples at most, where a network looks at them
REFERENCE = 2_000  # held-out samples at most whose nearest members are looked for
TOO_NEAR = 0.01


@dataclass(frozen=True)
class Privacy:
    """What was measured. Distances are root mean squared differences per value, in deviations of the source.

    Attributes:
        distances: (N,) from each condensed sample to the nearest member.
        members: (N,) index of that member in the source.
        to_heldout: (N,) from each condensed sample to the nearest held-out sample.
        reference: from held-out samples to their nearest members: how near new real samples are.
        attacks: membership inference.
        source_samples, heldout_samples: m and n.
        condensed, nearest: (N, *sample) the condensed samples and those members, in the source's value space.
        value_range: of that space, where it has one.
    """

    distances: Tensor
    members: Tensor
    to_heldout: Tensor
    reference: Tensor
    attacks: tuple[Attack, ...]
    source_samples: int
    heldout_samples: int
    condensed: Tensor
    nearest: Tensor
    value_range: tuple[float, float] | None = None

    @property
    def too_near(self) -> int:
        """Condensed samples that are nearer to a member than 99 % of held-out samples are."""
        return int((self.distances < self.reference.quantile(TOO_NEAR)).sum())

    @property
    def nearer_to_members(self) -> float:
        """Share of condensed samples that are nearer to a member than to any held-out sample; a tie counts half."""
        nearer, equal = self.distances < self.to_heldout, self.distances == self.to_heldout
        return float((nearer.double() + equal.double() / 2).mean())

    @property
    def chance(self) -> float:
        """What `nearer_to_members` is for samples that know nothing of who was a member."""
        return self.source_samples / (self.source_samples + self.heldout_samples)

    def __str__(self) -> str:
        count = len(self.distances)
        lines = [
            f"Privacy of {count:,} condensed samples; {self.source_samples:,} samples of the source (members), "
            f"{self.heldout_samples:,} held-out samples",
            "  distance to the nearest sample, in deviations of the source per value (least, median):",
            f"    condensed to members    {_spread(self.distances)}",
            f"    condensed to held-out   {_spread(self.to_heldout)}",
            f"    held-out to members     {_spread(self.reference)}",
            f"  nearest real sample is a member: {100 * self.nearer_to_members:.1f} % of the condensed samples "
            f"(chance: {100 * self.chance:.1f} %)",
            f"  nearer to a member than {100 * (1 - TOO_NEAR):g} % of the held-out samples are: {self.too_near:,} of "
            f"{count:,}",
            "  membership inference",
        ]
        return "\n".join([*lines, *(f"    {attack}" for attack in self.attacks)])

    def plot(self, path: Any = None, pairs: int = 20) -> Any:
        """A picture of the closest pairs, condensed above real; written to `path` where one is given."""
        from condensed_data.evaluation.privacy import plots as drawing
        from condensed_data.plotting import grid as plots

        order = self.distances.argsort(stable=True)[:pairs]
        image = drawing.pairs(
            self.condensed[order],
            self.nearest[order],
            self.distances[order].tolist(),
            value_range=self.value_range,
        )
        if path is not None:
            plots.save(image, path)
        return image


def _spread(distances: Tensor) -> str:
    return f"{float(distances.min()):.3f}, {float(distances.median()):.3f}"


def measure(
    condensed: CondensedDataset,
    source: Any,
    heldout: Any,
    *,
    network: Any = None,
    networks_trained: int = 1,
    training: str | Training = "quick",
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
    num_workers: int = 0,
    progress: bool = False,
) -> Privacy:
    """Measure what a condensed set gives away about its source.

    Two attacks: by distance (a member should be nearer to some condensed sample than a held-out one) and by loss
    (Yeom et al., 2018, https://arxiv.org/abs/1709.01604: a network trained on the condensed set should have less loss
    on members). Both see the whole set, and know nothing of how it was made. No attack found is no proof of privacy.

    Args:
        condensed: the set.
        source: the dataset that it was made of; all its samples are held in memory.
        heldout: samples of the same kind that it was not made of, such as the test split.
        network: of the second attack; by default the usual one.
        networks_trained: whose mean loss the second attack takes; 0 leaves it out.
        training: how these are trained.
        seed: of networks and of the samples that are drawn where there are very many.
        device, precision, num_workers, progress: see `CondensedDataset`.

    Raises:
        SourceError: for samples of another shape, with other labels or in another value space.
        ValueError: for an argument out of range; for a source of another size than the set was made of; for fewer
            than two members or held-out samples.
    """
    check_count(None, "networks_trained", networks_trained, 0)
    if network is not None:
        networks.network(network)  # an unknown one is said before anything is read
    where, how, rng = choose_device(device), protocol(training), RandomStreams(seed)
    with preserve_rng_state():
        sides = [
            condensed.standardized(name, dataset, num_workers, progress)
            for name, dataset in (("source", source), ("heldout", heldout))
        ]
        (real, _), (others, _) = sides
        _check_source(condensed, len(real))
        images = condensed.metadata.space.standardize(condensed.images)
        distances, members = nearest(images, real, where)
        to_heldout, _ = nearest(images, others, where)
        reference, _ = nearest(_some(others, REFERENCE, rng, "reference"), real, where)
        scores = [-nearest(side, images, where)[0] for side, _ in sides]
        attacks = [roc("distance to the nearest condensed sample", *scores)]
        if networks_trained:
            modules = _Networks(condensed, images, network, how, rng, where, precision)
            some = [_labeled(*side, rng, name) for side, name in zip(sides, ("in", "out"), strict=True)]
            losses = [-modules.losses(*side, networks_trained) for side in some]
            attacks.append(roc("loss of networks trained on the set", *losses))
    return Privacy(
        distances,
        members,
        to_heldout,
        reference,
        tuple(attacks),
        len(real),
        len(others),
        condensed.images,
        condensed.metadata.space.restore(real[members]),
        (0.0, condensed.metadata.kind.max_value) if condensed.metadata.kind.eight_bit else None,
    )


def _check_source(condensed: CondensedDataset, samples: int) -> None:
    """Refuse another source, whose samples are no members, as far as its size shows it."""
    made_of = condensed.metadata.source_samples
    if made_of is not None and made_of != samples:
        raise ValueError(
            f"source has {samples:,} samples, and this set was made of {made_of:,}. Give the source that it was made "
            "of: others are no members."
        )


def _some(rows: Tensor, most: int, rng: RandomStreams, purpose: str) -> Tensor:
    """At most so many rows, drawn at random."""
    return rows if len(rows) <= most else rows[rng.choice(purpose, 0, 0, len(rows), most)]


def _labeled(x: Tensor, y: Tensor, rng: RandomStreams, purpose: str) -> tuple[Tensor, Tensor]:
    index = _some(torch.arange(len(x)), COMPARED, rng, purpose)
    return x[index], y[index]


class _Networks:
    """Networks trained on the condensed set, and their losses on real samples."""

    def __init__(
        self,
        condensed: CondensedDataset,
        images: Tensor,
        network: Any,
        training: Training,
        rng: RandomStreams,
        device: torch.device,
        precision: str,
    ) -> None:
        shape, classes = condensed.metadata.kind.shape, len(condensed.classes)
        facts = DatasetInfo(shape, tuple(condensed.classes), condensed.metadata.ipc)
        self.rng, self.device, self.precision = rng, device, choose_precision(precision, device)
        self.arguments: dict[str, Any] = {
            "network": networks.default_name(shape) if network is None else network,
            "num_classes": classes,
            "training": spec.resolve(training, facts),
            "device": device,
            "precision": self.precision,
        }
        self.images, self.labels = images, condensed.labels

    def losses(self, x: Tensor, y: Tensor, count: int) -> Tensor:
        """Mean cross-entropy (n,) of `count` networks on each sample."""
        total = torch.zeros(len(x), dtype=torch.float64)
        for index in range(count):
            seed = RandomStreams(self.rng.seed_for("privacy", index))
            module: Any = train(self.images, self.labels, rng=seed, **self.arguments)
            with torch.inference_mode():
                for rows in split_evenly(len(x), 256):
                    logits = module(x[rows].to(self.device)).float()
                    total[rows] += F.cross_entropy(logits, y[rows].to(self.device), reduction="none").cpu()
        return total / count
