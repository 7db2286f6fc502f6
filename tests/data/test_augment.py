"""Siamese augmentation equals loops over pixels that use the same random numbers."""

from __future__ import annotations

import math

import oracles
import pytest
import torch
from torch import Tensor

from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DatasetInfo, resolve
from condensed_data.data.augment import DefaultDSAOps, Identity, SiameseAugment
from condensed_data.data.augment_ops import NUM_UNIFORMS, OPERATIONS

STREAMS = RandomStreams(7)
SHAPES = [(1, 8, 8), (3, 9, 6), (2, 5, 11), (2, 13)]


def samples(count: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def batch(x: Tensor, sizes: tuple[int, ...]) -> Batch:
    return Batch(x, torch.zeros(len(x), dtype=torch.int64), sizes)


def expected(op: str, sample: Tensor, u: Tensor) -> Tensor:
    """One operation with the published strengths; its parameters come from eleven uniform numbers."""
    image = sample.double().numpy()
    image = image[:, None] if image.ndim == 2 else image
    signal = image.shape[1] == 1
    draw = [float(value) for value in u]
    if op == "color":
        out = oracles.color(image, draw[0] - 0.5, 2 * draw[1], draw[2] + 0.5)
    elif op == "crop":
        dx, dy = (shift(draw[7 + axis], image.shape[2 - axis]) for axis in (0, 1))
        out = oracles.translate(image, dx, dy)
    elif op == "cutout":
        (top, height), (left, width) = (cut(draw[9 + axis], image.shape[1 + axis]) for axis in (0, 1))
        out = oracles.cut_out(image, top, left, height, width)
    elif op == "flip":
        out = oracles.flip(image) if draw[5] < 0.5 and not signal else image
    elif op == "scale":
        sx, sy = (1 / 1.2 + value * (1.2 - 1 / 1.2) for value in draw[3:5])
        out = oracles.scale(image, sx, 1 if signal else sy)
    else:
        out = oracles.rotate(image, 0 if signal else math.radians((2 * draw[6] - 1) * 15))
    return torch.from_numpy(out).view(sample.shape)


def shift(u: float, side: int) -> int:
    most = int(side * 0.125 + 0.5)
    return math.floor(u * (2 * most + 1)) - most


def cut(u: float, side: int) -> tuple[int, int]:
    """Start and length along one side."""
    length = 1 if side == 1 else int(side * 0.5 + 0.5)
    center = math.floor(u * (side + 1 - length % 2))
    return center - length // 2, length


def uniforms(iteration: int, block: int, rows: int = 1) -> Tensor:
    return STREAMS.uniform("augment", iteration, [block], rows * NUM_UNIFORMS).view(rows, NUM_UNIFORMS)


def close(ours: Tensor, oracle: Tensor) -> None:
    torch.testing.assert_close(ours.double(), oracle, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("op", OPERATIONS)
def test_each_operation_equals_its_definition_on_sides_of_any_size(op: str, shape: tuple[int, ...]) -> None:
    applied = SiameseAugment(ops=(op,)).draw(STREAMS, 3, [0, 4, 9], shape)
    for sizes in ((2, 2, 2), (1, 3, 2)):
        x = samples(sum(sizes), shape)
        blocks = [block for block, size in zip((0, 4, 9), sizes, strict=True) for _ in range(size)]
        oracle = [expected(op, row, uniforms(3, block)[0]) for row, block in zip(x, blocks, strict=True)]
        close(applied(batch(x, sizes)), torch.stack(oracle))


@pytest.mark.parametrize("op", OPERATIONS)
def test_per_sample_draws_parameters_for_each_row(op: str) -> None:
    applied = SiameseAugment(ops=(op,), per_sample=True).draw(STREAMS, 0, [1, 2], (3, 8, 8))
    for sizes in ((3, 3), (4, 1)):
        x = samples(1, (3, 8, 8)).expand(sum(sizes), -1, -1, -1)
        draws = torch.cat([uniforms(0, block, max(sizes))[:size] for block, size in zip((1, 2), sizes, strict=True)])
        oracle = torch.stack([expected(op, row, u) for row, u in zip(x, draws, strict=True)])
        ours = applied(batch(x, sizes))
        close(ours, oracle)
        assert len({tuple(row.flatten().tolist()) for row in ours}) > 1


def test_one_operation_is_drawn_per_block() -> None:
    blocks, shape = list(range(40)), (3, 8, 8)
    x = samples(len(blocks), shape)
    ours = SiameseAugment().draw(STREAMS, 5, blocks, shape)(batch(x, (1,) * len(blocks)))
    drawn = [OPERATIONS[int(6 * float(STREAMS.uniform("augment op", 5, [block], 1)))] for block in blocks]
    oracle = [expected(op, x[block], uniforms(5, block)[0]) for block, op in enumerate(drawn)]
    assert set(drawn) == set(OPERATIONS)
    close(ours, torch.stack(oracle))


def test_operations_are_drawn_equally_often() -> None:
    count, shape = 3000, (1, 3, 3)
    x = samples(1, shape).expand(count, -1, -1, -1)
    spec = SiameseAugment(ops=("color", "cutout", "flip"), cutout=1.0, flip=1.0)
    ours = spec.draw(STREAMS, 0, range(count), shape)(batch(x, (1,) * count))
    # a square of the whole side has its center anywhere: recognized by any zero, of which randn has none
    cutout = (ours == 0).flatten(1).any(1)
    flip = (ours - x.flip(-1)).abs().flatten(1).amax(1) < 1e-5
    assert not bool((cutout & flip).any())
    for drawn in (cutout, flip, ~(cutout | flip)):
        assert abs(float(drawn.float().mean()) - 1 / 3) < 4 * math.sqrt(2 / 9 / count)


def test_a_blocks_draw_does_not_depend_on_other_blocks() -> None:
    shape, x = (1, 8, 8), samples(6, (1, 8, 8))
    together = SiameseAugment().draw(STREAMS, 2, [0, 1, 2], shape)(batch(x, (2, 2, 2)))
    for block in range(3):
        rows = slice(2 * block, 2 * block + 2)
        alone = SiameseAugment().draw(STREAMS, 2, [block], shape)(batch(x[rows], (2,)))
        torch.testing.assert_close(alone, together[rows], rtol=0, atol=1e-6)


def test_draws_depend_on_iteration_seed_and_block_only() -> None:
    shape, x = (3, 8, 8), samples(1, (3, 8, 8))

    def drawn(seed: int, iteration: int, block: int) -> tuple[float, ...]:
        ours = SiameseAugment(ops=("color",)).draw(RandomStreams(seed), iteration, [block], shape)(batch(x, (1,)))
        return tuple(ours.flatten().tolist())

    assert drawn(0, 0, 0) == drawn(0, 0, 0)
    assert len({drawn(0, 0, 0), drawn(1, 0, 0), drawn(0, 1, 0), drawn(0, 0, 1)}) == 4


@pytest.mark.parametrize("op", ["flip", "scale", "rotate", "crop"])
def test_neutral_parameters_do_not_change_samples(op: str) -> None:
    neutral = {
        "flip": {"flip": 0.0},
        "scale": {"scale": 1.0},
        "rotate": {"rotate": 0.0},
        "crop": {"crop": 0.0},
    }
    x = samples(4, (3, 9, 6))
    ours = SiameseAugment(ops=(op,), **neutral[op]).draw(STREAMS, 0, [0, 1], (3, 9, 6))(batch(x, (2, 2)))
    torch.testing.assert_close(ours, x, rtol=0, atol=5e-6)  # the rounding of one resampling


def test_operations_do_not_change_other_blocks() -> None:
    blocks, shape = range(30), (1, 6, 6)
    x = samples(30, shape)
    ours = SiameseAugment(ops=("cutout", "flip"), flip=0.0).draw(STREAMS, 0, blocks, shape)(batch(x, (1,) * 30))
    cut = torch.tensor([bool(STREAMS.uniform("augment op", 0, [block], 1) < 0.5) for block in blocks])
    assert 0 < int(cut.sum()) < 30
    torch.testing.assert_close(ours[~cut], x[~cut], rtol=0, atol=5e-6)
    assert bool((ours[cut] == 0).flatten(1).any(1).all())


def test_composition_of_flip_and_rotation_is_rigid() -> None:
    spec = SiameseAugment(ops=("rotate",), always=("flip",), flip=1.0)
    x = samples(3, (2, 9, 6))
    ours = spec.draw(STREAMS, 1, [0, 1, 2], (2, 9, 6))(batch(x, (1, 1, 1)))
    for block in range(3):
        angle = math.radians((2 * float(uniforms(1, block)[0, 6]) - 1) * 15)
        cos, sin = math.cos(angle), math.sin(angle)
        matrix = [[-cos, -sin], [-sin, cos]]  # the rotation after the mirror: its determinant is -1
        close(ours[block], torch.from_numpy(oracles.affine(x[block].double().numpy(), matrix)))


def test_always_is_added_to_the_drawn_operation() -> None:
    spec = SiameseAugment(ops=("cutout",), always=("color",))
    x = samples(2, (3, 8, 8))
    ours = spec.draw(STREAMS, 0, [0, 1], (3, 8, 8))(batch(x, (1, 1)))
    for block in range(2):
        u = uniforms(0, block)[0]
        close(ours[block], expected("cutout", expected("color", x[block], u), u))


@pytest.mark.parametrize("sizes", [(2, 2), (1, 3)])
@pytest.mark.parametrize("op", OPERATIONS)
def test_gradients_flow_through_every_operation(op: str, sizes: tuple[int, ...]) -> None:
    x = samples(4, (2, 5, 4), torch.float64).requires_grad_()
    applied = SiameseAugment(ops=(op,), flip=1.0).draw(STREAMS, 0, [0, 1], (2, 5, 4))
    assert torch.autograd.gradcheck(lambda rows: applied(batch(rows, sizes)), x, fast_mode=True)


def test_the_published_operations_pass_most_of_the_gradient() -> None:
    # clamping implementations zero most of it on standardized samples
    x = samples(60, (3, 16, 16)).requires_grad_()
    ours = SiameseAugment().draw(STREAMS, 0, range(60), (3, 16, 16))(batch(x, (1,) * 60))
    (gradient,) = torch.autograd.grad(ours.square().sum(), x)
    assert float((gradient != 0).float().mean()) > 0.85


@pytest.mark.parametrize("spec", [SiameseAugment(ops=()), Identity()])
def test_no_operation_returns_the_samples_themselves(spec: SiameseAugment | Identity) -> None:
    x = samples(2, (1, 4, 4))
    assert spec.draw(STREAMS, 0, [0], (1, 4, 4))(batch(x, (2,))) is x


def test_vectors_are_not_augmented() -> None:
    x = samples(3, (7,))
    assert SiameseAugment().draw(STREAMS, 0, [0], (7,))(batch(x, (3,))) is x


def test_the_global_random_state_does_not_change(untouched_rng: None) -> None:
    x = samples(4, (3, 8, 8))
    for per_sample in (False, True):
        SiameseAugment(per_sample=per_sample).draw(STREAMS, 0, [0, 1], (3, 8, 8))(batch(x, (2, 2)))


DIGITS = tuple(f"{i} - {word}" for i, word in enumerate(("zero", "one", "two")))


@pytest.mark.parametrize(
    ("shape", "classes", "named", "flips"),
    [
        ((1, 28, 28), ("T-shirt/top", "Trouser"), True, True),
        ((1, 28, 28), DIGITS, True, False),
        ((3, 32, 32), ("0", "1", "2"), True, False),
        ((3, 32, 32), ("Three", "seven"), True, False),
        ((3, 32, 32), ("1", "cat"), True, True),
        ((3, 32, 32), ("0", "1"), False, False),
        ((3, 32, 32), ("cat", "dog"), False, False),
    ],
)
def test_default_operations_flip_all_but_digits(
    shape: tuple[int, ...], classes: tuple[str, ...], named: bool, flips: bool
) -> None:
    ops = DefaultDSAOps()(DatasetInfo(shape, classes, 1, named))
    assert ops == tuple(op for op in OPERATIONS if op != "flip" or flips)


def test_default_operations_of_signals_and_vectors() -> None:
    assert DefaultDSAOps()(DatasetInfo((2, 40), ("a", "b"), 1)) == ("color", "crop", "cutout", "scale")
    assert DefaultDSAOps()(DatasetInfo((40,), ("a", "b"), 1)) == ()


def test_operations_must_be_resolved_before_drawing() -> None:
    spec = SiameseAugment(DefaultDSAOps())
    with pytest.raises(TypeError, match="resolve the recipe first"):
        spec.draw(STREAMS, 0, [0], (1, 8, 8))
    info = DatasetInfo((1, 8, 8), ("cat", "dog"), 1)
    assert resolve(spec, info) == SiameseAugment()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ops": ("blur",)}, r"ops=\('blur',\)\) must be a tuple of these operations: color, crop"),
        ({"always": ("blur",)}, r"always=\('blur',\)\) must be a tuple of these operations: color"),
        ({"ops": "color"}, r"ops='color'\) must be a tuple"),
        ({"flip": 1.5}, r"flip=1\.5\) must be a fraction"),
        ({"crop": -0.1}, r"crop=-0\.1\) must be a fraction"),
        ({"cutout": 2}, r"cutout=2\) must be a fraction"),
        ({"scale": 0.9}, r"scale=0\.9\) must be at least 1"),
    ],
)
def test_errors_name_arguments_out_of_range(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SiameseAugment(**fields)
