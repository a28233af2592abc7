"""The distributions that are tested: built once a run, from a copy of what they are made of."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("compiling", "lockscope", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py")
_LEFT = shutil.ignore_patterns("*.so", "__pycache__", "build")


def copied(to: Path, *names: str) -> Path:
    """Copies of files and folders of the tree, without what was built there."""
    for name in names:
        place = to / name
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=_LEFT)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place)
    return to


def _build(folder: Path) -> None:
    tree = copied(folder / "tree", *SOURCES)
    out = folder / "dist"
    # The wheel is made of the unpacked sdist. Whatever does not compile must not be taken for a wheel.
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(tree)],
        env=os.environ | {"LOCKSCOPE_MUST_COMPILE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist and the wheel."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "distributions"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # for all of xdist's workers
        if not (folder / "dist").exists():
            _build(folder)
    return folder / "dist"


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """The wheel."""
    return next(dist.glob("*.whl"))


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., Path]:
    """Makes a virtual environment by an interpreter and installs packages into it: half a gigabyte, not kept."""

    def make(python: str, *packages: str) -> Path:
        subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True)
        inside = tmp_path / "venv/bin/python"
        install = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        done = subprocess.run(install, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        return inside

    yield make
    shutil.rmtree(tmp_path / "venv", ignore_errors=True)
