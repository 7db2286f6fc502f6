"""Time to train one evaluation network, compared with a loop as in the authors' scripts.

    python tests/benchmarks/evaluation.py --out evaluation.json
    python tests/benchmarks/evaluation.py --out evaluation.json --precision fp32 --threads 1

Our side is `evaluate_tensors`: it is prepared for the whole protocol, whose number of steps decides how it computes,
and then trained for a few steps. The naive side is the loop of `evaluate_synset` (Zhao, Mopuri and Bilen, ICLR 2021):
in fp32, with a DataLoader over a TensorDataset, and transfer, loss and accuracy read in every batch. Batches,
augmentation (parameters for every sample), random draws and initial weights are equal, so that both train the same
network. Samples are random numbers, on which time does not depend. Both sides are warmed up, which includes compiling,
and timed alternately; medians are reported. On a CPU, seconds are processor time over the number of threads.

Letters: N samples, K classes.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from table_parts import seconds
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from condensed_data import networks
from condensed_data.core.batch import Batch
from condensed_data.core.rng import RandomStreams
from condensed_data.core.spec import DatasetInfo, resolve
from condensed_data.training.protocols import PROTOCOLS, protocol
from condensed_data.training.trainer import Trainer


@dataclass
class _Order(Sampler[int]):
    """Shuffles each epoch as the package does."""

    rng: RandomStreams
    samples: int
    epoch: int = -1

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        return iter(torch.randperm(self.samples, generator=self.rng.torch("shuffle", self.epoch)).tolist())

    def __len__(self) -> int:
        return self.samples


def naive(trainer: Trainer, rng: RandomStreams) -> nn.Module:
    """Train the network of `trainer.fit(rng)` by the loop of the authors' scripts, in fp32.

    Args:
        trainer: provides samples, network and protocol, without CutMix and with hard labels.
        rng: names all random draws.

    Raises:
        ValueError: for a protocol with CutMix or soft labels.
    """
    training, shape = trainer.training, tuple(trainer.images.shape[1:])
    if training.cutmix or trainer.labels.ndim > 1:
        raise ValueError("The naive loop supports neither CutMix nor soft labels. Use another protocol or dataset.")
    device = trainer.images.device
    module = networks.build(trainer.network, trainer.num_classes, shape, rng.seed_for("network")).to(device)
    optimizer, steps = training.make_optimizer(module), training.steps(len(trainer.images))
    drops = training.drops(len(trainer.images))
    dataset = TensorDataset(trainer.images.cpu(), trainer.labels.cpu())
    loader = DataLoader(dataset, training.batch_size, sampler=_Order(rng, len(dataset)))
    step = 0
    while step < steps:
        total, hits, seen = 0.0, 0, 0
        for given, truth in loader:
            x, y = given.float().to(device), truth.long().to(device)
            x = training.augment.draw(rng, step, [0], shape)(Batch(x, y, (len(x),)))
            logits = module(x)
            loss = F.cross_entropy(logits, y)
            hits += int((logits.cpu().argmax(1) == y.cpu()).sum())
            total, seen = total + loss.item() * len(x), seen + len(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step in drops:
                optimizer = training.after_drop(optimizer, module, sum(drop <= step for drop in drops))
            if step == steps:
                break
    return module.eval()


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--protocol", default="dsa", choices=tuple(PROTOCOLS))
    parser.add_argument("--network", default="convnet")
    parser.add_argument("--shape", type=int, nargs="+", default=[1, 28, 28])
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5, help="training steps per measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", help="precision of our side")
    arguments = parser.parse_args(words)
    before = torch.get_num_threads()
    torch.set_num_threads(arguments.threads)
    try:
        row = measure(arguments)
    finally:
        torch.set_num_threads(before)
    arguments.out.write_text(json.dumps(row, indent=2) + "\n")
    print(json.dumps(row, indent=2))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of a training step on both sides, and of the warm-up."""
    trainer = _trainer(arguments)
    whole = trainer.training.steps(len(trainer.images))
    trainer = replace(trainer, training=replace(trainer.training, max_steps=arguments.steps))
    sides = {"ours": trainer.fit, "naive": lambda rng: naive(trainer, rng)}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(arguments.repeats + 1):
        for side, train in sides.items():
            started = seconds()
            _read(train(RandomStreams(number)))
            times[side].append(seconds() - started)
    spent = {side: statistics.median(found[1:]) / arguments.steps for side, found in times.items()}
    return {
        "protocol": arguments.protocol,
        "network": arguments.network,
        "shape": arguments.shape,
        "samples": len(trainer.images),
        "batch": min(len(trainer.images), trainer.training.batch_size),
        "threads": arguments.threads,
        "device": str(trainer.images.device),
        "precision": trainer.precision,
        "rows_at_once": trainer.rows,
        "steps_of_the_protocol": whole,
        "seconds_a_step": spent["ours"],
        "naive_seconds_a_step": spent["naive"],
        "ratio": spent["naive"] / spent["ours"],
        "warming_seconds": times["ours"][0] - spent["ours"] * arguments.steps,
        "torch": torch.__version__,
    }


def _trainer(arguments: argparse.Namespace) -> Trainer:
    shape, classes = tuple(arguments.shape), arguments.classes
    labels = torch.arange(classes).repeat_interleave(arguments.ipc)
    images = torch.randn(len(labels), *shape, generator=torch.Generator().manual_seed(0))
    info = DatasetInfo(shape, tuple(f"class {label}" for label in range(classes)), arguments.ipc, named=True)
    return Trainer.prepare(
        images,
        labels,
        network=arguments.network,
        num_classes=classes,
        training=resolve(protocol(arguments.protocol), info),
        device=arguments.device,
        precision=arguments.precision,
    )


def _read(module: nn.Module) -> Tensor:
    """Wait for an accelerator by reading one of the weights."""
    return next(module.parameters()).detach().flatten()[0].cpu()


if __name__ == "__main__":
    main()
