"""Coresets equal loops written from their definitions."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from pool_data import NETWORK, context, samples, small_real
from sources import real as real_of
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, networks, recipes
from condensed_data.core.spec import DatasetInfo, from_json, resolve, to_json
from condensed_data.methods.coresets import (
    Forgetting,
    Herding,
    Init,
    KCenter,
    KMeans,
    Noise,
    Random,
    greedy_k_center,
    herd,
)
from condensed_data.networks import MLP
from condensed_data.training.context import Context
from condensed_data.training.features import Trained
from condensed_data.training.pretrained_cache import PretrainedCache
from condensed_data.training.pretraining import Pretraining
from condensed_data.training.sgd import SGDConfig
from condensed_data.training.trained_networks import trained_networks

PRETRAINING = Pretraining(2, 1, SGDConfig(0.05, 0.9, batch_size=16))
FEATURES = Trained(NETWORK, PRETRAINING)
CORESETS: dict[str, Init] = {
    "herding": Herding(FEATURES),
    "k-center": KCenter("raw"),
    "k-means": KMeans(FEATURES),
    "forgetting": Forgetting(NETWORK, PRETRAINING),
}


def indices(where: Context, found: Tensor) -> list[int]:
    """Indices of these real samples."""
    rows = where.real[torch.arange(len(where.real))].flatten(1)
    distances = torch.cdist(found.flatten(1).double(), rows.double())
    assert float(distances.min(1).values.max()) < 1e-4
    return distances.argmin(1).tolist()


def herding_loop(rows: list[list[float]], count: int) -> list[int]:
    size, chosen = len(rows[0]), []
    mean = [sum(row[d] for row in rows) / len(rows) for d in range(size)]
    for k in range(1, count + 1):
        best, best_value = -1, float("inf")
        for i, row in enumerate(rows):
            if i in chosen:
                continue
            value = sum((k * mean[d] - sum(rows[j][d] for j in chosen) - row[d]) ** 2 for d in range(size))
            if value < best_value - 1e-9:
                best, best_value = i, value
        chosen.append(best)
    return chosen


def k_center_loop(rows: list[list[float]], count: int) -> list[int]:
    size = len(rows[0])
    mean = [sum(row[d] for row in rows) / len(rows) for d in range(size)]

    def distance(a: list[float], b: list[float]) -> float:
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    chosen = [min(range(len(rows)), key=lambda i: distance(rows[i], mean))]
    while len(chosen) < count:
        free = [i for i in range(len(rows)) if i not in chosen]
        chosen.append(max(free, key=lambda i: min(distance(rows[i], rows[j]) for j in chosen)))
    return chosen


@pytest.mark.parametrize("seed", range(3))
def test_herding_and_k_center_equal_their_definitions(seed: int) -> None:
    rows = torch.randn(30, 4, generator=torch.Generator().manual_seed(seed)).double() + 3
    assert herd(rows, 12).tolist() == herding_loop(rows.tolist(), 12)
    assert greedy_k_center(rows, 12).tolist() == k_center_loop(rows.tolist(), 12)
    assert sorted(herd(rows, 30).tolist()) == sorted(greedy_k_center(rows, 30).tolist()) == list(range(30))
    assert herd(rows, 1).tolist() == greedy_k_center(rows, 1).tolist()  # both start nearest to the mean


def test_herding_follows_the_mean_better_than_chance() -> None:
    rows = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    error = float((rows[herd(rows, 10)].mean(0) - rows.mean(0)).norm())
    chance = [float((rows[i * 10 : i * 10 + 10].mean(0) - rows.mean(0)).norm()) for i in range(20)]
    assert error < min(chance) / 3


def test_ties_go_to_the_first() -> None:
    rows = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).repeat(4, 1) * 1e3
    assert all(index < 5 for index in greedy_k_center(rows, 5).tolist())
    assert herd(rows, 1)[0] < 5
    assert greedy_k_center(torch.ones(6, 2), 4).tolist() == herd(torch.ones(6, 2), 4).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", CORESETS)
def test_selected_samples_are_real_and_from_their_group(name: str) -> None:
    where = context(small_real(groups=(["a", "b"] * 29)[:57]))
    sizes = [2] * where.real.num_groups
    found = CORESETS[name].samples(where, sizes)
    for group, block in enumerate(found.split(sizes)):
        chosen = indices(where, block)
        assert set(where.real.groups[chosen].tolist()) == {group}
        assert len(set(chosen)) == 2


@pytest.mark.parametrize("name", CORESETS)
def test_small_groups_are_repeated(name: str) -> None:
    where = context(small_real(sizes=(30, 20, 3)))
    chosen = indices(where, CORESETS[name].samples(where, [4, 8, 8])[-8:])
    assert sorted(chosen[:3]) == where.real.members[2].tolist()
    assert chosen == (chosen[:3] * 3)[:8]


@pytest.mark.parametrize("name", CORESETS)
def test_equal_runs_select_the_same_and_leave_random_states_alone(name: str, untouched_rng: None) -> None:
    first, again = (CORESETS[name].samples(context(), [3, 3, 3]) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", CORESETS)
def test_specifications_survive_json(name: str) -> None:
    assert from_json(json.loads(json.dumps(to_json(CORESETS[name])))) == CORESETS[name]


def test_features_come_from_a_trained_network() -> None:
    where = context()
    (network,) = trained_networks(where, NETWORK, PRETRAINING)
    module = networks.build(NETWORK, 3, (1, 8, 8), 0)
    module.load_state_dict(network.weights)
    chosen = indices(where, Herding(FEATURES).samples(where, [4, 4, 4]))
    for group in range(3):
        part = chosen[group * 4 : group * 4 + 4]
        members = where.real.members[group]
        with torch.no_grad():
            rows = module.eval().embed(where.real[members])
        assert part == members[herding_loop(rows.tolist(), 4)].tolist()


def test_any_module_or_function_gives_features() -> None:
    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            return x[..., :2] * self.scale

    module, where = Left(), context()
    by_module = Herding(module).samples(where, [3, 3, 3])
    assert module.training
    assert module.scale.requires_grad
    by_function = Herding(lambda x: x[..., :2].flatten(1)).samples(where, [3, 3, 3])
    assert torch.equal(by_module, by_function)
    rows = where.real[where.real.members[1]][..., :2].flatten(1)
    assert indices(where, by_module)[3:6] == where.real.members[1][herd(rows, 3)].tolist()


def test_k_means_selects_one_sample_of_every_cluster() -> None:
    clumps = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])
    rows = clumps.repeat(10, 1) + torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    where = context(real_of(torch.cat([rows, rows]), torch.arange(80) // 40))
    chosen = indices(where, KMeans("raw").samples(where, [4, 4]))
    for part in (chosen[:4], chosen[4:]):
        assert {index % 4 for index in part} == {0, 1, 2, 3}
    standardized = where.real[torch.arange(40)]
    for index in chosen[:4]:  # nearest to the centroid, which is the mean of the clump
        mates = [other for other in range(40) if other % 4 == index % 4]
        distances = (standardized[mates] - standardized[mates].mean(0)).square().sum(1)
        assert mates[int(distances.argmin())] == index


def test_most_forgotten_samples() -> None:
    x, _ = samples()
    where = context(real_of(x, torch.arange(len(x)) % 3))  # labels that say nothing are forgotten
    asked = Pretraining(8, 2, SGDConfig(0.1, 0.9, batch_size=8))
    found = trained_networks(where, NETWORK, asked)
    events = found[0].forgotten + found[1].forgotten
    chosen = indices(where, Forgetting(NETWORK, asked).samples(where, [3, 3, 3]))
    assert int(events.max()) > 0
    for group in range(3):
        members = where.real.members[group].tolist()
        ranked = sorted(members, key=lambda i: (-int(events[i]), i))
        assert chosen[group * 3 : group * 3 + 3] == ranked[:3]


def test_coresets_of_one_run_share_their_network(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    where = context(network_store=PretrainedCache(tmp_path))
    Herding(FEATURES).samples(where, [1, 1, 1])
    monkeypatch.setattr("condensed_data.training.trained_networks.train", None)
    KMeans(FEATURES).samples(where, [1, 1, 1])
    Forgetting(NETWORK, PRETRAINING).samples(where, [1, 1, 1])
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("shape", [(6,), (2, 9), (3, 9, 11)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    where = context(small_real(shape))
    info = DatasetInfo(shape, ("a", "b", "c"), 2)
    for cls in (Herding, KCenter, KMeans, Forgetting):
        init = resolve(cls(), info)
        place = init if isinstance(init, Forgetting) else init.features
        object.__setattr__(place, "pretrain", Pretraining(1, 1))
        assert init.samples(where, [2, 2, 2]).shape == (6, *shape)


def test_unknown_features_are_refused() -> None:
    for wrong in ("trainde", MLP):
        with pytest.raises(ValueError, match=r"features=.* is unknown; known: 'trained', 'raw', 'imagenet'"):
            Herding(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Herding\(features=3\) must be a string or an Extractor or callable"):
        Herding(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ConvNet"):
        Forgetting(NETWORK).check((4,))


def test_noise_and_random_samples() -> None:
    where = context(small_real(sizes=(30, 20, 3)))
    noise = Noise().samples(where, [40, 40, 40])
    assert noise.shape == (120, 1, 8, 8)
    assert abs(float(noise.std()) - 1) < 0.05
    chosen = indices(where, Random(spread=0).samples(where, [5, 5, 5]))
    assert len(set(chosen[:5])) == 5
    assert chosen[10:] == (chosen[10:13] * 2)[:5]
    spread = Random().samples(where, [5, 5, 5])[-5:]
    assert len(indices(where, spread[:3])) == 3
    assert 0.05 < float((spread[3:] - spread[:2]).std()) < 0.15


@pytest.mark.parametrize("name", ["herding", "k_center", "k_means"])
def test_a_coreset_says_that_it_trains_a_network_first(
    name: str, tiny_images: TensorDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    features = Trained("convnet-w4-d1", Pretraining(epochs=1))
    CondensedDataset(tiny_images, recipes.get(name, ipc=1, features=features), cache=False, device="cpu")
    shown = capsys.readouterr()
    assert "features='raw' compares the samples' values instead, without training" in shown.out
    assert "networks: 1 of 1 to train for 1 epochs each" in shown.out
    assert "training networks on real samples:   0%" in shown.err
    assert "features of the real samples:   0%" in shown.err
