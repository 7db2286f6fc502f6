"""`CondensedDataset`: a plain torch `Dataset`, condensed from another one.

    train_set = CondensedDataset(train_set, "dm", ipc=10)

Letters: N samples, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from condensed_data.core import spec as specs
from condensed_data.core.annotations import Count, Natural, Text, checked, parameter_annotations
from condensed_data.core.caller_warnings import warn_caller
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rendezvous import failure_shared
from condensed_data.core.rng import preserve_rng_state
from condensed_data.core.torch_settings import doors, own_settings
from condensed_data.data.axes import AXES
from condensed_data.data.groups import Groups
from condensed_data.data.source import inspect
from condensed_data.engine import evaluate as engine_evaluate
from condensed_data.engine.arguments import announce_random_transforms, get_recipe, memory_limit, open_cache
from condensed_data.engine.builder import CachedBuild
from condensed_data.engine.callbacks.progress import Callback
from condensed_data.engine.divergence import DivergedError
from condensed_data.engine.job import CondensationJob
from condensed_data.engine.job_array import parse_shard
from condensed_data.engine.ordered_loader import ORDER_WARNING, ordered_loader
from condensed_data.methods.recipe import Recipe
from condensed_data.networks import NetworkLike
from condensed_data.storage import display
from condensed_data.storage.hub.mixin import HubMixin
from condensed_data.storage.hub.remote_cache import HubCache
from condensed_data.storage.result import CondensationResult, with_baselines, with_evaluation
from condensed_data.training.evaluation_result import Evaluation
from condensed_data.training.protocol import OrderedTraining, Training

if TYPE_CHECKING:
    from PIL.Image import Image
    from torchvision.transforms import LinearTransformation, Normalize
    from typing_extensions import Unpack

    from condensed_data.storage.metadata import Metadata

Transform = Callable[[Any], Any]


@doors
class CondensedDataset(HubMixin, Dataset[Any]):
    """A labeled dataset condensed to a few synthetic samples per class.

    Indexing gives (sample, label) of the kind the source yields: tensor in, tensor out in the same value space and
    dtype; PIL in, PIL out; labels in the source's own values.

    Args:
        source: any map-style torch Dataset of (sample, integer label). Samples are PIL images or float or uint8
            tensors of one shape: images (C, H, W), signals (C, L), vectors (D,). Random transforms of torchvision
            datasets are skipped while condensing and applied to the condensed samples instead.
        recipe: a name (see `recipes.names()`) or a `Recipe`.
        ipc: synthetic samples per class; 10 for a recipe given by name. A `Recipe` brings its own.
        groups: an attribute of every sample, by which `ipc` is split evenly inside each class and synthetic samples
            are matched. Either (n,) integers or strings; or the name of an attribute of the source (or of the dataset
            under a `Subset`) that holds them; or a function (sample, label) -> integer or string.
        transform, target_transform: applied to every sample and to every label on access.
        cache: where results and checkpoints are kept: True for the default folder (`CONDENSED_DATA_CACHE`, or the
            assets folder of the Hugging Face cache), a folder, or False. The same source, recipe, groups, seed,
            precision and kind of device are condensed once; an interrupted build resumes from its last checkpoint.
        force: condense even if the cache has the result.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        precision: "auto", "fp32" or "bf16": of the networks' forward passes; sums are always in fp32.
        seed: the same seed gives the same bits on the same kind of machine.
        num_workers: processes that read the source; if there are any, no sample is read in this one.
        memory: bytes that the source's samples may take in memory, such as "2GB" (default: half of what is available);
            a larger source is kept in an unnamed temporary file under the cache while it is condensed.
        progress: whether to show progress bars.
        callbacks: see `condensed_data.engine.callbacks`.
        executor: any `concurrent.futures.Executor`, whose workers train the networks that a recipe needs trained on
            real samples beforehand (experts of `mtt`, features of coresets, ...); by default this process.
        soft: indexing returns class probabilities (len(classes),), which `torch.nn.CrossEntropyLoss` takes, or learned
            scores, for a squared error, instead of the label of the largest; for soft labels only.
        fingerprint: a name for the source's content, instead of the hash of all its samples; a few are compared.
        hub: "user/name" of a dataset repository that is searched, after the cache, before condensing. If it cannot
            be reached, a warning is issued.
        push: publish the result to `hub` unless it is there already; a newly created repository is private.
        shard: "2/8" condenses the classes of the second of eight jobs, see `condensed_data.engine.job_array`.
        recipe_options: further arguments of the recipe's function, such as `iterations=100`, and other fields of the
            recipe as `Recipe.set` takes them, such as `optimizer__lr=0.1`.
        distributed: if torch's process group is initialized, all of its processes condense together, and every rank
            must make this call. False condenses in this process alone.

    Attributes:
        images: (N, *sample) float32 in the source's value space ([0, 1] for PIL images), not rounded.
        labels: (N,) int64 class index in 0..K-1, or (N, K) float32 soft labels: class probabilities, or scores of any
            value (`metadata.label_kind`). K classes have samples.
        class_indices: (N,) int64 class index in 0..K-1; for soft labels the largest.
        targets: list of N labels in the source's own values, of `class_indices`.
        classes: class names by label, `classes[targets[i]]`: those of all classes of the source, if it names them. The
            K names of the classes with samples are `metadata.classes`.
        class_to_idx: the label of each class name.
        sample_axes: "CHW", "CL" or None for vectors; what a source states about its samples, see `data.axes`.
        recipe, stored, replay: see `CondensationResult`.
        training: how to train on it: epochs, batch size, learning rate, augmentation.
        result: the `CondensationResult` behind all of these, with the evaluations recorded so far.
        hub_revision: the commit that `from_hub` or `hub=` loaded, else None.

    Raises:
        SourceError: for a source that cannot be condensed, before any long work.
        ValueError: for an argument of a wrong type or out of range, before the source is read.
        TypeError: for an unknown argument.
        DivergedError: when the loss diverges; its `condensed` attribute is the last good state.
    """

    _random: Transform | None = None  # the source's random transforms

    @checked
    def __init__(
        self,
        source: Any,
        recipe: str | Recipe = "dm",
        *,
        ipc: Count | None = None,
        groups: str | Callable[..., Any] | Iterable[Any] | None = None,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        cache: bool | str | Path = True,
        force: bool = False,
        device: str | torch.device | None = None,
        precision: str = "auto",
        seed: Natural = 0,
        num_workers: Natural = 0,
        memory: int | str | None = None,
        progress: bool = True,
        callbacks: Sequence[Callback] = (),
        executor: Executor | None = None,
        soft: bool = False,
        fingerprint: Text | None = None,
        hub: str | None = None,
        push: bool = False,
        shard: str | None = None,
        distributed: bool = True,
        **recipe_options: Any,
    ) -> None:
        chosen = get_recipe(recipe, ipc, soft, recipe_options, parameter_annotations(type(self).__init__))
        torch_device = choose_device(device)
        torch_precision, ranks = choose_precision(precision, torch_device), parse_shard(shard)
        limit, opened, hub_cache = memory_limit(memory), open_cache(cache), HubCache.from_options(hub, push)
        with preserve_rng_state(), failure_shared(distributed and bool(chosen.terms)):
            dataset = inspect(source, num_workers)
            specs.validate(chosen, dataset.kind.shape)
            announce_random_transforms(dataset, progress)
            job = CondensationJob(
                dataset,
                chosen,
                seed,
                torch_device,
                torch_precision,
                groups=None if groups is None else Groups(groups, dataset),
                memory=limit,
                folder=None if opened is None else opened.root,
                progress=progress,
                callbacks=callbacks,
                executor=executor,
                ranks=ranks,
            ).distribute(distributed)
            try:
                result = CachedBuild(job, fingerprint, opened, force, hub_cache).result()
            except DivergedError as error:
                error.condensed = CondensedDataset.from_result(error.result, transform, target_transform)
                error.condensed._random = dataset.random_transform
                raise
        self._adopt(result, transform, target_transform, soft)
        self._random = dataset.random_transform
        if hub_cache is not None and job.ranks.is_main:
            self.hub_revision = hub_cache.commit
            hub_cache.publish(result)

    @classmethod
    @checked
    def from_result(
        cls,
        result: CondensationResult,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        soft: bool = False,
    ) -> CondensedDataset:
        """A dataset of condensed samples that exist already.

        Raises:
            ValueError: for `soft` with hard labels.
        """
        if soft and result.labels.ndim == 1:
            raise ValueError("soft=True needs soft labels, but this dataset has hard ones. Omit soft=True.")
        self = cls.__new__(cls)
        self._adopt(result, transform, target_transform, soft)
        return self

    def _adopt(
        self, result: CondensationResult, transform: Transform | None, target_transform: Transform | None, soft: bool
    ) -> None:
        self.result = result
        self.images, self.labels, self.class_indices = result.images, result.labels, result.class_indices
        self.recipe, self.stored, self.replay = result.recipe, result.stored, result.replay
        self.sample_axes = AXES.get(self.images.dim() - 1)
        self.classes, self.training = self.metadata.names_by_label, self.metadata.training
        self.targets: list[int] = [self.metadata.class_values[label] for label in self.class_indices.tolist()]
        self.transform, self.target_transform, self.soft = transform, target_transform, soft
        self._warn_about_order = self.replay is not None

    @property
    def metadata(self) -> Metadata:
        """Everything that is known about this dataset apart from its tensors."""
        return self.result.metadata

    @property
    def stored_floats(self) -> int:
        """The storage budget in use: how many numbers are kept to decode all samples, decoders included."""
        return self.metadata.stored_floats or self.images.numel()

    @property
    @own_settings()
    def stored_bytes(self) -> int:
        """Bytes of all tensors in `condensed.safetensors`, labels included."""
        return self.result.stored_bytes

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if self._warn_about_order:
            self._warn_about_order = False
            warn_caller(ORDER_WARNING)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples.")
        sample = self.metadata.kind.to_sample(self.images[index].clone())
        label: Any = self._probabilities(index) if self.soft else self.targets[index]
        for transform in (self._random, self.transform):
            sample = sample if transform is None else transform(sample)
        return sample, label if self.target_transform is None else self.target_transform(label)

    def _probabilities(self, index: int) -> Tensor:
        """(len(classes),) soft label, probabilities or scores; 0 for classes without samples."""
        found = self.labels[index].clone()
        if len(found) == len(self.classes):
            return found
        return found.new_zeros(len(self.classes)).index_copy(0, torch.tensor(self.metadata.class_values), found)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class name, as in torchvision."""
        if len(self.classes) == len(self.metadata.classes):
            return dict(zip(self.metadata.classes, self.metadata.class_values, strict=True))
        return {name: label for label, name in enumerate(self.classes)}

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Value space of the samples, and the mean and standard deviation per channel that standardize them."""
        return self.metadata.to_manifest()["value_space"]

    def normalization(self) -> Normalize | LinearTransformation:
        """A torchvision transform that standardizes tensors in the source's value space, and whitens if samples are.

        Raises:
            ValueError: for whitened samples that are not images: torchvision has no transform for them.
        """
        return self.metadata.space.torchvision_transform(self.metadata.kind.shape)

    @checked
    def loader(self, batch_size: Count | None = None, **options: Any) -> DataLoader[Any]:
        """A shuffling DataLoader with the batch size of the training protocol; `options` go to `DataLoader`.

        For an order-dependent dataset, the batches are those of its training schedule, see `replay`.
        """
        if self.replay is not None:
            quiet = copy.copy(self)
            quiet._warn_about_order = False
            options |= {} if batch_size is None else {"batch_size": batch_size}
            return ordered_loader(quiet, self.replay, options)
        assert not isinstance(self.training, OrderedTraining)  # it comes with `replay`
        if "batch_sampler" in options:
            return DataLoader(self, **options)
        size = batch_size or min(self.training.batch_size, len(self))
        return DataLoader(self, batch_size=size, **{"shuffle": "sampler" not in options, **options})

    @checked
    def evaluate(
        self,
        test_set: Any,
        network: NetworkLike | None = None,
        runs: Count = 5,
        **options: Unpack[engine_evaluate.EvaluateKwargs],
    ) -> Evaluation:
        """Train new networks on this dataset, test them on real samples and record the accuracy in the metadata.

        Args:
            test_set: a dataset of the source's kind and value space.
            network: a name, a specification or any callable (num_classes, sample_shape) -> Module. Default: "convnet",
                for vectors "mlp"; for an order-dependent dataset, the network that it was condensed for.
            runs: networks to train; one, if all would start from the same weights.
            options: see `condensed_data.engine.evaluate.evaluate`, which also says what is returned and raised.
        """
        protocol = [name for name in options if name in Training.__dataclass_fields__]
        if protocol:
            raise TypeError(
                f"CondensedDataset.evaluate() has no argument {protocol[0]!r}: it is a field of the training protocol. "
                f"Use training=dataclasses.replace(dataset.training, {protocol[0]}=...)."
            )
        measured = engine_evaluate.evaluate(self, test_set, network, runs, **options)
        self.add_evaluation(measured)
        return measured

    @checked
    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Record a measured accuracy in the metadata; the card shows it."""
        self.result = with_evaluation(self.result, evaluation)

    @checked
    def add_baselines(self, baselines: Mapping[str, Evaluation]) -> None:
        """Record accuracies to compare with, by name ("random", "whole set", ...); the card shows them."""
        self.result = with_baselines(self.result, list(baselines.items()))

    def to_ddranking(self) -> tuple[Tensor, Tensor]:
        """Plain tensors for the package `ddranking`; see `evaluation.dd_ranking.to_ddranking`."""
        from condensed_data.evaluation.dd_ranking import to_ddranking

        return to_ddranking(self)

    @checked
    def standardized(
        self, name: str, dataset: Any, num_workers: Natural = 0, progress: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Real samples as networks receive them; see `condensed_data.engine.evaluate.standardized`."""
        return engine_evaluate.standardized(self.metadata, name, dataset, num_workers, progress)

    @checked
    def save(self, directory: Text | Path) -> None:
        """Write the artifact: `condensed.json`, `condensed.safetensors`, `README.md` and an 8-bit preview.

        Raises:
            SaveError: if the folder cannot be written; an artifact that was there before stays intact.
        """
        self.result.save(directory)

    @classmethod
    @checked
    def load(
        cls,
        directory: Text | Path,
        *,
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        soft: bool = False,
    ) -> CondensedDataset:
        """Read what `save` wrote. `transform`, `target_transform`, `soft`: see the class.

        Raises:
            ArtifactError: if a file is missing, damaged, of a newer format, or differs from the manifest.
            ValueError: for `soft` with hard labels.
        """
        return cls.from_result(CondensationResult.load(directory), transform, target_transform, soft)

    @checked
    def plot(self, path: str | Path | None = None) -> Image:
        """A labeled grid of the samples, also written to `path` if given."""
        return display.grid(self, path)

    def __repr__(self) -> str:
        return display.summary(self)

    def _repr_html_(self) -> str:
        return display.html(self)
