"""RAPID's STD events."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import lockscope
from lockscope.errors import UsageError
from tests.builders.script import HARDIRQ, Script

ROOT = Path(__file__).parents[2]
A, B = 0xFFFF888100000100, 0xFFFF888100000200


def exported(trace: Path, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    out, names = lockscope.load(trace).export(tmp_path / "t.std", format="std")
    with names.open(newline="") as file:
        return out.read_text().splitlines(), {row["id"]: row["name"] for row in csv.DictReader(file)}


def test_each_hold_is_asked_for_had_and_given_back(tmp_path: Path) -> None:
    s = Script()
    s.comms[1] = "init"
    s.task("init", 1).event("sched:sched_process_fork", parent_comm="init", parent_pid=1, child_comm="qemu",
                            child_pid=100, at=5)  # fmt: skip
    one = s.task("qemu", 100)
    one.acquire("&kvm->lock", A, at=10).acquired("&kvm->lock", A, at=20)
    one.acquire("&kvm->slots_lock", B, trylock=True, at=30)
    with one.context(HARDIRQ):
        one.acquire("&base->lock", B + 8, at=40).acquired("&base->lock", B + 8, at=41).release(
            "&base->lock", B + 8, at=42
        )
    one.release("&kvm->slots_lock", B, at=50).release("&kvm->lock", A, at=60)
    one.acquire("&mm->mmap_lock", B + 16, read=True, at=70).acquired("&mm->mmap_lock", B + 16, at=71)
    one.release("&mm->mmap_lock", B + 16, at=72)
    one.acquire("&kvm->lock", A, at=80)
    lines, names = exported(s.save(tmp_path / "t.dat"), tmp_path)
    assert lines == [
        "T1|fork(T100)|0",
        "T100|req(L1)|1", "T100|acq(L1)|1", "T100|acq(L2)|1",
        "I0hardirq|req(L3)|1", "I0hardirq|acq(L3)|1", "I0hardirq|rel(L3)|1",
        "T100|rel(L2)|1", "T100|rel(L1)|1",
    ]  # fmt: skip
    assert names["L1"] == f"&kvm->lock 0x{A:x}"
    assert (names["T100"], names["I0hardirq"]) == ("qemu", "interrupts")


@pytest.mark.parametrize("name", ["memslot_stress.dat", "lossy.dat", "bug_mutex_under_mmu_lock.dat"])
def test_a_recorded_trace_is_well_formed(tmp_path: Path, name: str) -> None:
    """As RAPID wants it: each thread gives back what it has, and has no lock twice."""
    lines, names = exported(ROOT / "sample_traces" / name, tmp_path)
    assert len(lines) > 1_000
    has: dict[str, list[str]] = {}
    for line in lines:
        thread, what, place = line.split("|")
        op, lock = what.rstrip(")").split("(")
        assert lock in names
        assert place in names
        mine = has.setdefault(thread, [])
        if op == "acq":
            mine.append(lock)
        elif op == "rel":
            mine.remove(lock)
    assert not any(has.values())


def test_options_without_a_meaning_are_refused(tmp_path: Path) -> None:
    trace = lockscope.load(ROOT / "sample_traces" / "memslot_stress.dat")
    with pytest.raises(UsageError, match="--table and --event are for formats that write tables"):
        trace.export(tmp_path / "x", format="std", tables=("holds",))
    with pytest.raises(UsageError, match="cannot leave names out"):
        trace.export(tmp_path / "x", format="std", redact=True)
