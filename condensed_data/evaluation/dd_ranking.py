"""Measures the accuracies for DD-Ranking's scores, and prepares tensors for the package `ddranking`.

`dd_ranking_scores` has the formulas and the source.

Letters: N condensed samples.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from condensed_data import networks
from condensed_data.core import spec as specs
from condensed_data.core.annotations import Count, Natural, checked
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.sizes import mean_percent
from condensed_data.core.spec import DatasetInfo
from condensed_data.core.torch_settings import own_settings
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment
from condensed_data.engine.evaluate import class_names, evaluate, standardized
from condensed_data.evaluation import real_data
from condensed_data.evaluation.dd_ranking_scores import augmentation_robust, check_fractions, label_robust
from condensed_data.networks import NetworkLike
from condensed_data.storage.interfaces import CondensedSamples, EvaluationRecorder
from condensed_data.training.evaluate import evaluate_tensors
from condensed_data.training.evaluation_result import Evaluation
from condensed_data.training.protocol import OrderedTraining, Training
from condensed_data.training.protocols import protocol


@dataclass(frozen=True)
class Ranking:
    """What the two scores are computed from; accuracies are fractions, one for each network.

    Attributes:
        condensed, condensed_plain: of networks trained on the condensed samples, with and without augmentation.
        random, random_plain: of networks trained on as many random samples, a new draw for each.
        whole: of the full dataset, by the protocol of the condensed one.
        own_plain: whether that protocol is the one without augmentation.
        how_whole: how `whole` was obtained.
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
        """See `dd_ranking_scores.label_robust`; by the protocol of the condensed dataset."""
        own, random = (self.condensed_plain, self.random_plain) if self.own_plain else (self.condensed, self.random)
        mean = statistics.fmean
        return label_robust(whole=mean(self.whole), condensed=own.mean, random=mean(random))

    @property
    def augmentation_robust(self) -> float:
        """See `dd_ranking_scores.augmentation_robust`."""
        return augmentation_robust(
            condensed=self.condensed.mean,
            random=statistics.fmean(self.random),
            condensed_plain=self.condensed_plain.mean,
            random_plain=statistics.fmean(self.random_plain),
        )

    def __str__(self) -> str:
        condensed, plain = self.condensed, self.condensed_plain
        return (
            f"{condensed.network}: label-robust score {self.label_robust:.3f}, augmentation-robust score "
            f"{self.augmentation_robust:.3f} (DD-Ranking, fractions, last epoch, {condensed.training.label})\n"
            f"  condensed: {mean_percent(condensed.accuracies)} augmented, {mean_percent(plain.accuracies)} not\n"
            f"  random: {mean_percent(self.random)} augmented, {mean_percent(self.random_plain)} not\n"
            f"  whole set: {mean_percent(self.whole)} ({self.how_whole})"
        )


@own_settings()
@checked
def rank(
    condensed: EvaluationRecorder,
    train: Any,
    test: Any,
    *,
    network: NetworkLike | None = None,
    runs: Count = 5,
    training: str | Training | None = None,
    whole: float | None = None,
    seed: Natural = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
    num_workers: Natural = 0,
    progress: bool = True,
) -> Ranking:
    """Measure the accuracies from which DD-Ranking's scores are computed.

    Networks are trained on the condensed samples and on random ones, with and without augmentation, in the same number
    of steps. The augmentation is that of `training`, or DSA's if `training` has none. Soft labels are not
    used: all networks are trained with hard labels, those of a soft-labeled dataset with its most probable classes, so
    that a teacher's knowledge has no part in the scores. `label_robust(condensed_any=...)` is for other pairs.

    Args:
        condensed: a `CondensedDataset` made from `train`. If it has hard labels, its metadata gains the two accuracies
            on the condensed samples.
        train, test: datasets of (sample, label) of one kind and value space.
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module; by default "convnet",
            for vectors "mlp".
        runs: networks for each kind of training data, each on random samples of its own.
        training: a protocol or its name; by default the one in the metadata.
        whole: accuracy on the full dataset, a fraction, if it is known. Without it, networks are trained on the full
            dataset for as many steps as on the condensed one: less than it could reach, which raises the score.
        seed: of networks and random samples.
        device, precision, num_workers, progress: see `CondensedDataset`.

    Raises:
        SourceError: for a `train` or `test` of another shape, with other labels or in another value space.
        ValueError: for a `whole` outside [0, 1], or an order-dependent dataset without a `training`.
    """
    if whole is not None:
        check_fractions(whole=whole)
    torch_device, metadata = choose_device(device), condensed.metadata
    given = metadata.training if training is None else training
    if isinstance(given, OrderedTraining):
        raise ValueError(
            "training=None: this dataset is order-dependent, but random samples have no training schedule. "
            'Give a protocol for both: training="dsa" (--protocol dsa).'
        )
    names = class_names(metadata)
    info = DatasetInfo(metadata.kind.shape, metadata.classes, metadata.ipc, named=names is not None)
    chosen = specs.resolve(protocol(given), info)
    steps = chosen.steps(len(condensed.labels))
    options: dict[str, Any] = {
        "device": torch_device,
        "precision": choose_precision(precision, torch_device),
        "progress": progress,
        "network": networks.default_name(metadata.kind.shape) if network is None else network,
    }
    part, _ = real_data.training_part(train, steps * chosen.batch_size, metadata, seed)
    full_data = standardized(metadata, "train", part, num_workers, progress)
    test = real_data.in_memory(test, num_workers, progress)
    test_data = standardized(metadata, "test", test, 0, False)
    first, second = (
        _evaluate(condensed, test, replace(variant, max_steps=steps), runs=runs, seed=seed, **options)
        for variant in variants(chosen)
    )
    options["num_classes"] = len(metadata.classes)
    # random samples and the full dataset are no views of anything
    protocols = [replace(one.training, views=1) for one in (first, second) if isinstance(one.training, Training)]
    subsets = [
        real_data.evaluate_random_subsets(full_data, test_data, metadata.ipc, runs, seed, training=one, **options)
        for one in protocols
    ]
    random, random_plain = (tuple(one.accuracies[0] for one in evaluations) for evaluations in subsets)
    own_plain = _is_plain(chosen)
    if whole is not None:
        return Ranking(first, second, random, random_plain, (whole,), own_plain, "as given")
    full = evaluate_tensors(*full_data, *test_data, runs=runs, seed=seed, training=protocols[own_plain], **options)
    how = f"{steps:,} steps, as many as on the condensed samples"
    return Ranking(first, second, random, random_plain, full.accuracies, own_plain, how)


def _evaluate(condensed: EvaluationRecorder, test: TensorDataset, training: Training, **options: Any) -> Evaluation:
    """Networks trained on the condensed samples with hard labels; recorded unless the dataset has soft ones."""
    metadata = condensed.metadata
    if condensed.labels.ndim == 1:
        measured = evaluate(condensed, test, training=training, **options)
        condensed.add_evaluation(measured)
        return measured
    return evaluate_tensors(
        metadata.space.standardize(condensed.images),
        condensed.class_indices,
        *standardized(metadata, "test", test, 0, False),
        training=training,
        num_classes=len(metadata.classes),
        classes=class_names(metadata),
        **options,
    )


def variants(training: Training) -> tuple[Training, Training]:
    """A protocol with augmentation (its own, or DSA's if it has none) and without."""
    if _is_plain(training):
        augment = SiameseAugment(DefaultDSAOps(), per_sample=True)
        return replace(training, name=f"{training.name}-augmented", augment=augment), training
    return training, replace(training, name=f"{training.name}-unaugmented", augment=Identity(), cutmix=0.0)


def _is_plain(training: Training) -> bool:
    return isinstance(training.augment, Identity) and training.cutmix == 0


@own_settings()
@checked
def to_ddranking(condensed: CondensedSamples) -> tuple[Tensor, Tensor]:
    """Plain tensors for the package `ddranking`, which takes RGB images.

    Returns:
        Images (N, 3, H, W) float32, standardized as networks receive them and sorted by class, because the package
        numbers the classes itself; and their class indices (N,) int64. The package standardizes its own test images by
        constants: condensed samples of a source that was standardized otherwise are evaluated in a slightly different
        value space.

    Raises:
        ValueError: for other samples, or for classes of different sizes; `rank` measures the scores of all datasets.
    """
    shape = condensed.metadata.kind.shape
    if len(shape) != 3 or shape[0] != 3:
        raise ValueError(
            "to_ddranking() needs RGB images (3, H, W), because the networks of ddranking take nothing else, but the "
            f"samples have shape {shape}. Use condensed_data.evaluation.dd_ranking.rank to measure the scores."
        )
    counts = condensed.class_indices.bincount(minlength=len(condensed.metadata.classes))
    if len(set(counts.tolist())) > 1:
        raise ValueError(
            "to_ddranking() needs the same number of samples in each class, because ddranking numbers them itself, but "
            f"the classes have {counts.tolist()}. Use condensed_data.evaluation.dd_ranking.rank to measure the scores."
        )
    order = condensed.class_indices.argsort(stable=True)
    return condensed.metadata.space.standardize(condensed.images)[order], condensed.class_indices[order]
