"""The sdist and the wheel: what is in them, and that the one wheel serves every Python."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from compiling import units
from lockscope import __version__
from tests.packaging.conftest import ROOT, SOURCES

pytestmark = pytest.mark.all
SAMPLE = ROOT / "sample_traces/bug_clear_log_without_flush.dat"
COMPILED = {f"lockscope/core/{name}.abi3.so" for name in ("_shared", *units.units())}


def in_tree(*names: str) -> set[str]:
    """The files of the tree that are no product of a build."""
    paths = [p for name in names for p in ((ROOT / name).rglob("*") if (ROOT / name).is_dir() else [ROOT / name])]
    left = [p for p in paths if p.is_file() and p.suffix != ".so" and "__pycache__" not in p.parts]
    return {str(p.relative_to(ROOT)) for p in left}


def test_they_are_called_as_installers_look_for_them(dist: Path) -> None:
    here = f"linux_{platform.machine()}"
    names = {path.name for path in dist.iterdir()}
    assert names == {f"lockscope-{__version__}.tar.gz", f"lockscope-{__version__}-cp311-abi3-{here}.whl"}


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        compiled = {name: archive.read(name) for name in COMPILED & names}
    assert names == in_tree("lockscope") | COMPILED
    assert [name for name, whole in compiled.items() if b".symtab" in whole or b".debug_" in whole] == []


def test_the_sdist_has_what_a_wheel_is_made_of(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    made = {name for name in names if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert names - made == in_tree(*SOURCES)


def _interpreter(version: str) -> str | None:
    """A Python of that version which can make an environment."""
    found = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for path in [sys.executable, *(str(p) for p in found if p)]:
        ask = [path, "-c", "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"]
        if subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip() == version:
            return path
    return None


def _analyzed(*command: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    whole = [*command, "analyze", str(SAMPLE), "--format", "json"]
    return subprocess.run(whole, cwd=cwd, capture_output=True, check=False)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_it_runs_on_every_python(
    wheel: Path, tmp_path: Path, environment: Callable[..., Path], version: str
) -> None:  # fmt: skip
    python = _interpreter(version)
    if python is None:
        # A machine has the Pythons that it has; a root with 3.14 is built by test_minimal_root.py.
        pytest.skip(f"no Python {version} with venv is here (looked for python{version} and in ~/.pyenv/versions)")
    inside = environment(python, str(wheel))
    ours = _analyzed(sys.executable, "-m", "lockscope", cwd=ROOT)
    theirs = _analyzed(str(inside.with_name("lockscope")), cwd=tmp_path)
    assert b'"LS301"' in ours.stdout
    assert (theirs.returncode, theirs.stderr) == (1, b"")
    assert theirs.stdout == ours.stdout
    ask = "from lockscope.core import walk; print(walk.__file__)"
    told = subprocess.run([str(inside), "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert told.endswith(f"/python{version}/site-packages/lockscope/core/walk.abi3.so\n")
