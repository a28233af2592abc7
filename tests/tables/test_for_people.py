"""Tables as people use them: null where nothing is known, ready lengths and names; other libraries take them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars
import pyarrow as pa
import pytest

import lockscope
from lockscope.errors import UsageError
from lockscope.trace.trace import EventTable, Trace

SAMPLES = Path(__file__).parents[2] / "sample_traces"
DIRTY = SAMPLES / "dirty_log.dat"


@pytest.fixture(scope="module")
def trace() -> Trace:
    return lockscope.load(DIRTY)


@pytest.fixture(scope="module")
def holds(trace: Trace) -> EventTable:
    return trace.table("holds")


def test_what_is_not_known_is_null(holds: EventTable) -> None:
    frame = holds.to_pandas()
    assert frame.acquired_ns.isna().sum() == 4635  # lock_acquired comes for contended locks and few others
    assert frame.acquired_ns.min() > 10_000_000_000
    assert frame.contended_ns.notna().sum() == 2
    assert set(frame.vm.dropna()) == {1}
    assert (frame.vm.notna() == frame.name.isin(frame[frame.vm.notna()].name.unique())).mean() > 0.9


def test_lengths_are_ready_and_true(holds: EventTable) -> None:
    frame = holds.to_pandas()
    whole = frame[frame.begin_known & frame.end_known]
    assert (frame.hold_ns.notna() == (frame.begin_known & frame.end_known)).all()
    begin = whole.acquired_ns.fillna(whole.asked_ns).clip(lower=whole.asked_ns)
    assert (whole.hold_ns == whole.end_ns - begin).all()
    assert whole.hold_ns.max() < 210_000_000  # the trace's length, not the uptime
    waited = frame[frame.contended & frame.acquired_ns.notna()]
    assert (waited.wait_ns == waited.acquired_ns - waited.contended_ns).all()
    assert (frame[~frame.contended].wait_ns.dropna() == 0).all()


def test_tasks_have_names(trace: Trace, holds: EventTable) -> None:
    frame = holds.to_pandas()
    assert set(frame[frame.pid == 71].comm) == {trace.task_names()[71]}


def test_waits_are_unknown_where_nothing_tells_of_them(tmp_path: Path) -> None:
    place = tmp_path / "t.txt"
    place.write_text(
        "     qemu-100     [000] .....     1.000001: lock_acquire: 0xffffc900000010b8 &kvm->slots_lock\n"
        "     qemu-100     [000] .....     1.000004: lock_release: 0xffffc900000010b8 &kvm->slots_lock\n"
    )
    (row,) = lockscope.load(place).table("holds").arrow.to_pylist()
    assert (row["wait_ns"], row["hold_ns"], row["comm"], row["vm"], row["ip"]) == (None, 3_000, "qemu", None, None)


def test_an_old_value_that_an_event_does_not_have_is_null(trace: Trace) -> None:
    changes = trace.table("spte_changes").to_pandas()
    assert changes[changes.event == "spte_set"].old_spte.isna().all()
    assert changes[changes.event == "spte_tdp"].old_spte.notna().all()


def test_integers_keep_their_bits_beside_nulls(trace: Trace) -> None:
    frame = trace.table("spte_changes").to_pandas()
    assert frame.new_spte.dtype == "uint64"  # as without nulls
    assert str(frame.old_spte.dtype) == "uint64[pyarrow]"
    assert [int(v) for v in frame.old_spte.dropna()] == trace.table("spte_changes").arrow.column(
        "old_spte"
    ).drop_null().to_pylist()


def test_a_column_by_its_name(holds: EventTable) -> None:
    assert holds["hold_ns"].sum() == holds.to_pandas().hold_ns.sum()
    with pytest.raises(KeyError):
        holds["held_ns"]


def test_pyarrow_takes_a_table_by_the_capsule_interface(holds: EventTable) -> None:
    assert pa.table(holds).equals(holds.arrow)
    assert pa.schema(holds).equals(holds.arrow.schema)


def test_polars_takes_a_table_as_it_is(holds: EventTable) -> None:
    frame = polars.DataFrame(holds)
    assert frame.shape == (len(holds), len(holds.columns))
    assert frame["hold_ns"].sum() == holds["hold_ns"].sum()


def test_duckdb_takes_a_table_as_it_is(holds: EventTable) -> None:
    found = duckdb.sql("SELECT count(*), max(hold_ns) FROM holds").fetchall()
    assert found == [(len(holds), holds["hold_ns"].max())]


def test_a_report_is_short_in_a_shell_and_a_frame_when_asked() -> None:
    report = lockscope.load(SAMPLES / "bug_slots_lock_then_kvm_lock.dat").report()
    assert str(report).startswith("Report(violation: LS101, LS102; ")
    assert "\n" not in str(report)
    frame = report.to_pandas()
    assert list(frame.code) == ["LS102", "LS101"]
    assert list(frame.ts_ns) == [11_278_246_791, 11_278_246_791]
    assert str(report.findings[0]).startswith("LS101 error, possible: possible circular locking dependency detected: ")


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("r.html", "<!DOCTYPE html>"),
        ("r.json", "{"),
        ("r.md", "# lockscope"),
        ("r.sarif", "{"),
        ("r.txt", "2 findings"),
    ],
)
def test_a_report_is_saved_by_its_ending(tmp_path: Path, name: str, begins: str) -> None:
    report = lockscope.load(SAMPLES / "bug_slots_lock_then_kvm_lock.dat").report()
    place = tmp_path / name
    assert report.save(place) == place
    assert place.read_text().startswith(begins)
    with pytest.raises(UsageError, match=r"exists \(force=True overwrites it\)"):
        report.save(place)
    report.save(place, force=True)
    with pytest.raises(UsageError, match=r"x.doc: no report has this ending; there are .html, .json"):
        report.save(tmp_path / "x.doc")


def test_a_trace_says_what_it_has(trace: Trace) -> None:
    assert "holds" in trace.tables
    assert "sched:sched_switch" in trace.event_names


def test_the_former_name_of_a_table_goes_on_with_a_warning() -> None:
    trace = lockscope.load(SAMPLES / "bug_clear_log_without_flush.dat")
    now = trace.table("required_flushes").to_pandas()
    with pytest.warns(DeprecationWarning, match="flush_debts is required_flushes now"):
        former = trace.table("flush_debts").to_pandas()
    assert list(former.paid_ns.dropna()) == list(now.flushed_ns.dropna())
    assert set(now[now.flushed_ns.notna()].outcome) >= {"in-time"}
    assert set(former[former.paid_ns.notna()].outcome) >= {"paid"}
