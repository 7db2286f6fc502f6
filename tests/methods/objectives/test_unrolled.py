"""Training as a differentiable function, against hand-written training and plain automatic differentiation."""

from __future__ import annotations

import gc
import weakref

import oracles_unrolled as oracles
import pytest
import torch
from torch import Tensor
from unrolling import STEPS, D, K, blocks_of, convnet, hidden, moved, pair, plain_weights, weights_of

from condensed_data.core.batch import Batch, NetworkView, Pair
from condensed_data.methods.objectives import Unrolled
from condensed_data.methods.objectives.unrolled import trained_weights

EXACT = ("full", "checkpointed")


def loss_by_hand(net: NetworkView, case: Pair, x: Tensor, sizes: list[float]) -> float:
    weights = oracles.trained(weights_of(net), blocks_of(case.synthetic, x), sizes)
    return oracles.mean_loss(weights, blocks_of(case.real)[0])


@pytest.mark.parametrize("unroll", ["full", "checkpointed", "constant"])
def test_the_loss_is_that_of_a_network_trained_by_hand(unroll: str) -> None:
    net, case = hidden(), pair()
    loss = Unrolled(unroll)(net, case)
    assert loss.item() == pytest.approx(loss_by_hand(net, case, case.synthetic.x, case.step_sizes.tolist()), abs=1e-12)


@pytest.mark.parametrize("unroll", EXACT)
def test_the_derivative_is_that_of_training_by_hand(unroll: str) -> None:
    net, case = hidden(), pair()
    x, sizes = case.synthetic.x, case.step_sizes
    in_x, in_sizes = torch.autograd.grad(Unrolled(unroll)(net, case), [x, sizes])
    for row in range(sum(STEPS)):
        for d in range(D):
            expected = oracles.difference(
                lambda by, row=row, d=d: loss_by_hand(net, case, moved(x, row, d, by), sizes.tolist())
            )
            assert float(in_x[row, d]) == pytest.approx(expected, abs=1e-9)
    for t in range(len(STEPS)):

        def at(by: float, t: int = t) -> float:
            changed = [size + by * (i == t) for i, size in enumerate(sizes.tolist())]
            return loss_by_hand(net, case, x, changed)

        assert float(in_sizes[t]) == pytest.approx(oracles.difference(at), abs=1e-9)


def test_constant_memory_takes_gradients_at_fixed_weights() -> None:
    net, case = hidden(), pair()
    x, sizes = case.synthetic.x, case.step_sizes
    in_x, in_sizes = torch.autograd.grad(Unrolled("constant")(net, case), [x, sizes])
    start, real = weights_of(net), blocks_of(case.real)[0]
    path = oracles.path_of(start, blocks_of(case.synthetic), sizes.tolist())

    def truncated(x: Tensor, sizes: list[float]) -> float:
        return oracles.mean_loss(oracles.trained_at(path, start, blocks_of(case.synthetic, x), sizes), real)

    for row, d in ((0, 0), (1, 2), (2, 1), (5, 0)):
        expected = oracles.difference(lambda by, row=row, d=d: truncated(moved(x, row, d, by), sizes.tolist()))
        assert float(in_x[row, d]) == pytest.approx(expected, abs=1e-9)
    for t in range(len(STEPS)):
        changed = [[size + by * (i == t) for i, size in enumerate(sizes.tolist())] for by in (1e-5, -1e-5)]
        expected = (truncated(x, changed[0]) - truncated(x, changed[1])) / 2e-5
        assert float(in_sizes[t]) == pytest.approx(expected, abs=1e-7)
    exact = torch.autograd.grad(Unrolled()(net, case), x)[0]
    assert not torch.allclose(exact[:3], in_x[:3], rtol=1e-2)  # the dropped terms are not small
    torch.testing.assert_close(exact[3:], in_x[3:])  # nothing comes after the last step


def plain(net: NetworkView, case: Pair) -> Tensor:
    logits = torch.func.functional_call(net.module, plain_weights(net, case), (case.real.x,))
    return -logits.log_softmax(1)[torch.arange(len(logits)), case.real.y].mean()


@pytest.mark.parametrize("unroll", EXACT)
def test_convolutions_equal_plain_differentiation(unroll: str) -> None:
    net, case = convnet(), pair((2, 6, 5))
    wanted = [case.synthetic.x, case.step_sizes]
    ours, expected = Unrolled(unroll)(net, case), plain(net, case)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    pairs = zip(torch.autograd.grad(ours, wanted), torch.autograd.grad(expected, wanted), strict=True)
    for found, by_hand in pairs:
        assert float(by_hand.abs().max()) > 1e-4
        torch.testing.assert_close(found, by_hand, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("unroll", ["full", "checkpointed", "constant"])
def test_soft_labels_have_gradients_and_one_step_size_is_enough(unroll: str) -> None:
    net, hard = hidden(), pair(sizes=(0.5,))
    soft = torch.eye(K, dtype=torch.float64)[hard.synthetic.y].requires_grad_()
    case = Pair(hard.real, Batch(hard.synthetic.x, soft, STEPS), hard.step_sizes)
    three = Pair(hard.real, hard.synthetic, torch.full((3,), 0.5, dtype=torch.float64, requires_grad=True))
    loss = Unrolled(unroll)(net, case)
    torch.testing.assert_close(loss, Unrolled(unroll)(net, three))
    in_labels, in_size = torch.autograd.grad(loss, [soft, case.step_sizes])
    assert bool((in_labels != 0).all())
    whole = torch.autograd.grad(Unrolled(unroll)(net, three), three.step_sizes)[0]
    torch.testing.assert_close(in_size, whole.sum()[None])


def test_relabeled_classes_get_other_labels() -> None:
    net, case = hidden(), pair()
    attacked = Unrolled(relabel=((1, 0), (0, 2)))(net, case)
    real = Batch(case.real.x, torch.tensor([2, 2, 0, 0]), (4,))
    torch.testing.assert_close(attacked, Unrolled()(net, Pair(real, case.synthetic, case.step_sizes)))


def test_the_network_is_unchanged() -> None:
    net, case = hidden(), pair()
    before = [weight.clone() for weight in net.module.parameters()]
    for unroll in ("full", "checkpointed", "constant"):
        torch.autograd.grad(Unrolled(unroll)(net, case), case.synthetic.x)
    for weight, old in zip(net.module.parameters(), before, strict=True):
        assert torch.equal(weight, old)
        assert weight.grad is None
        assert not weight.requires_grad


class Kept:
    """Tensors that autograd saves, while it needs them."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def saved(unroll: str, steps: int) -> int:
    """Bytes that are kept between the steps and their derivative."""
    net, kept = convnet(), weakref.WeakSet[Kept]()
    x = torch.randn(8 * steps, 2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    side = Batch(x.requires_grad_(), torch.arange(8 * steps) % 3, (8,) * steps)
    case = Pair(side, side, torch.full((steps,), 0.1, dtype=torch.float64, requires_grad=True))

    def keep(tensor: Tensor) -> Kept:
        found = Kept(tensor)
        kept.add(found)
        return found

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda found: found.tensor):
        reached = trained_weights(net, case, unroll)
        gc.collect()
        storages = {one.tensor.untyped_storage().data_ptr(): one.tensor.untyped_storage() for one in kept}
        assert len(reached) > 0
        return sum(storage.nbytes() for storage in storages.values())


def test_memory_grows_linearly_or_is_constant() -> None:
    inputs = 8 * 2 * 6 * 5 * 8 + 8 * 8 + 8  # samples, labels and step size of one step
    weights = sum(weight.nbytes for weight in convnet().module.parameters())
    full = [saved("full", steps) for steps in (2, 4, 6)]
    assert full[2] - full[1] == pytest.approx(full[1] - full[0], rel=0.05)
    checkpointed = [saved("checkpointed", steps) for steps in (2, 6)]
    assert checkpointed[1] - checkpointed[0] == pytest.approx(4 * (inputs + weights), rel=0.05)
    constant = [saved("constant", steps) for steps in (2, 6)]
    assert constant[1] - constant[0] == 4 * inputs
    assert full[2] > 5 * checkpointed[1]


def test_impossible_training_is_refused() -> None:
    net, case = hidden(), pair()
    with pytest.raises(ValueError, match=r"without step sizes.*WithSteps"):
        Unrolled()(net, Pair(case.real, case.synthetic))
    with pytest.raises(ValueError, match=r"steps=2\) does not fit TrainingSteps of 3"):
        Unrolled()(net, Pair(case.real, case.synthetic, torch.ones(2)))
    with pytest.raises(ValueError, match=r"needs real samples\. Use TrainingSteps"):
        Unrolled().check_sizes((0,), STEPS)
    with pytest.raises(ValueError, match="'full', 'checkpointed', 'constant'"):
        Unrolled("tesla")
    with pytest.raises(ValueError, match=r"every item is a tuple \(an integer, an integer\)"):
        Unrolled(relabel=((1, 0, 2),))  # type: ignore[arg-type]
