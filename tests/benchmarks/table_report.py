"""Writes the rows of `table.py` as a page and a figure: tables, DD-Ranking's scores, pairs with and without clusters.

A cell is the mean over condensed datasets and networks, with the standard deviation over the datasets; for a single
dataset, the deviation over its networks.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from rows import Row

from condensed_data.core.spec_text import parse_call
from condensed_data.evaluation.dd_ranking_scores import augmentation_robust, label_robust

CLUSTERS = ("base", "k", "layer", "features", "rule", "within")  # arguments of clustering, not of the base
FIRST = ("whole", "random")


def render(rows: list[Row], path: Path) -> str:
    """Write the page to `path` and a figure beside it; returns the page."""
    measured = [row for row in rows if "mean" in row or "error" in row]
    parts = [_tables(measured), _pairs(measured)]
    text = "\n".join(part for part in parts if part)
    path.write_text(text)
    _draw(measured, path.with_suffix(".png"))
    return text


def _grouped(rows: Iterable[Row], *names: str) -> list[tuple[tuple[Any, ...], list[Row]]]:
    """Rows with equal values, in the order in which they first appear."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(repr([row.get(name) for name in names]), []).append(row)
    return [(tuple(group[0].get(name) for name in names), group) for group in found.values()]


def _tables(rows: list[Row]) -> str:
    lines = []
    learned = [row for row in rows if row["recipe"] != "whole"]
    for (data, protocol, ipc), some in _grouped(learned, "data", "protocol", "ipc"):
        whole = [row for row in rows if row["recipe"] == "whole" and (row["data"], row["protocol"]) == (data, protocol)]
        networks = list(dict.fromkeys(row["network"] for row in (*some, *whole)))
        lines += [f"### {data}, {ipc} per class, {protocol} protocol", ""]
        heads = ["recipe", "iterations", "seconds", *networks]
        scored = bool(_label(rows, some, networks[0])), bool(_augmented(rows, some, networks[0]))
        spread = any(row.get("diversity") for row in some)
        heads += ["diversity"] * spread + ["label-robust"] * scored[0] + ["augmentation-robust"] * scored[1]
        lines += [_line(heads), _line("---" for _ in heads)]
        for (text, overrides, _, _), group in _grouped((*whole, *some), "recipe", "set", "budget", "epochs"):
            cells = [_name(text, overrides), _iterations(group), _mean(group, "condense_seconds", "{:.0f}")]
            cells += [_cell([row for row in group if row["network"] == network]) for network in networks]
            cells += [_diversity(group)] * spread
            cells += [_label(rows, group, networks[0])] * scored[0]
            cells += [_augmented(rows, group, networks[0])] * scored[1]
            lines.append(_line(cells))
        lines.append("")
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _name(text: str, overrides: Row | None) -> str:
    return f"`{text}`" + "".join(f", {field}={value}" for field, value in (overrides or {}).items())


def _iterations(rows: list[Row]) -> str:
    if "epochs" in rows[0]:
        return f"{rows[0]['epochs'] + 1} epochs"
    found = sorted({row["iterations"] for row in rows if "iterations" in row})
    return " to ".join(f"{iterations:,}" for iterations in dict.fromkeys((found[0], found[-1]))) if found else ""


def _mean(rows: list[Row], name: str, form: str) -> str:
    values = [row[name] for row in rows if row.get(name) is not None]
    return form.format(statistics.fmean(values)) if values else ""


def spread(rows: list[Row]) -> tuple[float, float | None]:
    """Mean accuracy and its standard deviation: over datasets, over the networks of a single one, or None."""
    means = [row["mean"] for row in rows]
    if len(means) > 1:
        return statistics.fmean(means), statistics.stdev(means)
    accuracies = rows[0]["accuracies"]
    return means[0], statistics.stdev(accuracies) if len(accuracies) > 1 else None


def _cell(rows: list[Row]) -> str:
    measured, failed = [row for row in rows if "mean" in row], [row for row in rows if "error" in row]
    if not measured:
        return failed[0]["error"].partition(":")[0] if failed else ""
    mean, deviation = spread(measured)
    shown = f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")
    datasets, networks = len(measured), sum(len(row["accuracies"]) for row in measured)
    return f"{shown} ({datasets} × {networks // datasets})"


def _diversity(rows: list[Row]) -> str:
    ratios = [row["diversity"] / row["diversity_real"] for row in rows if row.get("diversity")]
    return f"{statistics.fmean(ratios):.2f}" if ratios else ""


def _accuracy(rows: list[Row], like: Row, **other: Any) -> float | None:
    """Mean accuracy of the rows that equal `like` except for the values in `other`."""
    names = ("data", "recipe", "set", "ipc", "network", "protocol", "budget")
    wanted = {name: like.get(name) for name in names} | other
    means = [row["mean"] for row in rows if "mean" in row and all(row.get(name) == wanted[name] for name in wanted)]
    return statistics.fmean(means) if means else None


def _label(rows: list[Row], group: list[Row], network: str) -> str:
    """The label-robust score, if random samples and the full dataset were measured."""
    like = next((row for row in group if row["network"] == network and "mean" in row), None)
    if like is None or like["recipe"] == "whole":
        return ""
    condensed = _accuracy(rows, like)
    random = _accuracy(rows, like, recipe="random", set={}, budget={})
    whole = _accuracy(rows, like, recipe="whole", set={}, budget=None, ipc=0)
    if condensed is None or random is None or whole is None:
        return ""
    return f"{label_robust(whole=whole, condensed=condensed, random=random):.3f}"


def _augmented(rows: list[Row], group: list[Row], network: str) -> str:
    """The augmentation-robust score, for the quick protocol, whose epochs equal those of the unaugmented one."""
    like = next((row for row in group if row["network"] == network and "mean" in row), None)
    if like is None or like["recipe"] == "whole" or like["protocol"] != "quick":
        return ""
    baseline: Row = {"recipe": "random", "set": {}, "budget": {}}
    names = ("condensed", "condensed_plain", "random", "random_plain")
    others: tuple[Row, ...] = ({}, {"protocol": "unaugmented"})
    values = [_accuracy(rows, like, **first, **second) for first in ({}, baseline) for second in others]
    known = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    return f"{augmentation_robust(**known):.3f}" if len(known) == len(names) else ""


def base_of(text: str) -> str | None:
    """The same recipe without clusters, or None for a recipe that uses none."""
    if text == "whole":
        return None
    name, arguments = parse_call(text)
    if name != "bdm" and "within" not in arguments:
        return None
    base = str(arguments.get("base", "dc")) if name == "bdm" else name
    rest = {key: value for key, value in arguments.items() if key not in CLUSTERS}
    return base if not rest else f"{base}({', '.join(f'{key}={value!r}' for key, value in rest.items())})"


def pairs(rows: list[Row]) -> list[Row]:
    """Differences between rows with and without clusters that are equal in everything else."""
    measured = [row for row in rows if "mean" in row]
    same = ("data", "set", "ipc", "network", "protocol", "runs", "precision", "budget", "seed")
    without = {
        repr([_canonical(row["recipe"]), *(row.get(name) for name in same)]): row
        for row in measured
        if row["recipe"] != "whole"
    }
    found = []
    for row in measured:
        base = base_of(row["recipe"])
        other = without.get(repr([base and _canonical(base), *(row.get(name) for name in same)]))
        if base is not None and other is not None:
            ratios = [one["diversity"] / one["diversity_real"] for one in (row, other) if one.get("diversity")]
            diversity = ratios[0] - ratios[1] if len(ratios) == 2 else None
            both = {"with": row["mean"], "without": other["mean"], "difference": row["mean"] - other["mean"]}
            found.append(row | both | {"base": base, "diversity_difference": diversity})
    return found


def _canonical(text: str) -> str:
    name, arguments = parse_call(text)
    return repr((name, sorted(arguments.items(), key=str)))


def _pairs(rows: list[Row]) -> str:
    found = pairs(rows)
    if not found:
        return ""
    heads = ("data", "with clusters", "without", "ipc", "network", "protocol")
    heads += ("accuracy", "without", "difference by seed", "mean", "diversity")
    lines = ["### With and without clusters, seed by seed", "", _line(heads)]
    lines.append(_line("---" for _ in heads))
    for key, group in _grouped(found, "data", "recipe", "base", "ipc", "network", "protocol", "budget", "set"):
        differences = [100 * row["difference"] for row in group]
        deviation = f" ± {statistics.stdev(differences):.1f}" if len(differences) > 1 else ""
        cells = [str(key[0]), f"`{key[1]}`", f"`{key[2]}`", *map(str, key[3:6])]
        cells += [f"{100 * statistics.fmean(row[side] for row in group):.1f}" for side in ("with", "without")]
        cells += [", ".join(f"{value:+.1f}" for value in differences)]
        cells += [
            f"{statistics.fmean(differences):+.1f}{deviation}",
            _mean(group, "diversity_difference", "{:+.2f}"),
        ]
        lines.append(_line(cells))
    return "\n".join([*lines, ""])


def _draw(rows: list[Row], path: Path) -> None:
    """Draw one panel per source and protocol: accuracies of the recipes, one color per network."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = _grouped((row for row in rows if "mean" in row), "data", "protocol", "ipc")
    panels = [panel for panel in panels if panel[0][2] != 0]
    size = (9, 3.6 * (len(panels) or 1))
    figure, axes = pyplot.subplots(len(panels) or 1, 1, figsize=size, squeeze=False, layout="constrained")
    for axis, ((data, protocol, ipc), some) in zip(axes[:, 0], panels, strict=False):
        recipes = sorted({row["recipe"] for row in some}, key=lambda text: (text not in FIRST, text))
        for (network,), group in _grouped(some, "network"):
            cells = [(text, list(found)) for text, found in groupby(sorted(group, key=_recipe), key=_recipe)]
            points = [(recipes.index(text), *spread(found)) for text, found in cells]
            columns = list(zip(*points, strict=True))
            errors = [100 * (value or 0.0) for value in columns[2]]
            axis.errorbar(columns[0], [100 * mean for mean in columns[1]], errors, fmt="o", label=network)
        axis.set_xticks(range(len(recipes)), _titles(recipes), rotation=40, ha="right", fontsize=8)
        axis.set_ylabel("accuracy, %")
        axis.set_title(f"{data}, {ipc} per class, {protocol} protocol", fontsize=9)
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _titles(recipes: list[str]) -> list[str]:
    """Short names, such as "bdm on dm", or full texts if short names would be equal."""
    parsed = [parse_call(text) for text in recipes]
    short = [f"{name} on {arguments['base']}" if "base" in arguments else name for name, arguments in parsed]
    return [name if short.count(name) == 1 else text for name, text in zip(short, recipes, strict=True)]


def _recipe(row: Row) -> str:
    return str(row["recipe"])
