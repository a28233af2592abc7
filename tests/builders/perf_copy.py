"""A trace of any format as the perf.data that perf record would have made of the same events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lockscope.formats.trace_dat.reader import TraceDat
from lockscope.tables.events import LOSS, UNKNOWN, Wanted
from tests.builders.perf_data import ROUND, Event, Kernel, PerfFile, Sample, comm
from tests.builders.trace_dat import Line, format_text


def perf_of(trace: TraceDat, wanted: Wanted | None = None, *, clockid: int | None = None) -> PerfFile:
    """The events, each with a preempt count that is higher by one, as perf has it; in one round."""
    k = Kernel(trace.info.big_endian, trace.info.long_size)
    release = (trace.info.kernel or "").encode()
    kinds: dict[int, Event] = {}
    records: list[Sample | bytes] = []
    for batch in trace.batches(wanted):
        for ts, at, size, kind, stream in zip(
            batch.ts_ns.tolist(), batch.at.tolist(), batch.size.tolist(), batch.kind.tolist(), batch.stream.tolist(),
            strict=True,
        ):  # fmt: skip
            if kind in (LOSS, UNKNOWN):
                continue
            fmt = trace.formats[kind]
            if kind not in kinds:
                kinds[kind] = Event(fmt.raw_id, ids=(len(kinds) + 5,), name=fmt.full_name, clockid=clockid)
            raw = bytearray(batch.data[at : at + size].tobytes())
            raw[batch.layout.preempt_at] += 1
            records.append(Sample(kinds[kind], ts, trace.info.streams[stream].cpu, 1, bytes(raw)))
    names = [comm(k, pid, name.encode()) for pid, name in trace.info.comms.items()]
    if trace.info.only_enabled:  # those that were switched on and stayed quiet are in a perf.data too
        quiet = [f for f in trace.formats[2:] if f.index not in kinds and (wanted is None or wanted(f))]
        kinds |= {f.index: Event(f.raw_id, ids=(1000 + f.index,), name=f.full_name, clockid=clockid) for f in quiet}
    return PerfFile(list(kinds.values()), [*names, *records, ROUND], k, _systems(trace), release=release)


def _systems(trace: TraceDat) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for fmt in trace.formats[2:]:
        rows: Sequence[Line] = [(_declaration(f.ctype, f.name), f.offset, f.size, int(f.signed)) for f in fmt.fields]
        found.setdefault(fmt.system, []).append(format_text(fmt.name, fmt.raw_id, rows))
    return found


def _declaration(ctype: str, name: str) -> str:
    plain, _, count = ctype.partition("[")
    return f"{plain} {name}" if not count or ctype.startswith("__") else f"{plain} {name}[{count}"


def write(trace: str | Path, target: Path, wanted: Wanted | None = None, *, clockid: int | None = None) -> str:
    """The copy of a trace.dat as a file."""
    target.write_bytes(perf_of(TraceDat(str(trace)), wanted, clockid=clockid).build())
    return str(target)
