"""Parts of a trace: by time, by task, by VM."""

from __future__ import annotations

from pathlib import Path

import pytest

import lockscope
from lockscope.errors import UsageError
from lockscope.trace.trace import Trace
from lockscope.units import moment

SAMPLES = Path(__file__).parents[2] / "sample_traces"


@pytest.fixture(scope="module")
def bug() -> Trace:
    return lockscope.load(SAMPLES / "bug_clear_log_without_flush.dat")


@pytest.mark.parametrize(
    ("text", "origin", "ns"),
    [
        ("2.1s", "", 2_100_000_000), ("13.040947425", "", 13_040_947_425), ("350us", "", 350_000),
        ("+5ms", "+", 5_000_000), ("-1.5 us", "-", 1_500), ("7ns", "", 7), ("0.1µs", "", 100),
    ],
)  # fmt: skip
def test_moments(text: str, origin: str, ns: int) -> None:
    assert moment(text) == (origin, ns)


@pytest.mark.parametrize("text", ["", "soon", "1m", "1e3", "--1s", "1.2.3"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        moment(text)


def test_a_stretch_of_time(bug: Trace) -> None:
    part = bug["13.04s":"13.05s"]
    events = part.events("kvm_tdp_mmu_spte_changed").to_pandas()
    every = bug.events("kvm_tdp_mmu_spte_changed").to_pandas()
    inside = every[(every.ts_ns >= 13_040_000_000) & (every.ts_ns < 13_050_000_000)]
    assert 0 < len(events) == len(inside) < len(every)
    changes = part.table("spte_changes").to_pandas()
    assert changes.ts_ns.between(13_040_000_000, 13_049_999_999).all()
    assert len(changes)


def test_holds_count_where_they_reach_in(bug: Trace) -> None:
    whole = bug.table("holds").to_pandas()
    longest = whole.loc[(whole.end_ns - whole.asked_ns).idxmax()]
    middle = int(longest.asked_ns + longest.end_ns) // 2
    part = bug[middle : middle + 1].table("holds").to_pandas()
    assert longest.seq in set(part.seq)
    assert len(part) < len(whole)


def test_times_from_either_end_and_slices_of_slices(bug: Trace) -> None:
    start, end = bug.span()
    assert bug["+5ms":"-5ms"].view.start_ns == start + 5_000_000
    assert bug["+5ms":"-5ms"].view.end_ns == end - 5_000_000
    nested = bug["13.04s":"13.05s"][:"13.041s"]
    assert (nested.view.start_ns, nested.view.end_ns) == (13_040_000_000, 13_041_000_000)
    assert bug["13.04s":][:"20s"]["1s":].view.start_ns == 13_040_000_000


def test_tasks_by_pid_and_by_name(bug: Trace) -> None:
    by_pid = bug.task(71).table("holds").to_pandas()
    assert set(by_pid.pid) == {71}
    assert set(bug.task("dirty_log_perf_").view.pids) >= {71, 73}
    assert set(bug.task(71).events("sys_exit").to_pandas().pid) == {71}
    with pytest.raises(UsageError, match=r"--task qemu: no task of .* is called so; the nearest is"):
        bug.task("qemu")


def test_a_vm(bug: Trace) -> None:
    changes = bug.vm(1).table("spte_changes").to_pandas()
    assert len(changes) > 4000
    assert set(changes.vm) == {1}
    locks = set(bug.vm(1).table("holds").to_pandas().name)
    assert "&(kvm)->mmu_lock" in locks
    assert "&rq->__lock" not in locks
    with pytest.raises(UsageError, match=r"--vm 9: .* has no VM of this number; the nearest is 1$"):
        bug.vm(9)


def test_findings_of_a_part_rest_on_its_events(bug: Trace) -> None:
    assert [f.code for f in bug["13.04s":"13.05s"].analyze().findings] == ["LS301"]
    assert bug["13.3s":"13.31s"].analyze().findings == []


def test_a_part_says_what_it_is(bug: Trace) -> None:
    assert repr(bug["13.04s":"13.05s"].task(71)).endswith("2 CPUs), 13.040000000 .. 13.050000000, task 71")
    assert repr(bug.vm(1)).endswith("VM 1")


@pytest.mark.parametrize("wrong", [slice(None, None, 2), slice("soon", None)])
def test_what_cannot_be_a_part(bug: Trace, wrong: slice) -> None:
    with pytest.raises(UsageError):
        bug[wrong]
    with pytest.raises(UsageError, match="a trace is cut by times"):
        bug[5]
