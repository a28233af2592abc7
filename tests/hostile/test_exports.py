"""Exports of traces whose events are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import lockscope
from tests.builders.script import Script

FAULT = """\
# tracer: nop
#
            qemu-100     [000] d..1.   100.000001: probe: (do_sys_open+0x0/0x10) arg1=0x10 arg2=5
            qemu-100     [000] d..1.   100.000002: probe: (do_sys_open+0x0/0x10) arg1=(fault) arg2=5
            qemu-100     [000] d..1.   100.000003: probe: (do_sys_open+0x0/0x10) arg1=0x30 arg2=5
"""


def test_a_fetch_that_failed_once_is_text_among_numbers(tmp_path: Path) -> None:
    """The kernel prints (fault) for an argument that it cannot read."""
    (tmp_path / "t.txt").write_text(FAULT)
    lockscope.load(tmp_path / "t.txt").export(tmp_path / "out")
    (file,) = (tmp_path / "out" / "events").iterdir()
    table = pq.read_table(file).to_pydict()
    assert table["arg1"] == ["16", "(fault)", "48"]
    assert table["arg2"] == [5, 5, 5]


@pytest.mark.parametrize("kind", ["csv", "parquet", "std", "perfetto", "text"])
def test_a_subclass_that_no_kernel_has(tmp_path: Path, kind: str) -> None:
    s = Script()
    s.task("qemu", 7).acquire("&kvm->lock", 0x100).detail("&kvm->lock", 0x100, subclass=999).acquired("&kvm->lock", 256)
    trace = lockscope.load(s.save(tmp_path / "t.dat"))
    trace.export(tmp_path / "out", format=kind)
    assert trace.table("holds").arrow.column("subclass").to_pylist() == [255]


def test_no_two_columns_have_one_name(tmp_path: Path) -> None:
    """An event's own comm and pid are beside those of the task that ran; every column can be read by its name."""
    s = Script(events={"sched:sched_wakeup": "comm:comm pid:s32 pid_:s32 cpu:s32 stream:s32 buffer:s32"})
    s.task("qemu", 7).event("sched:sched_wakeup", comm="woken", pid=14, pid_=15, cpu=3, stream=4, buffer=5)
    s.comms[7] = "qemu"
    lockscope.load(s.save(tmp_path / "t.dat")).export(tmp_path / "out")
    frame = pd.read_parquet(tmp_path / "out" / "events" / "sched.sched_wakeup.parquet")
    row = {name: frame[name][0] for name in frame.columns}
    assert (row["comm"], row["comm_"], row["pid"], row["pid_"], row["pid__"]) == ("qemu", "woken", 7, 14, 15)
    assert (row["cpu"], row["cpu_"], row["stream_"], row["buffer"], row["buffer_"]) == (0, 3, 4, "", 5)


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    s = Script(events={"a:b": "text:text n:s32"})
    s.task("=1+1", 7).event("a:b", text="@SUM(1)\x1b[2J\nforged,line", n=-5)
    s.comms[7] = "=1+1"
    lockscope.load(s.save(tmp_path / "t.dat")).export(tmp_path / "out", format="csv")
    lines = (tmp_path / "out" / "events" / "a.b.csv").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].split(",", 6)[5:] == ['"\'=1+1"', '0,0,"\'@SUM(1)\\x1b[2J\\nforged,line",-5']
