"""Samples factorized into codes of each class and decoders shared by all classes.

Every code goes through every decoder, so n codes and M decoders give n * M samples per class. HaBa (Liu S. et al.,
NeurIPS 2022, https://arxiv.org/abs/2210.16774): `Factorized(Hallucinator(), decoders=5)`. KFS (Lee, Lee and Hwang,
2022, https://arxiv.org/abs/2208.10494): `Factorized(LatentDecoder(), decoders=2, fit=500)`.

Letters: K classes, n codes per class, M decoders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, prod

import torch
from torch import Tensor, nn

from condensed_data import networks
from condensed_data.core.device import to_device
from condensed_data.core.validation import check_count
from condensed_data.methods.base import SyntheticData, SyntheticSpec
from condensed_data.methods.coresets import Init, Random
from condensed_data.methods.synthetic.decoders import Decoder, Hallucinator
from condensed_data.methods.synthetic.groups import group_layout
from condensed_data.training.context import Context

FIT_RATE = 1e-2


@dataclass(frozen=True)
class Factorized(SyntheticSpec):
    """Codes and decoders within the budget of `ipc` stored samples per class.

    The budget counts everything that is stored: K * n codes and M decoders take at most as many numbers as `ipc`
    samples of every class. This agrees with HaBa's paper, which compares 1 basis per class and 5 hallucinators with 2
    samples per class.

    Args:
        decoder: decodes a code into a sample.
        decoders: M.
        codes: n; None for as many as the budget allows.
        init: initial bases, or the samples that `fit` reproduces. Codes of another shape than samples start as
            standard normal noise.
        fit: steps of Adam at 0.01 before the run, in which codes and decoders learn to reproduce samples of `init`,
            one for each (code, decoder); ours, because decoded noise is too far from real samples to be matched.

    Raises:
        ValueError: when the run starts, if the budget does not allow one code per class.
    """

    decoder: Decoder = field(default_factory=Hallucinator)
    decoders: int = 5
    codes: int | None = None
    init: Init = field(default_factory=Random)
    fit: int = 0

    def __post_init__(self) -> None:
        check_count("Factorized", "decoders", self.decoders)
        check_count("Factorized", "fit", self.fit, 0)
        check_count("Factorized", "codes", self.codes, optional=True)

    def samples_per_class(self, ipc: int, sample_shape: tuple[int, ...]) -> int:
        codes = self.codes or ipc * prod(sample_shape) // prod(self.decoder.code_shape(sample_shape))
        return codes * self.decoders

    def check(self, sample_shape: tuple[int, ...]) -> None:
        self.decoder.check(sample_shape)

    def start(self, context: Context) -> SyntheticData:
        shape = context.real.sample_shape
        self.check(shape)
        modules = [self._module(shape, context.rng.seed_for("decoder", index)) for index in range(self.decoders)]
        decoders = torch.stack([nn.utils.parameters_to_vector(m.parameters()).detach() for m in modules])
        count = self._codes_per_class(context, decoders.numel())
        sizes, labels, groups = group_layout(context.real, count)
        synthetic_data = _FactorizedData(
            modules[0].to(context.device),
            self._codes(context, sizes).requires_grad_(),
            decoders.to(context.device).requires_grad_(),
            labels.repeat_interleave(self.decoders),
            groups.repeat_interleave(self.decoders),
        )
        if self.fit:
            samples = self.init.samples(context, [size * self.decoders for size in sizes])
            _fit(synthetic_data, samples, self.fit)
        return synthetic_data

    def restore(self, tensors: Mapping[str, Tensor], labels: Tensor, sample_shape: tuple[int, ...]) -> SyntheticData:
        codes, decoders = tensors["codes"], tensors["decoders"]
        with torch.device("meta"):  # no memory, as an untrusted encoding may ask for any width
            expected = sum(weight.numel() for weight in self.decoder.module(sample_shape).parameters())
        if decoders.dim() != 2 or decoders.shape[1] != expected or len(codes) * len(decoders) != len(labels):
            raise ValueError(
                f"{len(codes)} codes and decoders of shape {tuple(decoders.shape)} do not match {len(labels)} labels "
                f"and {expected} weights per decoder"
            )
        return _FactorizedData(self._module(sample_shape, 0), codes, decoders, labels, labels)

    def _module(self, sample_shape: tuple[int, ...], seed: int) -> nn.Module:
        return networks.build(lambda _, shape: self.decoder.module(shape), 1, sample_shape, seed).requires_grad_(False)

    def _codes(self, context: Context, sizes: list[int]) -> Tensor:
        shape = self.decoder.code_shape(context.real.sample_shape)
        if shape == context.real.sample_shape:
            return self.init.samples(context, sizes).detach().clone()
        noise = context.rng.torch
        codes = [torch.randn(size, *shape, generator=noise("codes", group)) for group, size in enumerate(sizes)]
        return torch.cat(codes).to(context.device)

    def _codes_per_class(self, context: Context, decoder_floats: int) -> int:
        """n, checked against the budget."""
        shape, classes = context.real.sample_shape, context.real.num_classes
        code, sample = prod(self.decoder.code_shape(shape)) * classes, prod(shape) * classes
        fitting = (context.ipc * sample - decoder_floats) // code
        if fitting < (self.codes or 1):
            needed = decoder_floats + (self.codes or 1) * code
            raise ValueError(
                f"ipc={context.ipc} is a budget of {context.ipc * sample:,} numbers, but {self.decoders} decoders "
                f"({decoder_floats:,}) and {self.codes or 1} codes per class ({code:,} for one each) need "
                f"{needed:,}. Use ipc={ceil(needed / sample)} or more, or fewer decoders."
            )
        return self.codes or fitting


class _FactorizedData(SyntheticData):
    def __init__(self, module: nn.Module, codes: Tensor, decoders: Tensor, labels: Tensor, groups: Tensor) -> None:
        self.module, self.codes, self.decoders = module, codes, decoders
        self.labels, self.groups = labels, groups
        self.learned = {"codes": codes, "decoders": decoders}
        self.shapes = {name: weight.shape for name, weight in module.named_parameters()}

    @property
    def shared_across_groups(self) -> frozenset[str]:
        return frozenset({"decoders"})

    @property
    def decoders_per_code(self) -> int:
        return len(self.decoders)

    def decode(self, index: Tensor) -> Tensor:
        # rows are assigned to decoders on the CPU, so that the device is not waited for
        which = index % self.decoders_per_code
        order = which.argsort(stable=True)
        counts = which.bincount(minlength=self.decoders_per_code).tolist()
        device = self.codes.device
        rows = self.codes[to_device((index // self.decoders_per_code)[order], device)]
        blocks = zip(self.decoders, rows.split(counts), strict=True)
        decoded = [self._decode(weights, block) for weights, block in blocks if len(block)]
        return torch.cat(decoded)[to_device(order.argsort(), device)]

    def _decode(self, weights: Tensor, codes: Tensor) -> Tensor:
        chunks = weights.split([shape.numel() for shape in self.shapes.values()])
        named = {name: chunk.view(shape) for (name, shape), chunk in zip(self.shapes.items(), chunks, strict=True)}
        decoded: Tensor = torch.func.functional_call(self.module, named, (codes,))
        return decoded

    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu() for name, tensor in self.learned.items()}


def _fit(synthetic_data: _FactorizedData, samples: Tensor, steps: int) -> None:
    """Fit the decoded samples to `samples` (K * n * M, *sample) by least squares."""
    optimizer = torch.optim.Adam(synthetic_data.learned.values(), FIT_RATE)
    index = torch.arange(len(samples))
    for _ in range(steps):
        loss = (synthetic_data.decode(index) - samples).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
