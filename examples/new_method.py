# pip install condensed-data
"""A new method is usually one new part. Here: an objective that matches the spread of the embeddings too.

    python new_method.py

Distribution matching (dm) brings the mean embedding of the synthetic samples of a class to that of its real
samples. `Moments` also compares the standard deviation of every feature. The rest comes from the shelf: the
pool of new random networks, the sampler by class, the siamese augmentation, the pixels that are learned.

Letters: B rows of a batch, G classes in it, D features.
"""

import argparse
from dataclasses import dataclass, replace

import torch

from condensed_data import CondensedDataset, Recipe, Term, recipes
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.data.catalog import Digits
from condensed_data.methods.base import Batch, NetworkView, Objective, Pair
from condensed_data.methods.pools import RandomInit
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.training.evaluate import quick


@dataclass(frozen=True)
class Moments(Objective):
    """Squared distance between means, plus `spread` times that between standard deviations, of embeddings.

    Args:
        spread: weight of the second summand; 0 gives dm.

    Raises:
        ValueError: if `spread` is negative.
    """

    spread: float = 1.0

    def __post_init__(self):
        if self.spread < 0:
            raise ValueError(f"Moments(spread={self.spread}) must be at least 0.")

    def __call__(self, net: NetworkView, pair: Pair) -> torch.Tensor:
        with torch.no_grad():  # only the synthetic side learns
            real_mean, real_std = moments(net.embed(pair.real.x), pair.real)
        mean, std = moments(net.embed(pair.synthetic.x), pair.synthetic)
        return (real_mean - mean).square().sum() + self.spread * (real_std - std).square().sum()


def moments(features: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of features (B, D) over each class of a batch: (G, D) both."""
    mean = batch.means(features)
    variance = (batch.means(features.square()) - mean.square()).clamp_min(0)
    return mean, (variance + 1e-6).sqrt()  # the root of 0 has no gradient


def moment_matching(ipc: int = 10, iterations: int | None = None, spread: float = 1.0) -> Recipe:
    """Distribution matching with means and deviations."""
    term = Term(Moments(spread), RandomInit("convnet"), PerGroup(256), SiameseAugment(DefaultDSAOps()))
    return replace(recipes.dm(ipc, iterations), name="moments", terms=(term,), paper="", deviations="")


def main() -> None:
    """Compare three recipes."""
    parser = argparse.ArgumentParser(description="Compare a new method with dm and with random samples.")
    parser.add_argument("--ipc", type=int, default=10, help="synthetic samples for each class")
    parser.add_argument("--iterations", type=int, help="by default as many as dm takes for this data")
    parser.add_argument("--spread", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=3, help="networks trained on each set")
    parser.add_argument("--epochs", type=int, default=300)
    args = parser.parse_args()

    train_set, test_set = Digits("train"), Digits("test")
    training = replace(quick(), name="example", epochs=args.epochs)
    for recipe in (
        recipes.random(args.ipc),
        recipes.dm(args.ipc, args.iterations),
        moment_matching(args.ipc, args.iterations, args.spread),
    ):
        condensed = CondensedDataset(train_set, recipe)
        accuracy = condensed.evaluate(test_set, "convnet", args.runs, training=training)
        print(f"{recipe.name:8s} {accuracy}")


if __name__ == "__main__":
    main()
