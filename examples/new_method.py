# pip install condensed-data
"""Add a method: usually one new part, composed with existing ones in a registered function.

    python new_method.py

Distribution matching (dm) matches the mean embeddings of the synthetic and the real samples of each class. `Moments`
also matches the standard deviation of every feature. The other parts exist already: the pool of randomly initialized
networks, the sampler by class, the siamese augmentation, and pixels as synthetic data.

`@recipes.register` makes the method available by name: `CondensedDataset(train_set, "moments", ipc=10)`. As a file in
`condensed_data/methods/recipes/` it is imported, and so registered, with the package.

Letters: B rows of a batch, G classes in it, D features.
"""

import argparse
from dataclasses import dataclass, replace

import torch

from condensed_data import CondensedDataset, Recipe, Term, recipes
from condensed_data.core.batch import Batch, NetworkView, Pair
from condensed_data.data.augment import DefaultDSAOps, SiameseAugment
from condensed_data.data.catalog import Digits
from condensed_data.methods.base import Objective
from condensed_data.methods.pools import RandomInit
from condensed_data.methods.samplers.by_group import PerGroup
from condensed_data.training.protocols import quick


@dataclass(frozen=True)
class Moments(Objective):
    """Squared distance between mean embeddings, plus `spread` times that between their standard deviations.

    Args:
        spread: weight of the second summand, at least 0; 0 gives dm.

    Raises:
        ValueError: if `spread` is negative.
    """

    spread: float = 1.0

    def __post_init__(self):
        if self.spread < 0:
            raise ValueError(f"Moments(spread={self.spread}) must be at least 0.")

    def __call__(self, net: NetworkView, pair: Pair) -> torch.Tensor:
        with torch.no_grad():  # only the synthetic samples are learned
            real_mean, real_std = mean_and_std(net.embed(pair.real.x), pair.real)
        mean, std = mean_and_std(net.embed(pair.synthetic.x), pair.synthetic)
        return (real_mean - mean).square().sum() + self.spread * (real_std - std).square().sum()


def mean_and_std(features: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation over the samples of each class: (G, D) both, of features (B, D)."""
    mean = batch.means(features)
    variance = (batch.means(features.square()) - mean.square()).clamp_min(0)
    return mean, (variance + 1e-6).sqrt()  # the root of 0 has no gradient


@recipes.register
def moments(ipc: int = 10, iterations: int | None = None, spread: float = 1.0) -> Recipe:
    """Distribution matching with means and standard deviations.

    Args:
        ipc: synthetic samples per class.
        iterations: optimization steps; by default as many as dm takes for this data.
        spread: see `Moments`.
    """
    term = Term(Moments(spread), RandomInit("convnet"), PerGroup(256), SiameseAugment(DefaultDSAOps()))
    return replace(recipes.dm(ipc, iterations), name="moments", terms=(term,), paper="", deviations="")


def main() -> None:
    """Compare the method with random real samples and with dm."""
    parser = argparse.ArgumentParser(description="Compare a new method with dm and with random real samples.")
    parser.add_argument("--ipc", type=int, default=10, help="synthetic samples per class")
    parser.add_argument("--iterations", type=int, help="optimization steps; by default as many as dm takes")
    parser.add_argument("--spread", type=float, default=1.0, help="weight of the standard deviations")
    parser.add_argument("--runs", type=int, default=3, help="networks trained on each condensed dataset")
    parser.add_argument("--epochs", type=int, default=300, help="epochs of each of these networks")
    args = parser.parse_args()

    train_set, test_set = Digits("train"), Digits("test")
    training = replace(quick(), name="example", epochs=args.epochs)
    iterations = {"iterations": args.iterations}
    arguments = {"random": {}, "dm": iterations, "moments": {**iterations, "spread": args.spread}}
    for name, fields in arguments.items():
        condensed = CondensedDataset(train_set, recipes.get(name, ipc=args.ipc, **fields))
        accuracy = condensed.evaluate(test_set, "convnet", args.runs, training=training)
        print(f"{name:8s} {accuracy}")


if __name__ == "__main__":
    main()
