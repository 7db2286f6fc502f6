# pip install "condensed-data[hub]"
"""Fill an organization of the Hub with condensed sets: recipes x data sets x samples per class.

    HF_TOKEN=... python publish_zoo.py my-org --sources cifar10 mnist --recipes dm dsa --ipc 1 10 --data-root data

A data set becomes a repository, such as my-org/condensed-cifar10, and a recipe with its samples per class a set
in it, such as dm-ipc10. Killed or stopped, the same command goes on: what is published is found there by the key of
its build and skipped, and a build that was interrupted continues from its checkpoint. New repositories are private
unless --public is given.
"""

import argparse
import re
import sys
from itertools import product

from condensed_data import CondensedDataset, recipes
from condensed_data.core.hub_errors import HubError
from condensed_data.data import catalog
from condensed_data.evaluation import baselines as comparison
from condensed_data.storage.hub.search import keys


def repository(owner, source):
    """Where the sets of a data set are published: letters, digits, dots and dashes."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", source.removeprefix("hf:")).strip("-.")
    return f"{owner}/condensed-{plain}"


def publish(repo, train_set, test_set, recipe, args):
    """Condense, measure and publish one set; says what came of it."""
    # found in the local cache, else on the Hub, else built; the key of its build is known in all three cases
    small = CondensedDataset(train_set, recipe, hub=repo, seed=args.seed, device=args.device)
    there, key = keys(repo), small.metadata.key
    if key in there:
        return f"{repo} {there[key]}: is there"
    config = re.sub("[^A-Za-z0-9_-]+", "-", f"{recipe.name}-ipc{recipe.ipc}")
    if config in there.values():  # the same recipe with other fields, or another seed
        config += f"-{key[:8]}"
    if test_set is not None:  # the card shows it beside random samples and the whole set
        network = comparison.check(train_set, test_set, args.network)
        comparison.compare(small, train_set, test_set, network=network, runs=args.runs, device=args.device)
    private = False if args.public else None
    commit = small.push_to_hub(repo, config_name=config, private=private, license=args.license)
    return f"{repo} {config}: published in {commit.oid[:12]}"


def datasets_of(source, args):
    """Train and test split of a source; None for a test split that it has not."""
    where = {"data_root": args.data_root, "image_size": args.image_size}
    train_set = catalog.load(source, "train", **where)
    try:
        return train_set, catalog.load(source, "test", **where)
    except catalog.NoTestSplitError:
        return train_set, None


def main():
    """Publish what is not there yet."""
    parser = argparse.ArgumentParser(description="Fill an organization of the Hub with condensed sets.")
    parser.add_argument("owner", help="user or organization of the Hub")
    parser.add_argument(
        "--sources", nargs="+", default=["digits"], help="as `condensed-data build` takes them"
    )
    parser.add_argument("--recipes", nargs="+", default=["dm"], help="as `condensed-data recipes` lists them")
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50], help="samples for each class")
    parser.add_argument("--iterations", type=int, help="by default as published")
    parser.add_argument("--data-root", help="folder with the files of torchvision's data sets")
    parser.add_argument("--image-size", type=int, help="resize and crop images to this side")
    parser.add_argument("--network", help="by default the usual one for such samples")
    parser.add_argument("--runs", type=int, default=3, help="networks trained on each set")
    parser.add_argument("--license", help="of the data, such as mit")
    parser.add_argument("--public", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
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
            except (HubError, ValueError) as error:  # the others go on; the same command tries it again
                print(f"{source} {name} {ipc}: {error}", file=sys.stderr, flush=True)
                failed += 1
    sys.exit(f"{failed} sets were not published; start the same command again." if failed else 0)


if __name__ == "__main__":
    main()
