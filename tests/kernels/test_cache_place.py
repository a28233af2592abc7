"""Compiled code where the installation cannot be written: in a directory of this user's own, or nowhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lockscope.kernels import outer as declaring
from lockscope.kernels.cache_place import place, private

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "walk.py").write_text("")
    return folder


def test_the_directory_that_systemd_made_comes_first(tmp_path: Path, sources: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    found = place(sources, {"CACHE_DIRECTORY": f"{one}:/else", "XDG_CACHE_HOME": str(two)})
    assert found is not None
    assert found.parent == one / "lockscope"
    assert found.stat().st_mode & 0o777 == 0o700


def test_other_sources_have_another_place(tmp_path: Path, sources: Path) -> None:
    before = place(sources, {"XDG_CACHE_HOME": str(tmp_path)})
    os.utime(sources / "walk.py", ns=(1, 1))
    assert place(sources, {"XDG_CACHE_HOME": str(tmp_path)}) != before


def test_what_others_can_write_is_not_believed(tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numba loads pickles from there: planted ones would run."""
    planted, good = tmp_path / "planted", tmp_path / "good"
    (planted / "lockscope").mkdir(parents=True)
    (planted / "lockscope").chmod(0o777)
    found = place(sources, {"CACHE_DIRECTORY": str(planted), "XDG_CACHE_HOME": str(good)})
    assert found is not None
    assert found.parent == good / "lockscope"
    (tmp_path / "link").symlink_to(good / "lockscope")
    assert not private(tmp_path / "link")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert not private(good / "lockscope")


def test_nowhere(tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", "relative")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    assert place(sources, {"CACHE_DIRECTORY": str(tmp_path / "file")}) is None


def test_without_a_place_functions_work_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = declaring.njit

    def njit(**options: object) -> object:
        if options.pop("cache", False):
            msg = "cannot cache function 'f': no locator available for file 'f.py'"
            raise RuntimeError(msg)
        return plain(**options)

    monkeypatch.setattr(declaring, "njit", njit)
    monkeypatch.setattr(declaring, "_told", [])
    for _ in range(2):
        assert declaring.outer("i8(i8)")(lambda x: x + 1)(41) == 42
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "NUMBA_CACHE_DIR" in said


@pytest.mark.all
def test_a_service_account_without_a_home(tmp_path: Path) -> None:
    """Who may write nothing but the temporary directory. Needs root, to become root without its powers: this
    interpreter may lie where nobody else can run it.
    """
    assert os.geteuid() == 0, "needs root"
    library = tmp_path / "lib"
    shutil.copytree(ROOT / "lockscope", library / "lockscope", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (library, *(p for p in library.rglob("*") if p.is_dir())):
        folder.chmod(0o555)
    (tmp_path / "tmp").mkdir(mode=0o700)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(library), "HOME": str(library / "none"),
                   "TMPDIR": str(tmp_path / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "lockscope", "info",
               str(ROOT / "sample_traces" / "stacks.dat")]  # fmt: skip
    written = [*command[:4], "-c", f"open({str(library / 'x')!r}, 'w')"]
    assert b"PermissionError" in subprocess.run(written, capture_output=True, check=False).stderr
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "tmp").glob("lockscope-0/*/*/*.nbc"))
    assert not list(library.rglob("*.nbc"))
