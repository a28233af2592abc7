"""The same recording as text: what tracefs' ``trace`` file shows, or what ``perf script --ns`` prints.

The events are read back from the sub-buffers, in order of time, and printed one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TextIO

from lockscope.formats.open import open_trace
from lockscope.outfiles import whole
from lockscope.simulate.trace.events import Event
from lockscope.simulate.trace.files import Recording
from lockscope.simulate.trace.printing import printer
from lockscope.tables.events import LOSS

_HEAD = """\
# tracer: nop
#
# entries-in-buffer/entries-written: {written}/{all}   #P:{cpus}
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""


class _Row(NamedTuple):
    ts: int
    cpu: int
    event: Event | None
    flags: int
    preempt: int
    pid: int
    values: dict[str, Any]


def save_text(recording: Recording, path: Path, form: str) -> None:
    """Write it; ``form``: "text" (tracefs) or "perf"."""
    with TemporaryDirectory() as place, whole(path) as target, target.open("w", encoding="utf-8") as out:
        plain = Path(place) / "trace.dat"
        recording.save(plain, 7, "none")
        if form == "text":
            written = recording.written
            out.write(_HEAD.format(written=written, all=written + recording.lost, cpus=recording.cpus))
        _write(recording, _rows(recording, plain), out, form)


def _rows(recording: Recording, path: Path) -> Iterator[_Row]:
    reader = open_trace(str(path))
    by_number = {event.number: event for event in recording.events.values()}
    events = {f.index: by_number.get(f.raw_id) for f in reader.formats}
    cpus = [stream.cpu for stream in reader.info.streams]
    for batch in reader.batches():
        data = batch.data
        columns = zip(batch.ts_ns.tolist(), batch.at.tolist(), batch.size.tolist(),
                      batch.kind.tolist(), batch.stream.tolist(), strict=True)  # fmt: skip
        for ts, at, size, kind, stream in columns:
            if kind == LOSS:
                yield _Row(ts, cpus[stream], None, 0, 0, 0, {"count": at})
                continue
            event = events[kind]
            if event is not None:
                yield _row(ts, cpus[stream], event, data[at : at + size].tobytes())


def _row(ts: int, cpu: int, event: Event, record: bytes) -> _Row:
    _, flags, preempt, pid, *fields = event.packer.unpack_from(record)
    values: dict[str, Any] = {}
    for i, (line, value) in enumerate(zip(event.lines, fields, strict=True)):
        name = line.declaration.rpartition(" ")[2].partition("[")[0]
        if i == event.text:
            where, length = value & 0xFFFF, value >> 16
            values[name] = record[where : where + length].rstrip(b"\0").decode()
        elif isinstance(value, bytes):
            is_text = line.size == 16
            values[name] = (
                value.partition(b"\0")[0].decode()
                if is_text
                else [int.from_bytes(value[j : j + 8], "little") for j in range(0, 48, 8)]
            )
        else:
            values[name] = value
    return _Row(ts, cpu, event, flags, preempt, pid, values)


def _write(recording: Recording, rows: Iterator[_Row], out: TextIO, form: str) -> None:
    printers = {event.number: printer(event.print_fmt) for event in recording.events.values()}
    comms = recording.comms
    for row in rows:
        if row.event is None:
            if form == "text":
                count = row.values["count"]
                out.write(f"CPU:{row.cpu} [LOST {f'{count} ' if count > 0 else ''}EVENTS]\n")
            continue
        comm = "<idle>" if form == "text" and not row.pid else comms.get(row.pid, "swapper" if not row.pid else "<...>")
        said = printers[row.event.number](row.values)
        seconds, ns = divmod(row.ts, 1_000_000_000)
        if form == "text":
            out.write(f"{comm:>16}-{row.pid:<7} [{row.cpu:03}] {_letters(row)} {seconds:5}.{ns // 1000:06}: "
                      f"{row.event.name}: {said}\n")  # fmt: skip
        else:
            name = f"{row.event.system}:{row.event.name}"
            out.write(f"{comm:>16} {row.pid:5} [{row.cpu:03}] {seconds:5}.{ns:09}: {name:>30}: {said}\n")


def _letters(row: _Row) -> str:
    """The flags as trace_print_lat_fmt() prints them (kernel/trace/trace_output.c)."""
    flags = row.flags
    off = {0: ".", 1: "d", 0x80: "b", 0x81: "D"}[flags & 0x81]
    resched = "N" if flags & 4 and flags & 0x20 else "n" if flags & 4 else "p" if flags & 0x20 else "."
    context = {0: ".", 8: "h", 0x10: "s", 0x18: "H"}[flags & 0x18]
    depth = row.preempt & 15
    return f"{off}{resched}{context}{depth:x}." if depth else f"{off}{resched}{context}.."
