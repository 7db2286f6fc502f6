"""Time of one iteration of a recipe against a naive loop over classes, in one run.

    python tests/benchmarks/iteration.py --data-root DATA --recipe dsa --out dsa.jsonl
    python tests/benchmarks/iteration.py --data-root DATA --recipe dm idc "mtt(steps=10)" \
        --out all.jsonl --picture all.png
    python tests/benchmarks/iteration.py --data-root DATA --recipe dm dsa idc --device cuda --out gpu.jsonl

The naive loop (`naive.py`) follows the equations, in fp32 with torch's defaults (TF32 convolutions on GPUs that have
them), on the same device. Both sides use the same number of threads, are warmed up, and are timed alternately; medians
are reported. `matching` is the synthetic steps of an iteration, `learning` the training of networks after them; `ratio`
is naive seconds over ours. On a CPU, seconds are processor time over the number of threads, so that other work on the
machine hardly counts with one thread; several threads wait for each other in busy loops and need as many free cores.
On other devices, seconds are wall time until the device has finished. The matrix rate is that of a square product in
the same precision on the device; operations are those of the naive matching (convolutions and products, forward and
backward). Memory is the maximum of both sides: on a CPU `peak_resident_bytes`, the peak of the process, earlier recipes
included; on CUDA `peak_allocated_bytes` of this recipe.

Recipes are measured one after another; each adds a JSON line to `--out`. A line with the same recipe, data, ipc,
device, threads, precision, repeats and parts is not measured again, so that an interrupted command continues. Rows
without a device were measured on a CPU. `--picture` draws the recipes of the command. Recipes that need groups
(`debiased`) get two per class: samples with even and with odd index.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from measuring import WARM, device_name, matrix_rate, peak_bytes, reset_peak, timed
from naive import Naive, check
from rows import Row, Rows
from table_parts import Data, recipe_of
from torch.utils.flop_counter import FlopCounterMode

from condensed_data.core.device import choose_device, choose_precision
from condensed_data.core.rng import RandomStreams
from condensed_data.data.real import RealData
from condensed_data.data.source import inspect, read
from condensed_data.engine.loop import CondensationRun
from condensed_data.methods.recipe import Recipe
from condensed_data.methods.recipes import names as recipe_names
from condensed_data.storage.cache import default_root
from condensed_data.training.context import Context
from condensed_data.training.pretrained_cache import PretrainedCache

PARTS = ("matching", "learning")


@dataclass(frozen=True)
class Bench:
    """The source, read once.

    Attributes:
        data: the source.
        device: of both sides.
        cache: folder of pretrained networks; None for the default cache.
    """

    data: Data
    device: torch.device
    cache: Path | None

    @cached_property
    def without_groups(self) -> RealData:
        return self._read(False)

    @cached_property
    def in_two_groups(self) -> RealData:
        """The source with every class in two groups."""
        return self._read(True)

    def _read(self, in_two_groups: bool) -> RealData:
        source = inspect(self.data.train)
        reading = read(source, False)
        groups = [row % 2 for row in range(len(reading.labels))] if in_two_groups else None
        return RealData.from_loaded(reading, source.kind, source.class_names, groups).to(self.device)

    def run(self, recipe: Recipe, precision: str) -> CondensationRun:
        """A run of the recipe, before its first iteration."""
        real = self.in_two_groups if any(_needs_groups(term.sampler) for term in recipe.terms) else self.without_groups
        trained = PretrainedCache((self.cache or default_root()) / "networks", real.fingerprint)
        names = real.class_names if real.named else [""] * real.num_classes
        resolved = recipe.resolve(real.sample_shape, names, samples=len(real))
        return CondensationRun(
            resolved,
            Context(real, recipe.ipc, RandomStreams(0), self.device, precision, network_store=trained),
        )


def _needs_groups(sampler: Any) -> bool:
    return bool(getattr(sampler, "grouped", False))


class Ours:
    """The two parts of an iteration as a run computes them."""

    def __init__(self, run: CondensationRun) -> None:
        self.run = run

    def matching(self) -> None:
        run = self.run
        assert run.optimizer is not None
        run.recipe.optimizer.tune(run.optimizer, run.iteration, run.iterations)
        run.stepper.step()

    def learning(self) -> None:
        run = self.run
        for pool_state in run.pool_states.values():
            pool_state.update(run.iteration, run.synthetic_data)
        run.parts.iteration += 1


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recipe",
        nargs="+",
        default=["dm"],
        help="recipes that learn, with optional arguments in parentheses: " + ", ".join(recipe_names()),
    )
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--data-root")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path, help="write a bar chart of the ratios")
    parser.add_argument("--cache", type=Path, help="folder of pretrained networks (default: the usual cache)")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="parts of an iteration to time")
    parser.add_argument("--device", default="cpu", help="device of both sides")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args(words)
    before = torch.get_num_threads()
    torch.set_num_threads(arguments.threads)
    try:
        rows = measure(arguments)
    finally:
        torch.set_num_threads(before)
    if arguments.picture:
        draw(rows, arguments.picture)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """The rows of the recipes in order; missing ones are measured now."""
    recipes = {text: recipe_of(text, arguments.ipc, {}, None) for text in arguments.recipe}
    for recipe in recipes.values():
        check(recipe)  # raise before any work
    device = choose_device(arguments.device)
    file, found = Rows(arguments.out), []
    bench = Bench(Data.load(arguments.data, arguments.data_root), device, arguments.cache)
    for text, recipe in recipes.items():
        key = _key(text, arguments, device)
        if not _find(file, key):
            file.add(key | _measure(recipe, arguments, bench))
        found.append(_find(file, key)[0])
        print(json.dumps(found[-1], indent=2), flush=True)
    return found


def _find(file: Rows, key: Row) -> list[Row]:
    """The rows with this key; rows without a device were measured on a CPU."""
    others = {name: value for name, value in key.items() if name != "device"}
    return [row for row in file.find(**others) if row.get("device", "cpu") == key["device"]]


def _key(text: str, arguments: argparse.Namespace, device: torch.device) -> Row:
    return {
        "recipe": text,
        "data": arguments.data,
        "ipc": arguments.ipc,
        "device": str(device),
        "threads": arguments.threads,
        "precision": choose_precision(arguments.precision, device),
        "repeats": arguments.repeats,
        "parts": arguments.parts,
    }


def _measure(recipe: Recipe, arguments: argparse.Namespace, bench: Bench) -> Row:
    device, precision = bench.device, choose_precision(arguments.precision, bench.device)
    reset_peak(device)
    ours, naive = Ours(bench.run(recipe, precision)), Naive(bench.run(recipe, "fp32"))
    times = _times(ours, naive, arguments, device)
    memory = peak_bytes(device)  # before `matrix_rate` allocates larger matrices
    with FlopCounterMode(display=False) as counter:
        naive.matching()
    flops = counter.get_total_flops()
    rate = matrix_rate(torch.bfloat16 if precision == "bf16" else torch.float32, device)
    spent = times["ours"].get("matching")
    totals = {side: sum(parts.values()) for side, parts in times.items()}
    ratios = {
        name: times["naive"][name] / times["ours"][name]
        for name in arguments.parts
        if times["naive"][name] > 0.01 * totals["naive"]  # otherwise negligible: networks that are not trained
    }
    return {
        "seconds": times["ours"],
        "naive_seconds": times["naive"],
        "ratio": {**ratios, "timed": totals["naive"] / totals["ours"]},
        "flops_of_matching": flops,
        "flops_per_second": flops / spent if spent else None,
        "matrix_flops_per_second": rate,
        "fraction_of_matrix_rate": flops / spent / rate if spent else None,
        f"peak_{'allocated' if device.type == 'cuda' else 'resident'}_bytes": memory,
        "device_name": device_name(device),
        "torch": torch.__version__,
    }


def _times(
    ours: Ours, naive: Naive, arguments: argparse.Namespace, device: torch.device
) -> dict[str, dict[str, float]]:
    """Median seconds of the parts of both sides, timed alternately after warm-up calls."""
    found: dict[str, dict[str, list[float]]] = {
        side: {part: [] for part in arguments.parts} for side in ("ours", "naive")
    }
    for number in range(arguments.repeats + WARM):
        for side, loops in (("ours", ours), ("naive", naive)):
            for part, times in found[side].items():
                spent = timed(getattr(loops, part), device)
                if number >= WARM:
                    times.append(spent)
    return {side: {part: statistics.median(times) for part, times in parts.items()} for side, parts in found.items()}


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw a bar of naive seconds over ours for each recipe."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 0.5 * len(rows) + 1.2))
    labels = [
        f"{row['recipe']}\n{row['data']}, ipc {row['ipc']}, {row['precision']}, {row.get('device', 'cpu')}"
        for row in rows
    ]
    bars = axes.barh(range(len(rows)), [row["ratio"]["timed"] for row in rows])
    axes.bar_label(bars, fmt="%.1f", padding=2)
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.axvline(1, color="gray", linestyle=":")
    axes.set_xlabel("seconds of the naive loop / ours, whole iteration")
    figure.savefig(path, dpi=150, bbox_inches="tight")
    pyplot.close(figure)


if __name__ == "__main__":
    main()
