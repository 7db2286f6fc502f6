# pip install "condensed-data[avalanche]"
"""Continual learning with a small memory: real images compared with condensed ones of the same size in bytes.

Classes arrive two at a time. After each experience, a new network is trained on the memory alone (GDumb), with the same
number of optimizer steps for both memories.

    python continual_replay.py --data-root data          Fashion-MNIST, downloaded into that folder if missing
    python continual_replay.py --data digits             scikit-learn's 8x8 digits, nothing to download
"""

import argparse
import math

import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import InteractiveLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.storage_policy import ClassBalancedBuffer
from avalanche.training.supervised import Naive
from torch import nn
from torchvision import datasets, transforms

from condensed_data.data.catalog import Digits
from condensed_data_avalanche import CondensedBuffer, CondensedGDumbPlugin, fast

BATCH = 64


def fashion_mnist(root):
    """Training and test set, as in any script."""
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.286, 0.353)])
    train_set = datasets.FashionMNIST(root, train=True, transform=to_tensor, download=True)
    return train_set, datasets.FashionMNIST(root, train=False, transform=to_tensor)


def network(shape, classes):
    """Two convolutions and one hidden layer, (B, C, H, W) -> (B, K) logits."""
    features = nn.Sequential(
        *(nn.Conv2d(shape[0], 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    )
    width = features(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(features, nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, classes))


def accuracy(memory, benchmark, shape, steps, lr):
    """Test accuracy on all classes after the last experience, of a network trained on the memory."""
    torch.manual_seed(0)
    model = network(shape, benchmark.n_classes)
    evaluator = EvaluationPlugin(accuracy_metrics(stream=True), loggers=[InteractiveLogger()])
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=BATCH,
        train_epochs=max(1, steps // math.ceil(memory.max_size / BATCH)),
        eval_mb_size=500,
        plugins=[CondensedGDumbPlugin(storage_policy=memory)],
        evaluator=evaluator,
    )
    for experience in benchmark.train_stream:
        strategy.train(experience)
    strategy.eval(benchmark.test_stream)
    return evaluator.get_last_metrics()["Top1_Acc_Stream/eval_phase/test_stream/Task000"]


def main():
    """Evaluate both memories."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=("fashion-mnist", "digits"), default="fashion-mnist")
    parser.add_argument("--data-root", default="data", help="folder with Fashion-MNIST")
    parser.add_argument("--images", type=int, default=50, help="size of both memories, in real images")
    parser.add_argument("--steps", type=int, default=600, help="optimizer steps per experience")
    parser.add_argument("--iterations", type=int, default=150, help="iterations of condensing")
    parser.add_argument("--lr", type=float, default=0.02)
    args = parser.parse_args()
    train_set, test_set = (Digits("train"), Digits("test")) if args.data == "digits" else fashion_mnist(args.data_root)
    benchmark = nc_benchmark(train_set, test_set, n_experiences=5, task_labels=False, seed=0)
    shape = tuple(train_set[0][0].shape)
    budget = args.images * math.prod(shape)  # one byte per pixel
    condensed = CondensedBuffer.from_bytes(budget, shape, factor=2, recipe=fast(iterations=args.iterations))
    real_accuracy = accuracy(ClassBalancedBuffer(args.images), benchmark, shape, args.steps, args.lr)
    condensed_accuracy = accuracy(condensed, benchmark, shape, args.steps, args.lr)
    print(f"{args.images} real images: {real_accuracy:.1%}")
    print(f"{len(condensed.buffer)} condensed images in {condensed.memory_bytes} bytes: {condensed_accuracy:.1%}")


if __name__ == "__main__":
    main()
