"""The rooms of the package and the order of its floors: imports run downwards, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# from the roof to the ground; rooms of one floor do not import each other
FLOORS = (
    ("__main__",),
    ("cli",),
    ("dataset",),
    ("evaluation",),
    ("engine",),
    ("storage",),
    ("methods",),
    ("training",),
    ("data",),
    ("networks", "plotting"),
    ("core",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PACKAGES = ("condensed_data", "integrations/condensed_data_avalanche", "integrations/condensed_data_nas")


def modules(package: str) -> dict[str, Path]:
    """The files of a package by dotted name."""
    folder = ROOT / package
    names = {path: ".".join(path.relative_to(folder.parent).with_suffix("").parts) for path in folder.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Every known module that a file imports, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for dotted in found:
            target = dotted if dotted in known else dotted.rpartition(".")[0]
            if target in known and target != name:
                yield target


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def test_imports_run_downwards() -> None:
    known = modules("condensed_data")
    wrong = [
        f"{name} imports {target}"
        for name, path in sorted(known.items())
        for target in imports(name, path, known)
        if name != "condensed_data"  # it hands out public names
        and (room(target) == "__init__" or (FLOOR[room(name)] >= FLOOR[room(target)] and room(name) != room(target)))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    known = modules(package)
    graph = {name: set(imports(name, path, known)) for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(error.args[1])) from None
