"""Step sizes that are learned together with the samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from condensed_data.core.spec import DataDefault, require_resolved
from condensed_data.core.validation import check_choice, check_count
from condensed_data.methods.base import SyntheticData, SyntheticSpec
from condensed_data.methods.synthetic.pixels import Pixels
from condensed_data.methods.synthetic.wrapper import WrappedData
from condensed_data.training.context import Context

NAME = "step_sizes"


@dataclass(frozen=True)
class WithSteps(SyntheticSpec):
    """Other synthetic data together with the step sizes of training on its samples.

    * DD (Wang et al., 2018, https://arxiv.org/abs/1811.10959): one per training step, the softplus of a learned
      number: `WithSteps(Pixels(Noise()), steps=30, lr=0.02)`.
    * MTT (Cazenavette et al., CVPR 2022, https://arxiv.org/abs/2203.11932): one for all training steps, learned
      directly: `WithSteps(Pixels(), lr=0.01, form="plain")`, with its own learning rate in
      `Optimizer(rates=(("step_sizes", 1e-5),))`. MTT has no `smallest`; HaBa (Liu S. et al., NeurIPS 2022) and FreD
      (Shin et al., NeurIPS 2023) have `smallest=1e-3`.

    Args:
        inner: the samples.
        steps: number of step sizes; 1 is used for all training steps.
        lr: initial step size, positive and finite.
        form: "softplus" or "plain".
        smallest: lower bound of "plain" step sizes after every step, positive and finite; the default only keeps them
            positive, as networks must be trained with them.
    """

    inner: SyntheticSpec = field(default_factory=Pixels)
    steps: int = 1
    lr: float | DataDefault = 0.01
    form: str = "softplus"
    smallest: float = 1e-6

    def __post_init__(self) -> None:
        check_count("WithSteps", "steps", self.steps)
        for name in ("lr", "smallest"):
            value = getattr(self, name)
            if not isinstance(value, DataDefault) and not 0 < value < math.inf:
                raise ValueError(f"WithSteps({name}={value!r}) must be positive and finite.")
        check_choice("WithSteps", "form", self.form, ("softplus", "plain"))

    def start(self, context: Context) -> SyntheticData:
        lr = require_resolved(self.lr)
        raw = lr if self.form == "plain" else math.log(math.expm1(lr))
        learned = torch.full((self.steps,), raw, device=context.device).requires_grad_()
        return _WithStepSizes(self, self.inner.start(context), learned)

    def samples_per_class(self, ipc: int, sample_shape: tuple[int, ...]) -> int:
        return self.inner.samples_per_class(ipc, sample_shape)

    def restore(self, tensors: Mapping[str, Tensor], labels: Tensor, sample_shape: tuple[int, ...]) -> SyntheticData:
        others = {name: tensor for name, tensor in tensors.items() if name != NAME}
        inner = self.inner.restore(others, labels, sample_shape)
        return _WithStepSizes(replace(self, form="plain"), inner, tensors[NAME])


class _WithStepSizes(WrappedData):
    def __init__(self, spec: WithSteps, inner: SyntheticData, raw: Tensor) -> None:
        super().__init__(inner, {NAME: raw})
        self.spec, self.raw = spec, raw

    @property
    def shared_across_groups(self) -> frozenset[str]:
        return self.inner.shared_across_groups | {NAME}

    @property
    def step_sizes(self) -> Tensor:
        return F.softplus(self.raw) if self.spec.form == "softplus" else self.raw

    @property
    def stored_floats(self) -> int:
        return self.inner.stored_floats + self.raw.numel()

    def tensors(self) -> dict[str, Tensor]:
        return self.inner.tensors() | {NAME: self.step_sizes.detach().cpu()}

    def clamp(self) -> None:
        self.inner.clamp()
        if self.spec.form == "plain":
            with torch.no_grad():
                self.raw.clamp_(min=self.spec.smallest)
