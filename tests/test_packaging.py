"""What users install is what is tested: a wheel built from a copy, imported from another directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOTS = (ROOT, ROOT / "integrations")
SOURCES = ("condensed_data", "integrations", "tests", "examples", "pyproject.toml", "README.md", "LICENSE")
HEAVY = ("torch", "torchvision", "sklearn", "scipy", "matplotlib", "pyarrow", "huggingface_hub", "timm")
OPTIONAL = (
    "matplotlib",
    "pyarrow",
    "pandas",
    "timm",
    "tensorboard",
    "optuna",
    "ray",
    "avalanche",
    "datasets",
)
ASK_FOR_HELP = """
import contextlib, sys
from condensed_data.cli.main import main
sys.argv = ["condensed-data", "--help"]
with contextlib.suppress(SystemExit):
    main()
"""


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Standard output of the command; a failure shows everything that it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools would leave its folders in the tree, and reuse stale ones."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "wheels", cwd=source)
    (built,) = (source / "wheels").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile")
    run(*pip, "--target", target, wheel, cwd=target)
    return target


@pytest.fixture
def elsewhere(installed: Path, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A working directory outside the tree, and an environment that finds the installed wheel first."""
    return tmp_path, {**os.environ, "PYTHONPATH": str(installed)}


def names(wheel: Path) -> list[str]:
    """Paths of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def metadata(wheel: Path, name: str) -> str:
    """Text of one file of the wheel's .dist-info."""
    (path,) = (path for path in names(wheel) if path.endswith(f".dist-info/{name}"))
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(path).decode()


def imported(code: str, cwd: Path, env: dict[str, str]) -> set[str]:
    """Top-level modules that are loaded after `code` ran in a fresh interpreter."""
    listing = f"{code}\nimport sys\nprint('modules:', *{{name.split('.')[0] for name in sys.modules}})"
    return set(run(sys.executable, "-c", listing, cwd=cwd, env=env).rpartition("modules:")[2].split())


def test_wheel_holds_our_packages_and_nothing_else(wheel: Path) -> None:
    ours = {init.parent.name for root in ROOTS for init in root.glob("condensed_data*/__init__.py")}
    tops = {path.split("/")[0] for path in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == ours


def test_wheel_holds_every_module_and_marker(wheel: Path) -> None:
    # setuptools leaves out a folder that has no __init__.py without a word
    modules = {path.relative_to(root) for root in ROOTS for path in root.glob("condensed_data*/**/*.py")}
    markers = {Path(path.parts[0], "py.typed") for path in modules}
    assert {path.as_posix() for path in modules | markers} <= set(names(wheel))


def test_wheel_metadata(wheel: Path) -> None:
    assert "condensed-data = condensed_data.cli.main:main" in metadata(wheel, "entry_points.txt")
    assert "MIT License" in metadata(wheel, "licenses/LICENSE")
    assert "\nRequires-Python: >=3.10\n" in metadata(wheel, "METADATA")
    assert "\nLicense-Expression: MIT\n" in metadata(wheel, "METADATA")


def test_dev_extra_contains_every_other_extra(wheel: Path) -> None:
    header = message_from_string(metadata(wheel, "METADATA"))
    extras = set(header.get_all("Provides-Extra", []))
    inside = {extra: included(header.get_all("Requires-Dist", []), extra) for extra in ("dev", "all")}
    assert "all" in inside["dev"]
    assert inside["all"] == extras - {"all", "dev"}


def included(requirements: Iterable[str], extra: str) -> set[str]:
    """Other extras of this distribution that `extra` asks for."""
    own = re.compile(rf'condensed-data\[([^\]]+)\]\s*;\s*extra == "{extra}"')
    return {name for found in map(own.fullmatch, requirements) if found for name in found[1].split(",")}


def test_import_comes_from_the_wheel_and_leaves_the_extras_alone(
    installed: Path, elsewhere: tuple[Path, dict[str, str]]
) -> None:
    where = run(
        sys.executable,
        "-c",
        "import condensed_data; print(condensed_data.__file__)",
        cwd=elsewhere[0],
        env=elsewhere[1],
    )
    assert Path(where.strip()).is_relative_to(installed)
    assert imported("import condensed_data", *elsewhere).isdisjoint(OPTIONAL)


def test_version_is_that_of_the_wheel(wheel: Path, elsewhere: tuple[Path, dict[str, str]]) -> None:
    version = run(
        sys.executable,
        "-c",
        "import condensed_data; print(condensed_data.__version__)",
        cwd=elsewhere[0],
        env=elsewhere[1],
    )
    assert f"\nVersion: {version.strip()}\n" in metadata(wheel, "METADATA")


def test_installed_command_answers_without_torch(installed: Path, elsewhere: tuple[Path, dict[str, str]]) -> None:
    command = shutil.which("condensed-data", path=str(installed / "bin"))
    assert command, "the wheel installs no condensed-data command"
    assert "build" in run(command, "--help", cwd=elsewhere[0], env=elsewhere[1])
    assert imported(ASK_FOR_HELP, *elsewhere).isdisjoint(HEAVY)
