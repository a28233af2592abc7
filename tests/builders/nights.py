"""Traces of many hosts and nights, and rows of a history without any trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lockscope.core.lock_stats import bucket_ends
from lockscope.nightly import tables
from lockscope.nightly.examine import class_row
from lockscope.nightly.histograms import BINS, ClassTimes, Times
from lockscope.nightly.history import History
from lockscope.nightly.tables import Row
from tests.builders.script import Script

KERNEL = "6.12.1 x86_64"
BY_FOLDER = r"(?P<host>[^/]+)/[^/]+$"
LOCK, SLOTS = "&kvm->lock", "&kvm->slots_lock"


def one_way(path: Path, *names: str, pid: int = 100, at: int = 1_000_000) -> Path:
    """A trace.dat in which one task takes the locks in this order, and lets them go."""
    script = Script().at(at)
    task = script.task("qemu", pid)
    for i, name in enumerate(names):
        task.detail(name, 0x100 * (i + 1), ip=0).acquire(name, 0x100 * (i + 1)).acquired(name, 0x100 * (i + 1))
    for i in reversed(range(len(names))):
        task.release(names[i], 0x100 * (i + 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    return script.save(path)


def trace_row(night: str, host: str, digest: str, **more: Any) -> Row:
    """A row of ``traces`` that was read without loss."""
    row = {
        "night": night, "digest": digest, "host": host, "kernel": KERNEL, "path": f"{host}/{digest}.dat", "stamp": "",
        "size": 1, "format": "memory", "clock": "mono", "rules": "kvm-6.12", "cpus": 2, "events": 1000,
        "lost_events": 0, "length_ns": 10**9, "verdict": "clean", "ran": 20, "partial": 0, "skipped": 3, "error": "",
        "version": "0",
    }  # fmt: skip
    return {**row, **more}


def finding(night: str, host: str, fingerprint: str, *classes: str, code: str = "LS102", **more: Any) -> Row:
    """A row of ``findings``."""
    row = {
        "night": night, "digest": f"{host}-{night}", "host": host, "kernel": KERNEL, "fingerprint": fingerprint,
        "code": code, "check": "documented-order", "severity": "error", "confidence": "certain",
        "title": "locks taken against the documented order", "message": "", "classes": list(classes), "rule": "",
        "source": "", "count": 1, "window": "", "path": "", "ts_ns": 1, "task": "qemu/1", "story": "", "ring": [],
        "suspect": None,
    }  # fmt: skip
    return {**row, **more}


def check(night: str, host: str, code: str = "LS102", status: str = "ran") -> Row:
    """A row of ``checks``."""
    return {"night": night, "digest": f"{host}-{night}", "host": host, "code": code, "status": status,
            "verdict": "clean", "reason": ""}  # fmt: skip


def edge(held: str, taken: str, *, night: str = "n1", host: str = "a", kind: int = 3, **more: Any) -> Row:
    """A row of ``edges``: both exclusive unless ``kind`` says otherwise."""
    row = {
        "night": night, "kernel": KERNEL, "held": held, "taken": taken, "held_label": held.partition("@")[0],
        "taken_label": taken.partition("@")[0], "subclass": 0, "kind": kind, "count": 1, "direct": True, "told": False,
        "irq": False, "detailed": True, "guards": [], "hosts": 1, "host": host, "path": f"{host}.dat", "ts_ns": 1,
        "task": "qemu/1", "held_at": "", "at": "",
    }  # fmt: skip
    return {**row, **more}


def times(ns: Iterable[float]) -> Times:
    """A histogram of these times."""
    values = np.array(list(ns), np.float64).astype(np.int64)
    counts = np.zeros(BINS, np.int64)
    low, _ = bucket_ends(np.arange(BINS))
    np.add.at(counts, np.searchsorted(low, values, side="right") - 1, 1)
    return Times(counts, int(values.sum()), int(values.max(initial=0)))


def classes(night: str, host: str, holds: dict[str, Sequence[float]]) -> list[Row]:
    """Rows of ``classes`` with these hold times (ns) of each lock; every wait took a microsecond."""
    known = {"night": night, "host": host, "kernel": KERNEL}
    return [class_row(n, ClassTimes(times(h), times([1000] * len(h))), known) for n, h in sorted(holds.items())]


def add(history: History, night: str, host: str, **rows: list[Row]) -> None:
    """Keep a record of one trace of a host; ``commit`` makes it count."""
    digest = f"{host}-{night}"
    record = tables.record({"traces": [trace_row(night, host, digest)], **rows})
    history.keep(tables.pack(record))


def children(pid: int) -> list[int]:
    """Processes that a process has begun, as far as it is there."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in tasks.read_text().split()] if tasks.exists() else []
