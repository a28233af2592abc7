"""Nights that are killed, or run out of disk: nothing lost, nothing twice, no litter, no port, and a clear line."""

from __future__ import annotations

import datetime
import os
import socket
import time
from pathlib import Path

import pytest

from lockscope.errors import LockscopeError
from lockscope.nightly import history as keeping
from lockscope.nightly import tables, workers
from lockscope.nightly.examine import Job, broken
from lockscope.nightly.history import History, write_whole
from lockscope.nightly.night import night_of
from lockscope.nightly.sources import Source
from lockscope.nightly.summary import as_markdown, as_text
from tests.builders.nights import LOCK, SLOTS, add, classes, finding, trace_row

ROOT = Path(__file__).parents[2]


def pack_broken(path: str, digest: str = "") -> bytes:
    return broken(Job(Source(path), "n1", "0"), f"{path}: cannot be read", digest)


@pytest.mark.parametrize("digest", ["", "d1"])
def test_a_broken_file_is_one_row_though_the_commit_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    """Killed between the last table and taking the record away: the record is there once more at the next commit."""
    made = History(tmp_path / "h")
    made.keep(pack_broken("x.dat", digest))
    made.keep(tables.pack(tables.record({"traces": [trace_row("n1", "a", "d2")]})))
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # nothing is taken away
    made.commit()
    monkeypatch.undo()
    assert len(list((tmp_path / "h" / "pending").iterdir())) == 2
    again = History(tmp_path / "h")
    assert again.commit() == []
    assert sorted(again.table("traces").column("path").to_pylist()) == ["a/d2.dat", "x.dat"]
    assert list((tmp_path / "h" / "pending").iterdir()) == []


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    made = History(tmp_path / "h")
    places = [tmp_path / "h", tmp_path / "h" / "pending", tmp_path / "h" / "edges"]
    for folder in places:
        (folder / ".new-old").write_bytes(b"half")
        os.utime(folder / ".new-old", (1, 1))
        (folder / ".new-fresh").write_bytes(b"half")
    (tmp_path / "h" / "pending" / ".new-busy").write_bytes(b"half")
    os.utime(tmp_path / "h" / "pending" / ".new-busy", (1, 1))
    with (tmp_path / "h" / "pending" / ".new-busy").open("rb") as busy:
        keeping.fcntl.flock(busy, keeping.fcntl.LOCK_EX)
        made.commit()
    left = sorted(p.name for folder in places for p in folder.glob(".new-*"))
    assert left == [".new-busy", ".new-fresh", ".new-fresh", ".new-fresh"]


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping.os, "fsync", full)
    with pytest.raises(LockscopeError, match=r"x\.parquet: cannot be written: No space left on device"):
        write_whole(tmp_path / "x.parquet", b"data")
    assert list(tmp_path.iterdir()) == []


def test_no_line_of_the_summary_is_a_trace_s(tmp_path: Path) -> None:
    """Names of hosts and locks cannot move the cursor, forge a line or be markup."""
    evil = "h\x1b[2J\nforged: nothing new\u202e\x9b"
    made = History(tmp_path / "h")
    add(made, "n1", evil, findings=[finding("n1", evil, "f" * 16, "&a\x1b]0;x\x07\n!", SLOTS)],
        classes=classes("n1", evil, {LOCK: [1]}))  # fmt: skip
    made.commit()
    night = night_of(made, "n1", (), datetime.date(2026, 1, 1))
    for text in (as_text(night), as_markdown(night)):
        assert not [c for c in text if c != "\n" and not c.isprintable()]
        assert not any(line.startswith("forged") for line in text.splitlines())


def listening(pid: int) -> list[str]:
    """Sockets that a process or its children listen on, as lines of /proc/net/tcp."""
    family = {pid}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) in family:
            family.add(int(status.parent.name))
    inodes = set()
    for one in family:
        for link in Path(f"/proc/{one}/fd").glob("*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    rows = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return [row for row in rows if row.split()[3] == "0A" and row.split()[9] in inodes]


def slow(job: Job) -> bytes:
    time.sleep(0.5)
    return pack_broken(job.source.path)


@pytest.mark.all
def test_one_machine_opens_no_port() -> None:
    with socket.socket() as known:
        known.bind(("127.0.0.1", 0))
        known.listen()
        assert len(listening(os.getpid())) == 1  # what would be seen
    jobs = [Job(Source(name), "n1", "0") for name in "abcd"]
    for _ in workers.in_pool(jobs, 2, slow):
        assert listening(os.getpid()) == []
