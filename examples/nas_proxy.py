# pip install condensed-data[nas]
"""Search a network on a few condensed samples, see how far its ranking can be believed, and train the winner.

    python nas_proxy.py                                              scikit-learn's 8x8 digits, nothing to download
    python nas_proxy.py --data fashion-mnist --data-root data --widths 32 64 128 --iterations 1000

Three parts: Optuna searches on the condensed set; a report compares the ranking with that of the whole set on a few
architectures, beside random samples of the same number and proxies that train nothing; a cascade goes from a score that
costs nothing over the condensed set to the whole set for the last few.
"""

import argparse
import time

from torch.utils.data import Subset

from condensed_data import CondensedDataset, recipes
from condensed_data.data import catalog
from condensed_data.training.protocol import quick
from condensed_data_nas import ProxyObjective, Range, Stage, cascade, convnet_space, rank_report, sample
from condensed_data_nas.optuna_study import LiveTable, search


def parse():
    """What can be changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--data", default="digits", help="a source of the command line, such as fashion-mnist")
    add("--data-root")
    add("--ipc", type=int, default=10)
    add("--iterations", type=int, default=300)
    add("--widths", type=int, nargs="+", default=[8, 16, 32])
    add("--depths", type=int, nargs="+", default=[1, 2, 3])
    add("--trials", type=int, default=30)
    add("--epochs", type=int, default=50, help="of every proxy")
    add("--reference-epochs", type=int, default=20, help="of a network on the whole set")
    add("--compare", type=int, default=12, help="architectures whose true rank is measured")
    add("--storage", help="file of the study: started again, it goes on")
    return parser.parse_args()


def split(dataset, share=0.2):
    """Samples to condense, and real ones to judge architectures by; the test split is for the winner alone."""
    order = list(range(len(dataset)))
    last = int(len(dataset) * (1 - share))
    return Subset(dataset, order[:last]), Subset(dataset, order[last:])


def main():
    """Condense, search, check, train the winner."""
    args = parse()
    train, val = split(catalog.load(args.data, "train", data_root=args.data_root))
    test = catalog.load(args.data, "test", data_root=args.data_root)

    started = time.process_time()
    condensed = CondensedDataset(train, recipes.dm(ipc=args.ipc, iterations=args.iterations))
    condensing = time.process_time() - started
    random = CondensedDataset(train, recipes.random(ipc=args.ipc))

    # what is searched: the papers' ConvNets, and the learning rate beside them
    space = convnet_space(widths=args.widths, depths=args.depths)
    training = {"training": quick(), "epochs": args.epochs}
    objective = ProxyObjective(
        condensed, space={**space, "lr": Range(0.003, 0.1, log=True)}, val=val, **training
    )
    study = search(objective, args.trials, storage=args.storage, callbacks=[LiveTable(args.trials, top=5)])
    print(f"best of {args.trials} trials: {study.best_value:.1%} with {study.best_params}")

    # how far to believe it: the same architectures by the whole set, twice, which is the ceiling
    architectures = sample(space, args.compare)
    fixed = ProxyObjective(condensed, space=space, val=val, **training)
    whole = fixed.trained_on(train, epochs=args.reference_epochs, seeds=2)
    report = rank_report(
        architectures,
        proxies={
            "condensed": fixed,
            "random": ProxyObjective(random, space=space, val=val, **training),
            **{name: name for name in ("params", "flops", "synflow", "naswot")},
        },
        reference=whole,
        prepared={"condensed": condensing},
        architectures=720,
        progress=True,
    )
    print(report)
    report.to_csv("ranks.csv")
    report.plot("ranks.png")

    # many architectures, of which only the last few meet the whole set
    stages = [
        Stage("synflow", "synflow", keep=max(4, args.trials // 2)),
        Stage("condensed", fixed, keep=3),
        Stage("whole set", whole, keep=1),
    ]
    found = cascade(sample(space, args.trials, seed=1), stages)
    print(found)

    # the winner, at last, on samples that chose nothing
    judge = ProxyObjective(condensed, space=space, val=test, **training)
    winner = judge.trained_on(train, epochs=args.reference_epochs).measure(found.kept[0].config)
    print(f"the winner of the cascade, trained on the whole set: {winner.value:.1%} of the test set is right")


if __name__ == "__main__":
    main()
