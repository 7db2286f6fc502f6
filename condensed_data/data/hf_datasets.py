"""Image-classification data sets of the Hugging Face Hub, for `condensed_data.data.catalog`.

    hf:USER/NAME                    the newest commit, its only or its default configuration
    hf:USER/NAME@REVISION:CONFIG    a branch, tag or commit, and a configuration

They are read by the `datasets` library, which keeps what it fetched in its own cache. Nothing of a repository is
executed: `datasets` reads data files only. Letters: n samples, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from condensed_data.data import hf_columns as hub_columns
from condensed_data.data.sample import NoTestSplitError, SourceError
from condensed_data.data.torchvision_sources import resize

PREFIX = "hf:"
FORM = "hf:USER/NAME"
_TEST_SPLITS = ("test", "validation", "valid", "val", "dev")
_ADDRESS = re.compile(r"(?P<repo>\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(?P<revision>[^:@]+))?(?::(?P<config>[^:@]+))?")


@dataclass(frozen=True)
class Address:
    """Where a data set is: repository, revision or None for the newest, configuration or None for the default."""

    repo: str
    revision: str | None = None
    config: str | None = None

    @staticmethod
    def parse(source: str) -> Address:
        """From `hf:USER/NAME[@REVISION][:CONFIG]`.

        Raises:
            SourceError: for anything else.
        """
        found = _ADDRESS.fullmatch(source.removeprefix(PREFIX))
        if found is None:
            raise SourceError(f"{source} is no data set of the Hub. Write hf:USER/NAME[@REVISION][:CONFIG].")
        return Address(**found.groupdict())


class HubDataset(Dataset[tuple[Image.Image, int]]):
    """A `datasets.Dataset` of pictures and labels, as a source: PIL images of one mode, and class numbers.

    Args:
        rows: a `datasets.Dataset` with a column of images and one of labels.
        image_column, label_column: their names; None finds them by their types, see `hub_columns`.
        transform: PIL image in, sample out.
        label_names: class names of labels that are text, where they are not just those of `rows`.
        name: for titles.

    Attributes:
        classes: K class names, or None where labels are plain numbers.
        mode: "RGB" or "L", which images are brought to, or None where they stay as they are.

    Raises:
        SourceError: where the columns cannot be told, naming them.
    """

    def __init__(
        self,
        rows: Any,
        image_column: str | None = None,
        label_column: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        label_names: Sequence[str] | None = None,
        name: str = "HubDataset",
    ) -> None:
        self.source_name, self.transform = name, transform
        self.image_column = hub_columns.image_column(rows.features, image_column)
        self.label_column = hub_columns.label_column(rows.features, label_column)
        self.rows = rows.with_format(None).select_columns([self.image_column, self.label_column])
        self.classes = hub_columns.class_names(self.rows, self.label_column, label_names)
        self._numbers = None
        if hub_columns.is_text(self.rows.features[self.label_column]):
            self._numbers = {text: number for number, text in enumerate(self.classes or ())}
        self.mode = hub_columns.common_mode(self.rows, self.image_column)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = self.rows[index]
        image, label = row[self.image_column], row[self.label_column]
        if image is None:
            raise SourceError(f"row {index} of {self.source_name} has no image.")
        if self.mode is not None and image.mode != self.mode:
            image = hub_columns.converted(image, self.mode)
        sample = image if self.transform is None else self.transform(image)
        return sample, label if self._numbers is None else self._numbers.get(label, label)

    def content_key(self) -> list[Any]:
        """What stands for this object in a memo, see `fingerprint.dataset_digest`: the rows' fingerprint by `datasets`.

        That of a downloaded split is made from repository, configuration, commit and split, and every operation on
        rows gives another.
        """
        return [
            self.rows._fingerprint,
            self.image_column,
            self.label_column,
            self.classes,
            self.mode,
            self.transform,
        ]


def load(
    source: str,
    split: str,
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> HubDataset:
    """A split of the data set at `hf:USER/NAME[@REVISION][:CONFIG]`.

    Args:
        split: "train", or "test", for which a validation split stands where the test split is missing or its labels
            are withheld (-1).

    Raises:
        SourceError: if it cannot be found, fetched or understood; `NoTestSplitError` where it has no test split.
        HubError: if the Hub cannot be reached or refuses.
    """
    address = Address.parse(source)
    builder = _prepared(source, address)
    names = [str(name) for name in builder.info.splits or ()]
    chosen = _splits(source, split, names)
    train = builder.as_dataset(split="train") if "train" in names else None
    for name in chosen:
        rows = builder.as_dataset(split=name)
        label = hub_columns.label_column(rows.features, label_column)
        if split == "test" and hub_columns.withheld(rows, label):
            continue
        texts = hub_columns.texts(train, label) if train is not None and split == "test" else None
        return HubDataset(rows, image_column, label, resize(image_size), texts, source)
    raise NoTestSplitError(f"{source} withholds the labels of {' and '.join(chosen)}: they are all -1.")


def _splits(source: str, split: str, names: list[str]) -> list[str]:
    """Those that may stand for `split`, best first."""
    wanted = ("train",) if split == "train" else _TEST_SPLITS
    found = [name for name in wanted if name in names]
    if found:
        return found
    text = f"{source} has no {split} split; it has: {', '.join(names) or 'none'}."
    if split == "test":
        raise NoTestSplitError(text)
    raise SourceError(
        f"{text} Load one with the datasets library and condense it in Python, as HubDataset(rows)."
    )


def _prepared(source: str, address: Address) -> Any:
    """The builder of the data set, with its files fetched at one commit."""
    from condensed_data.core.hub_errors import translate_hub_errors

    try:
        import datasets
    except ImportError as error:
        raise SourceError(
            f'{source} needs the datasets library: pip install "condensed-data[hub]" ({error}).'
        ) from error
    with translate_hub_errors(address.repo, address.revision):
        from huggingface_hub import HfApi

        commit = (
            HfApi().resolve_revision(address.repo, repo_type="dataset", revision=address.revision).resolved
        )
    try:
        # with this prefix, a folder of that name in the current folder is not taken for it
        builder = datasets.load_dataset_builder(
            f"hf://datasets/{address.repo}", address.config, revision=commit
        )
        builder.download_and_prepare()
    except (OSError, ValueError, RuntimeError) as error:
        raise SourceError(f"{source} cannot be loaded: {_reason(error)}") from error
    if builder.hash != commit:  # datasets falls back to any commit that it has kept
        raise SourceError(
            f"{source} cannot be fetched at commit {commit}, and its cache holds only {builder.hash}."
        )
    return builder


def _reason(error: BaseException) -> str:
    """What `datasets` said, and the cause that it wrapped."""
    cause = f" ({type(error.__cause__).__name__}: {error.__cause__})" if error.__cause__ else ""
    text = f"{' '.join(str(error).split())}{cause}"
    return text if "onfig" not in text else f"{text} Name a configuration as hf:USER/NAME:CONFIG."
