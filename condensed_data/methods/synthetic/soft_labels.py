"""Class probabilities instead of hard labels: learned together with the samples, or predicted by a teacher.

`Recipe.soft_labels` learns them if an objective reads labels; `Recipe.labels_from` lets a teacher label the finished
samples of any recipe.

Letters: N samples, K classes, B rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
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
from condensed_data.networks.modes import temporary_mode
from condensed_data.networks.registry import DefaultNetwork, NetworkLike, check_network
from condensed_data.training.context import Context
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.trained_networks import initial_network, trained_networks

NAME = "labels"  # of the learned tensor, for `Optimizer(rates=(("labels", 1.0),))`
CONFIDENCE = 0.9
ROWS = 256  # of a teacher's forward pass
Labeler = Callable[[Tensor], Tensor]


class SoftLabeledData(WrappedData):
    """Synthetic data whose labels are learned too: the softmax of K learned logits per sample.

    At the start, the sample's own class has probability `CONFIDENCE`. DATM (Guo et al., ICLR 2024,
    https://arxiv.org/abs/2310.05773, section 3.2) also learns labels together with samples, but starts them at an
    expert's prediction. `tensors` and `stored_floats` exclude the labels: decoding does not need them, and an artifact
    stores them separately.
    """

    def __init__(self, inner: SyntheticData, num_classes: int, device: torch.device) -> None:
        one_hot = F.one_hot(inner.labels, num_classes).float().to(device)
        rest = (1 - CONFIDENCE) / max(num_classes - 1, 1)
        self.logits = (one_hot * math.log(CONFIDENCE) + (1 - one_hot) * math.log(rest)).requires_grad_()
        super().__init__(inner, {NAME: self.logits})

    def targets(self, index: Tensor) -> Tensor:
        return self.logits[to_device(index, self.logits.device)].softmax(1)

    @property
    def label_kind(self) -> str:
        return "probs"


@dataclass(frozen=True)
class Teacher(Spec):
    """Networks trained on the real samples, whose mean class probabilities are the labels.

    TESLA (Cui et al., ICML 2023, https://arxiv.org/abs/2211.10586) and the decoupled methods after SRe2L (Yin et al.,
    NeurIPS 2023) label their samples this way. The networks come from the cache that pools and coresets share.

    Args:
        network: a name, a specification or any callable (num_classes, sample_shape) -> Module.
        pretrain: how many networks are trained, and how.
        temperature: divides the logits; positive and finite.
    """

    network: NetworkLike | DataDefault = field(default_factory=DefaultNetwork)
    pretrain: Pretraining = field(default_factory=Pretraining)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"Teacher(temperature={self.temperature!r}) must be positive and finite.")

    def check(self, sample_shape: tuple[int, ...]) -> None:
        check_network(self.network, sample_shape)

    def start(self, context: Context) -> Labeler:
        """A function from standardized samples (N, *sample) to probabilities (N, K) float32 on the CPU."""
        modules = []
        for index, trained in enumerate(trained_networks(context, self.network, self.pretrain)):
            module = initial_network(context, self.network, index)
            module.load_state_dict(trained.weights)
            modules.append(module.to(context.device).eval())
        return lambda samples: torch.stack(
            [_logits(module, samples, context.device).div(self.temperature).softmax(1) for module in modules]
        ).mean(0)


def labeler(labels_from: Any, context: Context) -> Labeler:
    """A function from standardized samples (N, *sample) to probabilities (N, K) float32 on the CPU.

    Args:
        labels_from: a `Teacher`, or any callable that maps samples (B, *sample) float32 in the source's value space
            ([0, 1] for PIL images) to logits (B, K), such as a module; it is tried now on up to two real samples.
        context: of the run.

    Raises:
        ValueError: for a callable that returns another shape.
    """
    if isinstance(labels_from, Teacher):
        return labels_from.start(context)
    inside = getattr(labels_from, "function", labels_from)
    weight = next(inside.parameters(), None) if isinstance(inside, nn.Module) else None
    device = context.device if weight is None else weight.device

    def label(samples: Tensor) -> Tensor:
        logits = _logits(labels_from, context.real.space.restore(samples), device)
        expected = (len(samples), context.real.num_classes)
        if tuple(logits.shape) != expected:
            raise ValueError(
                f"labels_from returned shape {tuple(logits.shape)} for {len(samples)} samples. It must return logits "
                f"of shape {expected}, one per class in the order of the label values."
            )
        return logits.softmax(1)

    label(context.real[torch.arange(min(2, len(context.real)))])
    return label


def _logits(module: Labeler, samples: Tensor, device: torch.device) -> Tensor:
    """(N, K) float32 on the CPU, computed in evaluation mode."""
    inside = getattr(module, "function", module)
    mode = temporary_mode(inside, training=False) if isinstance(inside, nn.Module) else nullcontext()
    with mode, torch.no_grad(), preserve_rng_state():
        return torch.cat([module(rows.to(device)).float().cpu() for rows in samples.split(ROWS)])
