"""README.md of a repository: the card of all its sets, made anew from their manifests at every push.

What somebody else wrote stays: text outside our markers, other keys of the YAML head, configs and tags of their own.
The same sets and the same text give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from condensed_data.storage import atomic_directory as files
from condensed_data.storage import dataset_card as one
from condensed_data.storage import parquet, readme
from condensed_data.storage.hub import layout
from condensed_data.storage.metadata import Metadata

MOST_BYTES = 1 << 20  # of a README.md that is merged with
_MOST_DEPTH = 16
_MADE = re.compile(r"ipc-\d+|source-[^-]*")  # tags that we make
_FRONT = re.compile(r"\A---\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)

Sets = Mapping[str, Mapping[str, Any]]  # checked manifests by the name of their config


def render(repo_id: str, sets: Sets, existing: str | None, license: str | None) -> str:  # noqa: A002
    """The text of README.md.

    Args:
        repo_id: "user/name".
        sets: every set of the repository after the push.
        existing: what README.md holds now, or None.
        license: identifier of the source's license; None keeps the one that README.md has.

    Raises:
        ValueError: where the YAML head of `existing` is none; or for a license that is no identifier.
    """
    old = _head(repo_id, existing)
    records = {name: Metadata.from_manifest(manifest) for name, manifest in sorted(sets.items(), key=_first)}
    fields = _fields(records, sets, old)
    if license is not None or "license" in old:
        fields["license"] = old["license"] if license is None else check_license(license)
    return readme.merge(f"---\n{one.front(fields)}---\n\n{_body(repo_id, records)}\n", existing)


def check_license(name: str) -> str:
    """The identifier of a license.

    Raises:
        ValueError: unless it looks like those of the Hub.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,63}", name):
        raise ValueError(
            f"license={name!r} is no identifier of the Hub: give one such as 'mit', 'cc-by-4.0' or 'other'."
        )
    return name


def _first(item: tuple[str, Any]) -> tuple[bool, str]:
    return item[0] != layout.DEFAULT, item[0]


def _fields(records: Mapping[str, Metadata], sets: Sets, old: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the YAML head that we bring."""
    listed = list(records.values())
    total = sum(map(one.count, listed))
    fields: dict[str, Any] = {"pretty_name": _pretty(listed, old)}
    fields |= one.tasks(listed) | {"size_categories": [one.size_category(total)]}
    fields["tags"] = _tags(listed, old)
    sources = sorted({found for metadata in listed if (found := _hub_source(metadata.name))})
    if sources:
        fields["source_datasets"] = sources
    viewed = {name: metadata for name, metadata in records.items() if files.PREVIEW in sets[name]["files"]}
    configs = [*map(_config, viewed), *_others(old, "configs", viewed)]
    infos = [_info(name, metadata, sets[name]) for name, metadata in viewed.items()]
    infos += _others(old, "dataset_info", viewed)
    return fields | ({"configs": configs} if configs else {}) | ({"dataset_info": infos} if infos else {})


def _pretty(records: Sequence[Metadata], old: Mapping[str, Any]) -> str:
    """The name that the owner gave, else one that says what is there."""
    given = old.get("pretty_name")
    if isinstance(given, str) and not re.search(r" condensed( by .*)?$", given):
        return given
    if len(records) == 1:
        return one.pretty_name(records[0])
    return f"{', '.join(sorted({metadata.name for metadata in records}))} condensed"


def _tags(records: Sequence[Metadata], old: Mapping[str, Any]) -> list[str]:
    from condensed_data.methods import recipes

    ours, known = one.tags(records), set(recipes.names())
    given = old.get("tags")
    kept = [tag for tag in given if isinstance(tag, str)] if isinstance(given, list) else []
    return [*ours, *(tag for tag in kept if tag not in {*ours, *known} and not _MADE.fullmatch(tag))]


def _hub_source(name: str) -> str | None:
    """The repository of a source that came from the Hub ("hf:user/name@revision:config")."""
    found = re.match(r"hf:([\w.-]+/[\w.-]+)", name)
    return found[1] if found else None


def _config(name: str) -> dict[str, Any]:
    default = {"default": True} if name == layout.DEFAULT else {}
    return {"config_name": name, **default, "data_files": layout.data_files(name)}


def _info(name: str, metadata: Metadata, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What `datasets` shows before it has loaded anything."""
    names = parquet.distinct(metadata.classes, metadata.class_values)
    label = {"class_label": {"names": {str(index): text for index, text in enumerate(names)}}}
    features: list[dict[str, Any]] = [_sample(manifest), {"name": "label", "dtype": label}]
    if manifest["label"]["kind"] == "probs":
        features.append({"name": "soft_label", "list": "float32", "length": len(names)})
    size = manifest["files"][files.PREVIEW]["size"]  # of the table, which is not compressed
    splits = [{"name": "train", "num_bytes": size, "num_examples": one.count(metadata)}]
    sizes = {"download_size": size, "dataset_size": size}
    return {"config_name": name, "features": features, "splits": splits, **sizes}


def _sample(manifest: Mapping[str, Any]) -> dict[str, Any]:
    shape = list(manifest["shape"])
    if parquet.is_picture(manifest):
        return {"name": "image", "dtype": "image"}
    if len(shape) == 1:
        return {"name": "sample", "list": "float32", "length": shape[0]}
    return {"name": "sample", "dtype": {f"array{len(shape)}_d": {"shape": shape, "dtype": "float32"}}}


def _others(old: Mapping[str, Any], key: str, ours: Mapping[str, Any]) -> list[Any]:
    """Entries of others: not of a set of ours, nor left by one that is gone."""
    given = old.get(key)
    entries = given if isinstance(given, list) else [given] if isinstance(given, dict) else []
    gone = {entry["config_name"] for entry in _entries(old.get("configs")) if _is_ours(entry)}
    found = []
    for entry in _entries(entries):
        name = entry.get("config_name", layout.DEFAULT)
        if name not in ours and name not in gone:
            kept = dict(entry)
            if layout.DEFAULT in ours:  # `datasets` wants one default, and takes the name for it
                kept.pop("default", None)
            found.append(kept)
    return found


def _is_ours(entry: Mapping[str, Any]) -> bool:
    name = entry.get("config_name")
    return layout.is_config(name) and entry.get("data_files") == layout.data_files(str(name))


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    yield from (item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def _body(repo_id: str, records: Mapping[str, Metadata]) -> str:
    if len(records) == 1:
        ((name, metadata),) = records.items()
        return one.body(metadata, _use(repo_id, name), layout.place(name, layout.GRID))
    head = ("config", "source", "recipe", "samples per class", "samples")
    rows = [
        (name, metadata.name, metadata.recipe_name, str(metadata.ipc), f"{one.count(metadata):,}")
        for name, metadata in records.items()
    ]
    parts = [f"# Condensed sets\n\nEach is a config of this repository.\n\n{one.table(head, rows)}"]
    for name, metadata in records.items():
        text = one.body(metadata, _use(repo_id, name), layout.place(name, layout.GRID), level=2)
        parts.append(text.replace("\n", f" (`{name}`)\n", 1))
    return "\n\n".join(parts)


def _use(repo_id: str, config: str) -> str:
    where = f'"{repo_id}"' + ("" if config == layout.DEFAULT else f', config_name="{config}"')
    return (
        "from condensed_data import CondensedDataset\n"
        f"train_set = CondensedDataset.from_hub({where})  # an ordinary torch Dataset\n"
        "loader = train_set.loader()"
    )


def _head(repo_id: str, text: str | None) -> dict[str, Any]:
    """The YAML head of a README.md as plain data; empty where there is none.

    Raises:
        ValueError: where it cannot be read.
    """
    found = _FRONT.match(text or "")
    if not found:
        return {}
    import yaml  # type: ignore[import-untyped]  # comes with huggingface_hub

    try:
        depth = 0
        for event in yaml.parse(found[1], Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):  # a few bytes of them can stand for any number
                raise ValueError("it holds an alias (*name)")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_DEPTH:
                raise ValueError("it is nested too deep")
        value = yaml.safe_load(found[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"The YAML head of README.md in {repo_id} cannot be read: {reason}. Correct it and push again."
        ) from error
    return value if isinstance(value, dict) else {}
