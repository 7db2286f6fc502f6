# pip install condensed-data[nas]
"""Search for an architecture on a condensed dataset, check how far its ranking can be trusted, and train the winner.

    python nas_proxy.py                                              scikit-learn's 8x8 digits, nothing to download
    python nas_proxy.py --data fashion-mnist --data-root data --widths 32 64 128 --iterations 1000

Three parts: Optuna searches on the condensed dataset; a report compares its ranking of a few architectures with that of
the full dataset, next to as many random samples and zero-cost proxies; a cascade filters architectures by a zero-cost
score, then by the condensed dataset, and trains the last few on the full dataset.
"""

import argparse
import time

from torch.utils.data import Subset

from condensed_data import CondensedDataset, recipes
from condensed_data.data import catalog
from condensed_data.training.protocols import quick
from condensed_data_nas import ProxyObjective, Range, Stage, cascade, convnet_space, rank_report, sample
from condensed_data_nas.optuna_study import LiveTable, search


def parse():
    """Command line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--data", default="digits", help="a source of the condensed-data command, such as fashion-mnist")
    add("--data-root", help="folder with the files of the source")
    add("--ipc", type=int, default=10, help="samples per class")
    add("--iterations", type=int, default=300, help="iterations of condensing")
    add("--widths", type=int, nargs="+", default=[8, 16, 32], help="widths to search")
    add("--depths", type=int, nargs="+", default=[1, 2, 3], help="depths to search")
    add("--trials", type=int, default=30, help="configurations to try")
    add("--epochs", type=int, default=50, help="training epochs of every proxy")
    add("--reference-epochs", type=int, default=20, help="training epochs on the full dataset")
    add("--compare", type=int, default=12, help="architectures to rank by training on the full dataset")
    add("--storage", help="file of the study, from which a killed search continues")
    return parser.parse_args()


def split(dataset, fraction=0.2):
    """Samples to condense, and validation samples for architectures; the test split is for the winner only."""
    order = list(range(len(dataset)))
    last = int(len(dataset) * (1 - fraction))
    return Subset(dataset, order[:last]), Subset(dataset, order[last:])


def main():
    """Condense, search, check the ranking, train the winner."""
    args = parse()
    train, val = split(catalog.load(args.data, "train", data_root=args.data_root))
    test = catalog.load(args.data, "test", data_root=args.data_root)

    started = time.process_time()
    condensed = CondensedDataset(train, recipes.dm(ipc=args.ipc, iterations=args.iterations))
    condensing = time.process_time() - started
    random = CondensedDataset(train, recipes.random(ipc=args.ipc))

    # search the papers' ConvNets together with the learning rate
    space = convnet_space(widths=args.widths, depths=args.depths)
    training = {"training": quick(), "epochs": args.epochs}
    objective = ProxyObjective(condensed, space={**space, "lr": Range(0.003, 0.1, log=True)}, val=val, **training)
    study = search(objective, args.trials, storage=args.storage, callbacks=[LiveTable(args.trials, top=5)])
    print(f"best of {args.trials} trials: {study.best_value:.1%} with {study.best_params}")

    # check the ranking against the full dataset, with two networks each, whose agreement is the ceiling
    architectures = sample(space, args.compare)
    fixed = ProxyObjective(condensed, space=space, val=val, **training)
    full = fixed.trained_on(train, epochs=args.reference_epochs, seeds=2)
    report = rank_report(
        architectures,
        proxies={
            "condensed": fixed,
            "random": ProxyObjective(random, space=space, val=val, **training),
            **{name: name for name in ("params", "flops", "synflow", "naswot")},
        },
        reference=full,
        preparation_seconds={"condensed": condensing},
        search_size=720,
        progress=True,
    )
    print(report)
    report.to_csv("ranks.csv")
    report.plot("ranks.png")

    # filter many architectures, and train only the last few on the full dataset
    stages = [
        Stage("synflow", "synflow", keep=max(4, args.trials // 2)),
        Stage("condensed", fixed, keep=3),
        Stage("full dataset", full, keep=1),
    ]
    found = cascade(sample(space, args.trials, seed=1), stages)
    print(found)

    # test the winner on samples that no choice was based on
    final = ProxyObjective(condensed, space=space, val=test, **training)
    winner = final.trained_on(train, epochs=args.reference_epochs).measure(found.kept[0].config)
    print(f"winner of the cascade, trained on the full dataset: {winner.value:.1%} test accuracy")


if __name__ == "__main__":
    main()
