from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

from lockscope.report.locks.output import lock_writers
from lockscope.results.lock_stats import LockFigures, LockRow, Times, WaitChains, WaitLink

WAIT = Times(2, 30_000, 10_000, 20_000, (10_000, 20_000))
HOLD = Times(3, 3_000_000, 500, 2_000_000, (800_000, 2_000_000))
NONE = Times(0, 0, 0, 0, (0, 0))
FIGURES = LockFigures(
    "x\x1b.dat", "6.12.1", 1_000_000_000, 3_000_000_000, ("lock", "caller", "pid"), (50.0, 99.9),
    (
        LockRow(("0xffff888100000100", "&kvm->lock", 7), "write", 1_234, 1, 2, 3, WAIT, HOLD),
        LockRow(("0xffff888100000200", "", 70_000), "read", 5, 0, 0, 0, NONE, NONE),
    ),
    groups=9, acquired=2_000, cut=3, orphans=1, lost_events=None, notes=("only so much",),
)  # fmt: skip
LINK = WaitLink(
    0, 0, "&kvm->lock", 0xFFFF888100000100, "write", 7, "qemu", 1, 1_000_000_000, 1_003_000_000, "kvm_vm_ioctl+0x1",
    8, "vcpu", "read", 900_000_000, 2_000_000, "kvm_mmu+0x2", 2,
)  # fmt: skip
CHAINS = WaitChains(
    "x.dat", None,
    (LINK, replace(LINK, depth=1, name="&a->b", pid=8, comm="vcpu", caller="", owner_pid=-1, owner_comm="",
                   owner_since_ns=0, owned_ns=0, owners=0), replace(LINK, chain=1, owners=1, owner_mode="write")),
    7, ("a note",),
)  # fmt: skip


def written(name: str, what: LockFigures | WaitChains) -> str:
    stream = io.StringIO()
    if isinstance(what, LockFigures):
        lock_writers()[name].write_locks(what, stream)
    else:
        lock_writers()[name].write_chains(what, stream)
    return stream.getvalue()


def test_there_are_three() -> None:
    assert list(lock_writers()) == ["csv", "json", "text"]


def test_text_is_a_table_with_what_it_rests_on() -> None:
    lines = written("text", FIGURES).splitlines()
    assert lines[0].split("  ")[:3] == ["lock", "", ""]
    assert [" ".join(line.split()) for line in lines[:3]] == [
        "lock caller pid mode acquired contended wait total wait avg wait p99.9 wait max "
        "hold total hold avg hold p99.9 hold max",
        "0xffff888100000100 &kvm->lock 7 write 1,234 2 30 us 15 us 20 us 20 us 3 ms 1 ms 2 ms 2 ms",
        "0xffff888100000200 ? 70000 read 5 0 - - - - - - - -",
    ]
    assert lines[3:] == [
        "",
        "2 of 9 groups shown",
        "x\\x1b.dat: 1.000000000 .. 3.000000000 (2.000 s)",
        "not whole: 0.20 %: 3 taken and not seen released, 1 released and not seen taken",
        "lost: an unknown number of events; what was held across a gap is not counted in full",
        "note: only so much",
    ]


def test_text_without_rows_is_a_head() -> None:
    lines = written("text", replace(FIGURES, rows=(), groups=0, notes=(), lost_events=0, cut=0, orphans=0)).splitlines()
    assert lines[0].startswith("lock  caller  pid  mode")
    assert lines[1:] == ["", "x\\x1b.dat: 1.000000000 .. 3.000000000 (2.000 s)"]


def test_json_has_every_figure_by_name() -> None:
    found = json.loads(written("json", FIGURES))
    assert {k: found[k] for k in ("schema", "groups", "acquired", "cut", "orphans", "lost_events")} == {
        "schema": "lockscope-locks/1", "groups": 9, "acquired": 2_000, "cut": 3, "orphans": 1, "lost_events": None,
    }  # fmt: skip
    assert found["rows"][0] == {
        "lock": "0xffff888100000100", "caller": "&kvm->lock", "pid": 7, "mode": "write", "acquired": 1_234,
        "trylocks": 1, "contended": 2, "cut": 3,
        "wait": {"number": 2, "total_ns": 30_000, "avg_ns": 15_000, "min_ns": 10_000, "max_ns": 20_000,
                 "p50_ns": 10_000, "p99.9_ns": 20_000},
        "hold": {"number": 3, "total_ns": 3_000_000, "avg_ns": 1_000_000, "min_ns": 500, "max_ns": 2_000_000,
                 "p50_ns": 800_000, "p99.9_ns": 2_000_000},
    }  # fmt: skip


def test_csv_has_the_same_columns() -> None:
    head, first, second = csv.reader(io.StringIO(written("csv", FIGURES)))
    row = dict(zip(head, first, strict=True))
    assert (row["caller"], row["mode"], row["wait_total_ns"], row["hold_p99.9_ns"]) == (
        "&kvm->lock",
        "write",
        "30000",
        "2000000",
    )
    assert len(second) == len(head)


def test_chains_read_as_sentences() -> None:
    assert written("text", CHAINS).splitlines() == [
        "qemu/7 waited 3 ms for &kvm->lock (0xffff888100000100) at kvm_vm_ioctl+0x1",
        "  [1.000000000 .. 1.003000000] CPU 1",
        "  held for read by vcpu/8 for 2 ms of it, the longest of 2 owners, since 0.900000000, taken at kvm_mmu+0x2",
        "  which waited 3 ms for &a->b (0xffff888100000100) [1.000000000]",
        "    held by nobody that was seen to release it meanwhile",
        "",
        "qemu/7 waited 3 ms for &kvm->lock (0xffff888100000100) at kvm_vm_ioctl+0x1",
        "  [1.000000000 .. 1.003000000] CPU 1",
        "  held by vcpu/8 for 2 ms of it, since 0.900000000, taken at kvm_mmu+0x2",
        "",
        "x.dat: 2 of 7 waits explained, longest first",
        "note: a note",
    ]


def test_chains_are_a_table_too() -> None:
    head, *rows = csv.reader(io.StringIO(written("csv", CHAINS)))
    assert [(r[head.index("chain")], r[head.index("depth")], r[head.index("owner_pid")]) for r in rows] == [
        ("0", "0", "8"), ("0", "1", "-1"), ("1", "0", "8"),
    ]  # fmt: skip
    found = json.loads(written("json", CHAINS))
    assert (found["schema"], found["waits"], len(found["links"])) == ("lockscope-waits/1", 7, 3)
    assert found["links"][0]["lock"] == rows[0][head.index("lock")] == "0xffff888100000100"
