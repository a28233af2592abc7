"""Statistics of a trace's locks, and chains of waits: one reading, then names for numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockscope.core import lock_stats
from lockscope.core.walk_rows import HAD_TO_WAIT
from lockscope.errors import UsageError, unknown
from lockscope.evidence.gather import Gathered, GatherOptions, gather, prefetched
from lockscope.formats.merge.reader import open_merged
from lockscope.pipeline import event_filter
from lockscope.pipeline import refuse_unmatched as refuse_unmatched_events
from lockscope.results.lock_stats import LockFigures, LockRow, Times, WaitChains, WaitLink
from lockscope.rules.load import choose
from lockscope.statistics import lock_waits
from lockscope.statistics.contention import OPS as CONTENTION
from lockscope.statistics.contention import Contention, type_name
from lockscope.statistics.lock_statistics import MOST_GROUPS, Groups, LockStatistics
from lockscope.statistics.lock_waits import LockWaits
from lockscope.tables.events import EventBatch, Reader, Wanted, both
from lockscope.tables.ops import Op
from lockscope.tables.tape import TapeBatch, source_of
from lockscope.trace.lock_filters import refuse_unmatched
from lockscope.trace.lock_names import DIMENSIONS, Dimension, Names
from lockscope.walk.lock_places import OPS as PLACING
from lockscope.walk.lock_places import is_marker
from lockscope.walk.walk import HOLD_COLUMNS, WALKED_OPS

Progress = Callable[[int, int | None], None]
Ints = NDArray[np.int64]
SORTS = ("acquired", "contended", "wait", "wait-avg", "wait-max", "hold", "hold-avg", "hold-max")
PERCENTS = (50.0, 95.0, 99.0)
_READ = WALKED_OPS | PLACING | CONTENTION | {Op.RENAME, Op.FORK}
_RELEASES = "contended_release"
_OWNERS = (
    "owners by contended_release: each from the release before its own, or from where somebody began to wait; of "
    "queued rwlocks and semaphores there are none"
)
_NO_OWNERS = "who held the locks is not known: record lock:contended_release (7.2 and later), or lockscope record"
_CONTEXTS = ("task", "softirq", "hardirq", "nmi")
_COLUMN = {name: place for place, name in enumerate(HOLD_COLUMNS)}


class Ahead:
    """A reader whose batches are read by a thread of their own: of statistics, reading is the longest part."""

    name: ClassVar[str] = "ahead"

    def __init__(self, reader: Reader) -> None:
        self._reader, self.info, self.formats = reader, reader.info, reader.formats

    @classmethod
    def sniff(cls, head: bytes) -> bool:
        """It stands for a reader that was found already."""
        return not head

    def batches(self, wanted: Wanted | None = None, *, rows: int = 1 << 20) -> Iterator[EventBatch]:
        """The reader's batches, one ahead."""
        return prefetched(self._reader.batches(wanted, rows=rows))


@dataclass(frozen=True, slots=True)
class LockQuery:
    """Which acquisitions count, and what tells groups apart.

    ``by``: names of ``DIMENSIONS``; with ``owner`` the rows are the waits that a task made others wait. ``classes``,
    ``callers``, ``tasks``: shell patterns, any of which must fit (of a task its name or pid). ``mode``: "read",
    "write" or "". Times are half open and of the moment when a lock was asked for. ``min_wait_ns``: only acquisitions
    that waited as long. ``contention``: from contention_begin and contention_end alone.
    """

    by: tuple[str, ...] = ("class",)
    sort: str = "wait"
    limit: int | None = None
    percents: tuple[float, ...] = PERCENTS
    classes: tuple[str, ...] = ()
    callers: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()
    locks: tuple[int, ...] = ()
    vms: tuple[int, ...] = ()
    mode: str = ""
    contexts: tuple[str, ...] = ()
    start_ns: int | None = None
    end_ns: int | None = None
    min_wait_ns: int = 0
    contention: bool = False
    events: tuple[str, ...] = ()

    def rows(self, rows: Ints) -> Ints:
        """The ended holds that count, as far as numbers tell."""
        keep = np.ones(len(rows), np.bool_)
        mode = rows[:, _COLUMN["mode"]]
        if self.mode:
            keep &= (mode & 3 != 0) == (self.mode == "read")
        if self.contexts:
            keep &= np.isin(mode >> 3 & 3, [_CONTEXTS.index(c) for c in self.contexts])
        if self.cpus:
            keep &= np.isin(rows[:, _COLUMN["cpu"]], self.cpus)
        if self.locks:
            keep &= np.isin(rows[:, _COLUMN["lock"]].view(np.uint64), np.array(self.locks, np.uint64))
        if self.start_ns is not None:
            keep &= rows[:, _COLUMN["asked_ns"]] >= self.start_ns
        if self.end_ns is not None:
            keep &= rows[:, _COLUMN["asked_ns"]] < self.end_ns
        if self.min_wait_ns:
            waited = rows[:, _COLUMN["acquired_ns"]] - rows[:, _COLUMN["contended_ns"]]
            keep &= (mode & HAD_TO_WAIT != 0) & (rows[:, _COLUMN["acquired_ns"]] != 0) & (waited >= self.min_wait_ns)
        return rows if keep.all() else np.ascontiguousarray(rows[keep])

    @property
    def named(self) -> dict[str, tuple[str, ...]]:
        """The patterns, by the dimension whose names they are about."""
        found = {"class": self.classes, "caller": self.callers, "task": self.tasks, "vm": tuple(map(str, self.vms))}
        return {name: patterns for name, patterns in found.items() if patterns}


class LockReading:
    """One reading of a trace for a query; ``waits`` keeps what chains and owners need."""

    def __init__(
        self, path: str | Sequence[str], query: LockQuery, *, waits: bool = False, progress: Progress | None = None
    ) -> None:
        self.query = query
        self.reader = open_merged(path)
        self.path = self.reader.info.path
        columns = {c for d in self._dimensions() for c in d.columns}
        self.keys = [name for name in HOLD_COLUMNS if name in columns]
        self.holds, self.contention = LockStatistics(self.keys), LockStatistics(self.keys)
        self._waits = (LockWaits(), LockWaits()) if waits else None  # of holds, of contention events
        self.pairs = Contention()
        self.anything = False  # whether any lock was seen
        self.locks_seen: set[int] = set()  # where the query asks for some
        self.found = self._read(progress)
        refuse_unmatched(self)

    def _dimensions(self) -> list[Dimension]:
        names = dict.fromkeys((*self.query.by, *self.query.named))
        return [DIMENSIONS[name] for name in names if name != "owner"]

    def _read(self, progress: Progress | None) -> Gathered:
        rules, _ = choose(self.reader.info.kernel)
        vms = "vm" in self.query.by or bool(self.query.vms)
        # Chains are made where only they name a lock: on a kernel without lockdep, by the first caller.
        plain = any(f.full_name == "lock:lock_acquire" for f in self.reader.formats)
        options = GatherOptions(
            ("vms",) if vms else (),
            ended=self._ended,
            judged=not plain,
            tape=self._tape,
            ops=CONTENTION,
            keep=both(
                event_filter(self.query.events, ()),
                None if vms else lambda f: source_of(f, _READ) is not None or is_marker(f),
            ),
        )
        found = gather(Ahead(self.reader), rules, options, progress)
        refuse_unmatched_events(self.reader, self.query.events, ())
        return found

    def _see(self, rows: Ints) -> None:
        self.anything = self.anything or len(rows) > 0
        if self.query.locks and len(self.locks_seen) < MOST_GROUPS:
            self.locks_seen.update(np.unique(rows[:, _COLUMN["lock"]].view(np.uint64)).tolist())

    def _ended(self, rows: Ints) -> None:
        self._see(rows)
        chosen = self.query.rows(rows)
        if not self.query.contention:
            self.holds.feed(chosen)
            if self._waits is not None:
                self._waits[0].feed(rows)  # an owner's hold counts whatever the query says of the waiter

    def _tape(self, batch: TapeBatch) -> None:
        for rows in self.pairs.feed(batch):
            if self._waits is not None:
                self._waits[1].feed(rows)
            waits = np.ascontiguousarray(rows[rows[:, _COLUMN["mode"]] & HAD_TO_WAIT != 0])
            self._see(waits)
            self.contention.feed(self.query.rows(waits))

    @property
    def waits(self) -> LockWaits:
        """What waited and was waited for, of a reading that keeps it."""
        assert self._waits is not None
        return self._waits[self.from_contention]

    @cached_property
    def from_contention(self) -> bool:
        """Whether contention events are all there is: no lock was seen being taken, only waited for."""
        return self.query.contention or not len(self.holds.groups())

    @cached_property
    def names(self) -> Names:
        """Names for the numbers of this trace."""
        classes = [type_name(flags) for flags in range(64)] if self.from_contention else []
        return Names(self.found, classes or [c.label for c in self.found.evidence.classes])

    def groups(self) -> Groups:
        """The groups, by this reading's keys."""
        return (self.contention if self.from_contention else self.holds).groups()

    def notes(self) -> list[str]:
        """What the figures leave out or rest on."""
        recorded = self.found.evidence.recorded
        said = []
        if self.from_contention and recorded.get("lock:contention_begin"):
            said.append("from contention_begin and contention_end: waits only, under the kind of lock")
            if self._waits is not None:
                said.append(_OWNERS if self.found.evidence.has(_RELEASES) else _NO_OWNERS)
        elif self.from_contention:
            said.append("no lock was seen being taken or waited for; record -e lock (trace-cmd), or perf lock record")
        elif not recorded.get("lock:lock_contended") and not recorded.get("lock:contention_begin"):
            said.append("no waits: neither lock_contended (CONFIG_LOCK_STAT) nor contention_begin was recorded")
        elif not recorded.get("lock:lock_acquire"):
            others = int(self.contention.groups().column(lock_stats.G_ACQUIRED).sum())
            if others:
                said.append(f"contention events tell of {others:,} waits, for any lock: --contention has them all")
        if self.groups().crowded:
            said.append(f"more than {MOST_GROUPS:,} groups: the rest is counted in one, under the first of them")
        if self.found.evidence.filtered:
            said.append(
                "sched_switch events are missing although no loss was recorded: a PID filter was probably active"
            )
        return said


def lock_figures(
    path: str | Sequence[str], query: LockQuery | None = None, progress: Progress | None = None
) -> LockFigures:
    """Statistics of a trace's locks; several files are one recording. Raises ``LockscopeError``, also where a value
    of the query is nothing in the trace.
    """
    query = query or LockQuery()
    checked(query)
    if "owner" in query.by:
        from lockscope.trace.lock_owners import owner_figures

        return owner_figures(path, query, progress)
    reading = LockReading(path, query, progress=progress)
    groups = named_only(reading.groups(), reading)
    names, keys = texts_of(groups, reading, query.by)
    return figures_of(reading, groups.merged(keys), names, [c for d in query.by for c in DIMENSIONS[d].fields])


def checked(query: LockQuery) -> None:
    """Raise ``UsageError`` for words that mean nothing."""
    for word in query.by:
        if word not in DIMENSIONS:
            raise unknown("--by", word, DIMENSIONS)
    if query.sort not in SORTS:
        raise unknown("--sort", query.sort, SORTS)
    if not all(0 < p <= 100 for p in query.percents):
        msg = "--percentiles: wanted numbers above 0 and up to 100"
        raise UsageError(msg)


def named_only(groups: Groups, reading: LockReading) -> Groups:
    """Those whose names fit the query's patterns."""
    keep = np.ones(len(groups), np.bool_)
    for name, patterns in reading.query.named.items():
        dimension = DIMENSIONS[name]
        keys = groups.keys[:, [reading.keys.index(c) for c in dimension.columns]]
        unique, of = np.unique(keys, axis=0, return_inverse=True)
        fits = np.array([reading.names.fits(dimension, k, patterns) for k in unique.tolist()] or [False], np.bool_)
        keep &= fits[of.reshape(-1)] if len(groups) else keep
    return groups if keep.all() else groups.only(keep)


def texts_of(groups: Groups, reading: LockReading, by: Iterable[str]) -> tuple[list[list[Any]], Ints]:
    """For each dimension its texts, and int64[groups, dimensions] that says which of them a group has."""
    texts: list[list[Any]] = []
    codes = []
    for name in by:
        dimension = DIMENSIONS[name]
        keys = groups.keys[:, [reading.keys.index(c) for c in dimension.columns]]
        unique, of = np.unique(keys, axis=0, return_inverse=True)
        shown = [reading.names.shown(dimension, k) for k in unique.tolist()]
        known: dict[Any, int] = {}
        code = np.array([known.setdefault(text, len(known)) for text in shown] or [0], np.int64)
        texts.append(list(known))
        codes.append(code[of.reshape(-1)] if len(groups) else np.zeros(0, np.int64))
    return texts, np.column_stack(codes) if codes else np.zeros((len(groups), 0), np.int64)


def figures_of(
    reading: LockReading, groups: Groups, texts: list[list[Any]], columns: list[str], *, holds: bool = True
) -> LockFigures:
    """Rows in order, of groups whose keys are places in ``texts``. ``holds``: whether they are of holds at all."""
    query, evidence = reading.query, reading.found.evidence
    wait = groups.times(lock_stats.WAIT, query.percents)
    hold = groups.times(lock_stats.HOLD, query.percents)
    holds = holds and not reading.from_contention
    order = _order(query.sort, groups, wait, hold)[: query.limit]
    acquired, trylocks, contended, cut = (
        groups.column(c)
        for c in (lock_stats.G_ACQUIRED, lock_stats.G_TRYLOCKS, lock_stats.G_CONTENDED, lock_stats.G_CUT)
    )
    cut = cut if holds else np.zeros_like(cut)
    rows = tuple(
        LockRow(
            tuple(value for d, k in enumerate(groups.keys[g].tolist()) for value in texts[d][k]),
            "read" if groups.read[g] else "write",
            int(acquired[g]),
            int(trylocks[g]),
            int(contended[g]),
            int(cut[g]),
            _times(wait, g),
            _times(hold, g),
        )
        for g in order.tolist()
    )
    return LockFigures(
        reading.path, evidence.info.kernel, evidence.start_ns, evidence.end_ns, tuple(columns), query.percents, rows,
        len(groups), int(acquired.sum()), int(cut.sum()), groups.orphans, evidence.lost, tuple(reading.notes()),
    )  # fmt: skip


def _times(times: Any, g: int) -> Times:
    return Times(
        int(times.number[g]),
        int(times.total_ns[g]),
        int(times.min_ns[g]),
        int(times.max_ns[g]),
        tuple(times.percentiles[g].tolist()),
    )


def _order(sort: str, groups: Groups, wait: Any, hold: Any) -> Ints:
    what, _, how = sort.partition("-")
    acquired = groups.column(lock_stats.G_ACQUIRED)
    if what in ("wait", "hold"):
        times = wait if what == "wait" else hold
        key = {"": times.total_ns, "max": times.max_ns, "avg": times.total_ns // np.maximum(times.number, 1)}[how]
    else:
        key = acquired if what == "acquired" else groups.column(lock_stats.G_CONTENDED)
    return np.lexsort((np.arange(len(groups)), -acquired, -hold.total_ns, -key))


def wait_chains(
    path: str | Sequence[str], query: LockQuery | None = None, number: int = 10, progress: Progress | None = None
) -> WaitChains:
    """The slowest acquisitions that the query lets through, each with the waits behind it."""
    query = replace(query or LockQuery(), by=("class",))
    reading = LockReading(path, query, waits=True, progress=progress)
    blame = reading.waits.finish()
    rows, names = reading.waits.rows, reading.names
    waits = reading.waits.slowest(len(rows))
    chosen = [w for w in waits.tolist() if len(query.rows(rows[w : w + 1])) and names.all_fit(rows[w], query.named)]
    links = []
    for chain, wait in enumerate(chosen[:number]):
        links += [_link(chain, link, rows, names) for link in reading.waits.chain(wait, blame)]
    if reading.from_contention:  # an owner is known by its release, which does not say how or where it took the lock
        links = [replace(link, owner_mode="", owner_since_ns=0) for link in links]
    notes = reading.notes()
    if reading.waits.dropped:
        notes.append(f"{reading.waits.dropped:,} of the shortest waits and holds were left out: too many to keep")
    return WaitChains(reading.path, reading.found.evidence.info.kernel, tuple(links), len(chosen), tuple(notes))


def _link(chain: int, link: lock_waits.Link, rows: Ints, names: Names) -> WaitLink:
    wait = rows[link.wait].tolist()
    owner = rows[link.owner].tolist() if link.owner >= 0 else None
    pid = owner[lock_waits.PID] if owner else -1
    return WaitLink(
        chain,
        link.depth,
        names.classes[wait[lock_waits.CLS]],
        wait[lock_waits.LOCK] & (1 << 64) - 1,
        "read" if wait[lock_waits.MODE] & 3 else "write",
        wait[lock_waits.PID],
        names.comm(wait[lock_waits.PID]),
        wait[lock_waits.CPU],
        wait[lock_waits.CONTENDED],
        wait[lock_waits.ACQUIRED],
        names.caller(wait[lock_waits.IP]),
        pid,
        names.comm(pid) if owner else "",
        ("read" if owner[lock_waits.MODE] & 3 else "write") if owner else "",
        max(owner[lock_waits.ACQUIRED], owner[lock_waits.ASKED]) if owner else 0,
        link.owned_ns,
        names.caller(owner[lock_waits.IP]) if owner else "",
        link.owners,
    )


def as_arrow(figures: LockFigures) -> pa.Table:
    """A row for each group: its names, ``mode``, counts, and ``wait_`` and ``hold_`` times in ns as in the CSV."""
    columns: dict[str, list[Any]] = {
        name: [row.names[i] for row in figures.rows] for i, name in enumerate(figures.columns)
    }
    for name in ("mode", "acquired", "trylocks", "contended", "cut"):
        columns[name] = [getattr(row, name) for row in figures.rows]
    for what in ("wait", "hold"):
        times = [getattr(row, what) for row in figures.rows]
        for name in ("number", "total_ns", "average_ns", "min_ns", "max_ns"):
            columns[f"{what}_{name}"] = [getattr(t, name) for t in times]
        for i, percent in enumerate(figures.percents):
            columns[f"{what}_p{percent:g}_ns"] = [t.percentiles_ns[i] for t in times]
    return pa.table(columns)


def chains_as_arrow(chains: WaitChains) -> pa.Table:
    """A row for each wait of the chains, with the columns of ``figures.WaitLink``."""
    names = [field.name for field in fields(WaitLink)]
    kinds = {"lock": pa.uint64()}
    return pa.table({name: pa.array([getattr(li, name) for li in chains.links], kinds.get(name)) for name in names})
