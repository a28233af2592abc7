"""ftrace text, read back by the reader of ftrace text."""

from __future__ import annotations

from pathlib import Path

import pytest

import lockscope
from tests.builders.script import BH_OFF, HARDIRQ, IRQS_OFF, Script

ROOT = Path(__file__).parents[2]
SAMPLES = ["bug_slots_lock_then_kvm_lock.dat", "lossy.dat", "stock61_dirty_log_auto.dat"]


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_read_back_is_the_same(tmp_path: Path, name: str) -> None:
    trace = lockscope.load(ROOT / "sample_traces" / name)
    (place,) = trace.export(tmp_path / "t.txt", format="text")
    again = lockscope.load(place)
    for table in ("lock_events", "spte_changes", "srcu_events", "task_switches"):
        mine, theirs = trace.table(table).arrow.drop(["seq"]), again.table(table).arrow.drop(["seq"])
        if table == "spte_changes":  # which VM and in which mode, a stock kernel's text leaves to be inferred
            mine, theirs = mine.drop(["vm", "mmu_lock"]), theirs.drop(["vm", "mmu_lock"])
        assert mine.to_pylist() == theirs.to_pylist(), table


def test_the_verdict_is_the_same(tmp_path: Path) -> None:
    trace = lockscope.load(ROOT / "sample_traces" / SAMPLES[0])
    (place,) = trace.export(tmp_path / "t.txt", format="text")
    mine, theirs = trace.analyze(select=("LS101", "LS102")), lockscope.load(place).analyze(select=("LS101", "LS102"))
    assert [(f.code, f.classes, f.fingerprint) for f in theirs.findings] == [
        (f.code, f.classes, f.fingerprint) for f in mine.findings
    ]


def test_lines_have_tracefs_form(tmp_path: Path) -> None:
    s = Script()
    t = s.task("qemu", 100, cpu=3)
    t.preempt = 0x21
    with t.context(IRQS_OFF | BH_OFF | HARDIRQ, 0x21):
        t.acquire("&kvm->lock", 0xFFFF888100000100, trylock=True, at=1_000_000_123)
    s.loss(3)
    t.release("&kvm->lock", 0xFFFF888100000100, at=1_500_000_000)
    s.at(2_000_000_000).idle(0).sys_exit(16, -22)
    (place,) = lockscope.load(s.save(tmp_path / "t.dat")).export(tmp_path / "t.txt", format="text")
    assert [line for line in place.read_text().splitlines() if not line.startswith("#")] == [
        "            qemu-100     [003] D.h12     1.000000123: lock_acquire:"
        " flags=1 name=&kvm->lock lockdep_addr=0xffff888100000100",
        "CPU:3 [LOST EVENTS]",
        "            qemu-100     [003] ...12     1.500000000: lock_release:"
        " name=&kvm->lock lockdep_addr=0xffff888100000100",
        "          <idle>-0       [000] .....     2.000000000: sys_exit: id=16 ret=-22",
    ]  # fmt: skip


def test_only_some_events_and_some_time(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    s = Script()
    t = s.task("qemu", 100)
    for at in (10, 20, 30):
        t.take("&kvm->lock", 1).release("&kvm->lock", 1, at=at * 1_000_000_000)
    trace = lockscope.load(s.save(tmp_path / "t.dat"))
    trace.export("-", format="text", events=("lock_release",), from_=15.0)
    lines = [line for line in capfdbinary.readouterr().out.decode().splitlines() if not line.startswith("#")]
    assert [line.split()[3:5] for line in lines] == [
        ["20.000000000:", "lock_release:"],
        ["30.000000000:", "lock_release:"],
    ]


def test_which_buffer_a_line_is_of(tmp_path: Path) -> None:
    """As one stream, the locks of one instance and the SPTEs of another gave LS303, certain."""
    (place,) = lockscope.load(ROOT / "sample_traces/instances.dat").export(tmp_path / "t.txt", format="text")
    assert "kvm:  memslot_modific-112" in place.read_text()
    trace = lockscope.load(place)
    assert {f.code for f in trace.analyze().findings} <= {"LS901", "LS902", "LS903"}


def test_the_kernel_and_what_was_only_counted_as_lost(tmp_path: Path) -> None:
    (place,) = lockscope.load(ROOT / "sample_traces/stacks.dat").export(tmp_path / "t.txt", format="text")
    assert place.read_text().splitlines()[-2:] == ["CPU:0 [LOST 374969 EVENTS]", "CPU:1 [LOST 255977 EVENTS]"]
    mine, theirs = (lockscope.load(p).analyze().traces[0] for p in (ROOT / "sample_traces/stacks.dat", place))
    assert (theirs.kernel, theirs.lost_events) == (mine.kernel, mine.lost_events)
