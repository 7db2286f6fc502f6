"""CondensedDataset: a plain torch Dataset, condensed from another one.

    train_set = CondensedDataset(train_set, "dm", ipc=10)

Letters: N samples, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from condensed_data.core import spec as specs
from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.process_group import ALONE
from condensed_data.core.rng import preserve_rng_state
from condensed_data.data.groups import Groups
from condensed_data.data.source import inspect
from condensed_data.engine import evaluate as evaluation
from condensed_data.engine import job_array
from condensed_data.engine.arguments import chosen_cache, chosen_recipe, say_random
from condensed_data.engine.builder import CachedBuild
from condensed_data.engine.callbacks.progress import Callback
from condensed_data.engine.divergence import DivergedError
from condensed_data.engine.job import CondensationJob
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.replay import TrainingSchedule
from condensed_data.storage import display as pictures
from condensed_data.storage import replay as replays
from condensed_data.storage.artifact import MAX_BYTES
from condensed_data.storage.hub.remote_cache import HubCache
from condensed_data.storage.result import CondensationResult, with_baselines, with_evaluation
from condensed_data.training.evaluate import Evaluation, Training
from condensed_data.training.protocol import OrderedTraining

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo
    from PIL.Image import Image
    from torchvision.transforms import LinearTransformation, Normalize

    from condensed_data.storage.metadata import Metadata


class CondensedDataset(Dataset[Any]):
    """A labeled dataset condensed to a few synthetic samples per class.

    Indexing gives (sample, label) of the kind the source yields: tensor in, tensor out in the same value space and
    dtype; PIL in, PIL out; labels in the source's own values.

    Args:
        source: any map-style torch Dataset of (sample, integer label). Samples are PIL images or float or uint8
            tensors of one shape: images (C, H, W), signals (C, L), vectors (D,). Random transforms of torchvision
            datasets are taken out while condensing and applied to the condensed samples instead.
        recipe: a name (see `recipes.names()`) or a `Recipe`.
        ipc: synthetic samples per class; 10 for a recipe given by name. A `Recipe` brings its own.
        groups: an attribute of every sample, by which `ipc` is split evenly inside each class; synthetic samples
            are then matched group by group, a group being (class, attribute). Either (n,) integers or strings; or
            the name of an attribute of the source that holds them, also of the dataset below a `Subset`; or a
            function (sample, label) -> integer or string, called once for every sample of the source.
        transform: applied to every sample on its way out.
        target_transform: applied to every label on its way out.
        cache: where results and checkpoints are kept: True for the default folder (`CONDENSED_DATA_CACHE`, or the
            assets folder of the Hugging Face cache), a folder, or False. The same source, recipe, groups, seed and
            precision are condensed once; an interrupted build goes on from its last checkpoint.
        force: condense even where the cache has the result.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        precision: "auto", "fp32" or "bf16": of the networks' forward; sums are always in fp32.
        seed: the same seed gives the same bits on the same kind of machine.
        num_workers: processes that read the source.
        memory: bytes that the source's samples may take in memory (half of what is available by default); a larger
            source is kept in a nameless file under the cache while it is condensed.
        progress: whether to show bars.
        callbacks: see `condensed_data.engine.callbacks`.
        executor: any `concurrent.futures.Executor`, whose workers train the networks that a recipe has trained on
            the real samples beforehand (experts of `mtt`, features of coresets, ...); by default this process.
        soft: indexing gives the class probabilities (K,) of a soft-labeled set, which `torch.nn.CrossEntropyLoss`
            takes, instead of the most probable label.
        fingerprint: a name for the source's content, instead of the hash of all its samples.
        hub: "user/name" of a dataset repository: what is not in the cache is looked for there before it is
            condensed. Without network there is a warning.
        push: publish the result to `hub`, unless it has it; a repository that is made is private.
        shard: "2/8" makes the classes of the second of eight jobs, see `condensed_data.engine.job_array`.

    Attributes:
        images: (N, *sample) float32 in the source's value space ([0, 1] for PIL images), not rounded.
        labels: (N,) int64 class index in 0..K-1, or (N, K) float32 class probabilities of a soft-labeled set.
        targets: list of N labels in the source's own values; of soft ones the most probable.
        soft: what indexing gives of soft labels.
        classes: K class names.
        recipe: the resolved `Recipe`, or its stored form where this version cannot rebuild it.
        training: how to train on it: epochs, batch size, learning rate, augmentation.
        record: everything else that is known about it.
        hub_revision: the commit that it was loaded from by `from_hub` or `hub=`, else None.

    Raises:
        SourceError: for a source that cannot be condensed, before any long work.
        ValueError: for an argument out of range or unknown, before any long work.
        DivergedError: when the loss diverges; its `condensed` attribute is the last good state.
    """

    hub_revision: str | None = None

    def __init__(
        self,
        source: Any,
        recipe: str | Recipe = "dm",
        *,
        ipc: int | None = None,
        groups: Any = None,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        cache: bool | str | Path = True,
        force: bool = False,
        device: str | torch.device | None = None,
        precision: str = "auto",
        seed: int = 0,
        num_workers: int = 0,
        memory: int | None = None,
        progress: bool = True,
        callbacks: Sequence[Callback] = (),
        executor: Executor | None = None,
        soft: bool = False,
        fingerprint: str | None = None,
        hub: str | None = None,
        push: bool = False,
        shard: str | None = None,
    ) -> None:
        chosen = chosen_recipe(recipe, ipc, soft)
        hub_cache = HubCache.from_options(hub, push)
        where = choose_device(device)
        precise = choose_precision(precision, where)
        with preserve_rng_state():
            checked = inspect(source)
            specs.validate(chosen, checked.kind.shape)
            say_random(checked, progress)
            kept = chosen_cache(cache)
            job = CondensationJob(
                checked,
                chosen,
                seed=seed,
                device=where,
                precision=precise,
                groups=None if groups is None else Groups(groups, checked),
                memory=memory,
                folder=None if kept is None else kept.root,
                num_workers=num_workers,
                progress=progress,
                callbacks=callbacks,
                executor=executor,
                ranks=ALONE if shard is None else job_array.parse_shard(shard),
            ).distribute()
            build = CachedBuild(job, fingerprint=fingerprint, cache=kept, force=force, hub_cache=hub_cache)
            try:
                result = build.result()
            except DivergedError as error:
                error.condensed = CondensedDataset._of(
                    error.result, transform, target_transform, checked.random_transform
                )
                raise
        self._adopt(result, transform, target_transform, checked.random_transform)
        self.soft = soft
        if hub_cache is not None and job.ranks.is_main:
            self.hub_revision = hub_cache.commit
            hub_cache.publish(result)

    @classmethod
    def _of(cls, result: CondensationResult, *transforms: Callable[[Any], Any] | None) -> CondensedDataset:
        self = cls.__new__(cls)
        self._adopt(result, *transforms)
        return self

    def _adopt(
        self,
        result: CondensationResult,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        random: Callable[[Any], Any] | None = None,
    ) -> None:
        """Become the plain dataset of this outcome."""
        self._result = result
        self.images, self.labels, self.recipe = result.images, result.labels, result.recipe
        self.targets: list[int] = [self.metadata.class_values[label] for label in self.class_indices.tolist()]
        self.soft = False
        self.classes = list(self.metadata.classes)
        self.training = self.metadata.training
        self._order_told = False
        self.transform, self.target_transform, self._random = transform, target_transform, random

    @property
    def metadata(self) -> Metadata:
        """Everything that is known about this set apart from its tensors."""
        return self._result.metadata

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def class_indices(self) -> Tensor:
        """(N,) int64 class index in 0..K-1 of every sample; of soft labels the most probable one."""
        return self._result.class_indices

    @property
    def stored_floats(self) -> int:
        """The storage budget in use: numbers that are kept to decode every sample, those of decoders included."""
        return self.metadata.stored_floats or self.images.numel()

    @property
    def stored(self) -> Mapping[str, Tensor] | None:
        """What samples are decoded from, by name and standardized, or None where they are stored as they are."""
        return self._result.stored

    @property
    def replay(self) -> TrainingSchedule | None:
        """The training steps that belong to this set (blocks, step sizes, initial weights), or None for most sets."""
        return self._result.replay

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if self.replay is not None and not self._order_told:
            self._order_told = True
            warnings.warn(replays.IN_ORDER, stacklevel=2)
        return self.sample(index)

    def sample(self, index: int) -> tuple[Any, Any]:
        """What indexing gives, without a word about sets that depend on their order."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples.")
        sample = self.metadata.kind.to_sample(self.images[index].clone())
        label: Any = self.labels[index].clone() if self.soft else self.targets[index]
        for transform in (self._random, self.transform):
            sample = sample if transform is None else transform(sample)
        return sample, label if self.target_transform is None else self.target_transform(label)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Value space of the samples, and the mean and deviation per channel that standardize them."""
        return self.metadata.to_manifest()["value_space"]

    def normalization(self) -> Normalize | LinearTransformation:
        """A torchvision transform that standardizes tensors in the source's value space.

        `Normalize`; for a whitened set a `LinearTransformation` that also whitens, of images.

        Raises:
            ValueError: for whitened samples that are no images: torchvision has no transform for them.
        """
        return self.metadata.space.torchvision_transform(self.metadata.kind.shape)

    def loader(self, batch_size: int | None = None, **options: Any) -> DataLoader[Any]:
        """A shuffling DataLoader with the batch size of the training protocol; `options` go to it.

        Of a set that depends on its order, the batches are its training steps, see `replay`.
        """
        if isinstance(self.training, OrderedTraining):
            return replays.loader(self, {**({"batch_size": batch_size} if batch_size else {}), **options})
        size = batch_size or min(self.training.batch_size, len(self))
        return DataLoader(self, batch_size=size, **{"shuffle": True, **options})

    def evaluate(
        self,
        test_set: Any,
        network: Any = None,
        runs: int = 5,
        *,
        training: str | Training | None = None,
        initial: Any = None,
        seed: int = 0,
        device: str | torch.device | None = None,
        precision: str = "auto",
        num_workers: int = 0,
        progress: bool = True,
        executor: Executor | None = None,
    ) -> Evaluation:
        """Train new networks on this set and test them on real samples.

        Args:
            test_set: a dataset of the source's kind and value space.
            network: a name, a specification or any callable (num_classes, sample_shape) -> Module; by default
                "convnet", for vectors "mlp"; for a set that depends on its order, the one that it was learned for.
            runs: networks to train; one, where all would begin at the same weights.
            training: a protocol or its name ("standard", "quick"); by default the set's own `training`.
            initial: for a set that depends on its order: weights to begin with, a state dictionary or a list of them.
            executor: trains the networks, each in a process of its own: any `concurrent.futures.Executor` of processes.

        Returns:
            Mean and deviation of accuracy as fractions; for 8-bit outputs also those of the rounded samples.

        Raises:
            SourceError: if the test set has another shape, other labels or another value space.
            ValueError: for arguments that do not fit each other or the set.
        """
        result = evaluation.evaluate(
            self,
            test_set,
            network,
            runs=runs,
            training=training,
            initial=initial,
            seed=seed,
            device=device,
            precision=precision,
            num_workers=num_workers,
            progress=progress,
            executor=executor,
        )
        self._result = with_evaluation(self._result, result)
        return result

    def compare_with(self, baselines: Mapping[str, Evaluation]) -> None:
        """Keep accuracies of "random" samples, the "whole set" and the like, by name; the card shows them."""
        self._result = with_baselines(self._result, list(baselines.items()))

    def to_ddranking(self) -> tuple[Tensor, Tensor]:
        """Plain tensors for the package `ddranking`, which takes RGB images.

        Returns:
            Images (N, 3, H, W) float32, standardized as networks see them, class after class, because the package
            numbers them itself; and their class indices (N,) int64. The package standardizes its own test images by
            constants, so a set whose source was standardized otherwise is judged in a slightly other space.

        Raises:
            ValueError: for other samples, or for classes of different sizes; `evaluation.ranking` has the scores.
        """
        from condensed_data.evaluation.dd_ranking import to_ddranking

        return to_ddranking(self)

    def standardized(
        self, name: str, dataset: Any, num_workers: int = 0, progress: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Real samples as networks meet them beside this set: standardized (n, *sample), class indices (n,).

        Args:
            name: of `dataset` in error messages.
            dataset: of the source's kind and value space.

        Raises:
            SourceError: for samples of another shape, with other labels or in another value space.
        """
        return evaluation.standardized(self.metadata, name, dataset, num_workers, progress)

    def save(self, directory: str | Path) -> None:
        """Write the artifact: `condensed.json`, `condensed.safetensors`, `README.md` and an 8-bit preview.

        Raises:
            SaveError: if the folder cannot be written; an artifact that was there before is left whole.
        """
        self._result.save(directory)

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        soft: bool = False,
    ) -> CondensedDataset:
        """Read what `save` wrote.

        Args:
            soft: indexing gives the class probabilities of a soft-labeled set.

        Raises:
            ArtifactError: if a file is missing, damaged, of a newer format or not what the manifest says.
            ValueError: for `soft` of a set with hard labels.
        """
        loaded = cls._of(CondensationResult.load(directory), transform, target_transform)
        if soft and loaded.labels.ndim == 1:
            raise ValueError(
                f"soft=True needs soft labels, and the set in {directory} has hard ones. Leave it out."
            )
        loaded.soft = soft
        return loaded

    @classmethod
    def from_pt(
        cls,
        path: str | Path,
        labels: str | Path | None = None,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        normalized: bool = True,
        factor: int = 1,
        run: int = 0,
        classes: Sequence[str] | None = None,
        name: str | None = None,
    ) -> CondensedDataset:
        """Read the `.pt` file in which the authors of a method published their set; see `hub.authors.read`.

        The files of DC, DSA, DM, MTT and its successors, and IDC (`normalized=False, factor=2`) are known. Nothing in
        them is executed.

        Raises:
            ArtifactError: for a file that holds anything but tensors and numbers, or not what is known.
        """
        from condensed_data.storage.hub import author_files

        result = author_files.read(
            path,
            labels,
            mean=mean,
            std=std,
            normalized=normalized,
            factor=factor,
            run=run,
            classes=classes,
            name=name,
        )
        return cls._of(result)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str | None = None,
        config_name: str = "default",
        license: str | None = None,  # noqa: A002 (the Hub calls it so)
    ) -> CommitInfo:
        """Publish this set to a dataset repository of the Hub, in one commit; see `hub.push.push`.

        Args:
            repo_id: "user/name"; made, and private, if it is not there.
            private: False makes a new repository public; for one that is there it is checked, not changed.
            revision: branch to commit to; made if it is not there.
            create_pr: open a pull request instead.
            config_name: several sets share a repository under such names.
            license: identifier of the source's license, for the card.

        Returns:
            The commit; the present one where nothing has changed.

        Raises:
            HubError: or a subclass that says why; nothing is published, and the same call again goes on.
        """
        from condensed_data.storage.hub.push import push

        return push(
            self._result,
            repo_id,
            private=private,
            token=token,
            revision=revision,
            create_pr=create_pr,
            commit_message=commit_message,
            config_name=config_name,
            license=license,
        )

    @classmethod
    def from_hub(
        cls,
        repo_id: str,
        *,
        revision: str | None = None,
        config_name: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        max_bytes: int = MAX_BYTES,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> CondensedDataset:
        """Load a set from a dataset repository of the Hub; see `hub.pull.pull`.

        Sets of others (pictures in parquet files, or in one folder a class) are read as far as they go; a warning
        says what they lack, see `hub.third_party.read`.

        Args:
            repo_id: "user/name".
            revision: branch, tag, pull request ("refs/pr/1") or commit.
            config_name: which of its sets; None takes the default one, or the only one.
            cache_dir: the Hub's cache. local_files_only: make no request. force_download: load it again.
            max_bytes: refuse more, before it is downloaded.

        Raises:
            HubError: or a subclass: for what is not there, not allowed, or out of reach.
            ArtifactError: or a subclass: for files that are no condensed set, damaged, newer or hostile.
        """
        from condensed_data.storage.hub.pull import pull

        pulled = pull(
            repo_id,
            revision=revision,
            config_name=config_name,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
            max_bytes=max_bytes,
        )
        self = cls._of(pulled.result, transform, target_transform)
        self.hub_revision = pulled.commit
        return self

    def plot(self, path: str | Path | None = None) -> Image:
        """A labeled grid of the samples; written to `path` where one is given."""
        return pictures.grid(self, path)

    def __repr__(self) -> str:
        return pictures.summary(self)

    def _repr_html_(self) -> str:
        return pictures.html(self)
