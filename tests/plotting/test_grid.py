from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from condensed_data.plotting import grid as plots
from condensed_data.plotting.tiles import painter

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def uniform(values: list[list[float]], size: int = 8) -> torch.Tensor:
    """One flat image (C, size, size) for each list of channel values."""
    return torch.tensor(values)[:, :, None, None].expand(-1, -1, size, size).contiguous()


def tile(images: torch.Tensor, **options: object) -> Image.Image:
    """The picture of the first sample."""
    return painter(images, **options).paint(images[:1])[0]  # type: ignore[arg-type]


def colors(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()}


def test_grid_has_a_row_of_cells_for_each_class_at_equal_places() -> None:
    images = uniform([[1, 0, 0]] * 4 + [[0, 0, 1]] * 2)
    picture = np.asarray(plots.grid(images, [0, 0, 0, 0, 1, 1], ["red", "blue"]))
    red = (picture == (255, 0, 0)).all(2)
    blue = (picture == (0, 0, 255)).all(2)
    assert red.sum() == 4 * 56 * 56
    assert blue.sum() == 2 * 56 * 56
    assert np.flatnonzero(red.any(0))[0] == np.flatnonzero(blue.any(0))[0]
    assert np.flatnonzero(red.any(1))[-1] < np.flatnonzero(blue.any(1))[0]
    # every row of cells shows the same 4 runs of 56 pixels
    assert red.any(0).sum() == 4 * 56


def test_rows_follow_the_order_of_the_classes_not_of_the_samples() -> None:
    images = uniform([[0, 0, 1], [1, 0, 0]])
    picture = np.asarray(plots.grid(images, [1, 0], ["red", "blue"]))
    first_red, first_blue = (np.flatnonzero((picture == c).all(2).any(1))[0] for c in ((255, 0, 0), (0, 0, 255)))
    assert first_red < first_blue


def test_class_names_are_drawn_left_of_the_samples_inside_the_margins() -> None:
    images = uniform([[1, 0, 0]] * 2)
    named = np.asarray(plots.grid(images, [0, 1], ["ankle boot", "bag"], title=" "))
    unnamed = np.asarray(plots.grid(images, [0, 1], ["", ""], title=" "))
    label_area = named[:, : np.flatnonzero((named == (255, 0, 0)).all(2).any(0))[0]]
    ink = np.flatnonzero((label_area < 128).any((0, 2)))
    assert len(ink) > 30
    assert ink[0] >= 8
    assert ink[-1] < label_area.shape[1] - 4
    assert (unnamed < 128).any(2).sum() == (unnamed == (255, 0, 0)).all(2).sum()


def test_a_long_class_name_is_cut_and_leaves_the_cells_in_place() -> None:
    images = uniform([[1, 0, 0]])
    long = plots.grid(images, [0], ["word " * 100])
    longer = plots.grid(images, [0], ["word " * 200])
    assert long.size == longer.size
    assert long.width < 350
    assert (np.asarray(long) == (255, 0, 0)).all(2).sum() == 56 * 56


def test_classes_beyond_the_limit_are_counted_below() -> None:
    images, labels = uniform([[1, 0, 0]] * 100, size=4), list(range(100))
    names = [str(label) for label in labels]
    some = plots.grid(images, labels, names)
    assert (np.asarray(some) == (255, 0, 0)).all(2).sum() == 20 * 56 * 56
    everything = plots.grid(images, labels, names, max_classes=100)
    assert (np.asarray(everything) == (255, 0, 0)).all(2).sum() == 100 * 56 * 56
    cell_rows = (np.asarray(some) == (255, 0, 0)).all(2).any(1)
    assert (np.asarray(some)[np.flatnonzero(cell_rows)[-1] + 1 :] < 200).any(), "the count of the others is there"
    cell_rows = (np.asarray(everything) == (255, 0, 0)).all(2).any(1)
    assert (np.asarray(everything)[np.flatnonzero(cell_rows)[-1] + 1 :] == 255).all()


def test_classes_without_samples_have_no_row() -> None:
    images = uniform([[1, 0, 0]] * 2)
    two_of_many = plots.grid(images, [3, 900], [str(i) for i in range(1000)])
    two = plots.grid(images, [0, 1], ["3", "900"])
    assert two_of_many.height == two.height


@pytest.mark.parametrize(("per_class", "cells"), [(3, 3), (10, 10), (None, 12)])
def test_per_class_limits_the_cells_of_a_row(per_class: int | None, cells: int) -> None:
    picture = plots.grid(uniform([[1, 0, 0]] * 12), [0] * 12, ["red"], per_class=per_class)
    assert (np.asarray(picture) == (255, 0, 0)).all(2).sum() == cells * 56 * 56


@pytest.mark.parametrize(
    ("height", "width", "shown"),
    [(8, 8, (56, 56)), (28, 28, (56, 56)), (32, 32, (64, 64)), (64, 64, (64, 64)), (224, 112, (48, 96))],
)
def test_small_images_are_enlarged_and_large_ones_reduced(height: int, width: int, shown: tuple[int, int]) -> None:
    assert tile(torch.rand(1, 1, height, width)).size == shown


def test_enlarging_keeps_every_pixel_a_square_of_its_own_value() -> None:
    image = torch.rand(1, 1, 4, 4)
    pixels = np.asarray(tile(image, scale=5))[..., 0]
    expected = (255 * image[0, 0]).round().byte().numpy().repeat(5, 0).repeat(5, 1)
    assert (pixels == expected).all()


def test_images_in_unit_range_are_clamped_not_stretched() -> None:
    images = uniform([[0.25], [0.75], [-0.05], [1.05]])
    shown = [colors(picture) for picture in painter(images).paint(images)]
    assert shown == [{(64,) * 3}, {(191,) * 3}, {BLACK}, {WHITE}]
    assert painter(images).notes == ()


def test_other_images_are_stretched_over_the_range_of_all_samples_with_a_note() -> None:
    images = uniform([[-2.0], [0.0], [3.0]])
    shown = [colors(picture) for picture in painter(images).paint(images)]
    assert shown == [{BLACK}, {(102,) * 3}, {WHITE}]
    assert painter(images).notes == ("black is -2, white is 3",)


@pytest.mark.parametrize("scale", [1e-3, 0.05])
def test_images_of_tiny_values_are_stretched(scale: float) -> None:
    images = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * scale
    found = painter(images)
    assert found.paint(images)[0].getextrema()[0] == (0, 255)
    assert found.notes == (f"black is {float(images.min()):.3g}, white is {float(images.max()):.3g}",)


def test_a_given_value_range_and_uint8_determine_white() -> None:
    assert colors(tile(uniform([[5.0], [10.0]]), value_range=(0, 10))) == {(128,) * 3}
    assert colors(tile(torch.full((1, 1, 4, 4), 7, dtype=torch.uint8))) == {(7,) * 3}


def test_constant_images_outside_the_unit_range_are_drawn() -> None:
    assert colors(tile(uniform([[9.0]]))) == {BLACK}


def test_two_channels_are_averaged_and_more_than_three_cut() -> None:
    two, five = uniform([[0.0, 0.4]]), uniform([[1.0, 0.0, 0.0, 1.0, 1.0]])
    assert colors(tile(two)) == {(51,) * 3}
    assert painter(two).notes == ("mean of 2 channels shown",)
    assert colors(tile(five)) == {(255, 0, 0)}
    assert painter(five).notes == ("first 3 of 5 channels shown as red, green, blue",)


def heights(picture: Image.Image) -> np.ndarray:
    """Mean height (0 at the bottom, 1 at the top) of the line in each column that has one."""
    pixels = np.asarray(picture).astype(int)
    line = (pixels[..., 2] - pixels[..., 0]) > 60  # the first line is blue
    rows = np.arange(picture.height)[:, None]
    columns = line.any(0)
    return 1 - (line * rows).sum(0)[columns] / line.sum(0)[columns] / (picture.height - 1)


def test_signals_become_lines_on_a_common_axis() -> None:
    rising = torch.linspace(-1, 1, 50)
    signals = torch.stack([rising, -rising, rising / 4])[:, None]
    up, down, flat = (heights(picture) for picture in painter(signals).paint(signals))
    assert up[0] < 0.2
    assert up[-1] > 0.8
    assert (np.diff(up) >= 0).all()
    assert down[0] > 0.8
    assert 0.35 < flat.min() < flat.max() < 0.65
    assert painter(signals).notes == ("vertical axis from -1 to 1",)


def test_every_channel_of_a_signal_has_its_line() -> None:
    signals = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    pixels = np.asarray(tile(signals)).astype(int)
    blue = np.flatnonzero((pixels[..., 2] - pixels[..., 0] > 60).any(1))
    orange = np.flatnonzero((pixels[..., 0] - pixels[..., 2] > 60).any(1))
    assert 0 < orange.max() < 10
    assert 34 < blue.min() < 44
    assert "2 channels overlaid" in painter(signals).notes


def test_a_signal_of_one_value_is_drawn() -> None:
    assert len(heights(tile(torch.tensor([[[0.0]], [[1.0]]])))) > 80


def test_vectors_become_one_heat_map_per_class() -> None:
    vectors = torch.tensor([[0.0, 100.0, 5.0], [1.0, 50.0, 5.0], [0.5, 0.0, 5.0]])
    pictures = painter(vectors, scale=4).paint(vectors)
    assert len(pictures) == 1
    assert pictures[0].size == (3 * 4, 3 * 4)
    cells = np.asarray(pictures[0])[2::4, 2::4].tolist()
    dark, middle, yellow = [68, 1, 84], [33, 145, 140], [253, 231, 37]
    # each feature on its own scale; a constant one is dark
    assert cells == [[dark, yellow, dark], [yellow, middle, dark], [middle, dark, dark]]


def test_a_value_range_puts_all_features_on_one_scale() -> None:
    vectors = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    cells = np.asarray(tile(vectors, scale=1, value_range=(0, 1))).tolist()
    assert cells == [[[68, 1, 84], [253, 231, 37]]]


def test_many_features_fit_the_page() -> None:
    assert tile(torch.rand(2, 5000)).width == 560


@pytest.mark.parametrize("shape", [(6, 3, 9, 7), (6, 2, 40), (6, 11), (6, 1, 1, 1), (6, 1)])
def test_a_grid_of_any_sample_shape_is_ink_inside_a_white_margin(shape: tuple[int, ...]) -> None:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    picture = np.asarray(plots.grid(images, [0, 1, 2] * 2, ["a", "b", "c"]))
    assert (picture < 128).any(2).mean() > 0.01
    for edge in (picture[:6], picture[-6:], picture[:, :6], picture[:, -6:]):
        assert (edge == 255).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [0]}, "labels has 1 entries for 2 images"),
        ({"labels": [0, 2]}, r"labels\[1\]=2 is not an index into the 2 classes"),
        ({"labels": [0, -1]}, r"labels\[1\]=-1"),
        ({"per_class": 0}, "per_class=0"),
        ({"max_classes": 0}, "max_classes=0"),
        ({"scale": 0}, "scale=0"),
        ({"value_range": (1.0, 0.0)}, "value_range"),
        ({"images": torch.full((2, 1, 2, 2), float("nan"))}, "NaN or infinite"),
        ({"images": torch.zeros(2, 1, 2, 2, 2)}, r"shape \(2, 1, 2, 2, 2\)"),
        ({"images": torch.zeros(0, 1, 2, 2), "labels": []}, r"shape \(0, 1, 2, 2\)"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, object], message: str) -> None:
    arguments = {"images": torch.zeros(2, 1, 2, 2), "labels": [0, 1], "classes": ["a", "b"], **options}
    with pytest.raises(ValueError, match=message):
        plots.grid(**arguments)  # type: ignore[arg-type]


def test_drawing_does_not_change_samples_or_random_state(untouched_rng: None) -> None:
    images = torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = images.detach().clone()
    plots.grid(images, [0, 1, 0, 1], ["a", "b"])
    assert torch.equal(images, before)


def test_html_contains_the_escaped_summary_and_the_image() -> None:
    page = plots.to_html(uniform([[1, 0, 0]] * 12), list(range(12)), [str(i) for i in range(12)], "a <b> & c\nd")
    assert "<pre>a &lt;b&gt; &amp; c\nd</pre>" in page
    data = page.split("base64,")[1].split('"')[0]
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.format == "PNG"
    assert (np.asarray(picture) == (255, 0, 0)).all(2).sum() == 10 * 56 * 56


def test_save_writes_the_image_and_creates_folders(tmp_path) -> None:
    picture = plots.grid(uniform([[1, 0, 0]]), [0], ["red"])
    path = plots.save(picture, tmp_path / "new" / "grid.PNG")
    with Image.open(path) as stored:
        assert np.array_equal(np.asarray(stored), np.asarray(picture))
    assert [entry.name for entry in path.parent.iterdir()] == ["grid.PNG"]


@pytest.mark.parametrize("name", ["grid", "grid.xyz", "grid.txt"])
def test_save_refuses_an_unknown_suffix(tmp_path, name: str) -> None:
    with pytest.raises(ValueError, match=r"path=.* does not end in an image suffix"):
        plots.save(Image.new("RGB", (2, 2)), tmp_path / name)


def test_save_names_a_path_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match=r"Cannot write path=.*grid\.png"):
        plots.save(Image.new("RGB", (2, 2)), tmp_path / "file" / "grid.png")
    (tmp_path / "grid.png").mkdir()
    with pytest.raises(OSError, match=r"Cannot write path=.*grid\.png"):
        plots.save(Image.new("RGB", (2, 2)), tmp_path / "grid.png")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "grid.png"]
