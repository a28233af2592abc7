"""The history's tables. One Parquet file a run and table; a reader of Parquet data sets takes a folder as a table."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lockscope.tables.schema import Column

_ARROW: dict[str, Any] = {
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
    "bins": pa.list_(pa.uint16()),
    "counts": pa.list_(pa.int64()),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HistoryTable:
    """One table. ``key``: the columns that its rows are sorted by."""

    name: str
    doc: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    def schema(self) -> pa.Schema:
        """The Arrow schema."""
        return pa.schema([(c.name, _ARROW[c.type]) for c in self.columns])

    def build(self, rows: Iterable[Mapping[str, Any]] | pa.Table) -> pa.Table:
        """A table of these rows, sorted by the key. Raises ``KeyError`` where a row lacks a column."""
        if isinstance(rows, pa.Table):
            return rows.sort_by([(k, "ascending") for k in self.key]).select(self.schema().names).combine_chunks()
        given = sorted(rows, key=lambda r: tuple(r[k] for k in self.key))
        arrays = [pa.array([r[c.name] for r in given], _ARROW[c.type]) for c in self.columns]
        return pa.Table.from_arrays(arrays, schema=self.schema())


def _c(name: str, kind: str, unit: str, doc: str) -> Column:
    return Column(name, kind, unit, doc)


_NIGHT = _c("night", "text", "", "which night: what --night said, else the day of the run (UTC)")
_DIGEST = _c("digest", "text", "", "SHA-256 of the file as it lies there: what makes a trace new")
_HOST = _c("host", "text", "", "the machine that was traced")
_KERNEL = _c("kernel", "text", "", 'release and machine, "6.12.117 x86_64"; "" where the trace does not say')
_NAME = _c("name", "text", "", "class as lockdep prints it, with /subclass")

TRACES = HistoryTable(
    "traces",
    "One file that was looked at. Its row is written last: a trace is done when it is here.",
    ("digest",),
    (
        _NIGHT,
        _DIGEST,
        _HOST,
        _KERNEL,
        _c("path", "text", "", "where the file was, as given"),
        _c("stamp", "text", "", "size and time of change or ETag: the same stamp and path is the same content"),
        _c("size", "int64", "bytes", "of the file"),
        _c("format", "text", "", "as `lockscope info` says it"),
        _c("clock", "text", "", "the trace's clock"),
        _c("rules", "text", "", "rulebook that judged it"),
        _c("cpus", "int32", "", "CPUs"),
        _c("events", "int64", "events", "read"),
        _c("lost_events", "int64", "events", "lost; null where nobody knows how many"),
        _c("length_ns", "int64", "ns", "from the first event to the last"),
        _c("verdict", "text", "", "violation, clean or unknown"),
        _c("ran", "int32", "checks", "judged in full"),
        _c("partial", "int32", "checks", "judged in part"),
        _c("skipped", "int32", "checks", "lacked their events"),
        _c("error", "text", "", 'why there is no verdict at all; "" for a trace that was read'),
        _c("version", "text", "", "lockscope's"),
    ),
)

FINDINGS = HistoryTable(
    "findings",
    "One finding of one trace (or of the merged graph: digest and host are empty), by fingerprint.",
    ("digest", "code", "fingerprint", "window"),
    (
        _NIGHT,
        _DIGEST,
        _HOST,
        _KERNEL,
        _c("fingerprint", "text", "", "equal for the same defect"),
        _c("code", "text", "", "LS101 ..."),
        _c("check", "text", "", "the check's name"),
        _c("severity", "text", "", "error, warning, info"),
        _c("confidence", "text", "", "certain, likely, possible"),
        _c("title", "text", "", "headline"),
        _c("message", "text", "", "one or two sentences"),
        _c("classes", "texts", "", "lock classes, outermost first"),
        _c("rule", "text", "", 'id of the broken rule, or ""'),
        _c("source", "text", "", "where the rule stands"),
        _c("count", "int64", "", "how often"),
        _c("window", "text", "", 'judged window, or ""'),
        _c("path", "text", "", "the trace; of a merged finding those of its sides"),
        _c("ts_ns", "int64", "ns", "first witness: when, on the trace's clock; null without one"),
        _c("task", "text", "", "first witness: comm/pid"),
        _c("story", "text", "", "the report in lockdep's words"),
        _c("ring", "texts", "", "of a merged finding: identities of the ring's classes, in order"),
        _c("suspect", "int32", "", "of a merged finding: place in ring of the dependency that closes it; null else"),
    ),
)

CHECKS = HistoryTable(
    "checks",
    "What became of one check on one trace.",
    ("digest", "code"),
    (
        _NIGHT,
        _DIGEST,
        _HOST,
        _c("code", "text", "", "LS101 ..."),
        _c("status", "text", "", "ran, partial, skipped"),
        _c("verdict", "text", "", "violation, clean, unknown"),
        _c("reason", "text", "", "what was missing, and how to record it"),
    ),
)

_TIMES = (
    ("hold", "holds whose both ends were seen"),
    ("wait", "waits of contended acquisitions, from lock_contended to lock_acquired"),
)

CLASSES = HistoryTable(
    "classes",
    "Statistics of one lock class on one host in one run.",
    ("host", "kernel", "name"),
    (
        _NIGHT,
        _HOST,
        _KERNEL,
        _NAME,
        _c("kvm", "bool", "", "one of KVM's own locks"),
        _c("contended", "int64", "", "acquisitions that had to wait"),
        *(
            column
            for kind, what in _TIMES
            for column in (
                _c(f"{kind}s", "int64", "", what),
                _c(f"{kind}_ns", "int64", "ns", "their sum"),
                _c(f"{kind}_p50", "float64", "ns", "median; null without any"),
                _c(f"{kind}_p90", "float64", "ns", "90th percentile"),
                _c(f"{kind}_p99", "float64", "ns", "99th percentile"),
                _c(f"{kind}_max", "int64", "ns", "longest"),
                _c(f"{kind}_bins", "bins", "", "buckets that are not empty: lockscope/core/lock_stats.py"),
                _c(f"{kind}_counts", "counts", "", "how many in each"),
            )
        ),
    ),
)

EDGES = HistoryTable(
    "edges",
    "One lock taken under another, on all hosts of a run with one kernel.",
    ("kernel", "held", "taken", "kind"),
    (
        _NIGHT,
        _KERNEL,
        _c("held", "text", "", "identity of the class that was held: the same on every machine with this kernel"),
        _c("taken", "text", "", "of the one asked for"),
        _c("held_label", "text", "", "as lockdep prints it"),
        _c("taken_label", "text", "", "likewise"),
        _c("subclass", "int32", "", "of the held one"),
        _c("kind", "int32", "", "bit 0: held exclusively; bit 1: asked for other than as a recursive reader"),
        _c("count", "int64", "", "how often"),
        _c("direct", "bool", "", "at some time nothing lay between the two"),
        _c("told", "bool", "", "closes a ring that some trace's own report tells"),
        _c("irq", "bool", "", "at some time taken by an interrupt"),
        _c("detailed", "bool", "", "a trace shows it that recorded read kinds, keys and nest locks"),
        _c("guards", "texts", "", "locks held over every occurrence; ! before those always held exclusively"),
        _c("hosts", "int32", "", "on how many hosts"),
        _HOST,
        _c("path", "text", "", "a trace that shows it"),
        _c("ts_ns", "int64", "ns", "when, on that trace's clock"),
        _c("task", "text", "", "who: comm/pid"),
        _c("held_at", "text", "", "the function that took the held one"),
        _c("at", "text", "", "the function that asked"),
    ),
)

LOSSES = HistoryTable(
    "losses",
    "Events that a trace lacks.",
    ("digest", "cpu", "kind", "buffer"),
    (
        _NIGHT,
        _DIGEST,
        _HOST,
        _c("cpu", "int32", "", "-1: not known"),
        _c("kind", "text", "", "gap, overrun, commit overrun, dropped, truncated, unparsed"),
        _c("count", "int64", "events", "null where nobody knows"),
        _c("buffer", "text", "", 'tracing instance, "" is the top one'),
        _c("remedy", "text", "", "what to do about it"),
    ),
)

TABLES = {t.name: t for t in (FINDINGS, CHECKS, CLASSES, EDGES, LOSSES, TRACES)}  # the commit record is the last

Record = dict[str, pa.Table]


def record(rows: Mapping[str, Iterable[Mapping[str, Any]] | pa.Table]) -> Record:
    """Tables of these rows, empty ones where there are none."""
    return {name: table.build(rows.get(name, ())) for name, table in TABLES.items()}


def pack(tables: Record) -> bytes:
    """A record as bytes: Arrow streams one behind the other, for the way from a worker and for the disk."""
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
    for name in TABLES:
        with pa.ipc.new_stream(sink, tables[name].schema, options=options) as stream:
            stream.write_table(tables[name])
    return sink.getvalue()


def unpack(data: bytes) -> Record:
    """What ``pack`` made. Raises ``ValueError`` (Arrow's errors are) for anything else, or another version's."""
    source = pa.BufferReader(data)
    options = pa.ipc.IpcReadOptions(use_threads=False)  # small: handing it to others costs more than unpacking it
    tables = {}
    for name, table in TABLES.items():
        with pa.ipc.open_stream(source, options=options) as stream:
            tables[name] = stream.read_all()
        if not tables[name].schema.equals(table.schema()):
            msg = f"{name}: not this version's columns"
            raise ValueError(msg)
    return tables
