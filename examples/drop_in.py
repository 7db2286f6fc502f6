# pip install condensed-data
"""An ordinary PyTorch training script. One line condenses its training set; nothing else changes.

    python drop_in.py --data-root data          Fashion-MNIST, downloaded into that folder if missing
    python drop_in.py --data digits             scikit-learn's 8x8 digits, nothing to download

Letters: B rows of a batch, C channels, H, W.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import datasets, transforms

from condensed_data import CondensedDataset, recipes


def fashion_mnist(root):
    """Training and test set, as in any script."""
    to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.286, 0.353)])
    train_set = datasets.FashionMNIST(root, train=True, transform=to_tensor, download=True)
    return train_set, datasets.FashionMNIST(root, train=False, transform=to_tensor)


def digits():
    """Training and test set of 1,400 and 397 samples."""
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(bunch.target)
    return TensorDataset(images[:1400], labels[:1400]), TensorDataset(images[1400:], labels[1400:])


def network(channels, classes):
    """Three convolutional blocks, (B, C, H, W) -> (B, K) logits."""
    layers, width = [], 64
    for index in range(3):
        layers.append(nn.Conv2d(width if index else channels, width, 3, padding=1))
        layers += [nn.GroupNorm(8, width), nn.ReLU(), nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def train(model, loader, epochs):
    """Train, as in any script."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        schedule.step()


def accuracy(model, loader):
    """Fraction of samples that the model classifies correctly."""
    model.eval()
    with torch.no_grad():
        hits = sum((model(images).argmax(1) == labels).sum().item() for images, labels in loader)
    return hits / len(loader.dataset)


def main():
    """Condense, train and test."""
    parser = argparse.ArgumentParser(description="Train on a condensed dataset with an ordinary script.")
    parser.add_argument("--data", choices=("fashion-mnist", "digits"), default="fashion-mnist")
    parser.add_argument("--data-root", default="data", help="folder with Fashion-MNIST")
    parser.add_argument("--ipc", type=int, default=10, help="synthetic samples per class")
    parser.add_argument("--iterations", type=int, help="iterations of condensing; by default as published")
    parser.add_argument("--epochs", type=int, default=200, help="epochs of training")
    args = parser.parse_args()
    torch.manual_seed(0)

    train_set, test_set = digits() if args.data == "digits" else fashion_mnist(args.data_root)
    recipe = recipes.dm(ipc=args.ipc, iterations=args.iterations)  # or just "dm"

    train_set = CondensedDataset(train_set, recipe)  # <- THE ONE CHANGED LINE

    train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=512)
    images, _ = next(iter(test_loader))
    model = network(images.shape[1], classes=10)
    train(model, train_loader, args.epochs)
    print(f"trained on {len(train_set)} samples: {accuracy(model, test_loader):.1%} test accuracy")


if __name__ == "__main__":
    main()
