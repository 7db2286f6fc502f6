"""Metadata of a condensed dataset: everything in `condensed.json` except checksums."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from condensed_data.core import spec as specs
from condensed_data.core.errors import OTHER_RELEASE, UnsupportedFormatError
from condensed_data.data.class_names import MAX_LABEL
from condensed_data.data.value_space import SampleKind, ValueSpace
from condensed_data.training.evaluation_result import Evaluation
from condensed_data.training.protocol import OrderedTraining, Training

# fields that the manifest has under the same name, as they are
_SAME = ("name", "recipe", "recipe_name", "ipc", "seed", "iterations", "encoding", "environment")


@dataclass(frozen=True)
class Metadata:
    """What a condensed dataset is, how it was made and how well it trains networks."""

    name: str  # of the source, for titles
    source_samples: int | None  # number of real samples that were condensed, or None if unknown (third-party datasets)
    fingerprint: str | None  # hash of the source's content, or None if it is not known
    kind: SampleKind  # type and shape of the samples as returned to the user
    space: ValueSpace  # maps between the source's value space and standardized values
    classes: tuple[str, ...]  # K class names, of the classes that have samples
    class_values: tuple[int, ...]  # K label values of the source, one per class
    recipe: Mapping[str, Any] | None  # canonical JSON once resolved, or None if it contains an unnamed callable
    recipe_name: str
    ipc: int  # samples stored per class
    seed: int
    encoding: Mapping[str, Any]  # canonical JSON of the synthetic data's spec
    training: Training | OrderedTraining  # protocol to use
    iterations: int = 0  # completed; fewer than the recipe's if the run stopped early
    # time spent condensing, without reading the source; never stored, because identical content gives identical bytes
    seconds: float | None = None
    history: tuple[tuple[int, float], ...] = ()  # at most 200 pairs (iteration, loss)
    evaluations: tuple[Evaluation, ...] = ()  # measured accuracies
    # accuracies to compare with: "random" for as many random real samples, "whole set" for the full source
    baselines: tuple[tuple[str, Evaluation], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)  # versions and device; informational
    samples: int | None = None  # number after decoding, or None if not recorded
    # how many numbers are stored to decode the samples (see `SyntheticData.stored_floats`) and to repeat their training
    # steps, or None if not recorded
    stored_floats: int | None = None
    key: str | None = None  # cache key of the build (see `storage.cache.cache_key`), or None if it has none
    whitening: str = "none"  # or "zca"; the manifest alone does not contain the whitening tensors of `space`
    label_kind: str = "index"  # or "probs" or "scores" for soft labels
    source_classes: tuple[str, ...] | None = None  # the source's own names of all its labels, by label; None if unnamed

    @property
    def value_space(self) -> str:
        """Kind of the stored values: "unit" for PIL images, "uint8" for 8-bit tensors, else "source"."""
        return "unit" if self.kind.is_pil else "uint8" if self.kind.eight_bit else "source"

    @property
    def names_by_label(self) -> list[str]:
        """Names of the labels 0, 1, ...; of a label without samples or name, the label itself as text.

        For labels of a million or more, only the K class names.
        """
        if not 0 <= min(self.class_values) <= max(self.class_values) < MAX_LABEL:
            return list(self.classes)
        known = dict(enumerate(self.source_classes or ())) | dict(zip(self.class_values, self.classes, strict=True))
        return [known.get(label, str(label)) for label in range(max(known) + 1)]

    def to_manifest(self) -> dict[str, Any]:
        """The manifest's fields, except the format, checksums and content hash that `artifact.write` adds."""
        return {
            **{name: getattr(self, name) for name in _SAME},
            "num_classes": len(self.classes),
            "class_names": list(self.classes),
            "class_values": list(self.class_values),
            "source_classes": None if self.source_classes is None else list(self.source_classes),
            "shape": list(self.kind.shape),
            "sample_kind": self.kind.name,
            "value_space": {
                "kind": self.value_space,
                "mean": self.space.mean.tolist(),
                "std": self.space.std.tolist(),
                **({} if self.whitening == "none" else {"whitening": self.whitening}),
            },
            "label": {"kind": self.label_kind},
            "source": {"name": self.name, "fingerprint": self.fingerprint, "num_samples": self.source_samples},
            "training": specs.to_json(self.training),
            "evaluation": [evaluation.to_json() for evaluation in self.evaluations],
            "baselines": [{"trained_on": name, **evaluation.to_json()} for name, evaluation in self.baselines],
            "history": [list(point) for point in self.history],
            "num_samples": self.samples,
            "stored_floats": self.stored_floats,
            "cache_key": self.key,
        }

    @staticmethod
    def from_manifest(manifest: Mapping[str, Any]) -> Metadata:
        """Parse a manifest whose fields have been checked.

        Raises:
            ValueError: if the sample kind is unknown.
            UnsupportedFormatError: if the training protocol is unknown.
        """
        space = manifest["value_space"]
        try:
            training = specs.from_json(manifest["training"])
        except ValueError as error:
            raise UnsupportedFormatError(f"The training protocol is not known: {error} {OTHER_RELEASE}") from error
        if not isinstance(training, Training | OrderedTraining):
            raise ValueError(f"training={type(training).__name__} is not a training protocol.")
        return Metadata(
            **{name: manifest[name] for name in _SAME},
            source_samples=manifest["source"]["num_samples"],
            fingerprint=manifest["source"]["fingerprint"],
            kind=SampleKind.from_name(manifest["sample_kind"], tuple(manifest["shape"])),
            space=ValueSpace(torch.tensor(space["mean"]), torch.tensor(space["std"])),
            classes=tuple(manifest["class_names"]),
            class_values=tuple(manifest["class_values"]),
            source_classes=None if manifest.get("source_classes") is None else tuple(manifest["source_classes"]),
            training=training,
            history=tuple((int(iteration), float(loss)) for iteration, loss in manifest["history"]),
            evaluations=tuple(Evaluation.from_json(item) for item in manifest["evaluation"]),
            baselines=tuple((item["trained_on"], Evaluation.from_json(item)) for item in manifest.get("baselines", ())),
            samples=manifest.get("num_samples"),
            stored_floats=manifest.get("stored_floats"),
            key=manifest.get("cache_key"),
            whitening=space.get("whitening", "none"),
            label_kind=manifest["label"]["kind"],
        )


def environment(device: torch.device, precision: str) -> dict[str, str]:
    """Versions, device and settings of the present process."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
        "device": name,
        "precision": precision,
        "threads": str(torch.get_num_threads()),
    }


def subsample_history(points: list[tuple[int, float]], max_points: int = 200) -> tuple[tuple[int, float], ...]:
    """At most `max_points` evenly spaced points, including the last one."""
    if len(points) <= max_points:
        return tuple(points)
    return tuple(points[round(i * (len(points) - 1) / (max_points - 1))] for i in range(max_points))
