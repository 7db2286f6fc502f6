"""Bit depths: images of every Pillow mode and file format become samples of the right values, never clipped."""

from __future__ import annotations

import functools
import io
import itertools
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from sources import contents
from torch.utils.data import ConcatDataset, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, Resize, ToTensor

from condensed_data import CondensedDataset
from condensed_data.data import catalog
from condensed_data.data.bit_depth import ImageLoader, common_form, convert, form_of, forms_of, to_float_tensor
from condensed_data.data.hf_datasets import HubDataset
from condensed_data.data.sample import SourceError
from condensed_data.data.source import inspect

DRAW = np.random.default_rng(0)
GRAY = DRAW.integers(0, 256, (6, 5), dtype=np.uint8)
COLOR = DRAW.integers(0, 256, (6, 5, 3), dtype=np.uint8)
DEEP = DRAW.integers(30_000, 50_000, (6, 5), dtype=np.uint16)


def reread(image: Image.Image, file_format: str, **options: Any) -> Image.Image:
    """The image as it is decoded from a file."""
    sink = io.BytesIO()
    image.save(sink, file_format, **options)
    return Image.open(sink)


def tiff(pixels: bytes, bits: int, size: tuple[int, int], photometric: int = 1, sample_format: int = 1) -> bytes:
    """An uncompressed little-endian gray TIFF file."""
    width, height = size
    tags = [
        *((256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)),
        *((277, 3, 1), (278, 3, height), (279, 4, len(pixels)), (339, 3, sample_format)),
    ]
    entries = b"".join(
        tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little") + value.to_bytes(4, "little")
        for tag, kind, value in tags
    )
    start = (8 + len(pixels) + 1) // 2 * 2
    directory = len(tags).to_bytes(2, "little") + entries + bytes(4)
    return b"II*\0" + start.to_bytes(4, "little") + pixels.ljust(start - 8, b"\0") + directory


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_16_bit_gray_is_scaled_by_its_white(file_format: str) -> None:
    image = reread(Image.fromarray(DEEP), file_format)
    assert form_of(image) == "unit"
    found = to_float_tensor(convert(image, "unit"))
    assert torch.equal(found, torch.from_numpy(DEEP.astype(np.float32) / 65_535)[None])


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_byte_orders_of_16_bits(mode: str) -> None:
    order = ">u2" if mode == "I;16B" else "<u2"
    image = Image.frombytes(mode, (5, 6), DEEP.astype(order).tobytes())
    assert torch.equal(
        to_float_tensor(convert(image, form_of(image))), torch.from_numpy(DEEP.astype(np.float32) / 65_535)[None]
    )


def test_12_bit_tiff_has_its_own_white() -> None:
    values = np.array([[0, 4095], [2048, 1]])
    packed = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x01])  # two values in three bytes
    image = Image.open(io.BytesIO(tiff(packed, 12, (2, 2))))
    found = to_float_tensor(convert(image, form_of(image)))
    assert torch.allclose(found, torch.from_numpy(values / 4095).float()[None])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_of_few_bits_reaches_white(bits: int) -> None:
    levels = DRAW.integers(0, 2**bits, (6, 8))
    sink = io.BytesIO()
    raw = np.packbits((levels[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).reshape(6, -1), axis=1)
    sink.write(tiff(raw.tobytes(), bits, (8, 6)))
    image = Image.open(sink)
    assert form_of(image) == "L"
    assert np.array_equal(np.array(convert(image, "L")), levels * 255 // (2**bits - 1))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_few_bits_keep_their_colors(bits: int) -> None:
    levels = (DRAW.integers(0, 2**bits, (6, 8))).astype(np.uint8)
    image = Image.frombytes("P", (8, 6), levels.tobytes())
    palette = DRAW.integers(0, 256, (2**bits, 3), dtype=np.uint8)
    image.putpalette(palette.tobytes())
    for transparency in ({}, {"transparency": 0}, {"transparency": bytes(range(2**bits))}):
        reread_image = reread(image, "PNG", bits=bits, **transparency)
        assert (reread_image.mode, form_of(reread_image)) == ("P", "RGB")
        assert np.array_equal(np.array(convert(reread_image, "RGB")), palette[levels])


def test_32_bit_values_are_kept_as_they_are_stored() -> None:
    floats = DRAW.normal(3, 40, (6, 5)).astype(np.float32)
    integers = DRAW.integers(-(2**20), 2**20, (6, 5), dtype=np.int32)
    for values in (floats, integers):
        image = reread(Image.fromarray(values), "TIFF")
        assert form_of(image) == "source"
        assert torch.equal(to_float_tensor(convert(image, "source")), torch.from_numpy(values.astype(np.float32))[None])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La"])
def test_gray_modes(mode: str) -> None:
    image = Image.fromarray(GRAY)
    opaque = image.convert("LA") if mode == "La" else image
    converted = convert(opaque.convert(mode), "L")
    expected = np.array(image.convert("1").convert("L")) if mode == "1" else GRAY
    assert (converted.mode, form_of(opaque.convert(mode))) == ("L", "L")
    assert np.array_equal(np.array(converted), expected)
    assert torch.equal(
        to_float_tensor(convert(opaque.convert(mode), "unit")), torch.tensor(expected / 255).float()[None]
    )


@pytest.mark.parametrize(
    ("mode", "error"),
    [("RGB", 0), ("RGBX", 0), ("RGBA", 0), ("RGBa", 0), ("CMYK", 0), ("YCbCr", 4), ("HSV", 8), ("LAB", 20)],
)
def test_modes_with_color(mode: str, error: int) -> None:
    image = Image.fromarray(COLOR)
    image = image.convert("RGBA").convert(mode) if mode == "RGBa" else image.convert(mode)
    assert form_of(image) == "RGB"
    assert np.abs(np.array(convert(image, "RGB")).astype(int) - COLOR).max() <= error


def test_16_bit_color_is_decoded_to_the_upper_8_bits() -> None:
    """Pillow has no deeper color; what it decodes is not clipped."""
    wide = (COLOR.astype(np.uint16) * 257).astype(">u2")
    header = b"P6\n5 6\n65535\n"
    image = Image.open(io.BytesIO(header + wide.tobytes()))
    assert np.array_equal(np.array(convert(image, form_of(image))), COLOR)


def files_of(*images: Image.Image) -> list[io.BytesIO]:
    sinks = []
    for image in images:
        sinks.append(io.BytesIO())
        image.save(sinks[-1], "TIFF" if form_of(image) == "source" else "PNG")
    return sinks


def test_the_common_form_of_several_files() -> None:
    gray, color, deep = Image.fromarray(GRAY), Image.fromarray(COLOR), Image.fromarray(DEEP)
    real = Image.fromarray(DEEP.astype(np.float32))
    for images, form in (
        ([gray], "L"),
        ([gray, gray.convert("1"), gray.convert("LA")], "L"),
        ([gray, color], "RGB"),
        ([gray, deep], "unit"),
        ([deep, color], "RGB"),
        ([real, real], "source"),
    ):
        files = files_of(*images)
        assert common_form(forms_of(len(files), files.__getitem__)) == form
    assert forms_of(2, [io.BytesIO(b"broken"), *files_of(gray)].__getitem__) == {"L"}
    for other in (gray, color, deep):
        with pytest.raises(ValueError, match="no common scale"):
            common_form(forms_of(2, files_of(real, other).__getitem__))


def test_conversions_to_another_form_lose_no_color_and_no_scale() -> None:
    gray, color, deep = Image.fromarray(GRAY), Image.fromarray(COLOR), Image.fromarray(DEEP)
    rounded = (DEEP / 65_535 * 255).round()
    assert np.array_equal(np.array(convert(deep, "L")), rounded)
    assert np.array_equal(np.array(convert(deep, "RGB")), np.repeat(rounded[:, :, None], 3, 2))
    real = Image.fromarray(DEEP.astype(np.float32))
    for image, form in ((color, "L"), (color, "unit"), (color, "source"), (gray, "source"), (real, "unit")):
        with pytest.raises(ValueError, match=f"it is an image of mode '{image.mode}', unlike those seen first"):
            convert(image, form)


def folder_of(root: Path, *images: Image.Image, suffix: str = "png") -> str:
    """An image folder of two classes, whose images cycle through these."""
    for name, image, index in zip("abababab", itertools.cycle(images), range(8), strict=False):
        (root / name).mkdir(parents=True, exist_ok=True)
        image.save(root / name / f"{index}.{suffix}")
    return f"imagefolder:{root}"


def test_a_folder_of_16_bit_images(tmp_path: Path) -> None:
    others = [Image.fromarray(DEEP), Image.fromarray(DEEP[::-1].copy())]
    folder = catalog.load(folder_of(tmp_path, *others), "train")
    source = inspect(folder, num_workers=1)
    assert (source.kind.name, source.kind.shape) == ("tensor:float32", (1, 6, 5))
    samples, labels = contents(source)
    assert labels.tolist() == [0] * 4 + [1] * 4
    assert torch.equal(samples[0], torch.from_numpy(DEEP.astype(np.float32) / 65_535)[None])
    assert 0.4 < float(samples.min()) < float(samples.max()) < 0.8
    small = CondensedDataset(folder, "random", ipc=1, cache=False, progress=False)
    assert 0.4 < float(small[0][0].min()) < float(small[0][0].max()) < 0.8


def test_a_folder_of_16_bit_images_is_resized_before_it_becomes_tensors(tmp_path: Path) -> None:
    folder: Any = catalog.load(folder_of(tmp_path, Image.fromarray(DEEP)), "train", image_size=3)
    shown = Image.fromarray(DEEP.astype(np.float32) / 65_535)
    assert torch.equal(folder[0][0], ToTensor()(Compose([Resize(3), CenterCrop(3)])(shown)))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "RGB", "LA"])
def test_folders_of_8_bit_images_are_those_of_torchvision(tmp_path: Path, mode: str) -> None:
    source = folder_of(tmp_path, Image.fromarray(COLOR).convert(mode))
    ours: Any = catalog.load(source, "train")
    theirs = ImageFolder(str(tmp_path))
    for (image, label), (expected, expected_label) in zip(ours, theirs, strict=True):
        assert (image.mode, label) == (expected.mode, expected_label)
        assert np.array_equal(np.array(image), np.array(expected))


@pytest.mark.parametrize("form", ["unit", "source"])
def test_deep_folders_that_torchvision_itself_would_clip_are_refused(tmp_path: Path, form: str) -> None:
    values = DEEP if form == "unit" else DEEP.astype(np.float32)
    folder_of(tmp_path, *map(Image.fromarray, (values, values[::-1].copy())), suffix="tiff")
    clipped = ImageFolder(str(tmp_path))
    assert np.array(clipped[0][0]).min() == 255
    for source in (clipped, Subset(clipped, [0, 1]), ConcatDataset([clipped, clipped])):
        with pytest.raises(SourceError, match=r"clips them to white\. Give ImageFolder the loader=") as error:
            inspect(source)
    assert f"bit_depth.ImageLoader({form!r}), and ToTensor() among" in str(error.value)
    mended = ImageFolder(str(tmp_path), ToTensor(), loader=ImageLoader(form))
    expected = DEEP.astype(np.float32) / (65_535 if form == "unit" else 1)
    assert torch.equal(contents(inspect(mended))[0][0], torch.from_numpy(expected)[None])
    without = ImageFolder(str(tmp_path), loader=ImageLoader(form))
    with pytest.raises(SourceError, match="PIL image of mode 'F'"):
        inspect(without)


def test_a_folder_of_mixed_depths(tmp_path: Path) -> None:
    gray, color, deep = Image.fromarray(GRAY), Image.fromarray(COLOR), Image.fromarray(DEEP)
    mixed: Any = catalog.load(folder_of(tmp_path / "gray", gray, deep), "train")
    assert {tuple(mixed[index][0].shape) for index in range(8)} == {(1, 6, 5)}
    colors: Any = catalog.load(folder_of(tmp_path / "color", color, color, deep), "train")
    assert {colors[index][0].mode for index in range(8)} == {"RGB"}
    middle = [np.array(colors[index][0]).mean() for index in range(8)]
    assert max(middle) < 200  # not white
    with pytest.raises(SourceError, match=r"imagefolder:.*no common scale"):
        catalog.load(
            folder_of(tmp_path / "real", Image.fromarray(DEEP.astype(np.float32)), gray, suffix="tiff"), "train"
        )


@pytest.mark.parametrize(("train", "test"), [("deep", "gray"), ("gray", "deep"), ("color", "deep"), ("color", "gray")])
def test_test_images_take_the_form_of_the_training_images(tmp_path: Path, train: str, test: str) -> None:
    images = {
        "deep": [DEEP, DEEP[::-1].copy()],
        "gray": [GRAY, GRAY[::-1].copy()],
        "color": [COLOR, COLOR[::-1].copy()],
    }
    for split, kind in (("train", train), ("test", test)):
        folder_of(tmp_path / split, *map(Image.fromarray, images[kind]))
    source, tested = (inspect(catalog.load(f"imagefolder:{tmp_path}", split)) for split in ("train", "test"))
    assert source.kind == tested.kind
    white = {"deep": 65_535, "gray": 255, "color": 255}[test]
    found = contents(tested)[0][0].float().mean() / (255 if tested.kind.is_pil else 1)
    assert float(found) == pytest.approx(images[test][0].mean() / white, abs=2e-3)


def rows_of(*images: Image.Image, mode: str | None = None, file_format: str = "PNG") -> datasets.Dataset:
    sinks = [io.BytesIO() for _ in images]
    for image, sink in zip(images, sinks, strict=True):
        image.save(sink, file_format)
    columns = {"image": [{"bytes": sink.getvalue(), "path": None} for sink in sinks], "label": list(range(len(images)))}
    features = datasets.Features({"image": datasets.Image(mode=mode), "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.mark.parametrize("mode", [None, "RGB", "L"])
def test_16_bit_images_of_the_datasets_library(mode: str | None) -> None:
    """Also with a mode in the features, to which `datasets` would clip them."""
    dataset = HubDataset(rows_of(Image.fromarray(DEEP), Image.fromarray(DEEP[::-1].copy()), mode=mode))
    assert torch.equal(dataset[0][0], torch.from_numpy(DEEP.astype(np.float32) / 65_535)[None])
    assert inspect(dataset).kind.name == "tensor:float32"
    transformed = HubDataset(rows_of(Image.fromarray(DEEP)), transform=Compose([CenterCrop(4), ToTensor()]))
    assert tuple(transformed[0][0].shape) == (1, 4, 4)


def test_float_images_of_the_datasets_library() -> None:
    values = DRAW.normal(0, 9, (6, 5)).astype(np.float32)
    dataset = HubDataset(rows_of(Image.fromarray(values), file_format="TIFF"))
    assert torch.equal(dataset[0][0], torch.from_numpy(values)[None])
    with pytest.raises(SourceError, match="In column 'image', some images have 32 bits"):
        HubDataset(
            datasets.concatenate_datasets(
                [rows_of(Image.fromarray(values), file_format="TIFF"), rows_of(Image.fromarray(GRAY))]
            )
        )


def test_exif_orientation_is_left_to_the_library_that_reads(tmp_path: Path) -> None:
    """torchvision ignores it, `datasets` applies it, and so do we with each."""
    image, tags = Image.fromarray(COLOR), Image.Exif()
    tags[274] = 6  # rotated by 90 degrees
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "0.png", exif=tags)
    folder: Any = catalog.load(f"imagefolder:{tmp_path}", "train")
    assert np.array_equal(np.array(folder[0][0]), COLOR)
    content = (tmp_path / "a" / "0.png").read_bytes()
    columns = {"image": [{"bytes": content, "path": None}], "label": [0]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict(columns, features=features)
    assert np.array_equal(np.array(HubDataset(table)[0][0]), np.rot90(COLOR, -1))


def test_an_unlike_image_beyond_the_headers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("condensed_data.data.hf_columns.forms_of", functools.partial(forms_of, most=2))
    gray = Image.fromarray(GRAY)
    dataset = HubDataset(rows_of(gray, Image.fromarray(COLOR), gray))
    with pytest.raises(SourceError, match=r"source\[1\] cannot be read: ValueError: it is an image of mode 'RGB'"):
        contents(inspect(dataset))
