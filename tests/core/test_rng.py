"""Draws depend on the seed, the purpose and the keys, not on earlier draws."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from condensed_data.core.rng import RandomStreams, preserve_rng_state, seeded_rng

PINNED = 5_694_190_336_952_033_404


def test_draws_do_not_depend_on_earlier_draws() -> None:
    fresh, used = RandomStreams(3), RandomStreams(3)
    used.uniform("augment", 0, [0, 1, 2], 5)
    used.choice("real", 0, 1, 50, 10)
    used.torch("noise", 4).seed()
    assert torch.equal(fresh.uniform("augment", 1, [2], 5), used.uniform("augment", 1, [2], 5))
    assert torch.equal(fresh.choice("real", 7, 1, 50, 10), used.choice("real", 7, 1, 50, 10))
    draws = [torch.rand(3, generator=rng.torch("noise", 4)) for rng in (fresh, used)]
    assert torch.equal(*draws)
    assert fresh.numpy("x", 1).integers(1 << 30) == used.numpy("x", 1).integers(1 << 30)


def test_draws_equal_those_of_a_new_generator_in_any_thread() -> None:
    rng = RandomStreams(5)
    for iteration in range(3):
        for group in range(3):
            new = [rng.numpy(purpose, iteration, group) for purpose in ("augment", "real")]
            assert np.array_equal(rng.uniform("augment", iteration, [group], 7)[0], new[0].random(7, np.float32))
            chosen = new[1].choice(90, 8, replace=False, shuffle=False)
            assert np.array_equal(rng.choice("real", iteration, group, 90, 8), chosen)
    alone = [rng.uniform("augment", iteration, range(20), 40) for iteration in range(40)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda iteration: rng.uniform("augment", iteration, range(20), 40), range(40)))
    assert all(map(torch.equal, alone, together))


def test_seed_purpose_and_every_key_matter() -> None:
    seeds = {
        RandomStreams(seed).seed_for(purpose, *keys)
        for seed in (0, 1)
        for purpose in ("real", "init")
        for keys in ((), (0,), (1,), (0, 1), (1, 0), (11,), (1, 1))
    }
    assert len(seeds) == 2 * 2 * 7
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_never_change() -> None:
    # cached results and resumed runs depend on these
    assert RandomStreams(0).seed_for("network", 3) == PINNED
    assert RandomStreams(np.int64(0)).seed_for("network", 3) == PINNED


def test_uniform_rows_belong_to_groups() -> None:
    rng = RandomStreams(0)
    together = rng.uniform("augment", 4, [5, 2, 9], 6)
    assert together.dtype == torch.float32
    for row, group in enumerate((5, 2, 9)):
        assert torch.equal(together[row], rng.uniform("augment", 4, [group], 6)[0])
    many = rng.uniform("augment", 0, range(200), 50).double()
    assert 0 <= float(many.min()) < float(many.max()) < 1
    assert abs(float(many.mean()) - 0.5) < 4 / (12 * many.numel()) ** 0.5
    assert float(torch.corrcoef(many).fill_diagonal_(0).abs().max()) < 0.75


def test_longer_draws_start_with_the_same_numbers() -> None:
    rng = RandomStreams(0)
    few, many = rng.uniform("augment", 0, [1], 3), rng.uniform("augment", 0, [1], 30)
    assert torch.equal(few, many[:, :3])


def test_choice_is_without_replacement_if_possible() -> None:
    rng = RandomStreams(0)
    for iteration in range(20):
        assert len(rng.choice("real", iteration, 0, 12, 10).unique()) == 10
        assert rng.choice("real", iteration, 0, 10, 10).sort().values.tolist() == list(range(10))
    repeated = rng.choice("real", 0, 0, 3, 50)
    assert repeated.dtype == torch.int64
    assert len(repeated) == 50
    assert repeated.unique().tolist() == [0, 1, 2]


def test_every_index_is_chosen_equally_often() -> None:
    draws = torch.cat([RandomStreams(1).choice("real", iteration, 0, 12, 5) for iteration in range(1200)])
    counts = draws.bincount(minlength=12).double()
    expected = 1200 * 5 / 12
    deviation = (1200 * 5 / 12 * 7 / 12) ** 0.5
    assert float((counts - expected).abs().max()) < 4 * deviation


@pytest.mark.parametrize("seed", [-1, 0.5, "0", True, None])
def test_seeds_are_non_negative_integers(seed: object) -> None:
    with pytest.raises(ValueError, match=r"seed=.* must be a non-negative integer"):
        RandomStreams(seed)


def test_draws_do_not_change_global_random_states(untouched_rng: None) -> None:
    rng = RandomStreams(0)
    rng.uniform("augment", 0, [0], 4)
    rng.choice("real", 0, 0, 5, 3)
    torch.rand(2, generator=rng.torch("noise"))
    rng.numpy("noise").random(2)


def test_preserve_rng_state_undoes_user_draws(untouched_rng: None) -> None:
    with preserve_rng_state():
        draw_globally()


def test_preserve_rng_state_works_after_an_error(untouched_rng: None) -> None:
    def fail() -> None:
        draw_globally()
        raise RuntimeError("as expected")

    with pytest.raises(RuntimeError, match="as expected"), preserve_rng_state():
        fail()


def draw_globally() -> None:
    torch.rand(3)
    np.random.rand(3)
    random.random()


def test_devices_that_are_not_in_use_are_not_seeded() -> None:
    """A seed for CUDA would wait in a queue until CUDA is first used."""
    tracker = torch.cuda._lazy_seed_tracker
    torch.cuda.manual_seed_all(5)
    queued = tracker.get_calls()
    with seeded_rng(RandomStreams(0)):
        torch.rand(2)
    assert tracker.get_calls() == queued


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_devices_in_use_are_seeded_and_restored(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generators = tuple(torch.Generator().manual_seed(number) for number in range(2))
    monkeypatch.setattr(f"torch.{kind}.is_initialized", lambda: True)
    monkeypatch.setattr(f"torch.{kind}.default_generators", generators)
    before = [generator.get_state() for generator in generators]
    with seeded_rng(RandomStreams(0)):
        drawn = [torch.rand(3, generator=generator) for generator in (torch.default_generator, *generators)]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert all(map(torch.equal, before, [generator.get_state() for generator in generators]))


def test_seeding_is_that_of_torch() -> None:
    with seeded_rng(RandomStreams(3)):
        drawn = torch.rand(3)
    torch.manual_seed(RandomStreams(3).seed_for("forward"))
    assert torch.equal(torch.rand(3), drawn)
