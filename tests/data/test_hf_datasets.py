"""Datasets on the Hub as sources: splits, revisions, configurations and errors, with the unmodified `datasets` library.

The repositories are on a loopback server; `datasets` keeps downloads in the cache of this test session.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
from cli_tools import SMALL
from hub_pictures import NAMES, both, parquet, picture, publish, rows
from hub_server import HubServer

from condensed_data import CondensedDataset
from condensed_data.cli.main import main
from condensed_data.core.hub_errors import HubAccessError, HubNotFoundError
from condensed_data.data import catalog, fingerprint
from condensed_data.data.fingerprint import dataset_digest
from condensed_data.data.hf_datasets import Address, HubDataset
from condensed_data.data.sample import NoTestSplitError, SourceError
from condensed_data.data.source import inspect


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("hf:mnist", ("mnist", None, None)),
        ("hf:user/name", ("user/name", None, None)),
        ("hf:user/na.me-1:plain_text", ("user/na.me-1", None, "plain_text")),
        ("hf:user/name@v1.0", ("user/name", "v1.0", None)),
        ("hf:user/name@refs/pr/3:two words", ("user/name", "refs/pr/3", "two words")),
    ],
)
def test_addresses(source: str, parts: tuple[str, str | None, str | None]) -> None:
    assert Address.parse(source) == Address(*parts)


@pytest.mark.parametrize("source", ["hf:", "hf:a/b/c", "hf:a/b:c@v1", "hf:a/b@", "hf:../a", "hf:a b"])
def test_malformed_addresses_are_refused(source: str) -> None:
    with pytest.raises(SourceError, match=r"Write hf:USER/NAME\[@REVISION\]\[:CONFIG\]"):
        catalog.load(source, "train")


def test_images_labels_and_class_names(hub: HubServer) -> None:
    source = f"hf:{publish(hub, both())}"
    train, test = catalog.load(source, "train"), catalog.load(source, "test")
    assert (len(train), len(test)) == (12, 6)  # type: ignore[arg-type]
    for index in range(12):
        image, label = train[index]
        assert np.array_equal(image, picture(index))
        assert label == index % 3
    assert np.array_equal(test[0][0], picture(100))
    checked = inspect(train)
    assert (checked.kind.name, checked.class_names, checked.name) == ("pil:RGB", tuple(NAMES), source)


def test_it_is_condensed_and_recalled_without_reading(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "YOUNG_SECONDS", 0.0)
    source = f"hf:{publish(hub, both())}"
    first = CondensedDataset(catalog.load(source, "train"), "random", ipc=2, cache=tmp_path)
    assert first.classes == NAMES
    assert "reading" in capsys.readouterr().err
    again = CondensedDataset(catalog.load(source, "train"), "random", ipc=2, cache=tmp_path)
    assert "reading" not in capsys.readouterr().err
    assert again.metadata.fingerprint == first.metadata.fingerprint


def test_the_fingerprint_depends_on_the_content_only(hub: HubServer, tmp_path: Path) -> None:
    """Results are found by content, whichever repository, configuration or library it came from."""
    one, two = (publish(hub, both()) for _ in range(2))
    plain = [(picture(i), i % 3) for i in range(12)]
    sources = [catalog.load(f"hf:{one}", "train"), catalog.load(f"hf:{two}", "train"), plain]
    prints = {CondensedDataset(s, "random", ipc=1, cache=tmp_path).metadata.fingerprint for s in sources}
    assert len(prints) == 1


def test_a_revision_is_pinned(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits between attempts
    monkeypatch.setattr(fingerprint, "YOUNG_SECONDS", 0.0)
    name = publish(hub, both())
    repository = hub.hub.repositories["dataset", name]
    old = repository.head.oid
    hub.commit(repository, {"data/train-00000-of-00001.parquet": parquet(rows(9, first=50))})
    newest, pinned = catalog.load(f"hf:{name}", "train"), catalog.load(f"hf:{name}@{old}", "train")
    assert (len(newest), len(pinned)) == (9, 12)  # type: ignore[arg-type]
    assert np.array_equal(pinned[0][0], picture(0))
    assert dataset_digest(catalog.load(f"hf:{name}@{old}", "train")) == dataset_digest(pinned) != dataset_digest(newest)
    with hub.away():  # the cached commit is not mistaken for another one
        assert len(catalog.load(f"hf:{name}@{old}", "train")) == 12  # type: ignore[arg-type]
        with pytest.raises(SourceError, match=f"cannot be downloaded at commit {repository.head.oid}"):
            catalog.load(f"hf:{name}@{repository.head.oid}", "train")
    with pytest.raises(HubNotFoundError, match="no revision 'v9'"):
        catalog.load(f"hf:{name}@v9", "train")


def test_a_local_folder_of_that_name_is_ignored(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = publish(hub, both())
    monkeypatch.chdir(tmp_path)
    (tmp_path / name / "data").mkdir(parents=True)
    (tmp_path / name / "data" / "train.parquet").write_bytes(parquet(rows(3)))
    assert len(catalog.load(f"hf:{name}", "train")) == 12  # type: ignore[arg-type]


def test_configurations(hub: HubServer) -> None:
    card = b"""---
configs:
- config_name: small
  data_files: [{split: train, path: small/train.parquet}]
- config_name: large
  data_files: [{split: train, path: large/train.parquet}]
---
"""
    files = {"README.md": card, "small/train.parquet": rows(3), "large/train.parquet": rows(9)}
    name = publish(hub, files)
    assert len(catalog.load(f"hf:{name}:large", "train")) == 9  # type: ignore[arg-type]
    for source in (f"hf:{name}", f"hf:{name}:huge"):
        with pytest.raises(SourceError, match=r"small.*large.* Name a configuration as hf:USER/NAME:CONFIG"):
            catalog.load(source, "train")


def test_validation_replaces_a_missing_test_split(hub: HubServer) -> None:
    name = publish(hub, {"train.parquet": rows(), "validation.parquet": rows(3, first=7)})
    assert len(catalog.load(f"hf:{name}", "test")) == 3  # type: ignore[arg-type]


def test_validation_replaces_a_test_split_without_labels(hub: HubServer) -> None:
    withheld = rows(5, label=([-1] * 5, datasets.ClassLabel(names=NAMES)))
    name = publish(hub, {"train.parquet": rows(), "test.parquet": withheld, "validation.parquet": rows(3)})
    assert len(catalog.load(f"hf:{name}", "test")) == 3  # type: ignore[arg-type]
    name = publish(hub, {"train.parquet": rows(), "test.parquet": withheld})
    with pytest.raises(NoTestSplitError, match="has no labels in test: they are all -1"):
        catalog.load(f"hf:{name}", "test")


def test_errors_about_missing_splits_list_the_available_ones(hub: HubServer) -> None:
    name = publish(hub, {"train.parquet": rows()})
    with pytest.raises(NoTestSplitError, match="has no test split; it has: train"):
        catalog.load(f"hf:{name}", "test")
    name = publish(hub, {"test.parquet": rows()})
    with pytest.raises(SourceError, match="has no train split; it has: test"):
        catalog.load(f"hf:{name}", "train")


def test_several_label_columns_need_a_choice(hub: HubServer) -> None:
    fine, coarse = datasets.ClassLabel(names=NAMES), datasets.ClassLabel(names=["wings", "none"])
    table = rows(4, fine_label=([0, 1, 2, 0], fine), coarse_label=([1, 0, 1, 1], coarse))
    source = f"hf:{publish(hub, both(table, table))}"
    with pytest.raises(SourceError, match=r"2 columns of labels \(fine_label, coarse_label\).*--label-column NAME"):
        catalog.load(source, "train")
    chosen = catalog.load(source, "train", label_column="coarse_label")
    assert [chosen[i][1] for i in range(4)] == [1, 0, 1, 1]
    assert chosen.classes == ["wings", "none"]  # type: ignore[attr-defined]
    with pytest.raises(SourceError, match=r"label_column='image' is not a column of labels.*image \(Image\)"):
        catalog.load(source, "train", label_column="image")


def test_text_labels_are_numbered_as_in_the_train_split(hub: HubServer) -> None:
    text = datasets.Value("string")
    train = rows(4, label=(["cat", "ant", "bee", "ant"], text))
    test = rows(2, label=(["cat", "bee"], text))
    source = f"hf:{publish(hub, both(train, test))}"
    loaded = [catalog.load(source, split) for split in ("train", "test")]
    assert [dataset.classes for dataset in loaded] == [NAMES, NAMES]  # type: ignore[attr-defined]
    assert [loaded[0][i][1] for i in range(4)] == [2, 0, 1, 0]
    assert [loaded[1][i][1] for i in range(2)] == [2, 1]
    strange = HubDataset(rows(1, label=(["dog"], text)), label_names=NAMES)
    with pytest.raises(SourceError, match="label 'dog'"):
        inspect(strange)


def test_image_size_unifies_sizes(hub: HubServer) -> None:
    table = rows(4, sizes=((8, 8), (10, 12)))
    source = f"hf:{publish(hub, both(table, table))}"
    with pytest.raises(SourceError, match="--image-size N"):
        CondensedDataset(catalog.load(source, "train"), "random", ipc=1, cache=False, progress=False)
    resized = catalog.load(source, "train", image_size=6)
    assert {resized[i][0].size for i in range(4)} == {(6, 6)}


def test_hub_errors_are_explained(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("carol"))
    with pytest.raises(HubNotFoundError, match="bob/nothing: this dataset repository does not exist"):
        catalog.load("hf:bob/nothing", "train")
    gated = publish(hub, both(), gated=True)
    with pytest.raises(SourceError, match=r"is a gated dataset on the Hub\. Visit the dataset page"):
        catalog.load(f"hf:{gated}", "train")
    hub.hub.revoked.add(hub.token("carol"))
    with pytest.raises(HubAccessError, match="rejected the token"):
        catalog.load(f"hf:{gated}", "train")
    hub.hub.revoked.clear()
    empty = publish(hub, {"README.md": b"# Nothing"})
    with pytest.raises(SourceError, match=f"hf:{empty} cannot be loaded: "):
        catalog.load(f"hf:{empty}", "train")
    damaged = publish(hub, {"train.parquet": b"PAR1 and no more"})
    with pytest.raises(SourceError, match=f"hf:{damaged} cannot be loaded: "):
        catalog.load(f"hf:{damaged}", "train")


def test_code_in_a_repository_is_not_executed(hub: HubServer, tmp_path: Path) -> None:
    name = "bob/script"
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\n".encode()
    hub.add_repo(name, {f"{name.partition('/')[2]}.py": trap})
    with pytest.raises(SourceError, match="scripts are no longer supported"):
        catalog.load(f"hf:{name}", "train")
    assert not (tmp_path / "ran").exists()


def test_a_missing_datasets_library_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SourceError, match=r'pip install "condensed-data\[hub\]"'):
        catalog.load("hf:bob/any", "train")


def test_columns_are_refused_for_other_sources() -> None:
    with pytest.raises(SourceError, match="label_column='fine' applies to hf:USER/NAME only, not to digits"):
        catalog.load("digits", "train", label_column="fine")


def test_on_the_command_line(hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fine, coarse = datasets.ClassLabel(names=NAMES), datasets.ClassLabel(names=["wings", "none"])
    table = rows(9, fine=([0, 1, 2] * 3, fine), coarse=([1, 0, 1] * 3, coarse))
    source = f"hf:{publish(hub, both(table, table))}"
    words = [
        "build",
        source,
        *SMALL,
        "--no-evaluate",
        "--label-column",
        "fine",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    assert f"{source} condensed by dm: 2 samples of shape 3x8x8 for each of 3 classes" in capsys.readouterr().out
    assert CondensedDataset.load(tmp_path / "out").classes == NAMES


def test_test_images_take_the_form_of_the_training_images(hub: HubServer) -> None:
    for train, test, name in (("RGB", "L", "pil:RGB"), ("L", "1", "pil:L")):
        source = f"hf:{publish(hub, both(rows(modes=(train,)), rows(6, modes=(test,), first=100)))}"
        kinds = {inspect(catalog.load(source, split)).kind for split in ("train", "test")}
        assert [kind.name for kind in kinds] == [name]
