# pip install "condensed-data[hub]"
"""Publish condensed datasets of an organization on the Hub: sources x recipes x samples per class.

    HF_TOKEN=... python publish_zoo.py my-org --sources cifar10 mnist --recipes dm dsa --ipc 1 10 --data-root data

Each source becomes a repository, such as my-org/condensed-cifar10, and each recipe with its samples per class a
configuration of it, such as dm-ipc10. After an interruption, run the same command again: condensed datasets that are
published are found by the key of their build and skipped, and an interrupted build continues from its checkpoint. New
repositories are private unless --public is given.
"""

import argparse
import re
import sys
from itertools import product

from condensed_data import CondensedDataset, recipes
from condensed_data.core.hub_errors import HubError
from condensed_data.data import catalog
from condensed_data.data.sample import NoTestSplitError
from condensed_data.evaluation import baselines
from condensed_data.storage.hub.search import keys


def repository(owner, source):
    """The repository of a source: letters, digits, dots and dashes."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", source.removeprefix("hf:")).strip("-.")
    return f"{owner}/condensed-{name}"


def publish(repo, train_set, test_set, recipe, args):
    """Condense, evaluate and publish one dataset; returns a message about the outcome."""
    # from the local cache, else from the Hub, else condensed; the key of the build is known in all three cases
    condensed = CondensedDataset(train_set, recipe, hub=repo, seed=args.seed, device=args.device)
    published, key = keys(repo), condensed.metadata.key
    if key in published:
        return f"{repo} {published[key]}: already published"
    config = re.sub("[^A-Za-z0-9_-]+", "-", f"{recipe.name}-ipc{recipe.ipc}")
    if config in published.values():  # the same recipe with other fields, or another seed
        config += f"-{key[:8]}"
    if test_set is not None:  # for the card: accuracy next to that of random samples and of the full dataset
        network = baselines.check_splits(train_set, test_set, args.network)
        baselines.compare(condensed, train_set, test_set, network=network, runs=args.runs, device=args.device)
    private = False if args.public else None
    commit = condensed.push_to_hub(repo, config_name=config, private=private, license=args.license)
    return f"{repo} {config}: {'published' if commit.changed else 'already published'} in {commit.oid[:12]}"


def datasets_of(source, args):
    """Training and test split of a source; None if it has no test split."""
    options = {"data_root": args.data_root, "image_size": args.image_size}
    train_set = catalog.load(source, "train", **options)
    try:
        return train_set, catalog.load(source, "test", **options)
    except NoTestSplitError:
        return train_set, None


def main():
    """Publish all combinations that are missing."""
    parser = argparse.ArgumentParser(description="Publish condensed datasets of an organization on the Hub.")
    parser.add_argument("owner", help="user or organization of the Hub")
    parser.add_argument("--sources", nargs="+", default=["digits"], help="sources of `condensed-data build`")
    parser.add_argument("--recipes", nargs="+", default=["dm"], help="names listed by `condensed-data recipes`")
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50], help="samples per class")
    parser.add_argument("--iterations", type=int, help="iterations of condensing; by default as published")
    parser.add_argument("--data-root", help="folder with the files of torchvision's datasets")
    parser.add_argument("--image-size", type=int, help="resize and crop images to this size")
    parser.add_argument("--network", help="architecture to evaluate with; by default one that fits the samples")
    parser.add_argument("--runs", type=int, default=3, help="networks trained on each dataset")
    parser.add_argument("--license", help="license of the data, such as mit")
    parser.add_argument("--public", action="store_true", help="make new repositories public")
    parser.add_argument("--seed", type=int, default=0, help="seed of condensing")
    parser.add_argument("--device", default="auto", help="where to compute")
    args = parser.parse_args()

    failed = 0
    for source in args.sources:
        train_set, test_set = datasets_of(source, args)
        for name, ipc in product(args.recipes, args.ipc):
            recipe = recipes.parse(name, ipc=ipc)
            if args.iterations is not None and recipe.terms:
                recipe = recipe.set(iterations=args.iterations)
            try:
                print(publish(repository(args.owner, source), train_set, test_set, recipe, args), flush=True)
            except (HubError, ValueError) as error:  # continue with the others; the same command retries this one
                print(f"{source} {name} {ipc}: {error}", file=sys.stderr, flush=True)
                failed += 1
    sys.exit(f"{failed} datasets were not published. Run the same command again." if failed else 0)


if __name__ == "__main__":
    main()
