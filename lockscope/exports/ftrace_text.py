"""ftrace text: a line for each event as tracefs prints it, its fields as ``name=value`` (trace-cmd report -R).

Nothing is left out: integers keep all bits, times have nanoseconds. lockscope reads it, and so do tools that know
tracefs' lines. Streamed: a trace of any size takes the memory of a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lockscope.errors import MatchError, UsageError
from lockscope.exports.export import ExportOptions, opened, refuse
from lockscope.formats.merge.reader import open_merged
from lockscope.harmless import printable
from lockscope.tables.decode import FieldDecoder, common_columns, partition
from lockscope.tables.events import LOSS, UNKNOWN, EventBatch, EventFormat, Reader, TraceInfo
from lockscope.units import seconds

if TYPE_CHECKING:
    from lockscope.trace.trace import Trace

EXPORT, SUFFIX = "text", ".txt"
DOC = "ftrace text, fields as name=value"
_ROWS = 1 << 16
_COMMON = 7  # ts_ns, seq, cpu, stream, pid, flags, preempt_count
_HEAD = """\
# tracer: nop
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
# Letters of common_flags: trace_print_lat_fmt(), kernel/trace/trace_output.c, v6.12.
_IRQS = {0x01: "d", 0x81: "D", 0x80: "b"}
_RESCHED = {0x24: "N", 0x04: "n", 0x20: "p"}
_CONTEXT = {0x48: "Z", 0x40: "z", 0x18: "H", 0x08: "h", 0x10: "s"}


def write(trace: Trace, target: Path, options: ExportOptions) -> list[Path]:
    """Write the text; ``options.events``: only these."""
    refuse(options, EXPORT, tables=bool(options.tables))
    if options.view.vm is not None or options.view.locks:
        msg = f"--format {EXPORT}: --vm and --lock choose rows of tables; events have neither"
        raise UsageError(msg)
    reader = open_merged(trace.paths)
    with opened(target) as file:
        file.write(_head(reader.info).encode())
        told: Counter[tuple[int, str]] = Counter()
        for lines in _batches(reader, options, told):
            file.write(lines)
        file.write("".join(_untold(reader.info, told)).encode())
        for event in options.events:
            names = [name for f in reader.formats[UNKNOWN + 1 :] for name in (f.full_name, f.name)]
            if event not in names:
                raise MatchError("--event", event, f"no event of {trace.path} is called so", names)
    return [target]


def _head(info: TraceInfo) -> str:
    """tracefs' header, with the kernel and the number of CPUs, which no line of an event tells."""
    kernel = f"# lockscope: kernel {_word(info.kernel)} {_word(info.machine or '')}\n" if info.kernel else ""
    return _HEAD.replace("#\n", f"#\n{kernel}#{f'P:{info.cpus}':>35}\n" if info.cpus else f"#\n{kernel}", 1)


def _untold(info: TraceInfo, told: Counter[tuple[int, str]]) -> Iterator[str]:
    """Losses that no row in between showed: what the recorder only counted, and what the file lacks at its end."""
    for note in info.losses:
        cpu = note.cpu if note.cpu is not None else next((s.cpu for s in info.streams), 0)
        known = told.pop((cpu, note.buffer), 0)
        if note.count is None or note.count > known:
            yield _lost(note.buffer, cpu, None if note.count is None else note.count - known)


def _lost(buffer: str, cpu: int, number: int | None) -> str:
    return f"{_prefix(buffer)}CPU:{cpu} [LOST {'' if number is None else f'{number} '}EVENTS]\n"


def _prefix(buffer: str) -> str:
    """An instance's name in front of its lines, as trace-cmd report has it; the top buffer has none."""
    return f"{_word(buffer).replace(':', '_').replace(' ', '_')[:64]}: " if buffer else ""


def _batches(reader: Reader, options: ExportOptions, told: Counter[tuple[int, str]]) -> Iterator[bytes]:
    decoder = FieldDecoder()
    wanted: Callable[[EventFormat], bool] | None = None
    if options.events:
        wanted = lambda f: f.full_name in options.events or f.name in options.events  # noqa: E731
    for batch in reader.batches(wanted, rows=_ROWS):
        yield _lines(reader, batch, decoder, options, told)


def _lines(
    reader: Reader, batch: EventBatch, decoder: FieldDecoder, options: ExportOptions, told: Counter[tuple[int, str]]
) -> bytes:
    found: list[str] = [""] * len(batch)
    order, bounds = partition(batch, len(reader.formats))
    cpu_of = np.array([s.cpu for s in reader.info.streams], np.int32)
    inside = np.ones(len(batch), np.bool_)
    if options.start_ns is not None:
        inside &= batch.ts_ns >= options.start_ns
    if options.end_ns is not None:
        inside &= batch.ts_ns < options.end_ns
    for fmt in reader.formats:
        rows = order[bounds[fmt.index] : bounds[fmt.index + 1]]
        rows = rows[inside[rows]]
        if options.view.cpus:
            rows = rows[np.isin(cpu_of[batch.stream[rows]], options.view.cpus)]
        if options.view.pids and fmt.index not in (LOSS, UNKNOWN):
            rows = rows[np.isin(common_columns(batch, rows)["pid"], options.view.pids)]
        if not len(rows):
            continue
        if fmt.index == LOSS:
            for row in rows.tolist():
                count, of = int(batch.at[row]), reader.info.streams[int(batch.stream[row])]
                found[row] = _lost(of.buffer, of.cpu, count if count >= 0 else None)
                told[of.cpu, of.buffer] += max(count, 0)
        elif fmt.index != UNKNOWN:
            _events(reader, fmt, decoder.rows(batch, rows, fmt, cpu_of), rows.tolist(), found)
    return "".join(found).encode("utf-8", "surrogateescape")


def _events(reader: Reader, fmt: EventFormat, table: pa.RecordBatch, rows: list[int], found: list[str]) -> None:
    comms, heads, event = reader.info.comms, _Heads(), printable(fmt.name)
    names = [f" {printable(field.name)}=" for field in fmt.fields]
    texts = [_column(table.column(i + _COMMON)) for i in range(len(names))]
    ts, _, cpu, stream, pid, flags, preempt = (table.column(i).to_pylist() for i in range(_COMMON))
    prefixes = [_prefix(s.buffer) for s in reader.info.streams]
    for i, row in enumerate(rows):
        who = printable(comms.get(pid[i], "<idle>" if pid[i] == 0 else "<...>"))
        values = "".join(name + column[i] for name, column in zip(names, texts, strict=True))
        place = f"{prefixes[stream[i]]}{who:>16}-{pid[i]:<7} [{cpu[i]:03d}] {heads.of(flags[i], preempt[i])}"
        found[row] = f"{place} {seconds(ts[i]):>15}: {event}:{values}\n"


def _column(column: pa.Array) -> list[str]:
    """A field's values: unsigned ones beyond nine in hex, since readers take some fields for hex whatever they see."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        words = [_word(word) for word in column.dictionary.to_pylist()]
        return [words[i] for i in column.indices.to_pylist()]
    values = column.to_pylist()
    if pa.types.is_unsigned_integer(kind):
        return [str(v) if v < 10 else hex(v) for v in values]
    if pa.types.is_list(kind):
        width = kind.value_type.bit_width // 8
        return [_array(v, width) for v in values]
    return [str(v) for v in values]


def _word(text: str) -> str:
    """Text on one line, with nothing in it that a terminal would follow."""
    return printable(text.rstrip("\n").replace("\n", " ").replace("\r", " "))


def _array(values: list[int], width: int) -> str:
    """Bytes in memory order, as libtraceevent prints them."""
    raw = b"".join((v & (1 << 8 * width) - 1).to_bytes(width, "little") for v in values)
    return "ARRAY[" + ", ".join(f"{byte:02x}" for byte in raw) + "]"


class _Heads:
    """The five characters for common_flags and the preempt count."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str] = {}

    def of(self, flags: int, preempt: int) -> str:
        """``d..2.``"""
        key = flags, preempt
        if key not in self._known:
            irqs = _IRQS.get(flags & 0x81, ".")
            resched = _RESCHED.get(flags & 0x24, ".")
            context = next((letter for bits, letter in _CONTEXT.items() if flags & bits == bits), ".")
            depth, migrate = preempt & 0x0F, preempt >> 4
            digits = "".join(f"{n:x}" if n else "." for n in (depth, migrate))
            self._known[key] = irqs + resched + context + digits
        return self._known[key]
