"""``lockscope locks`` on recorded traces, and on scripts whose figures are known."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

import lockscope
from lockscope.cli._run import run
from tests.builders.script import HARDIRQ, Script

SAMPLES = Path(__file__).parents[2] / "sample_traces"
TRACE = str(SAMPLES / "memslot_stress.dat")
STOCK = str(SAMPLES / "stock61_dirty_log_auto.dat")
A, B = 0xFFFF888100000100, 0xFFFF888100000200


def label(hold: dict[str, Any]) -> str:
    return hold["name"] + (f"/{hold['subclass']}" if hold["subclass"] else "")


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert run(("locks", *arguments)) == status
    return capsys.readouterr().out


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(told(capsys, *arguments, "--format", "json"))["rows"]
    return found


@pytest.fixture(scope="module")
def holds() -> list[dict[str, Any]]:
    """The holds table, which another path makes of the same walk."""
    table: list[dict[str, Any]] = lockscope.load(TRACE).table("holds").arrow.to_pylist()
    return [h for h in table if h["begin_known"]]


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("class", label),
        ("instance", lambda h: (f"0x{h['lock']:x}", label(h))),
        ("caller", lambda h: h["caller"]),
        ("task", lambda h: h["pid"]),
        ("cpu", lambda h: h["cpu"]),
        ("class,task", lambda h: (label(h), h["pid"])),
    ],
)
def test_figures_are_those_of_the_holds(
    capsys: pytest.CaptureFixture[str], holds: list[dict[str, Any]], by: str, key: Any
) -> None:
    wanted: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for h in holds:
        wanted[key(h), "read" if h["read"] else "write"].append(h)
    names = {"instance": ("lock", "class"), "task": ("pid",), "class,task": ("class", "pid")}.get(by, (by,))
    seen = set()
    for row in rows(capsys, TRACE, "--by", by):
        name = tuple(row[n] for n in names)
        group = name if len(names) > 1 else name[0], row["mode"]
        mine = wanted[group]
        seen.add(group)
        lasted = [h["end_ns"] - max(h["acquired_ns"] or 0, h["asked_ns"]) for h in mine if h["end_known"]]
        waited = [h["acquired_ns"] - h["contended_ns"] for h in mine if h["contended_ns"] and h["acquired_ns"]]
        assert (row["acquired"], row["contended"], row["trylocks"], row["cut"]) == (
            len(mine), sum(h["contended"] for h in mine), sum(h["trylock"] for h in mine), len(mine) - len(lasted),
        ), group  # fmt: skip
        for what, times in (("wait", waited), ("hold", lasted)):
            figures = row[what]
            assert (figures["number"], figures["total_ns"]) == (len(times), sum(times)), group
            if times:
                assert (figures["min_ns"], figures["max_ns"]) == (min(times), max(times))
                median = sorted(times)[-(-len(times) // 2) - 1]
                assert abs(figures["p50_ns"] - median) <= median / 64 + 1
    assert seen == set(wanted)


def test_rows_come_in_the_order_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    keys = {
        "acquired": lambda r: r["acquired"], "hold": lambda r: r["hold"]["total_ns"],
        "hold-max": lambda r: r["hold"]["max_ns"], "hold-avg": lambda r: r["hold"]["avg_ns"],
        "wait": lambda r: r["wait"]["total_ns"],
    }  # fmt: skip
    for sort, key in keys.items():
        found = [key(r) for r in rows(capsys, TRACE, "--sort", sort)]
        assert found == sorted(found, reverse=True)
    first = rows(capsys, TRACE, "--sort", "acquired")[:3]
    assert rows(capsys, TRACE, "--sort", "acquired", "--limit", "3") == first


def scripted(tmp_path: Path) -> str:
    s = Script()
    one, two = s.task("qemu", 100), s.task("vcpu", 101, cpu=1)
    one.acquire("&kvm->lock", A, at=1_000).acquired("&kvm->lock", A, at=1_100)
    two.acquire("&kvm->lock", A, at=2_000).contended("&kvm->lock", A, at=2_100)
    one.release("&kvm->lock", A, at=52_100)
    two.acquired("&kvm->lock", A, at=52_200).release("&kvm->lock", A, at=53_000)
    two.acquire("&mm->mmap_lock", B, read=True, at=60_000).acquired("&mm->mmap_lock", B).release("&mm->mmap_lock", B)
    with one.context(HARDIRQ):
        one.acquire("&rq->__lock", B + 8, at=70_000).acquired("&rq->__lock", B + 8).release("&rq->__lock", B + 8)
    return str(s.save(tmp_path / "t.dat"))


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (("--classes", "&kvm*"), {"&kvm->lock": 2}),
        (("--classes", "*lock,&kvm*"), {"&kvm->lock": 2, "&mm->mmap_lock": 1, "&rq->__lock": 1}),
        (("--tasks", "vc*"), {"&kvm->lock": 1, "&mm->mmap_lock": 1}),
        (("--tasks", "100"), {"&kvm->lock": 1, "&rq->__lock": 1}),
        (("--cpus", "1"), {"&kvm->lock": 1, "&mm->mmap_lock": 1}),
        (("--locks", f"0x{B:x}"), {"&mm->mmap_lock": 1}),
        (("--mode", "read"), {"&mm->mmap_lock": 1}),
        (("--mode", "write"), {"&kvm->lock": 2, "&rq->__lock": 1}),
        (("--contexts", "hardirq"), {"&rq->__lock": 1}),
        (("--start", "0.000002", "--end", "0.00006"), {"&kvm->lock": 1}),
        (("--min-wait", "50us"), {"&kvm->lock": 1}),
        (("--min-wait", "50us", "--tasks", "vcpu", "--classes", "&kvm->lock"), {"&kvm->lock": 1}),
    ],
)
def test_filters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], filters: tuple[str, ...], left: dict[str, int]
) -> None:
    assert {r["class"]: r["acquired"] for r in rows(capsys, scripted(tmp_path), *filters)} == left


def test_the_owner_is_who_made_others_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(capsys, scripted(tmp_path), "--by", "class,owner")
    assert {k: row[k] for k in ("class", "owner_pid", "owner_comm", "mode", "contended")} == {
        "class": "&kvm->lock", "owner_pid": 100, "owner_comm": "qemu", "mode": "write", "contended": 1,
    }  # fmt: skip
    assert (row["wait"]["total_ns"], row["hold"]["number"]) == (50_000, 0)


def test_chains_explain_the_longest_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = scripted(tmp_path)
    out = told(capsys, trace, "--chains", "5")
    assert out.splitlines()[:3] == [
        f"vcpu/101 waited 50.1 us for &kvm->lock (0x{A:x})",
        "  [0.000002100 .. 0.000052200] CPU 1",
        "  held by qemu/100 for 50 us of it, since 0.000001100",
    ]
    (row,) = csv.DictReader(io.StringIO(told(capsys, trace, "--chains", "5", "--format", "csv")))
    assert (row["name"], row["owner_pid"], row["owned_ns"]) == ("&kvm->lock", "100", "50000")
    assert told(capsys, trace, "--chains", "5", "--tasks", "qemu", status=2).count("waited") == 0


def test_vms_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, TRACE, "--by", "vm", "--classes", "&kvm->slots_lock")
    assert [r["vm"].split(" (")[0] for r in found] == ["VM 1"]
    assert rows(capsys, TRACE, "--classes", "&kvm->slots_lock", "--vms", "1")[0]["acquired"] == found[0]["acquired"]
    assert rows(capsys, TRACE, "--by", "vm", "--classes", "rcu_read_lock")[0]["vm"] == "none"


def test_a_stock_kernels_locks_have_names_too(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, STOCK, "--sort", "acquired")
    assert [(r["class"], r["mode"], r["acquired"]) for r in found[:2]] == [
        ("&vcpu->mutex", "write", 14), ("&(kvm)->mmu_lock", "write", 10),
    ]  # fmt: skip


def test_contention_events_alone_give_waits_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s = Script("6.1.0-56-amd64")
    t = s.task("qemu", 100)
    for at in (100, 500):
        t.event("lock:contention_begin", lock_addr=A, flags=2, at=at)
        t.event("lock:contention_end", lock_addr=A, ret=0, at=at + 60)
    trace = str(s.save(tmp_path / "t.dat"))
    (row,) = rows(capsys, trace)
    assert (row["class"], row["mode"], row["acquired"], row["wait"]["total_ns"], row["hold"]["number"]) == (
        "rwsem:R", "read", 2, 120, 0,
    )  # fmt: skip
    out = told(capsys, trace)
    assert "note: from contention_begin and contention_end: waits only, under the kind of lock\n" in out
    assert "not whole" not in out


def test_contended_releases_say_who_made_others_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s = Script("7.3.4+deb13-amd64")
    one, two, three = s.task("qemu", 100), s.task("kworker/1", 101, cpu=1), s.task("bash", 102, cpu=2)
    two.event("lock:contention_begin", lock_addr=A, flags=32, at=100)
    one.event("lock:contended_release", lock_addr=A, at=160)
    two.event("lock:contention_end", lock_addr=A, ret=0, at=170)
    three.event("lock:contention_begin", lock_addr=A, flags=32, at=180)
    two.event("lock:contention_begin", lock_addr=B, flags=4, at=190)
    one.event("lock:contended_release", lock_addr=B, at=450)
    two.event("lock:contention_end", lock_addr=B, ret=0, at=460)
    two.event("lock:contended_release", lock_addr=A, at=500)
    three.event("lock:contention_end", lock_addr=A, ret=0, at=510)
    trace = str(s.save(tmp_path / "t.dat"))
    found = rows(capsys, trace, "--by", "owner,class")
    assert [(r["owner_comm"], r["class"], r["acquired"], r["wait"]["total_ns"]) for r in found] == [
        ("kworker/1", "mutex", 1, 320), ("qemu", "rwsem:W", 1, 260), ("qemu", "mutex", 1, 60),
    ]  # fmt: skip
    out = told(capsys, trace, "--chains", "1")
    assert out.splitlines()[:5] == [
        f"bash/102 waited 330 ns for mutex ({A:#x})", "  [0.000000180 .. 0.000000510] CPU 2",
        "  released by kworker/1/101 after 320 ns of it",
        f"  which waited 270 ns for rwsem:W ({B:#x}) [0.000000190]",
        "    released by qemu/100 after 260 ns of it",
    ]  # fmt: skip
    assert "note: owners by contended_release" in out


def test_owners_in_a_real_recording_of_7_3(capsys: pytest.CaptureFixture[str]) -> None:
    trace = str(SAMPLES / "contention73.dat")
    out = told(capsys, trace, "--chains", "1")
    assert out.splitlines()[:3] == [
        "mkdir/571 waited 601 ms for mutex (0xffffffff8400af20)", "  [26.676412397 .. 27.277269150] CPU 0",
        "  released by mkdir/564 after 188 ms of it, the longest of 5 owners",
    ]  # fmt: skip
    shares = rows(capsys, trace, "--by", "task,owner", "--tasks", "571", "--sort", "wait")
    assert sum(r["wait"]["total_ns"] for r in shares) == 534_568_473  # of 600.9 ms: it spun first, and was woken last
    assert [r["owner_pid"] for r in shares] == [564, 566, 561, 565, 557]


def test_without_contended_releases_nobody_knows_who_held_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    s = Script("6.1.0-56-amd64")
    t = s.task("qemu", 100)
    t.event("lock:contention_begin", lock_addr=A, flags=2, at=100)
    t.event("lock:contention_end", lock_addr=A, ret=0, at=160)
    out = told(capsys, str(s.save(tmp_path / "t.dat")), "--chains", "1")
    assert "  held by nobody that was seen to release it meanwhile\n" in out
    assert "note: who held the locks is not known: record lock:contended_release (7.2 and later)" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--by", "clas"),
            "--by clas: unknown value (did you mean class?); choose from class, instance, caller, task, owner, cpu, vm",
        ),
        (("--sort", "waits"), "--sort waits: unknown value"),
        (("--mode", "both"), "--mode both: unknown value"),
        (("--min-wait", "5"), "--min-wait 5: wanted a length of time with its unit: 500ns, 20us, 1.5ms, 2s"),
        (("--start", "x"), "--from: 'x' is no time"),
        (("--cpus", "a"), "--cpu a: not a number"),
        (("--percentiles", "0"), "--percentiles: wanted numbers above 0 and up to 100"),
        (("--format", "xml"), "--format xml: unknown value"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    assert run(("locks", TRACE, *arguments)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_trace_without_locks_has_no_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s = Script()
    s.task("qemu", 100).sys_exit()
    assert run(("locks", str(s.save(tmp_path / "t.dat")))) == 2
    assert "nothing to count: no lock was seen being taken or waited for" in capsys.readouterr().err


def test_written_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, TRACE, "--format", "csv", "-o", str(tmp_path / "x.csv")) == ""
    assert (tmp_path / "x.csv").read_text().startswith("class,mode,acquired,")


def test_python_gets_the_same_as_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = scripted(tmp_path)
    trace = lockscope.load(path)
    table = trace.locks("class", "task", mode="write", percentiles=(50.0,)).arrow.to_pylist()
    found = rows(capsys, path, "--by", "class,task", "--mode", "write", "--percentiles", "50")
    assert [(r["class"], r["pid"], r["acquired"], r["wait_total_ns"], r["hold_p50_ns"]) for r in table] == [
        (r["class"], r["pid"], r["acquired"], r["wait"]["total_ns"], r["hold"]["p50_ns"]) for r in found
    ]
    (link,) = trace.wait_chains(3).arrow.to_pylist()
    assert (link["lock"], link["pid"], link["owner_pid"], link["owned_ns"]) == (A, 101, 100, 50_000)
    assert len(trace.wait_chains(3, task="qemu")) == 0
