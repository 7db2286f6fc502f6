"""The steps of a training run on the synthetic samples, and their step sizes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sources import real
from torch import Tensor

from condensed_data.core.rng import RandomStreams
from condensed_data.data.augment import Identity, SiameseAugment
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.coresets import Noise
from condensed_data.methods.objectives import Unrolled
from condensed_data.methods.pools import RandomInit
from condensed_data.methods.recipe import Optimizer, Recipe, Term
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.sequence import TrainingSteps
from condensed_data.methods.synthetic import Factorized, Hallucinator, MultiFormation, Pixels, WithSteps
from condensed_data.networks import ConvNet
from condensed_data.storage import checkpoint
from condensed_data.training.context import Context

SHAPE = (1, 8, 8)


def context(ipc: int = 4, seed: int = 0, count: int = 30) -> Context:
    samples = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))
    return Context(real(samples, torch.arange(count) % 3), ipc, RandomStreams(seed), torch.device("cpu"))


def recipe(**parts: object) -> Recipe:
    spec = Recipe(
        "dd",
        WithSteps(Pixels(Noise()), steps=4, lr=0.05),
        (Term(Unrolled(), RandomInit(ConvNet(width=4, depth=1)), TrainingSteps(2, 2, batch=20), Identity()),),
        Optimizer("adam", lr=0.05, betas=(0.5, 0.999)),
        iterations=6,
        ipc=4,
    )
    return replace(spec, **parts)  # type: ignore[arg-type]


def test_stored_blocks_split_every_class_and_repeat_in_order() -> None:
    ctx = context(ipc=4)
    draw = TrainingSteps(2, epochs=3, batch=7).start(ctx, Pixels().start(ctx)).draw(5, [0, 1, 2])
    assert draw.synthetic.tolist() == [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11] * 3
    assert draw.synthetic_sizes == (6,) * 6
    assert draw.steps == (0, 1, 2, 3, 4, 5)
    assert draw.real_sizes == (7,)
    assert len(draw.real.unique()) == 7


def test_shuffled_steps_use_up_one_permutation_after_the_other() -> None:
    ctx = context(ipc=4)
    sampler_state = TrainingSteps(5, order="shuffled", synthetic=5, batch=0).start(ctx, Pixels().start(ctx))
    draws = [sampler_state.draw(iteration, [0, 1, 2]) for iteration in (0, 1, 0)]
    for draw in draws:
        assert draw.synthetic_sizes == (2, 5, 5, 2, 5)
        assert sorted(draw.synthetic[:12].tolist()) == list(range(12))
        assert len(draw.synthetic[12:].unique()) == 7
        assert len(draw.real) == 0
    assert torch.equal(draws[0].synthetic, draws[2].synthetic)
    assert not torch.equal(draws[0].synthetic, draws[1].synthetic)
    whole = TrainingSteps(2, order="shuffled").start(ctx, Pixels().start(ctx)).draw(0, [0, 1, 2])
    assert whole.synthetic_sizes == (12, 12)
    assert whole.real_sizes == (30,)  # all of a smaller source


@pytest.mark.parametrize("cells", [1, 4])
def test_a_step_decodes_its_codes_by_one_decoder(cells: int) -> None:
    ctx, factorized = context(ipc=9), Factorized(Hallucinator(), decoders=3, codes=4)
    synthetic_data = (MultiFormation(factorized) if cells == 4 else factorized).start(ctx)
    places = 12 * cells  # codes and their cells
    sampler = TrainingSteps(6, order="shuffled", synthetic=5 * cells, batch=0, one_decoder=True)
    seen = set()
    for iteration in range(10):
        draw = sampler.start(ctx, synthetic_data).draw(iteration, [0, 1, 2])
        assert draw.synthetic_sizes == (2 * cells, 5 * cells, 5 * cells) * 2
        for step in draw.synthetic.split(draw.synthetic_sizes):
            (decoder,) = (step // cells % 3).unique().tolist()
            seen.add(decoder)
        place = draw.synthetic // (3 * cells) * cells + draw.synthetic % cells
        assert sorted(place[:places].tolist()) == sorted(place[places:].tolist()) == list(range(places))
    assert seen == {0, 1, 2}


def test_mismatches_are_rejected() -> None:
    ctx = context(ipc=4)
    with pytest.raises(ValueError, match=r"steps=3\) must divide.*one has 4"):
        TrainingSteps(3).start(ctx, Pixels().start(ctx))
    with pytest.raises(ValueError, match="step_per='class'"):
        TrainingSteps(2).start(ctx, Pixels().start(ctx)).draw(0, [1])
    with pytest.raises(ValueError, match="steps=0"):
        TrainingSteps(0)
    with pytest.raises(ValueError, match="batch=-1"):
        TrainingSteps(1, batch=-1)
    with pytest.raises(ValueError, match="'stored', 'shuffled'"):
        TrainingSteps(1, order="random")
    with pytest.raises(ValueError, match=r"one_decoder=True\) needs order='shuffled'"):
        TrainingSteps(1, one_decoder=True)
    with pytest.raises(ValueError, match="needs order='shuffled'"):
        TrainingSteps(1, synthetic=4)
    with pytest.raises(ValueError, match=r"without step sizes"):
        CondensationRun(recipe(synthetic=Pixels()), context()).step()
    with pytest.raises(ValueError, match=r"WithSteps\(steps=3\) does not fit TrainingSteps of 4"):
        CondensationRun(recipe(synthetic=WithSteps(Pixels(), steps=3)), context()).step()
    with pytest.raises(ValueError, match="step_per='iteration'"):
        CondensationRun(recipe(step_per="class"), context())


def test_every_step_has_its_own_augmentation_and_the_real_side_none() -> None:
    seen = []

    class Looking(Unrolled):
        def __call__(self, net: object, pair: object) -> Tensor:
            seen.append(pair)
            return super().__call__(net, pair)  # type: ignore[arg-type]

    ctx = context()
    term = Term(
        Looking(),
        RandomInit(ConvNet(width=4, depth=1)),
        TrainingSteps(1, 4, batch=20),
        SiameseAugment(("crop", "color")),
    )
    run = CondensationRun(recipe(terms=(term,)), ctx)
    run.step()
    steps = seen[0].synthetic.split(seen[0].synthetic.x)
    assert len(steps) == 4
    assert all(not torch.equal(a, b) for i, a in enumerate(steps) for b in steps[:i])
    drawn = run.sampler_states[term.sampler].draw(0, [0, 1, 2]).real
    assert torch.equal(seen[0].real.x, ctx.real[drawn])


@pytest.mark.parametrize(("form", "lr"), [("softplus", 0.02), ("plain", 0.02), ("softplus", 30.0)])
def test_step_sizes_start_at_lr_and_are_restored(form: str, lr: float) -> None:
    spec = WithSteps(Pixels(), steps=3, lr=lr, form=form)
    synthetic_data = spec.start(context())
    assert synthetic_data.step_sizes is not None
    torch.testing.assert_close(synthetic_data.step_sizes, torch.full((3,), lr))
    assert synthetic_data.stored_floats == 12 * 64 + 3
    restored = spec.restore(synthetic_data.tensors(), synthetic_data.labels, SHAPE)
    assert restored.step_sizes is not None
    assert torch.equal(restored.step_sizes, synthetic_data.step_sizes.detach())
    index = torch.tensor([3, 0])
    assert torch.equal(restored.decode(index), synthetic_data.decode(index))


def test_step_sizes_stay_positive() -> None:
    for form, smallest in (("softplus", 0.0), ("plain", 1e-6)):
        synthetic_data = WithSteps(Pixels(clamp=True), lr=0.5, form=form).start(context())
        with torch.no_grad():
            synthetic_data.learned["step_sizes"].fill_(-3.0)
            synthetic_data.learned["images"].fill_(1e6)
        synthetic_data.clamp()
        assert synthetic_data.step_sizes is not None
        assert synthetic_data.step_sizes.item() == pytest.approx(smallest or math.log1p(math.exp(-3)), rel=1e-5)
        assert float(synthetic_data.learned["images"].detach().max()) < 100  # the inner part is kept in range too
    for values, message in (({"lr": 0.0}, "lr=0.0"), ({"steps": 0}, "steps=0"), ({"form": "exp"}, "'plain'")):
        with pytest.raises(ValueError, match=message):
            WithSteps(Pixels(), **values)  # type: ignore[arg-type]


def test_step_sizes_wrap_and_are_wrapped() -> None:
    for spec in (WithSteps(MultiFormation(), steps=2), MultiFormation(WithSteps(), init="inner")):
        synthetic_data = spec.start(context(ipc=1))
        assert len(synthetic_data.labels) == 12
        assert synthetic_data.step_sizes is not None
        assert synthetic_data.decode(torch.arange(12)).shape == (12, *SHAPE)
        restored = spec.restore(synthetic_data.tensors(), synthetic_data.labels, SHAPE)
        assert torch.equal(restored.decode(torch.arange(12)), synthetic_data.decode(torch.arange(12)))


def test_everything_learns_and_the_loss_falls() -> None:
    run = CondensationRun(recipe(), context())
    before = {name: tensor.detach().clone() for name, tensor in run.synthetic_data.learned.items()}
    fixed = RandomInit(ConvNet(width=4, depth=1), period=1000)
    run = CondensationRun(recipe(terms=(replace(recipe().terms[0], pool=fixed),)), context())
    losses = [float(run.step()) for _ in range(40)]
    for name, tensor in run.synthetic_data.learned.items():
        assert bool((tensor.detach() != before[name]).all())
    assert losses[-1] < 0.7 * losses[0]


def test_a_resumed_run_has_the_same_bits(tmp_path: object) -> None:
    whole, first, second = (CondensationRun(recipe(), context()) for _ in range(3))
    for run, steps in ((whole, 6), (first, 3)):
        for _ in range(steps):
            run.step()
    path = tmp_path / "checkpoint"  # type: ignore[operator]
    checkpoint.write(path, first.state_dict(), {})
    second.load_state_dict(checkpoint.read(path, {}))
    for _ in range(3):
        second.step()
    for name, tensor in whole.synthetic_data.learned.items():
        assert torch.equal(tensor, second.synthetic_data.learned[name])


def test_shuffled_groups_are_compared_with_their_own_group() -> None:
    ctx = context()
    assert PerGroup(4).start(ctx, Pixels().start(ctx)).draw(0, [1]).steps is None
