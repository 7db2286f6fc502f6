"""How good a `CondensedDataset` is: networks trained on it as its record says, and tested on real samples.

Letters: N, n samples, K classes.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from condensed_data import networks
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rng import preserve_rng_state
from condensed_data.data.real import RealData
from condensed_data.data.source import SourceError, inspect
from condensed_data.engine.evaluate_replay import evaluate_replay
from condensed_data.storage import replay as replays
from condensed_data.storage.metadata import Metadata
from condensed_data.training.evaluate import Evaluation, Training, evaluate_tensors
from condensed_data.training.protocol import OrderedTraining

if TYPE_CHECKING:
    from condensed_data.dataset import CondensedDataset


def evaluate(
    condensed: CondensedDataset,
    test_set: Any,
    network: Any,
    *,
    training: str | Training | None,
    initial: Any,
    device: str | torch.device | None,
    precision: str,
    num_workers: int,
    progress: bool,
    executor: Executor | None,
    **how: Any,
) -> Evaluation:
    """What was measured; see `CondensedDataset.evaluate`.

    Args:
        condensed: the set, which is left as it is.
        how: `runs` and `seed`.
    """
    where, replay = choose_device(device), replays.chosen(condensed, training, initial)
    precise, metadata = choose_precision(precision, where), condensed.metadata
    if replay is not None and precision == "auto":
        precise = metadata.environment.get("precision", precise)  # that its steps were learned in
    how |= {
        "device": where,
        "precision": precise,
        "progress": progress,
        "num_classes": len(condensed.classes),
    }
    with preserve_rng_state():
        test = standardized(metadata, "test_set", test_set, num_workers, progress)
        sets = (metadata.space.standardize(condensed.images), condensed.labels, *test)
        how["eight_bit"] = _rounded(metadata, condensed.images)
        if replay is not None:
            if executor is not None:
                raise ValueError(
                    "executor= trains networks side by side, and this set's own training run has few steps, all of "
                    "whose networks are trained here. Leave executor= out."
                )
            return evaluate_replay(*sets, replay=replay, network=network, initial=initial, **how)
        protocol = condensed.training if training is None else training
        assert not isinstance(protocol, OrderedTraining)  # `chosen` refuses it
        return evaluate_tensors(
            *sets,
            network=networks.default_name(metadata.kind.shape) if network is None else network,
            training=protocol,
            classes=condensed.classes if _named(metadata) else None,
            executor=executor,
            **how,
        )


def _rounded(metadata: Metadata, images: Tensor) -> Tensor | None:
    """The samples as they are after rounding to 8 bits, standardized, where the source has 8 bits."""
    if not metadata.kind.eight_bit:
        return None
    return metadata.space.standardize(metadata.kind.round_to_8_bits(images))


def _named(metadata: Metadata) -> bool:
    """Whether the classes have names that are more than their label values."""
    return metadata.classes != tuple(map(str, metadata.class_values))


def standardized(
    metadata: Metadata, name: str, dataset: Any, num_workers: int, progress: bool
) -> tuple[Tensor, Tensor]:
    """Real samples as networks meet them beside a set; see `CondensedDataset.standardized`.

    Args:
        record: of the set.

    Returns:
        Standardized samples (n, *sample), class indices (n,).
    """
    source = inspect(dataset)
    if source.kind.shape != metadata.kind.shape:
        raise SourceError(
            f"{name} has samples of shape {source.kind.shape}, this set {metadata.kind.shape}. "
            f"Resize those of {name}."
        )
    real = RealData.read(source, None, num_workers, progress)
    samples = real.all_samples()
    _check_scale(metadata, name, samples)
    labels = _class_indices(metadata, name, real.class_values[real.labels])
    return metadata.space.standardize(samples), labels


def _check_scale(metadata: Metadata, name: str, samples: Tensor) -> None:
    scaled = metadata.space.scale(samples)
    mean, std = float(scaled.mean()), float(scaled.std())
    if abs(mean) > 0.75 or not 0.5 < std < 2:
        raise SourceError(
            f"{name} is in another value space: standardized as this set, it has mean {mean:.2f} and "
            f"deviation {std:.2f} instead of 0 and 1. Give it the transforms that the source had (the source's "
            f"mean is {metadata.space.mean.mean():.4g}, its deviation {metadata.space.std.mean():.4g})."
        )


def _class_indices(metadata: Metadata, name: str, values: Tensor) -> Tensor:
    """(n,) class indices of the source's own labels (n,)."""
    known = torch.tensor(metadata.class_values)
    labels = torch.searchsorted(known, values).clamp_max(len(known) - 1)
    if not torch.equal(known[labels], values):
        strange = sorted(set(values.tolist()) - set(metadata.class_values))[:5]
        raise SourceError(f"{name} has labels that the source had not: {strange}. Leave these samples out.")
    return labels
