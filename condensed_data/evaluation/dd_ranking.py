"""DD-Ranking's scores: how much of an accuracy comes from the samples, and not from labels or augmentation.

Li et al., DD-Ranking: Rethinking the Evaluation of Dataset Distillation, 2025, https://arxiv.org/abs/2505.13300. With
accuracies as fractions, and w a weight in [0, 1]:

    label-robust         alpha = w (condensed_any - random_any) - (1 - w) (whole_hard - condensed_hard)
    augmentation-robust  beta  = w (condensed - random), augmented + (1 - w) (condensed - random), not augmented
    score                (e^alpha - e^-1) / (e - e^-1), and the same of beta: in [0, 1], 0.269 where the difference is 0

Deviations from the package `ddranking` 0.2.0, whose text is the same: accuracies are fractions, where the package puts
percentages into the exponential; they are those of the last epoch by one protocol, where the package takes the best
epoch and the best of five learning rates on the test data.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data import networks
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.sizes import mean_percent
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment
from condensed_data.evaluation import baselines as comparison
from condensed_data.training.evaluate import Evaluation, Training, evaluate_tensors, protocol
from condensed_data.training.protocol import OrderedTraining

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset


def label_robust(
    *,
    whole: float,
    condensed: float,
    random: float,
    condensed_any: float | None = None,
    weight: float = 0.5,
) -> float:
    """The label-robust score.

    Args:
        whole: accuracy of the whole set with hard labels, a fraction.
        condensed: accuracy of the condensed set with hard labels.
        random: accuracy of as many random samples, with the labels and the training of `condensed_any`.
        condensed_any: accuracy of the condensed set with whatever labels it brings; `condensed` where these are hard.
        weight: of the improvement over random samples; the rest weighs the distance to the whole set.

    Returns:
        The score in [0, 1]; higher is better.

    Raises:
        ValueError: for an accuracy or a weight that is no fraction.
    """
    own = condensed if condensed_any is None else condensed_any
    _check(whole=whole, condensed=condensed, random=random, condensed_any=own, weight=weight)
    return _score(weight * (own - random) - (1 - weight) * (whole - condensed))


def augmentation_robust(
    *, condensed: float, random: float, condensed_plain: float, random_plain: float, weight: float = 0.5
) -> float:
    """The augmentation-robust score.

    Args:
        condensed, random: accuracies of the condensed set and of as many random samples, trained with augmentation;
            fractions.
        condensed_plain, random_plain: the same without any.
        weight: of the augmented ones.

    Returns:
        The score in [0, 1]; higher is better.

    Raises:
        ValueError: for an accuracy or a weight that is no fraction.
    """
    _check(condensed=condensed, random=random, weight=weight)
    _check(condensed_plain=condensed_plain, random_plain=random_plain)
    return _score(weight * (condensed - random) + (1 - weight) * (condensed_plain - random_plain))


def _score(difference: float) -> float:
    return (math.exp(difference) - math.exp(-1)) / (math.e - math.exp(-1))


def _check(**fractions: float) -> None:
    for name, value in fractions.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value!r} must be a fraction in [0, 1]: 0.5 for 50 %.")


@dataclass(frozen=True)
class Ranking:
    """What the two scores are computed from; accuracies are fractions, one for each network.

    Attributes:
        condensed, condensed_plain: of networks trained on the condensed set, with and without augmentation.
        random, random_plain: of networks trained on as many random samples, a new draw for each.
        whole: of the whole set, by the protocol that is the set's own.
        own_plain: whether the set's own protocol is the one without augmentation.
        how_whole: how `whole` was had.
    """

    condensed: Evaluation
    condensed_plain: Evaluation
    random: tuple[float, ...]
    random_plain: tuple[float, ...]
    whole: tuple[float, ...]
    own_plain: bool
    how_whole: str

    @property
    def label_robust(self) -> float:
        """See `label_robust`; by the set's own protocol."""
        own, random = (
            (self.condensed_plain, self.random_plain) if self.own_plain else (self.condensed, self.random)
        )
        mean = statistics.fmean
        return label_robust(whole=mean(self.whole), condensed=own.mean, random=mean(random))

    @property
    def augmentation_robust(self) -> float:
        """See `augmentation_robust`."""
        return augmentation_robust(
            condensed=self.condensed.mean,
            random=statistics.fmean(self.random),
            condensed_plain=self.condensed_plain.mean,
            random_plain=statistics.fmean(self.random_plain),
        )

    def __str__(self) -> str:
        rows = (
            ("condensed", self.condensed.accuracies, self.condensed_plain.accuracies),
            ("random", self.random, self.random_plain),
        )
        lines = [
            f"  {name}: {mean_percent(augmented)} augmented, {mean_percent(plain)} not"
            for name, augmented, plain in rows
        ]
        return "\n".join(
            [
                f"{self.condensed.network}: label-robust score {self.label_robust:.3f}, augmentation-robust score "
                f"{self.augmentation_robust:.3f} (DD-Ranking, fractions, last epoch, {self.condensed.training.label})",
                *lines,
                f"  whole set: {mean_percent(self.whole)} ({self.how_whole})",
            ]
        )


def rank(
    condensed: CondensedDataset,
    train: Any,
    test: Any,
    *,
    network: Any = None,
    runs: int = 5,
    training: str | Training | None = None,
    whole: float | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
    num_workers: int = 0,
    progress: bool = True,
) -> Ranking:
    """Measure what DD-Ranking's scores of a condensed set need; its record gains two evaluations.

    The condensed set and random samples are trained with and without augmentation, in the same number of steps. The
    augmentation is that of `training`, or the standard one where `training` has none. Soft labels are left aside: all
    sets are trained with hard labels, a soft-labeled one with its most probable classes (its record then stays as it
    is), so that what a teacher knows has no part in the scores. `label_robust(condensed_any=...)` is for other pairs.

    Args:
        condensed: made from `train`.
        train, test: datasets of (sample, label) of one kind and value space.
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module; the usual one.
        runs: networks on every kind of set, each on random samples of its own.
        training: a protocol or its name; by default the set's own.
        whole: accuracy of the whole set, a fraction, where it is known. Without it, networks are trained on the whole
            set for as many steps as on the condensed one: less than it could reach, which raises the score.

    Raises:
        SourceError: for a `train` or `test` of another shape, with other labels or in another value space.
        ValueError: for a `whole` that is no fraction.
    """
    if whole is not None:
        _check(whole=whole)
    where, metadata = choose_device(device), condensed.metadata
    asked = condensed.training if training is None else training
    if isinstance(asked, OrderedTraining):
        raise ValueError(
            "training: this set brings its own training steps, and random samples have none. Give a protocol for "
            'all of them: training="standard" (--protocol standard).'
        )
    chosen = protocol(asked)
    steps = chosen.steps(len(condensed))
    how: dict[str, Any] = {"device": where, "precision": choose_precision(precision, where)}
    how |= {"progress": progress, "network": network or networks.default_name(metadata.kind.shape)}
    part, _ = comparison.seen(train, steps * chosen.batch_size, metadata, seed)
    real = condensed.standardized("train", part, num_workers, progress)
    tested = comparison.values(test, num_workers, progress)
    held = comparison.standardized(*tested, metadata)
    counts: dict[str, Any] = {"runs": runs, "seed": seed}
    first, second = (
        condensed.evaluate(TensorDataset(*tested), training=replace(one, max_steps=steps), **counts, **how)
        if condensed.labels.ndim == 1
        else _hard(condensed, held, training=replace(one, max_steps=steps), **counts, **how)
        for one in variants(chosen)
    )
    how["num_classes"] = len(metadata.classes)
    subsets = [comparison.random_subset(*real, metadata.ipc, number) for number in range(seed, seed + runs)]
    protocols = [one.training for one in (first, second) if isinstance(one.training, Training)]  # resolved
    random, random_plain = (
        tuple(
            evaluate_tensors(*subset, *held, runs=1, seed=number, training=one, **how).accuracies[0]
            for number, subset in enumerate(subsets, seed)
        )
        for one in protocols
    )
    own_plain = _is_plain(chosen)
    if whole is None:
        own = protocols[own_plain]
        known = evaluate_tensors(*real, *held, runs=runs, seed=seed, training=own, **how).accuracies
        said = f"{steps:,} steps, as many as for the condensed set"
    else:
        known, said = (whole,), "as given"
    return Ranking(first, second, random, random_plain, known, own_plain, said)


def _hard(condensed: CondensedDataset, held: tuple[Tensor, Tensor], **how: Any) -> Evaluation:
    """Networks trained on a soft-labeled set by the most probable classes alone."""
    metadata = condensed.metadata
    named = metadata.classes != tuple(map(str, metadata.class_values))
    return evaluate_tensors(
        metadata.space.standardize(condensed.images),
        condensed.class_indices,
        *held,
        num_classes=len(metadata.classes),
        classes=metadata.classes if named else None,
        **how,
    )


def variants(training: Training) -> tuple[Training, Training]:
    """A protocol with augmentation (its own, or the standard one where it has none) and without any."""
    if _is_plain(training):
        augment = SiameseAugment(DefaultDSAOps(), per_sample=True)
        return replace(training, name=f"{training.name}-augmented", augment=augment), training
    return training, replace(training, name=f"{training.name}-unaugmented", augment=Identity(), cutmix=0.0)


def _is_plain(training: Training) -> bool:
    return isinstance(training.augment, Identity) and training.cutmix == 0


def to_ddranking(condensed: CondensedDataset) -> tuple[Tensor, Tensor]:
    """A set of RGB images as the package `ddranking` takes it; see `CondensedDataset.to_ddranking`."""
    shape = condensed.metadata.kind.shape
    if len(shape) != 3 or shape[0] != 3:
        raise ValueError(
            f"to_ddranking() needs RGB images (3, H, W), because the networks of ddranking take nothing else; these "
            f"samples have the shape {shape}. condensed_data.evaluation.dd_ranking.rank measures its scores here."
        )
    counts = condensed.class_indices.bincount(minlength=len(condensed.classes))
    if len(set(counts.tolist())) > 1:
        raise ValueError(
            f"to_ddranking() needs equally many samples of each class, because ddranking numbers them itself; these "
            f"are {counts.tolist()}. condensed_data.evaluation.dd_ranking.rank measures its scores here."
        )
    order = condensed.class_indices.argsort(stable=True)
    return condensed.metadata.space.standardize(condensed.images)[order], condensed.class_indices[order]
