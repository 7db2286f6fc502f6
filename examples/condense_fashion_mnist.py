# pip install "condensed-data[plot]"
"""Condense Fashion-MNIST, compare the result with random samples, save it and plot it.

    python condense_fashion_mnist.py --data-root data --iterations 1000

The folder holds Fashion-MNIST in torchvision's layout; --download fetches it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from torchvision.datasets import FashionMNIST

from condensed_data import CondensedDataset, JSONLLogger, recipes
from condensed_data.plotting.curves import curves
from condensed_data.training.protocols import quick


def main() -> None:
    """Run the four steps."""
    parser = argparse.ArgumentParser(description="Condense Fashion-MNIST.")
    parser.add_argument("--data-root", default="data", help="folder with Fashion-MNIST")
    parser.add_argument("--download", action="store_true", help="download Fashion-MNIST into that folder")
    parser.add_argument("--out", type=Path, default=Path("condensed/fashion-mnist"), help="folder of the result")
    parser.add_argument("--ipc", type=int, default=10, help="synthetic samples per class")
    parser.add_argument("--iterations", type=int, default=1000, help="iterations of condensing")
    parser.add_argument("--runs", type=int, default=3, help="networks trained on each dataset")
    parser.add_argument("--epochs", type=int, help="training epochs; by default those of the quick protocol")
    parser.add_argument("--network", default="convnet", help="architecture to train")
    args = parser.parse_args()

    # 1. Two ordinary datasets: PIL images and labels.
    train_set = FashionMNIST(args.data_root, train=True, download=args.download)
    test_set = FashionMNIST(args.data_root, train=False)

    # 2. Condense. The log can be plotted while it is written.
    recipe = recipes.dm(ipc=args.ipc, iterations=args.iterations)
    log = JSONLLogger(args.out.with_suffix(".jsonl"))
    condensed = CondensedDataset(train_set, recipe, callbacks=[log])
    condensed.save(args.out)  # at once, in case the evaluation is interrupted
    print(condensed)

    # 3. Evaluate: train networks on it and on as many random samples, and test them on the same test set.
    training = quick()  # a protocol has a name, which is reported with every accuracy
    if args.epochs is not None:
        training = replace(training, name=f"example, {args.epochs} epochs", epochs=args.epochs)
    condensed_accuracy = condensed.evaluate(test_set, args.network, args.runs, training=training)
    random = CondensedDataset(train_set, recipes.random(ipc=args.ipc))
    random_accuracy = random.evaluate(test_set, args.network, args.runs, training=training)
    print(f"dm      {condensed_accuracy}\nrandom  {random_accuracy}")

    # 4. Save it again, now with its accuracies, and plot it.
    condensed.save(args.out)
    condensed.plot(args.out / "grid.png")
    curves(condensed.metadata.history, args.out / "loss.png")
    print(f"Load it with CondensedDataset.load({str(args.out)!r}); images: {args.out / 'grid.png'}")


if __name__ == "__main__":
    main()
