"""Image-classification datasets on the Hugging Face Hub, for `condensed_data.data.catalog`.

    hf:USER/NAME                    the latest commit, its only or default configuration
    hf:USER/NAME@REVISION:CONFIG    a branch, tag or commit, and a configuration

The `datasets` library downloads them into its own cache. It reads data files only and executes no code of a
repository. Letters: K classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from condensed_data.data import hf_columns
from condensed_data.data.bit_depth import FLOAT_FORMS, convert, to_float_tensor
from condensed_data.data.sample import NoTestSplitError, SourceError
from condensed_data.data.torchvision_sources import resize

PREFIX = "hf:"
FORM = "hf:USER/NAME"
_TEST_SPLITS = ("test", "validation", "valid", "val", "dev")
_ADDRESS = re.compile(r"(?P<repo>\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(?P<revision>[^:@]+))?(?::(?P<config>[^:@]+))?")


@dataclass(frozen=True)
class Address:
    """A dataset on the Hub: repository, revision (None for the latest) and configuration (None for the default)."""

    repo: str
    revision: str | None = None
    config: str | None = None

    @staticmethod
    def parse(source: str) -> Address:
        """Parse `hf:USER/NAME[@REVISION][:CONFIG]`; anything else raises SourceError."""
        match = _ADDRESS.fullmatch(source.removeprefix(PREFIX))
        if match is None:
            raise SourceError(
                f"{source} is not an address of a dataset on the Hub. Write hf:USER/NAME[@REVISION][:CONFIG]."
            )
        return Address(**match.groupdict())


class HubDataset(Dataset[tuple[Image.Image, int]]):
    """A `datasets.Dataset` of images and labels as a source: PIL images of one mode, and class indices.

    Images of more than 8 bits per channel are tensors (1, H, W) float32, see `bit_depth`.

    Args:
        rows: a `datasets.Dataset` with a column of images and one of labels.
        image_column, label_column: their names; None finds them by type, see `hf_columns`.
        transform: function from a PIL image to a sample; images of more than 8 bits have the mode "F".
        label_names: class names for text labels, if `rows` does not contain all of them; ignored for other labels.
        name: for titles.
        form: to which images are converted, such as "RGB", see `bit_depth`; None for the one that fits `rows`.

    Attributes:
        classes: K class names, or None if labels are integers.
        form: see above.

    Raises:
        SourceError: if the columns are ambiguous or missing; the error lists them.
    """

    def __init__(
        self,
        rows: Any,
        image_column: str | None = None,
        label_column: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        label_names: Sequence[str] | None = None,
        name: str = "HubDataset",
        form: str | None = None,
    ) -> None:
        self.source_name, self.transform = name, transform
        self.image_column = hf_columns.image_column(rows.features, image_column)
        self.label_column = hf_columns.label_column(rows.features, label_column)
        self.rows = rows.with_format(None).select_columns([self.image_column, self.label_column])
        self.classes = hf_columns.class_names(self.rows, self.label_column, label_names)
        self._class_index = None
        if hf_columns.is_text(self.rows.features[self.label_column]):
            self._class_index = {text: index for index, text in enumerate(self.classes or ())}
        self.form = form or hf_columns.image_form(self.rows, self.image_column)
        if self.form in FLOAT_FORMS:  # a feature with a mode would clip them
            self.rows = self.rows.cast_column(self.image_column, type(self.rows.features[self.image_column])())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = self.rows[index]
        image, label = row[self.image_column], row[self.label_column]
        if image is None:
            raise SourceError(f"Row {index} of {self.source_name} has no image. Remove it.")
        image = convert(image, self.form)
        sample = to_float_tensor(image if self.transform is None else self.transform(image))
        return sample, label if self._class_index is None else self._class_index.get(label, label)

    def content_key(self) -> list[Any] | None:
        """What `fingerprint.dataset_digest` hashes for this object; None if the rows could change without a trace.

        `datasets` keeps a fingerprint of the operations on the rows (for a downloaded split: repository, configuration,
        commit and split), and rows in files that it names. Rows in memory, or images in files of their own, are not
        covered.
        """
        files = [Path(file["filename"]) for file in self.rows.cache_files]
        if not files or not hf_columns.holds_images(self.rows, self.image_column):
            return None
        described = [self.source_name, self.image_column, self.label_column, self.classes, self.form]
        return [self.rows._fingerprint, files, described, self._class_index, self.transform]


def load(
    source: str,
    split: str,
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> HubDataset:
    """Load a split of the dataset at `hf:USER/NAME[@REVISION][:CONFIG]`; see `catalog.load` for the arguments.

    A validation split replaces a test split that is missing or whose labels are withheld (all -1).

    Raises:
        SourceError: if it cannot be found, downloaded or interpreted; `NoTestSplitError` if it has no test split.
        HubError: if the Hub is unreachable or refuses the request.
    """
    address = Address.parse(source)
    builder = _prepare(source, address)
    names = [str(name) for name in builder.info.splits or ()]
    candidates = _candidate_splits(source, split, names)
    train = builder.as_dataset(split="train") if "train" in names else None
    for name in candidates:
        rows = builder.as_dataset(split=name)
        label = hf_columns.label_column(rows.features, label_column)
        if split == "test" and hf_columns.has_no_labels(rows, label):
            continue
        classes = form = None
        if train is not None and split == "test":
            classes = hf_columns.class_names(train, label)
            form = hf_columns.image_form(train, hf_columns.image_column(train.features, image_column))
        return HubDataset(rows, image_column, label, resize(image_size), classes, source, form)
    raise NoTestSplitError(f"{source} has no labels in {' and '.join(candidates)}: they are all -1.")


def _candidate_splits(source: str, split: str, names: list[str]) -> list[str]:
    """The splits that can serve as `split`, best first."""
    wanted = ("train",) if split == "train" else _TEST_SPLITS
    found = [name for name in wanted if name in names]
    if found:
        return found
    text = f"{source} has no {split} split; it has: {', '.join(names) or 'none'}."
    if split == "test":
        raise NoTestSplitError(text)
    raise SourceError(f"{text} Load one of them with the datasets library and condense HubDataset(rows) in Python.")


def _prepare(source: str, address: Address) -> Any:
    """The builder of the dataset, after it downloaded the files of one commit."""
    from condensed_data.core.hub_errors import translate_hub_errors

    try:
        import datasets
    except ImportError as error:
        raise SourceError(
            f'{source} needs the datasets library: pip install "condensed-data[hub]" ({error}).'
        ) from error
    with translate_hub_errors(address.repo, address.revision):
        from huggingface_hub import HfApi

        commit = HfApi().resolve_revision(address.repo, repo_type="dataset", revision=address.revision).resolved
    try:
        # the prefix keeps datasets from loading a local folder of that name
        builder = datasets.load_dataset_builder(f"hf://datasets/{address.repo}", address.config, revision=commit)
        builder.download_and_prepare()
    except (OSError, ValueError, RuntimeError) as error:
        raise SourceError(f"{source} cannot be loaded: {_reason(error)}") from error
    if builder.hash != commit:  # datasets falls back to any cached commit
        raise SourceError(f"{source} cannot be downloaded at commit {commit}; the cache has only {builder.hash}.")
    return builder


def _reason(error: BaseException) -> str:
    """The message of `datasets`, with the cause that it wrapped and a hint about configurations."""
    cause = f" ({type(error.__cause__).__name__}: {error.__cause__})" if error.__cause__ else ""
    text = f"{' '.join(str(error).split())}{cause}"
    return text if "onfig" not in text else f"{text} Name a configuration as hf:USER/NAME:CONFIG."
