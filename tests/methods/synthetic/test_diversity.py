"""Pairs of samples of one code: the critic that embeds them similarly, and the objective that separates them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pool_data import NETWORK, context, small_real, through_a_file, weights_of
from torch import Tensor, nn

from condensed_data.core.batch import Batch, NetworkView, Pair
from condensed_data.data.augment import Identity, SiameseAugment
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.objectives import Distribution, Diversity
from condensed_data.methods.objectives.diversity import supervised_contrast
from condensed_data.methods.pools import Critic, RandomInit
from condensed_data.methods.recipe import Optimizer, Recipe, Term
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.samplers.decoder_pairs import DecoderPairs
from condensed_data.methods.synthetic import Factorized, Hallucinator, MultiFormation, Pixels, WithSteps

SYNTHETIC = Factorized(Hallucinator(), decoders=3, codes=4)


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def contrast_by_hand(features: list[list[float]], y: list[int], temperature: float) -> float:
    losses = []
    for i, anchor in enumerate(features):
        others = [j for j in range(len(features)) if j != i]
        scores = {j: math.exp(cosine(anchor, features[j]) / temperature) for j in others}
        positives = [j for j in others if y[j] == y[i]]
        losses.append(-sum(math.log(scores[p] / sum(scores.values())) for p in positives) / len(positives))
    return sum(losses) / len(losses)


def rows(count: int, features: int = 3) -> Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_diversity_is_the_mean_over_pairs_of_one_plus_cosine_halved() -> None:
    x = rows(10).requires_grad_()
    net = NetworkView(nn.Identity(), lambda x: 2 * x, lambda x: (x,))
    none = Batch(x[:0], x[:0], (0, 0))
    loss = Diversity()(net, Pair(none, Batch(x, x, (4, 6))))
    listed = x.tolist()
    couples = [(0, 2), (1, 3), (4, 7), (5, 8), (6, 9)]
    expected = sum((1 + cosine(listed[a], listed[b])) / 2 for a, b in couples) / 5
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    assert bool((torch.autograd.grad(loss, x)[0] != 0).all())
    same = torch.cat([x[:2], x[:2]])
    assert Diversity()(net, Pair(none, Batch(same, same, (4,)))).item() == pytest.approx(1)
    with pytest.raises(ValueError, match=r"needs pairs.*DecoderPairs"):
        Diversity()(net, Pair(none, Batch(x, x, (4, 5))))


def test_the_critic_minimizes_its_equation() -> None:
    features, logits, y = rows(8).requires_grad_(), rows(8), [0, 1, 2, 2, 0, 1, 2, 2]
    spec = Critic(similarity=0.3, contrast=0.2, temperature=0.5)
    labels, listed = torch.tensor(y), features.tolist()
    contrast = supervised_contrast(features, labels, 0.5)
    assert contrast.item() == pytest.approx(contrast_by_hand(listed, y, 0.5), abs=1e-12)
    entropy = sum(-row.log_softmax(0)[label] for row, label in zip(logits, y, strict=True)) / 8
    distance = sum((1 - cosine(listed[i], listed[4 + i])) / 2 for i in range(4)) / 4
    expected = float(entropy) + 0.3 * distance + 0.2 * contrast.item()
    assert spec.loss(features, logits, labels).item() == pytest.approx(expected, abs=1e-12)
    assert torch.autograd.gradcheck(lambda f: spec.loss(f, logits, labels), features)


def test_a_block_is_codes_by_one_decoder_and_then_by_another() -> None:
    ctx = context(ipc=9)
    synthetic_data = SYNTHETIC.start(ctx)
    sampler_state = DecoderPairs().start(ctx, synthetic_data)
    seen = set()
    for iteration in range(60):
        draw = sampler_state.draw(iteration, [0, 1, 2])
        assert draw.synthetic_sizes == (24,)
        assert draw.steps == (0,)
        assert len(draw.real) == 0
        first, second = draw.synthetic.chunk(2)
        assert torch.equal(first // 3, second // 3)
        assert (first // 3).tolist() == list(range(12))
        (one,), (other,) = (set((side % 3).tolist()) for side in (first, second))
        seen.add((one, other))
        alone = sampler_state.draw(iteration, [1])
        assert torch.equal(alone.synthetic, torch.cat([first[4:8], second[4:8]]))
        assert alone.steps == (1,)
    assert seen == {(a, b) for a in range(3) for b in range(3) if a != b}
    some = DecoderPairs(codes=2).start(ctx, synthetic_data).draw(0, [0, 2])
    assert some.synthetic_sizes == (8,)


def test_cells_of_a_sample_are_paired_with_the_same_cells_from_the_other_decoder() -> None:
    ctx = context(ipc=9)
    synthetic_data = WithSteps(MultiFormation(SYNTHETIC)).start(ctx)
    draw = DecoderPairs().start(ctx, synthetic_data).draw(0, [0, 1, 2])
    assert draw.synthetic_sizes == (96,)  # 3 groups of 4 codes, 4 cells each, from 2 of the 3 decoders
    first, second = draw.synthetic.chunk(2)
    assert torch.equal(first % 4, second % 4)  # the cell
    assert torch.equal(first // 12, second // 12)  # the code
    assert bool((first // 4 % 3 != second // 4 % 3).all())  # the decoder
    assert len(draw.synthetic.unique()) == 96


def test_one_decoder_per_code_is_rejected() -> None:
    ctx = context(ipc=9)
    with pytest.raises(
        ValueError, match=r"DecoderPairs needs at least two decoders per code\. Use Factorized\(decoders=2\)"
    ):
        DecoderPairs().start(ctx, Pixels().start(ctx))
    with pytest.raises(ValueError, match="Critic needs at least two decoders per code"):
        Critic(NETWORK).start(ctx).update(0, replace(SYNTHETIC, decoders=1).start(ctx))
    assert WithSteps(SYNTHETIC).start(ctx).decoders_per_code == 3
    for values, message in (({"similarity": -1.0}, "similarity"), ({"lr": 0.0}, "lr"), ({"momentum": 1.0}, "momentum")):
        with pytest.raises(ValueError, match=message):
            Critic(NETWORK, **values)  # type: ignore[arg-type]


def haba(weight: float = 0.1, **fields: Any) -> Recipe:
    critic = replace(Critic(NETWORK, lr=0.01, augment=Identity()), **fields)
    terms = (
        Term(Distribution(), RandomInit(NETWORK), PerGroup(16), SiameseAugment(("crop",))),
        Term(Diversity(), critic, DecoderPairs(), Identity(), weight),
    )
    return Recipe("haba", SYNTHETIC, terms, Optimizer("adam", lr=0.01), iterations=8, ipc=9)


def similarity(run: CondensationRun) -> float:
    """Mean cosine of the embeddings of pairs under the critic."""
    term = run.recipe.terms[1]
    draw = run.sampler_states[term.sampler].draw(0, [0, 1, 2])
    with torch.no_grad():
        x = run.synthetic_data.decode(draw.synthetic)
        net = run.pool_states[term.pool].network_at(0)
        batch = Batch(x, x, draw.synthetic_sizes)
        return 2 * float(Diversity()(net, Pair(Batch(x[:0], x[:0], (0,)), batch))) - 1


def test_the_critic_learns_to_embed_pairs_similarly() -> None:
    run = CondensationRun(haba(similarity=30.0, contrast=0.0), context(ipc=9))
    critic = run.pool_states[run.recipe.terms[1].pool]
    before = similarity(run)
    for iteration in range(30):
        critic.update(iteration, run.synthetic_data)
    after = similarity(run)
    assert 1 - after < 0.7 * (1 - before)
    assert all(not weight.requires_grad and weight.grad is None for weight in critic.network_at(0).module.parameters())


def test_the_diversity_term_separates_pairs() -> None:
    apart, free = (
        CondensationRun(haba(weight=300.0), context(ipc=9)),
        CondensationRun(haba(weight=0.0), context(ipc=9)),
    )
    for _ in range(30):
        apart.step()
        free.step()
    assert similarity(apart) < similarity(free) - 0.05


@pytest.mark.parametrize("step", ["iteration", "class"])
def test_a_resumed_run_has_the_same_bits(step: str, tmp_path: Path, untouched_rng: None) -> None:
    runs = [CondensationRun(replace(haba(), step_per=step), context(small_real((2, 9, 8)), ipc=9)) for _ in range(3)]
    for run, steps in zip(runs, (6, 3, 0), strict=True):
        for _ in range(steps):
            run.step()
    runs[2].load_state_dict(through_a_file(runs[1].state_dict(), tmp_path))
    for _ in range(3):
        runs[2].step()
    for name, tensor in runs[0].synthetic_data.learned.items():
        assert torch.equal(tensor, runs[2].synthetic_data.learned[name])
    critics = [run.pool_states[run.recipe.terms[1].pool].network_at(0).module for run in runs]
    assert torch.equal(weights_of(critics[0]), weights_of(critics[2]))
    assert not torch.equal(weights_of(critics[0]), weights_of(critics[1]))
