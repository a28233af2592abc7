"""The oldest and the newest versions of what lockscope needs: pyproject.toml's lower bounds are true ones."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.packaging.conftest import ROOT

EXTRAS = ("cluster", "perfetto", "remote")
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "jsonschema", "duckdb", "polars")  # what the tests need, the newest
# What leans on other packages: tables, Parquet, figures, the command line, packed files, workers.
PART = ("cli", "exports", "nightly", "plots", "report", "tables", "trace", "formats")


def needed() -> list[Requirement]:
    """What it needs on this Python, extras too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    return [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate()]


def oldest(requirement: Requirement) -> str:
    """The lowest version that a requirement admits."""
    (bound,) = (part for part in requirement.specifier if part.operator == ">=")
    return f"{requirement.name}=={bound.version}"


def newest(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def test_a_bound_is_its_version() -> None:
    assert oldest(Requirement("typer>=0.26,!=0.29.*")) == "typer==0.26"
    assert newest(Requirement("numpy>=2.0; python_version > '3'")) == "numpy>=2.0"
    assert {"numpy", "pyarrow", "pandas", "typer", "matplotlib", "distributed"} <= {r.name for r in needed()}


@pytest.mark.all
@pytest.mark.parametrize("which", [oldest, newest])
def test_a_part_of_the_suite_passes(environment: Callable[..., Path], which: Callable[[Requirement], str]) -> None:
    wanted = [which(requirement) for requirement in needed()]
    inside = environment(sys.executable, *wanted, *TOOLS)
    # An old library uses what a newer one of another project warns of: nothing that a user sees.
    quiet = ["-W", "ignore::DeprecationWarning"] if which is oldest else []
    tests = [
        *(str(ROOT / "tests" / part) for part in PART),
        *map(str, sorted((ROOT / "tests").glob("test_trace_*.py"))),
    ]
    command = [str(inside), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", *quiet, *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
