"""Specifications: canonical forms, defaults that depend on the data, and fields set by path."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from condensed_data import recipes
from condensed_data.core import spec as specs
from condensed_data.core.spec import DataDefault, DatasetInfo, NamedCallable, Spec, UnnamedCallableError
from condensed_data.data.augment import Identity, SiameseAugment
from condensed_data.methods.objectives import Distribution
from condensed_data.methods.pools import RandomInit
from condensed_data.methods.recipe import Recipe, Term
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.methods.synthetic import Pixels

INFO = DatasetInfo((1, 12, 12), ("cat", "dog"), ipc=4)


@dataclass(frozen=True)
class TimesIpc(DataDefault):
    factor: int = 10

    def __call__(self, info: DatasetInfo) -> Any:
        return self.factor * info.ipc


@dataclass(frozen=True)
class NestedDefault(DataDefault):
    def __call__(self, info: DatasetInfo) -> Any:
        return TimesIpc(3)


@dataclass(frozen=True)
class Leaf(Spec):
    size: int | DataDefault = 1
    version: ClassVar[int] = 2

    def check(self, sample_shape: tuple[int, ...]) -> None:
        if len(sample_shape) != 3:
            raise ValueError(f"Leaf takes images; got {sample_shape}.")


@dataclass(frozen=True)
class Tree(Spec):
    leaves: tuple[Leaf, ...] = (Leaf(1), Leaf(2))
    depth: float | DataDefault = 0.5
    call: Any = None
    note: str = field(default="", compare=False)


def key(value: Any) -> str:
    return json.dumps(specs.to_json(value), sort_keys=True, allow_nan=False)


def other_value(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else 0.9 * value or 0.5


def leaves(spec: Any) -> dict[str, Any]:
    """Fields that hold plain values."""
    return {path: value for path, value in specs.iter_fields(spec) if isinstance(value, bool | int | float)}


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_survive_json_before_and_after_resolving(name: str) -> None:
    recipe = recipes.get(name)
    for one in (recipe, recipe.resolve((1, 28, 28), ("cat", "dog"))):
        rebuilt = specs.from_json(json.loads(json.dumps(one.to_json())))
        assert rebuilt == one
        assert rebuilt.to_json() == one.to_json()


def test_the_cache_key_changes_with_every_field() -> None:
    recipe = recipes.dsa().set(num_blocks=4)  # its labels can be learned, and it computes in blocks
    fields = leaves(recipe)
    del fields["soft_labels"]  # of a recipe that reads labels
    keys = {json.dumps(recipe.to_json())}
    for path, value in fields.items():
        keys.add(json.dumps(specs.set_field(recipe, path, other_value(value)).to_json()))
    assert len(keys) == len(fields) + 1
    assert recipes.dc().set(soft_labels=True).to_json() != recipes.dc().to_json()


def test_documentation_is_not_in_the_cache_key() -> None:
    recipe = recipes.dm()
    assert replace(recipe, paper="p", deviations="d").to_json() == recipe.to_json()


def test_equal_specifications_have_equal_keys() -> None:
    assert Tree(depth=1) == Tree(depth=1.0)
    assert key(Tree(depth=1)) == key(Tree(depth=1.0))
    assert key(Tree(depth=1)) != key(Tree(depth=1.5))
    assert specs.from_json(specs.to_json(1e300)) == 1e300


def test_the_form_names_class_and_version() -> None:
    assert specs.to_json(Leaf(3)) == {"part": "Leaf", "version": 2, "size": 3}
    assert specs.to_json((1, "a", None, True, 0.5)) == [1, "a", None, True, 0.5]


def test_named_callables_are_compared_by_name() -> None:
    tree = Tree(call=NamedCallable("double", lambda x: 2 * x))
    assert tree.call(4) == 8
    assert key(tree) == key(Tree(call=NamedCallable("double", abs)))
    assert key(tree) != key(Tree(call=NamedCallable("half", abs)))
    assert tree == Tree(call=NamedCallable("double", abs))
    with pytest.raises(ValueError, match="has no part 'NamedCallable'"):
        specs.from_json(specs.to_json(tree))


def test_unnamed_callables_are_refused_with_a_remedy() -> None:
    with pytest.raises(UnnamedCallableError, match=r"leaves has no canonical form\. Wrap it as NamedCallable\("):
        specs.to_json(Tree(call=leaves))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_values_without_a_form_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="A recipe cannot hold"):
        specs.to_json(Tree(call=value))


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"part": "Unheard"}, "has no part 'Unheard'"),
        ({"part": ["Leaf"]}, r"has no part \['Leaf'\]"),
        ({}, "has no part None"),
        (
            {"part": "Leaf", "version": 3, "size": 1},
            "Leaf: the stored version is 3; this release reads version 2",
        ),
        ({"part": "Leaf", "size": 1}, "Leaf: the stored version is None"),
        ({"part": "Leaf", "version": 2, "weight": 1}, "Leaf cannot be rebuilt: .*'weight'"),
        ({"part": "DataDefault", "version": 1}, "DataDefault cannot be rebuilt"),
        ({"part": "Optimizer", "version": 1, "lr": "high"}, "Optimizer cannot be rebuilt"),
    ],
)
def test_unknown_forms_are_refused(stored: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        specs.from_json(stored)


def test_defaults_are_resolved_at_any_depth() -> None:
    tree = Tree((Leaf(TimesIpc()), Leaf(NestedDefault())), depth=TimesIpc(2))
    assert specs.resolve(tree, INFO) == Tree((Leaf(40), Leaf(12)), depth=8)
    assert specs.resolve(Tree(call=NamedCallable("n", abs)), INFO) == Tree(call=NamedCallable("n", abs))


def test_a_recipe_is_resolved_with_its_own_or_another_ipc() -> None:
    recipe = replace(recipes.dm(ipc=3), iterations=TimesIpc())
    assert recipe.resolve((1, 12, 12), ("ant", "bee")).iterations == 30
    other = recipe.resolve((1, 12, 12), ("ant", "bee"), ipc=5)
    assert (other.iterations, other.ipc) == (50, 5)
    assert not any(isinstance(value, DataDefault) for _, value in specs.iter_fields(other))
    assert other.terms[0].augment == SiameseAugment()


def test_classes_without_names_are_not_flipped() -> None:
    resolved = recipes.dm().resolve((1, 28, 28), ("", ""))
    assert "flip" not in resolved.terms[0].augment.ops


def two_terms(batch: int = 8, other: int = 8) -> Recipe:
    terms = tuple(Term(Distribution(), RandomInit("mlp"), PerGroup(rows), Identity()) for rows in (batch, other))
    return Recipe("two", Pixels(), terms, iterations=1)


def test_fields_are_set_by_path_and_by_a_unique_name() -> None:
    recipe = recipes.dm()
    assert recipe.set(batch=32) == recipes.dm(batch=32)
    assert recipe.set(optimizer__lr=0.1).optimizer.lr == 0.1
    assert specs.set_field(recipe, "terms.0.sampler.batch", 32) == recipes.dm(batch=32)
    assert specs.set_field(recipe, "sampler.batch", 32) == recipes.dm(batch=32)
    assert specs.set_field(recipe, "name", "mine").name == "mine"  # not training.name: the whole path is "name"
    assert recipe == recipes.dm()
    assert specs.set_field(Tree(), "leaves.1.size", 7) == Tree((Leaf(1), Leaf(7)))


def test_one_name_sets_equal_fields_of_all_terms() -> None:
    assert two_terms().set(batch=32) == two_terms(32, 32)
    with pytest.raises(ValueError, match=r"'batch' is ambiguous: terms\.0\.sampler\.batch, terms\.1\.sampler"):
        two_terms(8, 9).set(batch=32)


def test_an_ambiguous_name_lists_its_paths() -> None:
    with pytest.raises(ValueError, match=r"'lr' is ambiguous: optimizer\.lr, training\.lr\. Give one"):
        recipes.dm().set(lr=1)


def test_an_unknown_field_lists_the_known() -> None:
    with pytest.raises(ValueError, match="Unknown field 'learning_rate'") as error:
        recipes.dm().set(learning_rate=1)
    listed = str(error.value).partition("Known fields: ")[2].rstrip(".").split(", ")
    assert {"ipc", "iterations", "optimizer.lr", "terms.0.sampler.batch", "terms.0.augment.crop"} <= set(listed)
    with pytest.raises(ValueError, match=r"Unknown field 'terms\.1\.weight'"):
        recipes.dm().set(terms__1__weight=1)


def test_values_are_checked_where_they_are_set() -> None:
    with pytest.raises(ValueError, match=r"Optimizer\(lr='high'\) must be a finite number"):
        recipes.dm().set(optimizer__lr="high")
    with pytest.raises(ValueError, match=r"Optimizer\(lr=-1\) must be positive"):
        recipes.dm().set(optimizer__lr=-1)


def test_every_part_checks_the_sample_shape() -> None:
    specs.validate(Tree(), (1, 8, 8))
    specs.validate(recipes.dm(), (1, 28, 28))
    with pytest.raises(ValueError, match=r"Leaf takes images; got \(8,\)"):
        specs.validate(Tree(), (8,))
    with pytest.raises(ValueError, match=r"Leaf takes images; got \(8,\)"):
        specs.validate(Leaf(), (8,))


def test_specifications_are_frozen_and_can_be_hashed() -> None:
    recipe = recipes.dm()
    assert hash(recipe) == hash(recipes.dm())
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.ipc = 3
