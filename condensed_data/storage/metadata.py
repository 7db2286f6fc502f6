"""Everything that a condensed set knows about itself, apart from its tensors: the content of `condensed.json`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from condensed_data.core import spec as specs
from condensed_data.data.value_space import SampleKind, ValueSpace
from condensed_data.training.evaluate import Evaluation, Training
from condensed_data.training.protocol import OrderedTraining


@dataclass(frozen=True)
class Metadata:
    """What a condensed set is, how it was made and how good it is.

    Attributes:
        name: of the source, for titles.
        source_samples: how many samples were condensed; None for a set that was made elsewhere and does not say.
        fingerprint: of the source's content, or None where it was not taken.
        kind: what the samples are on their way out.
        space: the map between the source's value space and the standardized one.
        classes: class names; class_values: the source's own label of each.
        recipe: canonical form of the resolved recipe, or None for an unnamed callable.
        recipe_name, ipc, seed: of the build.
        encoding: canonical form of the synthetic part.
        training: how to train on it.
        iterations: completed; fewer than the recipe's where the run stopped early.
        seconds: of condensing, reading excluded. Part of no stored file: identical content gives identical bytes.
        history: (iteration, loss) points, at most 200.
        evaluations: accuracies that were measured.
        baselines: accuracies of what this set is compared with, (name, evaluation): "random" for random real
            samples of the same number, "whole set" for all of them.
        environment: versions and device; informational.
        samples: how many there are, decoded; None where an older version did not write it.
        stored_floats: numbers that are kept to decode them, see `SyntheticData.stored_floats`, and to train on them in
            order; None where an older version did not write it.
        label_kind: "index", or "probs" for soft labels.
        whitening: "zca" where `space` has one, else "none"; a manifest alone does not hold its tensors.
        key: of the build in the cache (see `storage.cache.key_of`), or None where it was not taken.
    """

    name: str
    source_samples: int | None
    fingerprint: str | None
    kind: SampleKind
    space: ValueSpace
    classes: tuple[str, ...]
    class_values: tuple[int, ...]
    recipe: Mapping[str, Any] | None
    recipe_name: str
    ipc: int
    seed: int
    encoding: Mapping[str, Any]
    training: Training | OrderedTraining
    iterations: int = 0
    seconds: float | None = None
    history: tuple[tuple[int, float], ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    baselines: tuple[tuple[str, Evaluation], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    samples: int | None = None
    stored_floats: int | None = None
    key: str | None = None
    whitening: str = "none"
    label_kind: str = "index"

    @property
    def value_space(self) -> str:
        """It is "unit" for PIL images, "uint8" for 8-bit tensors, else "source"."""
        return "unit" if self.kind.is_pil else "uint8" if self.kind.eight_bit else "source"

    def to_manifest(self) -> dict[str, Any]:
        """The manifest's own keys; the storage adds format, checksums and the content hash."""
        return {
            "name": self.name,
            "num_classes": len(self.classes),
            "class_names": list(self.classes),
            "class_values": list(self.class_values),
            "shape": list(self.kind.shape),
            "sample_kind": self.kind.name,
            "value_space": {
                "kind": self.value_space,
                "mean": self.space.mean.tolist(),
                "std": self.space.std.tolist(),
                **({} if self.whitening == "none" else {"whitening": self.whitening}),
            },
            "label": {"kind": self.label_kind},
            "encoding": dict(self.encoding),
            "recipe": None if self.recipe is None else dict(self.recipe),
            "recipe_name": self.recipe_name,
            "ipc": self.ipc,
            "seed": self.seed,
            "iterations": self.iterations,
            "source": {
                "name": self.name,
                "fingerprint": self.fingerprint,
                "num_samples": self.source_samples,
            },
            "training": specs.to_json(self.training),
            "evaluation": [evaluation.to_json() for evaluation in self.evaluations],
            "baselines": [{"set": name, **evaluation.to_json()} for name, evaluation in self.baselines],
            "environment": dict(self.environment),
            "history": [list(point) for point in self.history],
            "num_samples": self.samples,
            "stored_floats": self.stored_floats,
            "cache_key": self.key,
        }

    @staticmethod
    def from_manifest(manifest: Mapping[str, Any]) -> Metadata:
        """The record of a manifest whose schema the storage has checked.

        Raises:
            ValueError: for a kind of samples or a training protocol that is none.
        """
        space, training = manifest["value_space"], specs.from_json(manifest["training"])
        if not isinstance(training, Training | OrderedTraining):
            raise ValueError(f"training = {type(training).__name__} is no training protocol.")
        return Metadata(
            name=manifest["name"],
            source_samples=manifest["source"]["num_samples"],
            fingerprint=manifest["source"]["fingerprint"],
            kind=SampleKind.from_name(manifest["sample_kind"], tuple(manifest["shape"])),
            space=ValueSpace(torch.tensor(space["mean"]), torch.tensor(space["std"])),
            classes=tuple(manifest["class_names"]),
            class_values=tuple(manifest["class_values"]),
            recipe=manifest["recipe"],
            recipe_name=manifest["recipe_name"],
            ipc=manifest["ipc"],
            seed=manifest["seed"],
            encoding=manifest["encoding"],
            training=training,
            iterations=manifest["iterations"],
            history=tuple((int(iteration), float(loss)) for iteration, loss in manifest["history"]),
            evaluations=tuple(Evaluation.from_json(item) for item in manifest["evaluation"]),
            baselines=tuple(
                (item["set"], Evaluation.from_json(item)) for item in manifest.get("baselines", ())
            ),
            environment=manifest["environment"],
            samples=manifest.get("num_samples"),
            stored_floats=manifest.get("stored_floats"),
            key=manifest.get("cache_key"),
            whitening=space.get("whitening", "none"),
            label_kind=manifest["label"]["kind"],
        )


def environment(device: torch.device, precision: str) -> dict[str, str]:
    """Where a build ran."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "device": name,
        "precision": precision,
        "threads": str(torch.get_num_threads()),
    }


def thin(points: list[tuple[int, float]], most: int = 200) -> tuple[tuple[int, float], ...]:
    """At most `most` points, evenly spread, the last one included."""
    if len(points) <= most:
        return tuple(points)
    return tuple(points[round(i * (len(points) - 1) / (most - 1))] for i in range(most))
