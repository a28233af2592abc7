"""`lockscope nightly` as a process: killed at random, out of disk, two at once, on a history that is damaged."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lockscope.nightly import history as keeping
from lockscope.nightly.history import History
from tests.builders.nights import BY_FOLDER, LOCK, SLOTS, children, one_way

ROOT = Path(__file__).parents[2]
FEW, MANY = 10, 200
KEPT = {  # what tells a row of a table; edges of one run are one row, however many traces had them
    "traces": ("path", "digest", "error"), "classes": ("host", "name"), "checks": ("digest", "code"),
    "findings": ("digest", "fingerprint"),
}  # fmt: skip
# As tests/hostile/test_full_disk.py has it: files may not be longer than this many bytes.
LIMITED = (
    "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from lockscope.cli._run import run; "
    "import lockscope.pipeline, lockscope.trace.trace; size = int(sys.argv[1]); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); sys.exit(run(sys.argv[2:]))"
)


def traces(folder: Path, first: int, last: int) -> None:
    for i in range(first, last):
        one_way(folder / f"host{i}" / "t.dat", SLOTS, LOCK, at=1_000_000 + i)


def words(folder: Path, history: Path, *more: str) -> list[str]:
    return [
        "nightly",
        str(folder),
        "--history",
        str(history),
        "--night",
        "n1",
        "--workers",
        "2",
        "--host",
        BY_FOLDER,
        *more,
    ]


def begun(folder: Path, history: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lockscope", *words(folder, history)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def rows(history: Path) -> dict[str, list[tuple[object, ...]]]:
    """What was written, sorted; rows that are twice there are twice here."""
    made = History(history)
    return {name: sorted(tuple(row[c] for c in columns) for row in made.table(name).select(list(columns)).to_pylist())
            for name, columns in KEPT.items()}  # fmt: skip


def alone(folder: Path, history: Path) -> dict[str, list[tuple[object, ...]]]:
    """As one run makes it that nobody disturbs."""
    done = begun(folder, history)
    assert done.wait() in (0, 1), done.stderr and done.stderr.read()
    if done.stderr:
        done.stderr.close()
    found = rows(history)
    assert all(len(set(found[name])) == len(found[name]) > 0 for name in KEPT)
    return found


@pytest.mark.all
@pytest.mark.parametrize("kills", [FEW, pytest.param(MANY, marks=pytest.mark.long)])
def test_nights_that_are_killed_at_random(tmp_path: Path, kills: int) -> None:
    """Each time a trace more; in the end the history is as if nobody had disturbed anything, and nothing lies about.

    Every third time it is a worker that is killed, and the run goes on to its end.
    """
    rng, folder, history = random.Random(kills), tmp_path / "traces", tmp_path / "h"
    traces(folder, 0, 4)
    (folder / "broken.dat").write_bytes(b"\x17\x08Dtracing9")
    began = time.monotonic()
    alone(folder, tmp_path / "first")
    length = time.monotonic() - began
    interrupted = 0
    for i in range(kills):
        traces(folder, 4 + i, 5 + i)
        night = begun(folder, history)
        time.sleep(rng.uniform(0.1, 1) * length)
        victims = children(night.pid) if i % 3 == 2 else []
        os.kill(rng.choice(victims or [night.pid]), signal.SIGKILL)
        _, told = night.communicate()
        assert "internal error" not in told
        assert "Traceback" not in told
        interrupted += night.returncode == -signal.SIGKILL
    assert interrupted > kills // 3
    time.sleep(keeping._MOMENT_S + 1)
    assert alone(folder, history) == alone(folder, tmp_path / "undisturbed")
    assert list(history.rglob(".new-*")) == []
    assert list((history / "pending").iterdir()) == []


@pytest.mark.all
def test_two_at_once(tmp_path: Path) -> None:
    folder, history = tmp_path / "traces", tmp_path / "h"
    traces(folder, 0, 5)
    nights = [begun(folder, history) for _ in range(2)]
    for night in nights:
        _, told = night.communicate()
        assert night.returncode in (0, 1), told
        assert "internal error" not in told
    assert rows(history) == alone(folder, tmp_path / "alone")


@pytest.mark.all
@pytest.mark.parametrize("size", [10, 3_000, 9_000])
def test_a_disk_that_is_full(tmp_path: Path, size: int) -> None:
    """Wherever it ends: one line with the file, and the next run makes the whole night."""
    folder, history, report = tmp_path / "traces", tmp_path / "h", tmp_path / "r"
    traces(folder, 0, 3)
    command = [sys.executable, "-c", LIMITED, str(size), *words(folder, history, "-o", str(report))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith("cannot be written: File too large")
    assert str(tmp_path) in line
    assert list(history.rglob(".new-*")) == []
    assert not report.exists() or not list(report.rglob("*"))
    assert alone(folder, history) == alone(folder, tmp_path / "undisturbed")


@pytest.mark.all
def test_a_small_file_system_that_fills(tmp_path: Path) -> None:
    """Needs root, for a file system of its own."""
    folder, small = tmp_path / "traces", tmp_path / "small"
    traces(folder, 0, 3)
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        night = begun(folder, small / "h")
        _, told = night.communicate()
        assert night.returncode == 2
        assert told.count("\n") == 1
        assert "cannot be written: No space left on device" in told
        subprocess.run(["mount", "-o", "remount,size=10m", str(small)], check=True)
        assert alone(folder, small / "h") == alone(folder, tmp_path / "undisturbed")
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.fixture(scope="module")
def whole_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With its traces beside it."""
    home = tmp_path_factory.mktemp("whole")
    traces(home / "traces", 0, 2)
    alone(home / "traces", home / "h")
    return home


@pytest.mark.all
@pytest.mark.parametrize("damage", ["cut", "zeros", "empty", "flipped"])
@pytest.mark.parametrize("table", ["traces", "edges"])
def test_a_damaged_file_of_the_history_is_named(tmp_path: Path, whole_history: Path, table: str, damage: str) -> None:
    home = tmp_path / "home"
    shutil.copytree(whole_history, home)
    (file,) = (home / "h" / table).glob("*.parquet")
    data = file.read_bytes()
    file.write_bytes({"cut": data[: len(data) // 2], "zeros": bytes(len(data)), "empty": b"",
                      "flipped": data[:40] + bytes(b ^ 0xFF for b in data[40:])}[damage])  # fmt: skip
    traces(home / "traces", 2, 3)
    night = begun(home / "traces", home / "h")
    _, told = night.communicate()
    assert night.returncode == 2
    assert told.count("\n") == 1
    assert str(file) in told
    assert "internal error" not in told
