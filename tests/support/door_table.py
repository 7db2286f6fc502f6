"""Every public function and method, called on tiny data: name -> what it returns, to be compared bit by bit.

The data are two classes of 3 x 8 x 8 images.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import avalanche_tools
import numpy as np
import torch
from avalanche.benchmarks.utils import AvalancheDataset, as_classification_dataset
from PIL.Image import Image
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, Recipe, condense_tensors, recipes
from condensed_data.data.known_datasets import known_info
from condensed_data.data.source import inspect
from condensed_data.engine.planning.cost_estimate import plan
from condensed_data.evaluation import (
    baselines,
    dd_ranking,
    diversity,
    label_switching,
    plots_decoders,
    privacy,
    real_data,
)
from condensed_data.evaluation.privacy.nearest_neighbors import nearest
from condensed_data.training.protocol import Training
from condensed_data_avalanche import CondensedBuffer, ReducedInputs, fast
from condensed_data_nas import (
    ProxyObjective,
    Range,
    Stage,
    ZeroCost,
    cascade,
    convnet,
    convnet_space,
    grid,
    rank_report,
    sample,
)
from condensed_data_nas.optuna_study import search

FEATURES = (torch.rand(12, 7, generator=torch.Generator().manual_seed(2)), torch.arange(12) % 2)
FEATURES_AND_QUERIES = (FEATURES[0], FEATURES[0] * 2)
SCORES, OTHER_SCORES = FEATURES[0][0], FEATURES[0][1]
_NUMBERS = itertools.count()
NET = "convnet-d1-w4"
QUIET: dict[str, Any] = {"progress": False, "device": "cpu", "precision": "fp32"}
SHORT = Training(name="short", epochs=2, batch_size=8)
CONFIGS = [{"width": width, "depth": 1, "norm": "none", "activation": "relu", "pooling": "avg"} for width in (2, 3, 4)]


def samples(per_class: int, seed: int) -> TensorDataset:
    labels = torch.arange(2).repeat_interleave(per_class)
    noise = torch.rand(len(labels), 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(noise * (0.9 + 0.1 * labels.view(-1, 1, 1, 1)), labels)


def dm(**options: Any) -> Recipe:
    return recipes.dm(**{"ipc": 2, "iterations": 2, "batch": 8, "network": NET, **options})


def dd() -> Recipe:
    return recipes.dd(ipc=1, steps=1, epochs=2, iterations=1, batch=8, network=NET, relabel=((0, 1),))


class State:
    """What the functions are called with, made in the settings of a plain program."""

    def __init__(self, folder: Path, token: str) -> None:
        self.folder, self.token = folder, token  # of the Hub
        self.train, self.test = samples(12, 0), samples(60, 1)
        self.source = inspect(self.train)
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
        nn.init.constant_(self.model[1].weight, 0.123456)
        nn.init.zeros_(self.model[1].bias)
        self.small = CondensedDataset(self.train, dm(), cache=False, **QUIET)
        self.ordered = CondensedDataset(self.train, dd(), cache=False, **QUIET)
        self.factorized = CondensedDataset(
            self.train, recipes.kfs(ipc=13, iterations=1, network=NET), cache=False, **QUIET
        )
        self.factorized.save(folder / "factorized")
        torch.save({"data": [[self.small.images, self.small.labels]]}, folder / "authors.pt")
        self.privacy = privacy.measure(self.small, self.train, self.test, networks_trained=0, **QUIET)
        self.objective = self.new_objective()
        self.report = rank_report(CONFIGS, {"params": "params", "two": self.objective}, [0.1, 0.2, 0.3], draws=5)
        self.experience = as_classification_dataset(avalanche_tools.Samples())
        self.memory = self.filled_buffer()
        self.memory.save(folder / "memory.pt")

    def new_objective(self) -> ProxyObjective:
        options = {"val": self.test, "space": convnet_space(), "training": SHORT, "device": "cpu", "precision": "fp32"}
        return ProxyObjective(self.small, **options)

    def filled_buffer(self, **options: Any) -> CondensedBuffer:
        buffer = CondensedBuffer(8, recipe=avalanche_tools.tiny(), device="cpu", precision="fp32", **options)
        buffer.update_from_dataset(self.experience)
        return buffer

    def changed_buffer(self, change: Callable[[CondensedBuffer], Any], **options: Any) -> Any:
        buffer = self.filled_buffer(**options)
        change(buffer)
        return buffer.state_dict()


Door = Callable[[State], Any]


def _saved(state: State) -> Any:
    state.small.save(state.folder / "again")
    return (state.folder / "again" / "condensed.safetensors").read_bytes()


def _logits(state: State) -> Any:
    buffer = CondensedBuffer(8, recipe=avalanche_tools.tiny(), device="cpu", precision="fp32", logits=True)
    buffer.update_from_dataset(state.experience, SimpleNamespace(model=state.model, device="cpu"))
    return buffer.state_dict()


def _reduced(state: State, method: str) -> Any:
    strategy = SimpleNamespace(mbatch=[state.train.tensors[0]], plugins=[])
    getattr(ReducedInputs(2), method)(strategy)
    return strategy.mbatch[0]


def _again(state: State) -> CondensedDataset:
    """The condensed dataset without evaluations."""
    return CondensedDataset.from_result(state.small.result)


def _pushed(state: State) -> Any:
    repo_id = f"alice/door-{next(_NUMBERS)}"
    state.small.push_to_hub(repo_id, token=state.token)
    return CondensedDataset.from_hub(repo_id, token=state.token)


def _proxies(state: State) -> Any:
    return rank_report(CONFIGS, {"two": state.new_objective(), "naswot": "naswot"}, [0.1, 0.2, 0.3], draws=5)


def _searched(state: State) -> Any:
    study = search(state.new_objective(), 2, sampler="random")
    return [(trial.params, trial.values) for trial in study.get_trials()]


def _resolved(recipe: Recipe) -> Any:
    return recipe.resolve((3, 32, 32), ["a", "b"], samples=50).to_json()


_SHORT: dict[str, Any] = {"network": NET, "training": SHORT}
DOORS: dict[str, Door] = {
    "CondensedDataset": lambda state: CondensedDataset(state.train, dm(), cache=False, **QUIET),
    "CondensedDataset.__getitem__": lambda state: [state.small[index] for index in range(4)],
    "CondensedDataset.__len__": lambda state: len(state.small),
    "CondensedDataset.__repr__": lambda state: repr(state.small),
    "CondensedDataset._repr_html_": lambda state: state.small._repr_html_(),
    "CondensedDataset.class_to_idx": lambda state: state.small.class_to_idx,
    "CondensedDataset.evaluate": lambda state: _again(state).evaluate(state.test, runs=1, **_SHORT, **QUIET),
    "CondensedDataset.from_pt": lambda state: CondensedDataset.from_pt(
        state.folder / "authors.pt", normalized=False, mean=[0.5] * 3, std=[0.25] * 3
    ),
    "CondensedDataset.from_result": lambda state: CondensedDataset.from_result(state.factorized.result),
    "CondensedDataset.load": lambda state: CondensedDataset.load(state.folder / "factorized"),
    "CondensedDataset.loader": lambda state: state.small.loader(shuffle=False).batch_size,
    "CondensedDataset.metadata": lambda state: state.small.metadata.to_manifest(),
    "CondensedDataset.normalization": lambda state: repr(state.small.normalization()),
    "CondensedDataset.plot": lambda state: state.small.plot(),
    "CondensedDataset.preprocessing": lambda state: state.small.preprocessing,
    "CondensedDataset.push_to_hub": _pushed,
    "CondensedDataset.save": _saved,
    "CondensedDataset.standardized": lambda state: state.small.standardized("test", state.test),
    "CondensedDataset.stored_bytes": lambda state: state.factorized.stored_bytes,
    "CondensedDataset.stored_floats": lambda state: state.factorized.stored_floats,
    "CondensedDataset.to_ddranking": lambda state: state.small.to_ddranking(),
    "condense_tensors": lambda state: condense_tensors(*state.train.tensors, dm(), device="cpu", precision="bf16"),
    "recipes": lambda state: [_resolved(recipes.get(name)) for name in recipes.names()],
    "Recipe.check": lambda state: dm().check((3, 8, 8)),
    "Recipe.check_outputs": lambda state: dm().resolve((3, 8, 8), ["a", "b"]).check_outputs(2, (3, 8, 8)),
    "Recipe.resolve": lambda state: recipes.mtt().resolve((3, 8, 8), ["a", "b"], 24).to_json(),
    "Recipe.resolve_for": lambda state: recipes.mtt().resolve_for(known_info("cifar10", 3)).to_json(),
    "Recipe.set": lambda state: dm().set(iterations=3).to_json(),
    "Recipe.to_json": lambda state: recipes.haba(base="mtt").to_json(),
    "baselines.check_splits": lambda state: baselines.check_splits(state.train, state.test, NET),
    "baselines.compare": lambda state: baselines.compare(
        _again(state), state.train, state.test, network=NET, runs=1, **QUIET
    ),
    "dd_ranking.rank": lambda state: dd_ranking.rank(
        _again(state), state.train, state.test, runs=1, whole=0.9, **_SHORT, **QUIET
    ),
    "dd_ranking.to_ddranking": lambda state: dd_ranking.to_ddranking(state.small),
    "dd_ranking.variants": lambda state: dd_ranking.variants(SHORT),
    "diversity.diversity": lambda state: diversity.diversity(state.small, state.train, "raw", subsets=1, **QUIET),
    "diversity.within_class_distance": lambda state: diversity.within_class_distance(*FEATURES),
    "label_switching.attack": lambda state: label_switching.attack(state.ordered, state.test, runs=1, **QUIET),
    "measure.measure": lambda state: privacy.measure(
        state.small, state.train, state.test, network=NET, training=SHORT, **QUIET
    ),
    "membership_inference.roc": lambda state: privacy.roc("loss", SCORES, OTHER_SCORES),
    "nearest_neighbors.nearest": lambda state: nearest(*FEATURES_AND_QUERIES),
    "plots_decoders.decoders": lambda state: plots_decoders.decoders(state.factorized),
    "report.Privacy.nearer_to_members": lambda state: state.privacy.nearer_to_members,
    "report.Privacy.too_near": lambda state: state.privacy.too_near,
    "report.Privacy.__str__": lambda state: str(state.privacy),
    "report.Privacy.plot": lambda state: state.privacy.plot(),
    "real_data.in_memory": lambda state: real_data.in_memory(state.train).tensors,
    "real_data.training_part": lambda state: list(
        real_data.training_part(state.train, 5, state.small.metadata, 0)[0].indices
    ),
    "real_data.evaluate_random_subsets": lambda state: real_data.evaluate_random_subsets(
        state.train.tensors, state.test.tensors, 2, 1, 0, num_classes=2, **_SHORT, **QUIET
    ),
    "cost_estimate.plan": lambda state: plan(state.source, dm(), torch.device("cpu"), "fp32").iteration_flop,
    "CondensedBuffer": lambda state: state.filled_buffer().state_dict(),
    "CondensedBuffer.buffer": lambda state: copy.copy(state.memory).buffer,
    "CondensedBuffer.class_dataset": lambda state: copy.copy(state.memory).class_dataset(1),
    "CondensedBuffer.condense": lambda state: state.changed_buffer(lambda buffer: buffer.condense(), condense_on=99),
    "CondensedBuffer.from_bytes": lambda state: CondensedBuffer.from_bytes(2000, (3, 8, 8)).max_size,
    "CondensedBuffer.load": lambda state: CondensedBuffer.load(state.folder / "memory.pt").state_dict(),
    "CondensedBuffer.load_state_dict": lambda state: state.changed_buffer(
        lambda buffer: buffer.load_state_dict(state.memory.state_dict())
    ),
    "CondensedBuffer.post_adapt": lambda state: state.changed_buffer(
        lambda buffer: buffer.post_adapt(None, SimpleNamespace(dataset=state.experience))
    ),
    "CondensedBuffer.resize": lambda state: state.changed_buffer(lambda buffer: buffer.resize(None, 4)),
    "CondensedBuffer.save": lambda state: state.memory.save(state.folder / "memory-again.pt"),
    "CondensedBuffer.state_dict": lambda state: state.memory.state_dict(),
    "CondensedBuffer.to_condensed_dataset": lambda state: state.memory.to_condensed_dataset(),
    "CondensedBuffer.update": lambda state: state.changed_buffer(
        lambda buffer: buffer.update(SimpleNamespace(experience=SimpleNamespace(dataset=state.experience)))
    ),
    "CondensedBuffer.update_from_dataset": _logits,
    "ReducedInputs.before_eval_forward": lambda state: _reduced(state, "before_eval_forward"),
    "ReducedInputs.before_forward": lambda state: _reduced(state, "before_forward"),
    "ReducedInputs.reduce_resolution": lambda state: ReducedInputs(2).reduce_resolution(state.train.tensors[0]),
    "fast": lambda state: fast().to_json(),
    "ProxyObjective": lambda state: state.new_objective().task.val_images,
    "ProxyObjective.__call__": lambda state: state.new_objective()(CONFIGS[0]),
    "ProxyObjective.digest": lambda state: state.objective.digest(),
    "ProxyObjective.evaluate_many": lambda state: state.new_objective().evaluate_many(CONFIGS[:2]),
    "ProxyObjective.measure": lambda state: state.new_objective().measure(CONFIGS[1]),
    "ProxyObjective.on_device": lambda state: state.new_objective().on_device().images,
    "ProxyObjective.param_space": lambda state: sorted(state.objective.param_space()),
    "ProxyObjective.trainable": lambda state: callable(state.objective.trainable()),
    "ProxyObjective.trained_on": lambda state: state.objective.trained_on(state.train).measure(CONFIGS[0]),
    "RankReport.plot": lambda state: state.report.plot(),
    "RankReport.__str__": lambda state: str(state.report),
    "ZeroCost.__call__": lambda state: ZeroCost("synflow", state.objective)(CONFIGS[2]),
    "ZeroCost.measure": lambda state: ZeroCost("naswot", state.objective).measure(CONFIGS[2]),
    "cascade": lambda state: cascade(CONFIGS, [Stage("score", "synflow", 2), Stage("short", state.new_objective(), 1)]),
    "convnet": lambda state: repr(convnet(CONFIGS[0])),
    "grid": lambda state: grid(convnet_space()),
    "rank_report": _proxies,
    "sample": lambda state: sample({"lr": Range(0.1, 1, log=True)}, 3),
    "optuna_study.search": _searched,
}


def _is_measured(name: str) -> bool:
    """Whether a field holds a duration or the memory of the process."""
    return name.endswith("seconds") or name in ("speed_up", "peak_bytes", "proxy")


def bits(value: Any) -> Any:
    """A value as something that is equal only if every bit is; what is measured is left out."""
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, Image):
        return value.size, value.tobytes()
    if isinstance(value, AvalancheDataset):
        return [bits(value[index][:2]) for index in range(len(value))]
    if isinstance(value, CondensedDataset):
        return bits([value.images, value.labels, value.targets, value.classes])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return bits({name: one for name, one in named.items() if not _is_measured(name)})
    if isinstance(value, Mapping):
        return {name: bits(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [bits(one) for one in value]
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return value
