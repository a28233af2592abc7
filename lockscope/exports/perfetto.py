"""A Perfetto trace (https://ui.perfetto.dev): what tasks waited for and held, and what was found wrong.

A track for each task. Under it: ``waits`` and ``holds`` of locks, ``srcu`` read sections and ``mmu`` with SPTE changes
and flushes as instants. Findings are instants on ``findings``, joined by flows: from the lock that one side asks for to
the side that has it. Written with the Perfetto project's own Python package (the extra ``lockscope[perfetto]``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lockscope.errors import UsageError
from lockscope.exports.export import ExportOptions, opened, refuse, table_of
from lockscope.units import address

if TYPE_CHECKING:
    from lockscope.trace.trace import Trace

EXPORT, SUFFIX = "perfetto", ".pftrace"
DOC = "waits, holds, SRCU sections, SPTE changes and findings for ui.perfetto.dev"
_SEQUENCE = 1
_BEGIN, _END, _INSTANT = 1, 2, 3  # TrackEvent.Type


def write(trace: Trace, target: Path, options: ExportOptions) -> list[Path]:
    """Write the trace. Raises ``UsageError`` where the package is missing."""
    refuse(options, EXPORT)
    try:
        from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder
    except ImportError as error:
        msg = "--format perfetto: needs the perfetto package: pip install perfetto"
        raise UsageError(msg) from error
    with opened(target) as file:
        tracks = _Tracks(StreamingTraceProtoBuilder(file), trace.comms())
        _locks(tracks, _within(table_of(trace, "holds", options).arrow, "asked_ns", options))
        _sections(tracks, _within(table_of(trace, "srcu_events", options).arrow, "ts_ns", options))
        for name, fields in _INSTANTS.items():
            _instants(tracks, _within(table_of(trace, name, options).arrow, "ts_ns", options), fields)
        _findings(tracks, trace, options)
    return [target]


def _within(table: pa.Table, column: str, options: ExportOptions) -> pa.Table:
    if options.start_ns is not None:
        table = table.filter(pc.greater_equal(table.column(column), options.start_ns))
    if options.end_ns is not None:
        table = table.filter(pc.less(table.column(column), options.end_ns))
    return table


def _rows(table: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    yield from zip(*(table.column(name).to_pylist() for name in names), strict=True)


class _Tracks:
    """Writes packets; describes each track when it first gets an event."""

    def __init__(self, builder: Any, comms: Mapping[int, str]) -> None:
        self._builder, self._comms = builder, comms
        self._known: dict[tuple[Any, ...], int] = {}

    def of(self, pid: int, cpu: int, *names: str) -> int:
        """The track of a task, or one under it. Interrupts of an idle CPU are that CPU's."""
        task = (pid, cpu if pid == 0 else -1)
        key = (task, *names)
        if key in self._known:
            return self._known[key]
        parent = self.of(pid, cpu, *names[:-1]) if names else 0
        number = self._known[key] = len(self._known) + 1
        packet = self._builder.create_packet()
        descriptor = packet.track_descriptor
        descriptor.uuid = number
        if names:
            descriptor.parent_uuid = parent
            descriptor.name = names[-1].partition("#")[0]
        else:
            descriptor.name = f"{self._comms.get(pid, '<...>')} {pid}" if pid else f"idle CPU {cpu}"
        self._builder.write_packet(packet)
        return number

    def event(
        self, ts_ns: int, kind: int, track: int, name: str = "", category: str = "",
        notes: Mapping[str, Any] | None = None, flows: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        """One event; ``notes`` are shown beside it, ``flows`` join it with others."""
        packet = self._builder.create_packet()
        packet.timestamp = ts_ns
        packet.trusted_packet_sequence_id = _SEQUENCE
        event = packet.track_event
        event.type, event.track_uuid = kind, track
        if name:
            event.name = name
        if category:
            event.categories.append(category)
        for key, value in (notes or {}).items():
            note = event.debug_annotations.add()
            note.name = key
            if isinstance(value, bool):
                note.bool_value = value
            elif isinstance(value, int):
                note.int_value = value
            else:
                note.string_value = str(value)
        event.flow_ids.extend(flows)
        self._builder.write_packet(packet)

    def slice(self, begin: int, end: int, track: int, name: str, category: str, notes: Mapping[str, Any]) -> None:
        """From ``begin`` to ``end``."""
        self.event(begin, _BEGIN, track, name, category, notes)
        self.event(max(end, begin), _END, track)


class _Lanes:
    """Slices that overlap without nesting need tracks of their own: the first free one, by task."""

    def __init__(self) -> None:
        self._free: dict[Any, list[int]] = {}
        self._busy: dict[Any, list[tuple[int, int]]] = {}
        self._made: dict[Any, int] = {}

    def lane(self, key: Any, begin: int, end: int) -> int:
        """The lane of a slice; slices come by their begin."""
        free, busy = self._free.setdefault(key, []), self._busy.setdefault(key, [])
        while busy and busy[0][0] <= begin:
            heappush(free, heappop(busy)[1])
        if free:
            lane = heappop(free)
        else:
            lane = self._made.get(key, 0)
            self._made[key] = lane + 1
        heappush(busy, (end, lane))
        return lane


def _locks(tracks: _Tracks, table: pa.Table) -> None:
    lanes = _Lanes()
    names = ("asked_ns", "acquired_ns", "contended_ns", "end_ns", "pid", "cpu", "name", "lock", "read", "trylock",
             "caller", "context", "begin_known", "end_known")  # fmt: skip
    for asked, acquired, contended, end, pid, cpu, name, lock, read, trylock, caller, context, begun, ended in sorted(
        _rows(table, *names), key=lambda row: max(row[0], row[1] or 0)
    ):
        if not begun:
            continue
        notes = {"lock": address(lock), "mode": "read" if read else "write", "context": context}
        notes |= {"caller": caller} if caller else {}
        notes |= {"trylock": True} if trylock else {}
        notes |= {} if ended else {"release": "not seen"}
        if contended and acquired:
            tracks.slice(contended, acquired, tracks.of(pid, cpu, "waits"), f"wait {name}", "wait", notes)
        begin = max(asked, acquired or 0)
        lane = lanes.lane((pid, cpu if pid == 0 else -1), begin, end)
        tracks.slice(begin, end, tracks.of(pid, cpu, f"holds#{lane}"), name, "hold", notes)


def _sections(tracks: _Tracks, table: pa.Table) -> None:
    """SRCU read sections, from lock to unlock of one task, srcu_struct and index."""
    lanes = _Lanes()
    opened_: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    found = []
    for ts, pid, cpu, op, ssp, idx in _rows(table, "ts_ns", "pid", "cpu", "op", "ssp", "idx"):
        key = (pid, ssp, idx)
        if op == "srcu_lock":
            opened_.setdefault(key, []).append((ts, cpu))
        elif op == "srcu_unlock" and opened_.get(key):
            found.append((*opened_[key].pop(), ts, pid, ssp, idx))
    for begin, cpu, end, pid, ssp, idx in sorted(found):
        lane = lanes.lane(pid, begin, end)
        name = f"srcu {address(ssp)}" if ssp else "srcu"
        tracks.slice(begin, end, tracks.of(pid, cpu, f"srcu#{lane}"), name, "srcu", {} if idx is None else {"idx": idx})


_INSTANTS = {
    "spte_changes": ("vm", "as_id", "level", "gfn", "sptep", "old_spte", "new_spte", "mmu_lock"),
    "tlb_flushes": ("kvm", "req", "gfn", "nr_pages"),
}
_HEX = frozenset({"gfn", "sptep", "old_spte", "new_spte", "kvm", "req"})


def _instants(tracks: _Tracks, table: pa.Table, fields: tuple[str, ...]) -> None:
    for ts, pid, cpu, name, *values in _rows(table, "ts_ns", "pid", "cpu", "event", *fields):
        known = {f: v for f, v in zip(fields, values, strict=True) if v is not None}
        notes = {f: address(v) if f in _HEX else v for f, v in known.items()}
        tracks.event(ts, _INSTANT, tracks.of(pid, cpu, "mmu"), name, "mmu", notes)


def _findings(tracks: _Tracks, trace: Trace, options: ExportOptions) -> None:
    flow = 0
    for finding in trace.analyze().findings:
        sides = finding.sides
        flows: dict[tuple[int, int], list[int]] = {}
        for side in range(len(sides) if len(sides) > 1 else 0):
            other = (side + 1) % len(sides)
            flow += 1  # what this side asks for last is what the next one took first
            flows.setdefault((side, len(sides[side]) - 1), []).append(flow)
            flows.setdefault((other, 0), []).append(flow)
        for number, side_ in enumerate(sides):
            for place, witness in enumerate(side_):
                outside = (options.start_ns is not None and witness.ts_ns < options.start_ns) or (
                    options.end_ns is not None and witness.ts_ns >= options.end_ns
                )
                if outside:
                    continue
                notes = {
                    "title": finding.title, "message": finding.message, "severity": finding.severity.value,
                    "confidence": finding.confidence.value, "fingerprint": finding.fingerprint,
                    "event": witness.event, "note": witness.note, "side": number + 1,
                }  # fmt: skip
                notes |= {"at": witness.location} if witness.location else {}
                tracks.event(
                    witness.ts_ns, _INSTANT, tracks.of(witness.pid, witness.cpu, "findings"),
                    f"{finding.code} {finding.name}", "finding", notes, tuple(flows.get((number, place), ())),
                )  # fmt: skip
