"""What holds for every source: what goes in comes out, and every way to keep it gives the same again."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from exam import LEARNING
from hub_server import HubServer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from random_sources import Plan, naive_names, naive_rows, naive_type, naive_values, plans, same_sample
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader
from torchvision.transforms import PILToTensor

from condensed_data import CondensedDataset, recipes
from condensed_data.data.class_names import MAX_LABEL
from condensed_data.methods.recipe import Recipe
from condensed_data.storage.parquet import value_range

# sources have classes of one sample
pytestmark = pytest.mark.filterwarnings("ignore:ipc=.*the condensed samples are no fewer than the real:UserWarning")
_NUMBERS = itertools.count()

_COMMON: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,  # the same examples in every run
    "database": None,
    "phases": (Phase.explicit, Phase.generate, Phase.shrink),
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
# Hypothesis keeps nothing on disk: the examples are the same in every run
few, many = settings(max_examples=50, **_COMMON), settings(max_examples=500, **_COMMON)


def check(plan: Plan, recipe: Recipe, num_workers: int = 0) -> CondensedDataset:
    """Condense the source of a plan, and compare with a naive reading."""
    source = plan.build()
    rows = naive_rows(source)
    small = CondensedDataset(
        source, recipe, groups=plan.groups(source), cache=False, progress=False, device="cpu", num_workers=num_workers
    )
    check_labels(small, source, rows)
    check_samples(small, rows)
    after = naive_rows(source)
    assert all(same_sample(a, b) and x == y for (a, x), (b, y) in zip(rows, after, strict=True))
    return small


def check_labels(small: CondensedDataset, source: Any, rows: list[tuple[Any, int]]) -> None:
    """Labels and names are those of a naive reading, `ipc` of each class."""
    present = sorted({label for _, label in rows})
    assert sorted(small.targets) == sorted(present * small.metadata.ipc)
    assert [present[index] for index in small.class_indices.tolist()] == small.targets
    for index, target in enumerate(small.targets):
        assert small[index][1] == target
        assert type(small[index][1]) is int
        name = small.metadata.classes[small.class_indices[index]]
        assert name in naive_names(source, target)
        assert small.class_to_idx[name] == target
        if max(small.targets) < MAX_LABEL:
            assert small.classes[target] == name


def check_samples(small: CondensedDataset, rows: list[tuple[Any, int]]) -> None:
    """Samples are of the source's kind, and say the same as `images`."""
    assert len(small) == len(small.images) == len(small.labels)
    assert small.images.dtype == torch.float32
    assert bool(small.images.isfinite().all())
    for index, image in enumerate(small.images):
        sample = small[index][0]
        assert naive_type(sample) == naive_type(rows[0][0])
        if small.metadata.kind.is_pil:
            assert (naive_values(sample) - image.clamp(0, 1)).abs().max() <= 0.5 / 255 + 1e-6
        elif sample.dtype == torch.uint8:
            assert (sample.float() - image.clamp(0, 255)).abs().max() <= 0.5
        else:
            assert torch.equal(sample, image.to(sample.dtype))


def smallest_class(plan: Plan) -> int:
    labels = [label for _, label in naive_rows(plan.build())]
    return min(labels.count(label) for label in labels)


def check_selection(plan: Plan, small: CondensedDataset) -> None:
    """Every sample of a coreset is one of the source, with its label; float32 and float64 up to rounding."""
    rows = naive_rows(plan.build())
    for index in range(len(small)):
        sample, label = small[index]
        assert any(label == other and is_near(small.images[index], naive_values(row)) for row, other in rows)
        if isinstance(sample, Tensor) and sample.dtype in (torch.float32, torch.float64):
            assert any(label == other and is_near(sample.float(), naive_values(row)) for row, other in rows)
        else:
            assert any(label == other and same_sample(sample, row) for row, other in rows)


def is_near(image: Tensor, values: Tensor) -> bool:
    """Equal up to the rounding of (x - mean) / std * std + mean."""
    return float((image - values).abs().max()) <= 1e-6 * float(values.abs().max())


def coresets(plan: Plan) -> list[Recipe]:
    ipc = min(2, smallest_class(plan))
    made = [function(ipc=ipc, features="raw") for function in (recipes.herding, recipes.k_center, recipes.k_means)]
    return [recipes.random(ipc=ipc), *made]


def check_coreset(plan: Plan) -> None:
    for recipe in coresets(plan)[plan.seed % 2 :: 2]:
        check_selection(plan, check(plan, recipe))


def learned(plan: Plan) -> Recipe:
    """A recipe that learns for two iterations in tiny networks."""
    return recipes.dm(ipc=2, iterations=2).set(network="mlp-w8" if len(plan.shape) == 1 else "convnet-d1-w4")


def assert_same(one: CondensedDataset, other: CondensedDataset) -> None:
    """Everything that a user reads of two datasets is equal."""
    for name in ("images", "labels", "class_indices"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    assert (one.targets, one.classes, repr(one)) == (other.targets, other.classes, repr(other))
    assert one.metadata.to_manifest() == other.metadata.to_manifest()
    assert one.recipe == other.recipe
    for index in range(len(one)):
        assert same_sample(one[index][0], other[index][0])
        assert one[index][1] == other[index][1]


def check_kept(plan: Plan) -> None:
    """The cache, files and copies give the same dataset again."""
    source = plan.build()
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"cache": folder, "progress": False, "device": "cpu", "groups": plan.groups(source)}
        small = CondensedDataset(source, learned(plan), **options)
        check_labels(small, source, naive_rows(source))
        check_samples(small, naive_rows(source))
        assert_same(small, CondensedDataset(plan.build(), learned(plan), **options))  # `seconds` too: a hit
    check_copies(small)
    check_loaders(small, source)


def check_copies(small: CondensedDataset) -> None:
    """Files, pickles and copies give the same dataset again, and the preview shows it."""
    with tempfile.TemporaryDirectory() as folder:
        small.save(folder)
        assert_same(small, CondensedDataset.load(folder))
        check_preview(small, next(Path(folder).glob("data/*.parquet")))
    assert_same(small, pickle.loads(pickle.dumps(small)))  # noqa: S301
    assert_same(small, copy.deepcopy(small))
    assert_same(small, CondensedDataset.from_result(small.result))


def check_preview(small: CondensedDataset, path: Path) -> None:
    """Images of the parquet file are the samples, rounded to the 8 bits between the limits; others are the numbers."""
    table = parquet.read_table(path)
    manifest = small.metadata.to_manifest()
    assert table.column("label").to_pylist() == small.class_indices.tolist()
    if "sample" in table.column_names:
        assert table.column("sample").to_pylist() == small.images.tolist()
        return
    low, high = value_range(small.images, manifest["value_space"]["kind"])
    for index, cell in enumerate(table.column("image").to_pylist()):
        shown, sample = Image.open(io.BytesIO(cell["bytes"])), small[index][0]
        if small.metadata.kind.is_pil:
            assert same_sample(shown, sample)
        elif sample.dtype == torch.uint8:
            assert torch.equal(PILToTensor()(shown), sample)
        else:
            error = naive_values(shown) * (high - low) + low - small.images[index]
            assert error.abs().max() <= (high - low) * 0.501 / 255 + 1e-6 * small.images.abs().max()


def check_loaders(small: CondensedDataset, source: Any, **options: Any) -> None:
    """Default collation of loaders works, also together with real samples, and keeps samples and labels."""
    if small.metadata.kind.is_pil:
        small = CondensedDataset.from_result(small.result, transform=PILToTensor())
    batches = list(DataLoader(small, batch_size=3, **options))
    assert torch.equal(torch.cat([x for x, _ in batches]), torch.stack([x for x, _ in small]))
    assert torch.cat([y for _, y in batches]).tolist() == small.targets
    seen = [y for _, labels in small.loader(batch_size=2, **options) for y in labels.tolist()]
    assert sorted(seen) == sorted(small.targets)
    if not small.metadata.kind.is_pil and type(source[0][1]) is int:
        both = DataLoader(ConcatDataset([small, source]), batch_size=len(small) + len(source))
        _, labels = next(iter(both))
        assert labels.tolist() == small.targets + [y for _, y in naive_rows(source)]


def check_hub(plan: Plan, repo_id: str) -> None:
    """A repository gives the dataset that was pushed, and the cached result of a build."""
    small = CondensedDataset(plan.build(), learned(plan), cache=False, progress=False, device="cpu")
    small.push_to_hub(repo_id)
    pulled = CondensedDataset.from_hub(repo_id)
    assert_same(small, pulled)
    assert pulled.hub_revision is not None


@few
@given(plans())
def test_coresets_are_samples_of_the_source(plan: Plan) -> None:
    check_coreset(plan)


@few
@given(plans())
def test_everything_that_keeps_a_dataset_gives_it_again(plan: Plan) -> None:
    check_kept(plan)


@settings(few, max_examples=10)
@given(plans())
def test_the_hub_gives_a_dataset_again(hub: HubServer, monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))
    check_hub(plan, f"alice/drawn-{next(_NUMBERS)}")


@pytest.mark.slow
@pytest.mark.timeout(900)
@many
@given(plans())
def test_coresets_of_many_sources(plan: Plan) -> None:
    check_coreset(plan)


@pytest.mark.slow
@pytest.mark.timeout(900)
@many
@given(plans())
def test_keeping_many_datasets(plan: Plan) -> None:
    check_kept(plan)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(many, max_examples=100)
@given(plans())
def test_many_datasets_on_the_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token("alice"))
    check_hub(plan, f"alice/drawn-{next(_NUMBERS)}")


@pytest.mark.slow
@settings(few, max_examples=4, phases=[Phase.generate])  # each takes seconds
@given(plans())
def test_worker_processes_read_the_same(plan: Plan) -> None:
    source = plan.build()
    alone, parallel = (check(plan, learned(plan), num_workers) for num_workers in (0, 2))
    assert torch.equal(alone.images, parallel.images)
    for context in ("fork", "spawn"):
        check_loaders(parallel, source, num_workers=2, multiprocessing_context=context)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This dataset was condensed for one training run:UserWarning")
@settings(many, max_examples=150, phases=[Phase.generate])
@given(plans(), st.sampled_from(sorted(LEARNING)))
def test_every_recipe_takes_a_source_or_says_what_to_use(plan: Plan, name: str) -> None:
    source, options = plan.build(), {"cache": False, "progress": False, "device": "cpu"}
    try:
        small = CondensedDataset(source, LEARNING[name]().set(iterations=1), groups=plan.groups(source), **options)
    except ValueError as error:
        if re.search(r"Use [^.]+\.$|Use [^.]+, or [^.]+\.$", str(error)) is None:
            raise
        return
    assert {type(label) for _, label in small} == {int}
    assert set(small.targets) <= {label for _, label in naive_rows(source)}
    check_samples(small, naive_rows(source))
    check_copies(small)
