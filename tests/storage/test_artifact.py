"""Round trips of the artifact: reading returns the written content, and the same content gives the same bytes.

Dimension letters: N samples, K classes, C channels, H, W.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from pyarrow import parquet

from condensed_data.storage import artifact

GOLDEN = Path(__file__).parent / "golden" / "format-1.0"
CARD = "---\nlicense: mit\ntags:\n- condensed-data\n---\n# Tiny\n\nWords.\n"
FILES = {"README.md", "condensed.json", "condensed.safetensors", "data/train-00000-of-00001.parquet"}


def manifest(**changes: Any) -> dict[str, Any]:
    """The fields of the golden dataset without the computed ones, for three classes of images."""
    fields = artifact.read_manifest(GOLDEN)
    for computed in ("format", "format_version", "files", "content_hash", "preview_range", "manifest_sha256"):
        del fields[computed]
    classes = {"num_classes": 3, "class_names": ["cat", "dog", "größe"], "class_values": [0, 7, 9]}
    space = {"kind": "unit", "mean": [0.5], "std": [0.25]}
    return {**fields, **classes, "shape": [1, 4, 5], "sample_kind": "pil:L", "value_space": space, **changes}


def tensors(*sample: int, classes: int = 3) -> dict[str, torch.Tensor]:
    shape = sample or (1, 4, 5)
    images = torch.rand(2 * classes, *shape, generator=torch.Generator().manual_seed(0))
    return {"images": images, "labels": torch.arange(classes).repeat_interleave(2)}


def contents(directory: Path) -> dict[str, bytes]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def test_the_golden_dataset_of_format_1_0_is_read() -> None:
    found = artifact.read(GOLDEN)
    assert torch.equal(found.tensors["images"], torch.arange(36).reshape(4, 1, 3, 3) / 64)
    assert found.tensors["labels"].tolist() == [0, 0, 1, 1]
    assert found.manifest["class_names"] == ["cat", "größe"]


def test_reading_returns_the_written_bits(tmp_path: Path) -> None:
    stored = {**tensors(), "synthetic.codes": torch.randn(6, 2, generator=torch.Generator().manual_seed(1))}
    stored["step_size"] = torch.tensor(0.02)
    artifact.write(tmp_path / "set", stored, manifest(), card=CARD)
    found = artifact.read(tmp_path / "set")
    assert found.tensors.keys() == stored.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in stored.items())
    assert {key: found.manifest[key] for key in manifest()} == manifest()
    assert found.manifest["format_version"] == "1.0"
    assert found.directory == tmp_path / "set"
    assert artifact.read_manifest(tmp_path / "set") == found.manifest
    assert contents(tmp_path / "set").keys() == FILES


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("sample", [(3, 4, 5), (2, 7), (6,)])
def test_any_type_and_sample_shape(tmp_path: Path, dtype: torch.dtype, sample: tuple[int, ...]) -> None:
    stored = tensors(*sample)
    stored["images"] = (stored["images"] * 9).to(dtype)
    described = manifest(shape=list(sample), sample_kind="tensor:float32")
    artifact.write(tmp_path, stored, described, card=CARD)
    assert torch.equal(artifact.read(tmp_path).tensors["images"], stored["images"])


def test_probabilities_as_labels(tmp_path: Path) -> None:
    stored = {**tensors(), "labels": torch.full((6, 3), 1 / 3)}
    artifact.write(tmp_path, stored, manifest(label={"kind": "probs"}), card=CARD)
    assert torch.equal(artifact.read(tmp_path).tensors["labels"], stored["labels"])
    table = parquet.read_table(tmp_path / "data")
    assert table["soft_label"].to_pylist()[0] == pytest.approx([1 / 3] * 3)


def test_datasets_not_stored_as_pixels(tmp_path: Path) -> None:
    decoded = tensors()["images"]
    stored = {"synthetic.codes": torch.ones(2, 3), "labels": tensors()["labels"]}
    artifact.write(tmp_path, stored, manifest(encoding={"part": "Factorized"}), card=CARD, preview=decoded)
    assert artifact.read(tmp_path).tensors.keys() == stored.keys()
    assert parquet.read_table(tmp_path / "data").num_rows == len(decoded)


def test_tensors_that_share_memory_or_require_gradients(tmp_path: Path) -> None:
    base = torch.rand(6, 5, 4, 1).requires_grad_()
    stored = {"images": base.permute(0, 3, 2, 1), "labels": tensors()["labels"], "copy": base[:3]}
    artifact.write(tmp_path, stored, manifest(), card=CARD)
    assert torch.equal(artifact.read(tmp_path).tensors["images"], stored["images"])


def test_same_content_gives_same_bytes_in_another_process(tmp_path: Path) -> None:
    artifact.write(tmp_path / "here", tensors(), manifest(), card=CARD)
    command = [sys.executable, __file__, str(tmp_path / "there")]
    subprocess.run(command, check=True, timeout=120)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_saving_what_was_read_changes_nothing(tmp_path: Path) -> None:
    artifact.write(tmp_path, tensors(), manifest(), card=CARD)
    before, found = contents(tmp_path), artifact.read(tmp_path)
    artifact.write(tmp_path, found.tensors, found.manifest, card=CARD)
    assert contents(tmp_path) == before


def test_the_tensor_file_is_plain_safetensors_with_one_metadata_key(tmp_path: Path) -> None:
    artifact.write(tmp_path, tensors(), manifest(), card=CARD)
    path = tmp_path / "condensed.safetensors"
    loaded = safetensors.torch.load_file(path)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors().items())
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == {"condensed_data": '{"format_version":"1.0"}'}


def test_hashes_follow_the_documented_rules(tmp_path: Path) -> None:
    artifact.write(tmp_path, tensors(), manifest(), card=CARD)
    written = json.loads((tmp_path / "condensed.json").read_bytes())
    for name, entry in written["files"].items():
        raw = (tmp_path / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw)}
    digest = hashlib.sha256(b'["F32","images",[6,1,4,5]]\n' + tensors()["images"].numpy().tobytes())
    digest.update(b'["I64","labels",[6]]\n' + tensors()["labels"].numpy().tobytes())
    assert written["content_hash"] == digest.hexdigest()
    own = written.pop("manifest_sha256")
    text = json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert own == hashlib.sha256(text.encode()).hexdigest()


def test_preview_shows_labeled_pictures(tmp_path: Path) -> None:
    described = manifest(shape=[3, 4, 5], sample_kind="pil:RGB", class_names=["crane", "dog", "crane"])
    artifact.write(tmp_path, tensors(3, 4, 5), described, card=CARD)
    table = parquet.read_table(tmp_path / "data")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"_type": "ClassLabel", "names": ["crane (0)", "dog", "crane (9)"]}
    assert table["label"].to_pylist() == tensors()["labels"].tolist()
    image = np.asarray(Image.open(io.BytesIO(table["image"][4].as_py()["bytes"])))
    expected = (tensors(3, 4, 5)["images"][4] * 255).round().permute(1, 2, 0)
    assert np.array_equal(image, expected.numpy())


def test_preview_of_values_without_a_known_range(tmp_path: Path) -> None:
    stored = tensors()
    stored["images"] = stored["images"] * 10 - 4
    described = manifest(sample_kind="tensor:float32", value_space={"kind": "source", "mean": [1], "std": [3]})
    artifact.write(tmp_path, stored, described, card=CARD)
    low, high = artifact.read(tmp_path).manifest["preview_range"]
    table = parquet.read_table(tmp_path / "data")
    levels = np.asarray(Image.open(io.BytesIO(table["image"][0].as_py()["bytes"])))
    shown = low + levels / 255 * (high - low)
    assert np.abs(shown - stored["images"][0, 0].numpy()).max() <= (high - low) / 255 / 2 + 1e-6


@pytest.mark.parametrize("how", ["asked", "many dimensions", "no pyarrow"])
def test_no_preview(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact.write(tmp_path, tensors(), manifest(), card=CARD)
    sample = (1, 2, 1, 2, 1, 2) if how == "many dimensions" else (1, 4, 5)
    described = manifest(shape=list(sample), sample_kind="tensor:float32")
    if how == "no pyarrow":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    artifact.write(tmp_path, tensors(*sample), described, card=CARD, preview=how != "asked")
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "condensed.json", "condensed.safetensors"}
    found = artifact.read(tmp_path).manifest
    assert found["files"].keys() == {"condensed.safetensors"}
    assert "preview_range" not in found


def test_the_preview_may_be_missing(tmp_path: Path) -> None:
    artifact.write(tmp_path, tensors(), manifest(), card=CARD)
    (tmp_path / "data" / "train-00000-of-00001.parquet").unlink()
    assert len(artifact.read(tmp_path).tensors["images"]) == 6


def test_symbolic_links_to_files_are_read(tmp_path: Path) -> None:
    artifact.write(tmp_path / "blobs", tensors(), manifest(), card=CARD, preview=False)
    (tmp_path / "snapshot").mkdir()
    for name in ("condensed.json", "condensed.safetensors"):
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / "blobs" / name)
    assert len(artifact.read(tmp_path / "snapshot").tensors["images"]) == 6


def test_the_owners_text_in_the_readme_is_kept(tmp_path: Path) -> None:
    artifact.write(tmp_path, tensors(), manifest(), card=CARD)
    readme = tmp_path / "README.md"
    text = readme.read_text().replace("license: mit", "license: mit\nlanguage:\n- en")
    readme.write_bytes((text.replace("\n---\n\n", "\n---\n\nBefore.\n\n") + "\nAfter.\n").encode() + b"\xff\n")
    artifact.write(tmp_path, tensors(), manifest(), card=CARD.replace("mit", "cc0-1.0").replace("Words", "New"))
    after = readme.read_bytes()
    assert after.startswith(b"---\nlicense: cc0-1.0\ntags:\n- condensed-data\nlanguage:\n- en\n---\n\nBefore.\n")
    assert after.endswith(b"\nAfter.\n\xff\n")
    assert (b"New." in after, b"Words." in after) == (True, False)
    artifact.write(tmp_path, tensors(), manifest(), card=CARD.replace("mit", "cc0-1.0").replace("Words", "New"))
    assert readme.read_bytes() == after


def test_keys_of_the_previous_card_are_removed(tmp_path: Path) -> None:
    artifact.write(tmp_path, tensors(), manifest(), card=CARD)
    readme = tmp_path / "README.md"
    readme.write_text(readme.read_text().replace("license: mit", "language: en\nlicense: mit"))
    artifact.write(tmp_path, tensors(), manifest(), card=CARD.replace("tags:\n- condensed-data\n", ""))
    assert readme.read_text().startswith("---\nlicense: mit\nlanguage: en\n---\n")


def test_the_card_is_appended_to_a_readme_without_markers(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Mine\n")
    artifact.write(tmp_path, tensors(), manifest(), card=CARD)
    after = (tmp_path / "README.md").read_text()
    assert after.startswith("---\nlicense: mit\ntags:\n- condensed-data\n---\n# Mine\n\n<!-- condensed-data: begin")
    assert "\n# Tiny\n\nWords.\n<!--" in after


def test_unrelated_files_in_the_directory_are_kept(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("notes.txt", "data/raw.bin"):
        (tmp_path / name).write_bytes(b"mine")
    for _ in range(2):
        artifact.write(tmp_path, tensors(), manifest(), card=CARD)
        assert contents(tmp_path).keys() == FILES | {"notes.txt", "data/raw.bin"}
    assert (tmp_path / "notes.txt").read_bytes() == (tmp_path / "data/raw.bin").read_bytes() == b"mine"


def test_global_random_state_is_unchanged(tmp_path: Path, untouched_rng: None) -> None:
    artifact.write(tmp_path, tensors(), manifest(), card=CARD)
    artifact.read(tmp_path)


if __name__ == "__main__":
    artifact.write(sys.argv[1], tensors(), manifest(), card=CARD)
