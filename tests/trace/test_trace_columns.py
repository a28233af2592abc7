"""Events that have a field of a common column's name: no two columns have one name, in any form."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from lockscope.errors import UsageError
from lockscope.tables.decode import COMMON, own_columns
from lockscope.tables.events import EventFormat, Field
from lockscope.trace.trace import Trace, load

WAKEUP = "{who}-{pid} [{cpu:03d}] d....  1.00000{i}: sched_wakeup: comm=qemu pid={other} prio=120 target_cpu=003\n"
COLUMNS = ["ts_ns", "seq", "cpu", "buffer", "pid", "comm", "flags", "preempt_count", "comm_", "pid_", "prio",
           "target_cpu"]  # fmt: skip


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    path = tmp_path / "wakeups.txt"
    lines = [WAKEUP.format(who="waker", pid=70 + i, cpu=i, i=i, other=100 + i) for i in range(3)]
    path.write_text("# tracer: nop\n" + "".join(lines))
    return load(path)


def test_own_columns_of_every_common_name() -> None:
    names = [*COMMON, "comm_", "x", "x"]
    fields = tuple(Field(name, "u64", 8 * i, 8, False) for i, name in enumerate(names))
    found = own_columns(EventFormat(2, 300, "s", "e", fields))
    assert list(found) == [f"{name}_" for name in COMMON] + ["comm__", "x", "x_"]
    assert [f.offset for f in found.values()] == [8 * i for i in range(len(names))]


def test_the_task_that_woke_and_the_one_that_was_woken(trace: Trace) -> None:
    frame = trace.events("sched_wakeup").to_pandas()
    assert list(frame.columns) == COLUMNS
    assert (frame["pid"].tolist(), frame["pid_"].tolist()) == ([70, 71, 72], [100, 101, 102])
    assert (set(frame["comm"]), set(frame["comm_"])) == ({"waker"}, {"qemu"})
    assert list(trace.all_events()["sched:sched_wakeup"].columns) == COLUMNS


def test_columns_are_chosen_by_the_field_or_by_the_column(trace: Trace) -> None:
    assert trace.events("sched_wakeup", fields=["pid_"]).columns == ["ts_ns", "seq", "cpu", "pid", "pid_"]
    assert trace.events("sched_wakeup", fields=["comm"]).columns == ["ts_ns", "seq", "cpu", "pid", "comm", "comm_"]
    assert trace.events("sched_wakeup", fields=["pid_"], start_ns=2_000_000_000).columns[-1] == "pid_"
    with pytest.raises(UsageError, match="no field 'flags_'"):
        trace.events("sched_wakeup", fields=["flags_"])


@pytest.mark.parametrize("redact", [False, True])
def test_files_have_them_once(trace: Trace, redact: bool, tmp_path: Path) -> None:
    trace.export(tmp_path / "parquet", format="parquet", events=["sched_wakeup"], redact=redact)
    trace.export(tmp_path / "csv", format="csv", events=["sched_wakeup"], redact=redact)
    written = [pq.read_table(tmp_path / "parquet" / "events" / "sched_wakeup.parquet"),
               csv.read_csv(tmp_path / "csv" / "events" / "sched_wakeup.csv")]  # fmt: skip
    for table in written:
        assert table.column_names == COLUMNS
        own, other = table.column("pid").to_pylist(), table.column("pid_").to_pylist()
        if not redact:
            assert (own, other) == ([70, 71, 72], [100, 101, 102])
        else:
            assert not {70, 71, 72, 100, 101, 102} & {*own, *other}
            assert "qemu" not in table.column("comm_").to_pylist()


def test_the_text_has_the_fields_own_names(trace: Trace, tmp_path: Path) -> None:
    text = trace.export(tmp_path / "t.txt", format="text")[0].read_text()
    assert "sched_wakeup: comm=qemu pid=100 prio=120 target_cpu=3\n" in text
