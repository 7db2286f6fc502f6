"""Converts decoded images of any Pillow mode to one form per source, by their bit depth; nothing is clipped.

| form | holds | samples |
|---|---|---|
| "L" | gray images of at most 8 bits | PIL images |
| "RGB" | images with color, of 8 bits per channel; transparency is dropped | PIL images |
| "unit" | gray images of 9 to 16 bits; 0 is black, the largest number of these bits is white | float32 in [0, 1] |
| "source" | gray images of 32-bit integers or floats, which have no defined white | float32, the stored values |

Samples of the last two forms are tensors (1, H, W). Pillow itself decodes color images of 16 bits per channel to 8. An
EXIF orientation is not applied, as in torchvision; the `datasets` library applies it before it yields an image.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import torch
from PIL import Image

from condensed_data.data.axes import layers

FLOAT_FORMS = ("unit", "source")
_MAX_HEADERS = 1000
_FEW_HEADERS = 50  # of a folder that is read by torchvision
_ONLY_8_BITS = (".jpg", ".jpeg", ".webp", ".bmp")
_GRAY_MODES = ("1", "L", "LA", "La")
_BITS_PER_SAMPLE = 258  # the TIFF tag
_TO_FLOAT = "torch.from_numpy(np.array(image, dtype=np.float32){scale})[None]"
_REMEDIES = {
    "1": "image.convert('L')",
    "LA": "image.convert('L')",
    "La": "image.convert('LA').convert('L')",
    "P": "image.convert('RGBA').convert('RGB')",
    "PA": "image.convert('RGBA').convert('RGB')",
    "RGBa": "image.convert('RGBA').convert('RGB')",
    "I": _TO_FLOAT.format(scale=""),
    "F": _TO_FLOAT.format(scale=""),
}


def form_of(image: Image.Image) -> str:
    """The form that loses nothing of an image but transparency; decoding its header is enough."""
    if image.mode in _GRAY_MODES:
        return "L"
    # Pillow gives the mode "I" to 16-bit PGM files, and before version 11 to 16-bit PNG files
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return "unit"
    return "source" if image.mode in ("I", "F") else "RGB"


def forms_of(count: int, file: Callable[[int], str | IO[bytes]], most: int = _MAX_HEADERS) -> set[str]:
    """The forms of `count` image files, by the headers of up to `most` evenly spaced ones.

    `file` gives the path or content of the file of an index; unreadable ones are skipped.
    """
    forms = set()
    for index in np.linspace(0, count - 1, min(most, count), dtype=int).tolist():
        try:
            with Image.open(file(index)) as image:
                forms.add(form_of(image))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # named when it is read
            continue
    return forms


def common_form(forms: Set[str]) -> str:
    """The form to which images of several forms are converted.

    Gray images of more than 8 bits among images with color are rounded to 8 bits.

    Raises:
        ValueError: for 32-bit images among others, because their values have no common scale.
    """
    if "source" in forms and len(forms) > 1:
        raise ValueError(
            "some images have 32 bits and others at most 16, so their values have no common scale. Save all of them "
            "with the same number of bits."
        )
    return next((form for form in ("RGB", "source", "unit") if form in forms), "L")


def convert(image: Image.Image, form: str) -> Image.Image:
    """The image as PIL image of mode "L" or "RGB", or for the forms "unit" and "source", of mode "F".

    Raises:
        ValueError: if the form would lose color, or has another scale than the image.
    """
    own = form_of(image)
    if own != form and ("source" in (own, form) or own == "RGB"):
        raise ValueError(
            f"it is an image of mode {image.mode!r}, unlike those seen first. Convert all images to one mode."
        )
    if form == "source":
        return Image.fromarray(np.asarray(image, dtype=np.float32))
    if own == "unit":
        values = np.asarray(image, dtype=np.float32) / _white(image)
        if form == "unit":
            return Image.fromarray(values)
        image = Image.fromarray((values * 255).round().astype(np.uint8))
    if form == "unit":
        return Image.fromarray(np.asarray(_to_8_bits(image, "L"), dtype=np.float32) / 255)
    return _to_8_bits(image, form)


def clipping_error(dataset: Any) -> str | None:
    """What is wrong with a folder of torchvision whose own loader clips images of more than 8 bits; None otherwise."""
    from torchvision.datasets import DatasetFolder
    from torchvision.datasets.folder import default_loader, pil_loader

    for part in layers(dataset):
        if not isinstance(part, DatasetFolder) or part.loader not in (default_loader, pil_loader):
            continue
        paths = [path for path, _ in part.samples if not path.lower().endswith(_ONLY_8_BITS)]
        deep = forms_of(len(paths), paths.__getitem__, most=_FEW_HEADERS) & set(FLOAT_FORMS)
        if deep:
            return (
                f"source reads {part.root}, which has images of more than 8 bits, with torchvision's loader, which "
                f"clips them to white. Give {type(part).__name__} the loader= "
                f"condensed_data.data.bit_depth.ImageLoader({min(deep)!r}), and ToTensor() among its transforms."
            )
    return None


def to_float_tensor(sample: Any) -> Any:
    """A PIL image of mode "F" as a tensor (1, H, W) float32; other samples as they are."""
    if isinstance(sample, Image.Image) and sample.mode == "F":
        return torch.from_numpy(np.array(sample))[None]
    return sample


@dataclass(frozen=True)
class ImageLoader:
    """Reads an image file and converts it to a form; a `loader` of torchvision's folder datasets."""

    form: str

    def __call__(self, path: str) -> Image.Image:
        with Image.open(path) as image:
            return convert(image, self.form)


def remedy(image: Image.Image) -> str:
    """Code that converts an image of an unsupported mode to a sample without changing what it shows."""
    if image.mode.startswith("I;16"):
        return _TO_FLOAT.format(scale=" / 65535")
    return _REMEDIES.get(image.mode, "image.convert('RGB')")


def _to_8_bits(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in ("La", "RGBa"):  # premultiplied by transparency
        image = image.convert(image.mode.upper())
    if image.mode in ("P", "PA"):  # directly, Pillow warns about transparency given in bytes
        image = image.convert("RGBA")
    return image.convert(mode)


def _white(image: Image.Image) -> int:
    """The value of white: 65,535, or less for TIFF files of fewer bits, such as 4,095 for 12."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    return int(2**bits - 1)
