"""What tools and the kernel's log print around a trace: neither events nor a loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.formats.open import open_trace
from lockscope.tables.events import Reader
from tests.builders.read import Row, events

LINE = "            qemu-100     [000] .....     1.00000{}: lock_acquire: 0xffff888100000100 &kvm->lock\n"
DUMP = """\
Dumping ftrace buffer:
---------------------------------
CPU:1 [LOST 12 EVENTS]
  qemu-vm-201      1d.... 10000001us : lock_acquire: 00000000610328f2 &kvm->slots_lock
CPU 0/KV-202      2d.h2. 10000005us!: lock_acquire: 00000000610328f9 &kvm->lock
---------------------------------
Dumping ftrace instance second buffer:
---------------------------------
  qemu-vm-201      1d.... 10000009us : lock_release: 00000000610328f2 &kvm->slots_lock
---------------------------------
"""


def _read(folder: Path, text: str) -> tuple[Reader, list[Row]]:
    path = folder / "trace.txt"
    path.write_text(text)
    reader = open_trace(str(path))
    return reader, events(reader)


def _losses(reader: Reader, rows: list[Row]) -> tuple[list[tuple[int, int]], list[tuple[str, int | None]]]:
    return [(r["cpu"], r["count"]) for r in rows if r["event"] == "loss"], [
        (n.kind, n.count) for n in reader.info.losses
    ]


def test_atrace(tmp_path: Path) -> None:
    head = "capturing trace... done\nTRACE:\n# tracer: nop\n"
    reader, rows = _read(tmp_path, head + LINE.format(1) + "CPU:0 [LOST 7 EVENTS]\n" + LINE.format(2))
    assert [(r["event"], r["ts_ns"]) for r in rows] == [
        ("lock_acquire", 1_000_001_000), ("loss", 1_000_002_000), ("lock_acquire", 1_000_002_000),
    ]  # fmt: skip
    assert _losses(reader, rows) == ([(0, 7)], [])


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("Tracing 3 functions... Ctrl-C to end.\n\nsome tool 1.2\n", 0),  # of whatever tool
        ("       qemu-100     [000] .....     1.0000", 0),  # the first of it is not there: no time that could be read
        (" 1.000001: lock_acquire: 0xffff888100000100 &kvm->lock\n", 1),  # a line that lost its beginning
        ("     qemu-100 [000 ..... 1.000001: lock_acquire: 0xffff888100000100 &kvm->lock\n", 1),
    ],
)
def test_what_stands_before_the_first_event(said: str, lost: int, tmp_path: Path) -> None:
    reader, rows = _read(tmp_path, said + "\n" * (not said.endswith("\n")) + LINE.format(2))
    assert [r["event"] for r in rows] == ["lock_acquire"]
    assert [n.count for n in reader.info.losses] == [lost] * (lost > 0)


def test_a_line_of_nothing_between_events_is_a_loss(tmp_path: Path) -> None:
    reader, _ = _read(tmp_path, LINE.format(1) + "some tool 1.2\n" + LINE.format(2))
    assert [(n.kind, n.count) for n in reader.info.losses] == [("unparsed", 1)]


def _logged(form: str, text: str) -> str:
    return "".join(form.format(i) + line for i, line in enumerate(text.splitlines(keepends=True)))


@pytest.mark.parametrize(
    "form",
    [
        "",
        "[   10.{:06}] ",
        "[   10.{:06}][  T201] ",
        "[   10.{:06}][    C3] ",
        "<4>[   10.{:06}] ",
        "kern  :warn  : [   10.{:06}] ",
        "[Sat Nov 28 17:27:{:02} 2026] ",
        "Nov 28 17:27:{:02} host-1 kernel: [   10.000000] ",
    ],
)
def test_a_dump_in_the_log_of_the_kernel(form: str, tmp_path: Path) -> None:
    log = "usb 1-1: new device\nKernel panic - not syncing\n" if form else ""
    reader, rows = _read(tmp_path, _logged(form, log + DUMP + "Rebooting in 5 seconds..\n---[ end ]---\n" * bool(form)))
    assert [(r["event"], r["ts_ns"], r["cpu"], r["buffer"], r.get("pid")) for r in rows] == [
        ("loss", 10_000_001_000, 1, "", None),
        ("lock_acquire", 10_000_001_000, 1, "", 201),
        ("lock_acquire", 10_000_005_000, 2, "", 202),
        ("lock_release", 10_000_009_000, 1, "second", 201),
    ]
    assert _losses(reader, rows) == ([(1, 12)], [])
    assert reader.info.comms == {201: "qemu-vm", 202: "CPU 0/KV"}
    assert [r["flags"] for r in rows[1:3]] == [0x01, 0x09]


def test_an_event_that_is_broken_inside_a_dump_is_a_loss(tmp_path: Path) -> None:
    broken = DUMP.replace("CPU 0/KV-202 ", "CPU 0/KV 202 ")
    reader, rows = _read(tmp_path, _logged("[   10.{:06}] ", broken))
    assert [r["event"] for r in rows] == ["loss", "lock_acquire", "lock_release"]
    assert [(n.kind, n.count) for n in reader.info.losses] == [("unparsed", 1)]


@pytest.mark.parametrize(
    ("lines", "lost"),
    [
        (["Lost 5 events"], [(0, 5)]),
        (["WARNING: Lost 5 events"], [(0, 5)]),
        (["WARNING: Total lost event count: 9"], [(0, 9)]),
        (["Lost 5 events", "Lost 4 events", "WARNING: Total lost event count: 9"], [(0, 5), (0, 4)]),
        (["Lost 5 events", "WARNING: Total lost event count: 9"], [(0, 5), (0, 4)]),
    ],
)
def test_what_bpftrace_lost(lines: list[str], lost: list[tuple[int, int]], tmp_path: Path) -> None:
    text = "Attached 3 probes\n" + LINE.format(1) + "".join(line + "\n" for line in lines) + LINE.format(2)
    reader, rows = _read(tmp_path, text)
    assert _losses(reader, rows) == (lost, [])
