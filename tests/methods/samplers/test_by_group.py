"""Which real samples are compared with which synthetic ones."""

from __future__ import annotations

import pytest
import torch
from sources import real

from condensed_data.core.rng import RandomStreams
from condensed_data.methods.base import Sampler, SamplerState
from condensed_data.methods.coresets import Noise
from condensed_data.methods.samplers.by_group import PerGroup, SyntheticPerGroup
from condensed_data.methods.synthetic import Pixels
from condensed_data.training.context import Context

SIZES = (40, 12, 3)


def context(seed: int = 0, ipc: int = 5, groups: object = None) -> Context:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(SIZES)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    samples = torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(1))
    return Context(real(samples, labels, groups), ipc, RandomStreams(seed), torch.device("cpu"))


def sampler_state(spec: Sampler, ctx: Context) -> SamplerState:
    return spec.start(ctx, Pixels(Noise()).start(ctx))


def test_real_samples_are_of_their_group_and_without_replacement() -> None:
    ctx = context()
    draw = sampler_state(PerGroup(batch=8), ctx).draw(0, [0, 1, 2])
    assert draw.real_sizes == (8, 8, 3)  # all of a group that is smaller
    for group, rows in enumerate(draw.real.split(list(draw.real_sizes))):
        assert set(ctx.real.groups[rows].tolist()) == {group}
        assert len(rows.unique()) == len(rows)
    assert sorted(draw.real[-3:].tolist()) == ctx.real.members[2].tolist()


def test_shapes_are_the_same_in_every_iteration() -> None:
    sampler = sampler_state(PerGroup(batch=13, synthetic=4), context())
    sizes = {
        (draw.real_sizes, draw.synthetic_sizes)
        for draw in (sampler.draw(iteration, [0, 1, 2]) for iteration in range(9))
    }
    assert sizes == {((13, 12, 3), (4, 4, 4))}


def test_all_synthetic_samples_of_a_group_or_some_at_random() -> None:
    ctx = context()
    whole = sampler_state(PerGroup(8), ctx).draw(0, [2, 0])
    assert whole.synthetic.tolist() == [10, 11, 12, 13, 14, 0, 1, 2, 3, 4]
    assert whole.synthetic_sizes == (5, 5)
    some = sampler_state(PerGroup(8, synthetic=2), ctx)
    pairs = {tuple(sorted(some.draw(iteration, [1]).synthetic.tolist())) for iteration in range(200)}
    assert pairs == {(a, b) for a in range(5, 10) for b in range(a + 1, 10)}
    assert sampler_state(PerGroup(8, synthetic=7), ctx).draw(0, [1]).synthetic.tolist() == [5, 6, 7, 8, 9]


def test_the_synthetic_samples_alone_are_those_that_are_compared() -> None:
    ctx = context()
    for most in (None, 2):
        alone = sampler_state(SyntheticPerGroup(most), ctx).draw(3, [2, 0])
        compared = sampler_state(PerGroup(8, synthetic=most), ctx).draw(3, [2, 0])
        assert torch.equal(alone.synthetic, compared.synthetic)
        assert alone.synthetic_sizes == compared.synthetic_sizes
        assert (len(alone.real), alone.real_sizes) == (0, (0, 0))
    with pytest.raises(ValueError, match=r"SyntheticPerGroup\(most=0\) must be"):
        SyntheticPerGroup(0)


def test_the_draw_of_a_group_does_not_depend_on_the_others() -> None:
    sampler = sampler_state(PerGroup(batch=6, synthetic=3), context())
    together = sampler.draw(4, [0, 1, 2])
    for group in range(3):
        alone = sampler.draw(4, [group])
        assert torch.equal(alone.real, together.real.split(list(together.real_sizes))[group])
        assert torch.equal(alone.synthetic, together.synthetic.split(3)[group])


def test_draws_depend_on_iteration_and_seed_only() -> None:
    first, again, other = (sampler_state(PerGroup(8), context(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.draw(3, [0]).real, again.draw(3, [0]).real)
    assert not torch.equal(first.draw(3, [0]).real.sort().values, first.draw(4, [0]).real.sort().values)
    assert not torch.equal(first.draw(3, [0]).real.sort().values, other.draw(3, [0]).real.sort().values)


def test_every_real_sample_is_drawn_equally_often() -> None:
    ctx, iterations = context(), 1500
    sampler = sampler_state(PerGroup(batch=10), ctx)
    counts = (
        torch.cat([sampler.draw(iteration, [0]).real for iteration in range(iterations)])
        .bincount(minlength=55)
        .double()
    )
    members = ctx.real.members[0]
    assert int(counts.sum()) == int(counts[members].sum()) == 10 * iterations
    probability = 10 / 40
    deviation = (iterations * probability * (1 - probability)) ** 0.5
    assert float((counts[members] - iterations * probability).abs().max()) < 4 * deviation


def test_groups_inside_classes() -> None:
    attribute = ["left", "right"] * 27 + ["left"]
    ctx = context(groups=attribute, ipc=5)
    draw = sampler_state(PerGroup(batch=2), ctx).draw(0, range(ctx.real.num_groups))
    sizes = ctx.real.group_sizes(5)
    assert draw.synthetic_sizes == sizes
    assert sum(sizes) == 15
    for group, rows in enumerate(draw.real.split(list(draw.real_sizes))):
        assert {attribute[row] for row in rows.tolist()} == {attribute[int(ctx.real.members[group][0])]}
        assert set(ctx.real.labels[rows].tolist()) == {int(ctx.real.group_class[group])}


def test_the_run_state_is_empty_and_global_rng_is_untouched(untouched_rng: None) -> None:
    sampler = sampler_state(PerGroup(8), context())
    sampler.draw(0, [0, 1])
    assert sampler.state_dict() == {}


@pytest.mark.parametrize("fields", [{"batch": 0}, {"batch": 2.5}, {"batch": True}, {"synthetic": 0}])
def test_counts_are_positive_integers(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"PerGroup\((batch|synthetic)=.*\) must be an integer"):
        PerGroup(**fields)
