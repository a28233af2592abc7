"""One vocabulary of options for a part of a trace, of every command that shows one and in Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lockscope
from lockscope.cli._options import current
from lockscope.cli._run import run
from lockscope.errors import MatchError

SAMPLES = Path(__file__).parents[2] / "sample_traces"
BUG = str(SAMPLES / "bug_slots_lock_then_kvm_lock.dat")
CLEAR = str(SAMPLES / "bug_clear_log_without_flush.dat")


def out(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    status = run(list(words))
    said = capsys.readouterr()
    assert status in (0, 1), said.err
    return said.out


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["locks", "t", "--start", "1", "--end=2", "--classes", "a", "--tasks=b", "--cpus", "0", "--vms", "1"],
         ["locks", "t", "--from", "1", "--to=2", "--lock", "a", "--task=b", "--cpu", "0", "--vm", "1"]),
        (["locks", "--callers", "f", "--contexts", "nmi", "--locks", "0x1", "t"],
         ["locks", "--caller", "f", "--context", "nmi", "--lock", "0x1", "t"]),
        (["analyze", "--events", "lock:*", "--exclude-events", "x", "t"],
         ["analyze", "--event", "lock:*", "--exclude-event", "x", "t"]),
        (["graph", "--classes", "*kvm*", "t"], ["graph", "--lock", "*kvm*", "t"]),
        (["export", "--start", "1", "t"], ["export", "--from", "1", "t"]),
        (["plot", "t", "gantt", "--top", "3"], ["plot", "t", "gantt", "--limit", "3"]),
        (["info", "t", "--json"], ["info", "t", "--format=json"]),
        (["record", "--locks", "rwsem", "--", "x", "--start"], ["record", "--locks", "rwsem", "--", "x", "--start"]),
        (["simulate", "--events", "5"], ["simulate", "--events", "5"]),
    ],
)  # fmt: skip
def test_former_spellings_are_read_as_the_new_ones(old: list[str], new: list[str]) -> None:
    assert current(old) == new


@pytest.mark.parametrize("command", ["analyze", "graph", "locks", "export", "plot", "info"])
def test_former_spellings_are_not_shown(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = out(capsys, command, "--help")
    for word in (
        "--start",
        "--classes",
        "--tasks",
        "--cpus",
        "--vms",
        "--events",
        "--top",
        "--json",
        "--exclude-events",
    ):
        assert f"{word} " not in shown
    common = {"--event"} | ({"--from", "--to", "--lock"} if command != "info" else set())
    common |= {"--task", "--cpu", "--vm"} if command in ("analyze", "locks", "export", "plot") else set()
    common |= {"--force", "--output"} if command != "info" else set()
    common |= {"--limit"} if command in ("analyze", "locks", "plot") else set()
    assert [word for word in common if f"{word} " not in shown] == []


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The codes that analyze lists, notices aside."""
    document = json.loads(out(capsys, "analyze", "--format", "json", "--fail-on", "never", *words))
    return [f["code"] for f in document["findings"] if f["code"] < "LS9"]


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        ([], ["LS102", "LS101"]), (["--limit", "1"], ["LS102"]), (["--lock", "kvm->*"], ["LS102", "LS101"]),
        (["--lock", "&rq->__lock"], []), (["--to", "11.3"], ["LS102", "LS101"]), (["--from", "11.35"], ["LS101"]),
        (["--from", "11.4s"], []), (["--from", "+130ms"], []), (["--cpu", "1"], ["LS102", "LS101"]),
        (["--cpu", "0"], []),
        (["--task", "memslot_modific"], ["LS102", "LS101"]), (["--vm", "1"], ["LS102", "LS101"]),
    ],
)  # fmt: skip
def test_analyze_lists_the_findings_of_a_part(
    words: list[str], codes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(capsys, BUG, *words) == codes


def test_what_is_not_listed_is_counted_and_does_not_decide(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", BUG, "--from", "11.4"]) == 0
    shown = capsys.readouterr().out
    assert "not listed, as they are outside of what was asked for: 2 findings\n" in shown


def test_a_graph_of_a_stretch_is_that_of_a_recording_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    def edges(*words: str) -> set[tuple[str, str]]:
        graph = json.loads(out(capsys, "graph", BUG, "--format", "json", "--lock", "&kvm->slots_lock", *words))
        names = [c["name"] for c in graph["classes"]]
        return {(names[e["held"]], names[e["taken"]]) for e in graph["edges"]}

    reverse = ("&kvm->lock", "&kvm->slots_lock")  # at 11.360165731
    assert reverse in edges()
    assert reverse not in edges("--to", "11.35")
    assert reverse in edges("--from", "11.35", "--to", "11.4")
    assert run(["graph", BUG, "--from", "99"]) == 2
    assert "--from 99.000000000:" in capsys.readouterr().err


def test_tables_of_a_part_are_exported(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    target = tmp_path / "part"
    words = ["export", CLEAR, "-o", str(target), "--table", "spte_changes", "--event", "sys_exit", "--task", "71",
             "--from", "13.04", "--to", "13.05"]  # fmt: skip
    assert run(words) == 0
    changes = pq.read_table(target / "spte_changes.parquet").to_pandas()
    assert set(changes.pid) == {71}
    assert changes.ts_ns.between(13_040_000_000, 13_049_999_999).all()
    assert set(pq.read_table(target / "events" / "sys_exit.parquet").column("pid").to_pylist()) <= {71}


def test_python_has_the_same_words() -> None:
    trace = lockscope.load(BUG)
    same: list[Any] = [
        trace.part(from_="11.3s", to=11.4, task="memslot_modific", vm=1, cpu=1, lock="kvm->*"),
        trace["11.3s":"11.4s"].task("memslot_modific").part(vm=1, cpu=(1,), lock=["kvm->*"]),
    ]
    one, other = (part.table("holds").to_pandas() for part in same)
    assert len(one) == len(other) > 0
    assert set(one.name) <= {"&kvm->lock", "&kvm->slots_lock", "&kvm->srcu", "&(kvm)->mmu_lock", "&kvm->irq_lock"}
    assert set(one.cpu) == {1}
    address = int(one.lock.iloc[0])
    assert set(trace.part(lock=address).table("holds").to_pandas().lock) == {address}
    with pytest.raises(MatchError, match=r"--cpu 7: .* has nothing of such a CPU"):
        trace.part(cpu=7)


def test_former_keywords_go_on_with_a_warning() -> None:
    trace = lockscope.load(BUG)
    with pytest.warns(DeprecationWarning, match="classes= is lock= now"):
        old = trace.locks(classes="&kvm->lock")
    assert old.arrow.to_pylist() == trace.locks(lock="&kvm->lock").arrow.to_pylist()


def test_plain_numbers_are_seconds_or_refused() -> None:
    trace = lockscope.load(BUG)
    seconds = trace[11.3:11.4].table("holds")
    assert len(seconds) == len(trace["11.3s":"11.4s"].table("holds")) > 0
    with pytest.raises(MatchError, match=r"is from 11\.27.* integers are nanoseconds, 10\.0 and '10s' are seconds"):
        trace[11:12].table("holds")
