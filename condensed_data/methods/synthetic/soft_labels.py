"""Class probabilities in the place of hard labels: learned with the samples, or given by a teacher.

`Recipe.soft_labels` learns them, where an objective reads labels; `Recipe.labels_from` has the finished samples
labeled by a teacher, for any recipe. Letters: N samples, K classes, B rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condensed_data.core.device import to_device
from condensed_data.core.rng import preserve_rng_state
from condensed_data.core.spec import DataDefault, Spec
from condensed_data.methods.base import SyntheticData
from condensed_data.methods.synthetic.wrapper import WrappedData
from condensed_data.networks.default import DefaultNetwork, check_network
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import trained_networks
from condensed_data.training.pretraining import Pretraining, initial

NAME = "labels"  # of the learned tensor, for `Optimizer(rates=(("labels", 1.0),))`
CONFIDENCE = 0.9
ROWS = 256  # of a teacher's forward
Labeler = Callable[[Tensor], Tensor]


class SoftLabeledData(WrappedData):
    """Synthetic data whose labels are learned too: the softmax of K learned logits per sample.

    At the start, the sample's own class has probability `CONFIDENCE`. DATM (Guo et al., ICLR 2024,
    https://arxiv.org/abs/2310.05773, section 3.2) also learns labels together with samples, but starts them at an
    expert's prediction. `tensors` and `stored_floats` exclude the labels: decoding does not need them, and an artifact
    stores them separately.

    Args:
        inner: the samples.
        num_classes: K.
        device: of the run.
    """

    def __init__(self, inner: SyntheticData, num_classes: int, device: torch.device) -> None:
        own = F.one_hot(inner.labels, num_classes).float().to(device)
        rest = (1 - CONFIDENCE) / max(num_classes - 1, 1)
        self.logits = (own * math.log(CONFIDENCE) + (1 - own) * math.log(rest)).requires_grad_()
        super().__init__(inner, {NAME: self.logits})

    def targets(self, index: Tensor) -> Tensor:
        return self.logits[to_device(index, self.logits.device)].softmax(1)


@dataclass(frozen=True)
class Teacher(Spec):
    """Networks trained on the real samples, whose mean class probabilities are the labels.

    TESLA (Cui et al., ICML 2023, https://arxiv.org/abs/2211.10586) and the decoupled methods after SRe2L (Yin et al.,
    NeurIPS 2023) label their samples so. The networks come from the store that pools and coresets share.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        pretrain: how many are trained, and how.
        temperature: positive; logits are divided by it.

    Raises:
        ValueError: for a temperature that is not positive and finite.
    """

    network: str | Callable[..., nn.Module] | DataDefault = field(default_factory=DefaultNetwork)
    pretrain: Pretraining = field(default_factory=Pretraining)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"Teacher(temperature={self.temperature!r}) must be positive and finite.")

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise what building the network for such samples would raise."""
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> Labeler:
        """Standardized samples (N, *sample) -> probabilities (N, K) float32 on the CPU."""
        modules = []
        for index, trained in enumerate(trained_networks(context, self.network, self.pretrain)):
            module = initial(context, self.network, index)
            module.load_state_dict(trained.weights)
            modules.append(module.to(context.device).eval())
        return lambda samples: torch.stack(
            [_logits(module, samples, context.device).div(self.temperature).softmax(1) for module in modules]
        ).mean(0)


def labeler(labels_from: Any, context: Context) -> Labeler:
    """What labels finished samples: standardized (N, *sample) -> probabilities (N, K) float32 on the CPU.

    Args:
        labels_from: a `Teacher`, or any callable that maps samples (B, *sample) float32 in the source's value space
            ([0, 1] for PIL images) to logits (B, K), such as a module; it is asked once now, with real samples.

    Raises:
        ValueError: for a callable that returns anything else.
    """
    if isinstance(labels_from, Teacher):
        return labels_from.start(context)
    module, space, device = labels_from, context.real.space, context.device
    inside = getattr(module, "function", module)
    if isinstance(inside, nn.Module):
        weight = next(inside.parameters(), None)
        device = device if weight is None else weight.device

    def label(samples: Tensor) -> Tensor:
        logits = _logits(module, space.restore(samples), device)
        expected = (len(samples), context.real.num_classes)
        if tuple(logits.shape) != expected:
            raise ValueError(
                f"labels_from returned {tuple(logits.shape)} for {len(samples)} samples; it must return logits "
                f"{expected}, one for each class in the order of their label values."
            )
        return logits.softmax(1)

    label(context.real[torch.arange(min(2, len(context.real)))])
    return label


def _logits(module: Labeler, samples: Tensor, device: torch.device) -> Tensor:
    """(N, K) float32 on the CPU, computed as the module stands but in evaluation mode."""
    inside = getattr(module, "function", module)
    modes = [(part, part.training) for part in inside.modules()] if isinstance(inside, nn.Module) else []
    for part, _ in modes:
        part.training = False
    try:
        with torch.no_grad(), preserve_rng_state():
            return torch.cat([module(rows.to(device)).float().cpu() for rows in samples.split(ROWS)])
    finally:
        for part, mode in modes:
            part.training = mode
