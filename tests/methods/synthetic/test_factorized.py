"""Codes and decoders: decoded samples, storage budget, initialization."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
import torch
from pool_data import context, small_real, through_a_file
from torch import Tensor

from condensed_data.core.spec import from_json, to_json
from condensed_data.data.augment import Identity
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.base import SyntheticData
from condensed_data.methods.coresets import Random
from condensed_data.methods.objectives import Distribution
from condensed_data.methods.pools import RandomInit
from condensed_data.methods.recipe import Optimizer, Recipe, Term
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.synthetic import Factorized, Hallucinator, LatentDecoder, MultiFormation
from condensed_data.methods.synthetic.decoders import Decoder
from condensed_data.networks import ConvNet, ConvNet1d

SHAPES = ((1, 8, 8), (3, 9, 7), (2, 11))
SPECS = (
    Factorized(Hallucinator(), decoders=2),
    Factorized(LatentDecoder(channels=1, width=2), decoders=3, fit=3),
)


def everything(synthetic_data: SyntheticData) -> Tensor:
    return synthetic_data.decode(torch.arange(len(synthetic_data.labels)))


def hallucinated(weights: Tensor, basis: Tensor, k: int) -> Tensor:
    """(P,), (C, H, W) -> (C, H, W), pixel by pixel."""
    channels, height, width = basis.shape
    h, w, kernel = height - k + 1, width - k + 1, channels * channels * k * k
    sizes = [channels * h * w, channels * h * w, kernel, channels, kernel, channels]
    scale, shift, conv, conv_bias, back, back_bias = weights.double().split(sizes)
    scale, shift = scale.view(channels, h, w), shift.view(channels, h, w)
    conv, back = conv.view(channels, channels, k, k), back.view(channels, channels, k, k)
    out = back_bias.view(-1, 1, 1).expand(channels, height, width).clone()
    for i in range(h):
        for j in range(w):
            patch = basis[:, i : i + k, j : j + k].double()
            for c in range(channels):
                value = (conv[c] * patch).sum() + conv_bias[c]
                out[:, i : i + k, j : j + k] += (value * scale[c, i, j] + shift[c, i, j]) * back[c]
    return out


@pytest.mark.parametrize(("shape", "kernel"), [((1, 5, 5), 3), ((3, 6, 4), 2)])
def test_every_basis_goes_through_every_hallucinator(shape: tuple[int, ...], kernel: int) -> None:
    spec = Factorized(Hallucinator(kernel), decoders=2, codes=1)
    synthetic_data = spec.start(context(small_real(shape), ipc=9))
    with torch.no_grad():
        for tensor in synthetic_data.learned.values():
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)) / 3)
    codes, decoders = (tensor.detach() for tensor in synthetic_data.learned.values())
    decoded = everything(synthetic_data).detach()
    assert decoded.shape == (6, *shape)
    for n, sample in enumerate(decoded):
        expected = hallucinated(decoders[n % 2], codes[n // 2], kernel)
        torch.testing.assert_close(sample.double(), expected, rtol=1e-4, atol=1e-4)


def size(decoder: Decoder, shape: tuple[int, ...]) -> int:
    return sum(weight.numel() for weight in decoder.module(shape).parameters())


def test_parameters_are_those_of_the_paper() -> None:
    assert size(Hallucinator(), (1, 28, 28)) == 1372
    assert size(Hallucinator(), (3, 32, 32)) == 5568
    assert LatentDecoder(2, 16).code_shape((1, 28, 28)) == (2, 7, 7)
    assert size(LatentDecoder(2, 16), (1, 28, 28)) == 2 * 16 * 16 + 16 + 16 * 16 + 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS, ids=["haba", "kfs"])
def test_the_budget_is_used_and_never_exceeded(spec: Factorized, shape: tuple[int, ...]) -> None:
    for ipc in (5, 9):
        synthetic_data = spec.start(context(small_real(shape), ipc=ipc))
        code = prod(spec.decoder.code_shape(shape))
        budget = ipc * 3 * prod(shape)
        assert budget - 3 * code < synthetic_data.stored_floats <= budget
        assert synthetic_data.stored_floats == sum(tensor.numel() for tensor in synthetic_data.learned.values())
        assert len(synthetic_data.labels) == len(synthetic_data.learned["codes"]) * spec.decoders
        assert synthetic_data.labels.tolist() == sorted(synthetic_data.labels.tolist())
        assert len(everything(synthetic_data)) == len(synthetic_data.labels)


def test_one_basis_compares_with_two_samples_per_class() -> None:
    ctx = context(small_real((1, 28, 28), sizes=(3,) * 10), ipc=2)
    synthetic_data = Factorized(Hallucinator(), decoders=5).start(ctx)
    assert synthetic_data.stored_floats == 14_700
    assert len(synthetic_data.labels) == 50


def test_a_budget_that_is_too_small_names_a_sufficient_one() -> None:
    ctx = context(small_real((1, 8, 8)), ipc=1)
    with pytest.raises(ValueError, match=r"ipc=1 is a budget of 192 numbers.*Use ipc=4 or more"):
        Factorized(Hallucinator(), decoders=5).start(ctx)
    Factorized(Hallucinator(), decoders=5).start(context(ipc=4))
    with pytest.raises(ValueError, match="4 codes per class"):
        Factorized(Hallucinator(), decoders=2, codes=4).start(context(ipc=4))


def test_each_group_has_its_own_codes() -> None:
    groups = [i % 2 for i in range(57)]
    ctx = context(small_real(groups=groups), ipc=9)
    synthetic_data = Factorized(Hallucinator(), decoders=2, codes=4).start(ctx)
    assert synthetic_data.groups.bincount().tolist() == [4] * 6
    assert synthetic_data.labels.bincount().tolist() == [8] * 3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS, ids=["haba", "kfs"])
def test_rows_decode_in_any_order_and_after_restoring(spec: Factorized, shape: tuple[int, ...]) -> None:
    synthetic_data = spec.start(context(small_real(shape), ipc=5))
    whole = everything(synthetic_data)
    index = torch.tensor([4, 1, 1, len(whole) - 1, 0])
    torch.testing.assert_close(synthetic_data.decode(index), whole[index], rtol=1e-6, atol=1e-6)
    rebuilt = from_json(to_json(spec)).restore(synthetic_data.tensors(), synthetic_data.labels, shape)
    assert torch.equal(everything(rebuilt), whole)


def test_samples_can_start_close_to_their_bases() -> None:
    ctx = context(small_real((2, 9, 8)), ipc=9)
    synthetic_data = Factorized(Hallucinator(start="identity"), decoders=2, codes=2).start(ctx)
    bases = Random().samples(ctx, [2, 2, 2]).repeat_interleave(2, 0)
    assert torch.equal(synthetic_data.learned["codes"].detach(), bases[::2])
    samples = everything(synthetic_data).detach()[..., 1:-1, 1:-1]
    inner = bases[..., 1:-1, 1:-1]
    assert float((samples - inner).square().mean() / inner.square().mean()) < 0.3
    assert not torch.equal(samples[0], samples[1])


def test_fitted_codes_reproduce_real_samples() -> None:
    ctx = context(small_real((1, 8, 8)), ipc=9)
    errors = []
    for steps in (1, 200):
        synthetic_data = Factorized(LatentDecoder(2, 4), decoders=2, codes=2, fit=steps).start(ctx)
        samples = Random().samples(ctx, [4, 4, 4])
        errors.append(float((everything(synthetic_data).detach() - samples).square().mean()))
        assert all(tensor.grad is None for tensor in synthetic_data.learned.values())
    assert errors[1] < 0.5 * errors[0]


def dm(spec: Factorized, network: ConvNet | ConvNet1d) -> Recipe:
    term = Term(Distribution(), RandomInit(network), PerGroup(16), Identity())
    return Recipe("dm", spec, (term,), Optimizer("adam", lr=0.02), iterations=6, ipc=5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS, ids=["haba", "kfs"])
def test_everything_learns_and_resumes_to_the_same_bits(
    spec: Factorized, shape: tuple[int, ...], tmp_path: Path, untouched_rng: None
) -> None:
    network = ConvNet1d(width=4, depth=1) if len(shape) == 2 else ConvNet(width=4, depth=1)
    runs = [CondensationRun(dm(spec, network), context(small_real(shape), ipc=5)) for _ in range(3)]
    before = {name: tensor.detach().clone() for name, tensor in runs[0].synthetic_data.learned.items()}
    for run, steps in zip(runs, (6, 3, 0), strict=True):
        for _ in range(steps):
            run.step()
    runs[2].load_state_dict(through_a_file(runs[1].state_dict(), tmp_path))
    for _ in range(3):
        runs[2].step()
    for name, tensor in runs[0].synthetic_data.learned.items():
        assert torch.equal(tensor, runs[2].synthetic_data.learned[name])
        assert bool((tensor.detach() != before[name]).all())


def test_hallucinated_samples_in_a_grid() -> None:
    spec = MultiFormation(Factorized(Hallucinator(), decoders=2))
    synthetic_data = spec.start(context(ipc=5))
    restored = spec.restore(synthetic_data.tensors(), synthetic_data.labels, (1, 8, 8))
    assert torch.equal(everything(restored), everything(synthetic_data))
    assert len(synthetic_data.labels) == 4 * 2 * len(synthetic_data.learned["codes"])


def test_invalid_factorizations_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"not to samples of shape \(5,\). Use Pixels"):
        Factorized().check((5,))
    with pytest.raises(ValueError, match=r"Use kernel=2 or less"):
        Factorized(Hallucinator(3)).check((1, 2, 9))
    for values, message in (
        ({"decoders": 0}, "decoders=0"),
        ({"fit": -1}, "fit=-1"),
        ({"codes": 0}, "codes=0"),
    ):
        with pytest.raises(ValueError, match=message):
            Factorized(**values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be one of 'random', 'identity'"):
        Hallucinator(start="zero")
