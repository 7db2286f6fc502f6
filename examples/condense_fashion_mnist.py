# pip install "condensed-data[plot]"
"""Condense Fashion-MNIST, compare the result with random samples, keep it and look at it.

    python condense_fashion_mnist.py --data-root data --iterations 1000

The folder holds Fashion-MNIST as torchvision lays it out; --download fetches it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from torchvision.datasets import FashionMNIST

from condensed_data import CondensedDataset, JSONLLogger, recipes
from condensed_data.plotting import grid as plots
from condensed_data.training.evaluate import quick


def main() -> None:
    """Run the four steps."""
    parser = argparse.ArgumentParser(description="Condense Fashion-MNIST.")
    parser.add_argument("--data-root", default="data", help="folder of Fashion-MNIST")
    parser.add_argument("--download", action="store_true", help="fetch Fashion-MNIST into that folder")
    parser.add_argument("--out", type=Path, default=Path("condensed/fashion-mnist"))
    parser.add_argument("--ipc", type=int, default=10, help="synthetic samples for each class")
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3, help="networks trained on each set")
    parser.add_argument("--epochs", type=int, help="of training them; by default those of the quick protocol")
    parser.add_argument("--network", default="convnet")
    args = parser.parse_args()

    # 1. Two ordinary datasets: PIL images and labels.
    train_set = FashionMNIST(args.data_root, train=True, download=args.download)
    test_set = FashionMNIST(args.data_root, train=False)

    # 2. Condense. The log can be plotted while it grows.
    recipe = recipes.dm(ipc=args.ipc, iterations=args.iterations)
    log = JSONLLogger(args.out.with_suffix(".jsonl"))
    condensed = CondensedDataset(train_set, recipe, callbacks=[log])
    condensed.save(args.out)  # at once, so that nothing is lost
    print(condensed)

    # 3. How good is it? Networks trained on it, and on as many random samples, see the same test set.
    training = quick()  # a protocol has a name, which stands beside every number that it gives
    if args.epochs is not None:
        training = replace(training, name=f"example, {args.epochs} epochs", epochs=args.epochs)
    ours = condensed.evaluate(test_set, args.network, args.runs, training=training)
    random = CondensedDataset(train_set, recipes.random(ipc=args.ipc))
    theirs = random.evaluate(test_set, args.network, args.runs, training=training)
    print(f"dm      {ours}\nrandom  {theirs}")

    # 4. Keep it with its accuracies, and look at it.
    condensed.save(args.out)
    condensed.plot(args.out / "grid.png")
    plots.curves(condensed.metadata.history, args.out / "loss.png")
    print(f"CondensedDataset.load({str(args.out)!r}) reads it back; see {args.out / 'grid.png'}")


if __name__ == "__main__":
    main()
