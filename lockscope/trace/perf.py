"""``perf lock``'s figures: the same accounting (``core.perf_sequences``), in the same order.

perf lists locks of equal rank in the order of its hash table (tools/perf/builtin-lock.c and include/linux/hash.h,
Linux 6.1): by bucket of 4,096, the newest first. So are they here, which makes outputs comparable line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lockscope.core import columns, numbering, perf_sequences
from lockscope.core.perf_sequences import (
    ADDRESS,
    CALLER,
    S_ACQUIRED,
    S_BROKEN,
    S_CALLER,
    S_CONTENDED,
    S_FLAGS,
    S_KEY,
    S_NAME,
    S_WAIT,
    S_WAIT_AVG,
    S_WAIT_MAX,
    S_WAIT_MIN,
    TASK,
)
from lockscope.errors import UsageError
from lockscope.evidence.comms import Comms
from lockscope.evidence.gather import prefetched
from lockscope.formats.merge.reader import open_merged
from lockscope.results.lock_stats import PerfFigures, PerfRow
from lockscope.statistics.contention import type_name
from lockscope.tables.events import EventBatch, Reader
from lockscope.tables.lock_code import lock_code
from lockscope.tables.ops import Op
from lockscope.tables.symbols import Symbols
from lockscope.tables.tape import Projector, TapeBatch, callchain_place, source_of

Ints = NDArray[np.int64]
_ORDERED = (Op.ACQUIRE, Op.ACQUIRED, Op.CONTENDED, Op.RELEASE)
_WAITS = (Op.CONTENTION_BEGIN, Op.CONTENTION_END)
_AT_ONCE, _ROWS = 1 << 14, 1 << 16  # rows accounted for, and read, at once
_GOLDEN = 0x61C8864680B583EB  # GOLDEN_RATIO_64, include/linux/hash.h
_BUCKET_BITS = 12  # LOCKHASH_BITS
_SKIPPED, _DEPTH = 3, 8  # CONTENTION_STACK_SKIP, CONTENTION_STACK_DEPTH, tools/perf/util/lock-contention.h
_SORTS = {
    "acquired": S_ACQUIRED,
    "contended": S_CONTENDED,
    "wait": S_WAIT,
    "wait-max": S_WAIT_MAX,
    "wait-avg": S_WAIT_AVG,
}
_BY = {"instance": ADDRESS, "class": ADDRESS, "task": TASK, "caller": CALLER}
_MAX = np.iinfo(np.int64).max


class _Accounts:
    """The state of perf's accounting, which grows as needed."""

    def __init__(self, by: int) -> None:
        self._by = by
        self._seq_table, self._stat_table = np.zeros(2 + (2 << 15), np.int64), np.zeros(2 + (2 << 15), np.int64)
        self._seqs = np.zeros((1 << 14, perf_sequences.Q_WIDTH), np.int64)
        self._stats = np.zeros((1 << 14, perf_sequences.S_WIDTH), np.int64)
        self.histogram = np.zeros(len(perf_sequences.BROKEN), np.int64)

    def feed(self, batch: TapeBatch, ops: tuple[Op, ...], callers: Ints) -> None:
        """Account for a batch. ``callers``: int64[rows, 2], as ``perf_sequences.account`` wants them."""
        at = np.flatnonzero(np.isin(batch.op, ops))
        for begin in range(0, len(at), _AT_ONCE):
            part = at[begin : begin + _AT_ONCE]
            self._seq_table, self._seqs = _roomy(self._seq_table, self._seqs, len(part))
            self._stat_table, self._stats = _roomy(self._stat_table, self._stats, len(part))
            columns = (np.ascontiguousarray(getattr(batch, name)[part]) for name in ("ts_ns", "pid", "op", "slots"))
            perf_sequences.account(
                *columns, callers[part], self._by, self._seq_table, self._seqs, self._stat_table,
                self._stats, self.histogram,
            )  # fmt: skip

    @property
    def stats(self) -> Ints:
        """A row for each key, in the order in which they were first seen."""
        return self._stats[: int(self._stat_table[0])]


class _Callers:
    """Who waited, by the callchains of contention events. ``wanted``: False where nobody asks."""

    def __init__(self, reader: Reader, *, wanted: bool) -> None:
        self._reader, self._wanted = reader, wanted
        self.symbols = reader.info.symbols() if wanted else Symbols.none()
        self._code = lock_code(self.symbols)

    def of(self, batch: EventBatch, tape: TapeBatch) -> Ints:
        """Of each row of the tape: what stands for its callchain, and the caller's address."""
        found = np.zeros((len(tape), 2), np.int64)
        if self._wanted:
            chained = np.array([callchain_place(fmt) or (-1, 0) for fmt in self._reader.formats], np.int64)
            rows = tape.seq - batch.first_seq
            columns.perf_callers(
                batch.data, batch.at[rows], batch.size[rows], chained[tape.kind], batch.layout.big, self._code,
                _SKIPPED, _DEPTH, found,
            )  # fmt: skip
        return found

    def named(self, stats: Ints, words: list[str]) -> list[str]:
        """``words`` and callers: what only contention events show is called by who waited for it first."""
        nameless = np.flatnonzero(stats[:, S_NAME] < 0)
        called, of = np.unique(stats[nameless, S_CALLER], return_inverse=True)
        numbers: dict[str, int] = {}
        place = np.array([numbers.setdefault(self._name(ip), len(numbers)) for ip in called.tolist()], np.int64)
        if len(nameless):
            stats[nameless, S_NAME] = len(words) + place[of.reshape(-1)]
        return [*words, *numbers]

    def _name(self, ip: int) -> str:
        """As perf prints it: without the module, the offset if there is one."""
        found = self.symbols.name(ip) if ip else None
        return found.partition(" ")[0].removesuffix("+0x0") if found else "Unknown"


def _roomy(table: Ints, rows: Ints, more: int) -> tuple[Ints, Ints]:
    known = int(table[0]) + more
    while 2 * known > len(table) >> 1:
        wider = np.zeros(2 * len(table) - 2, np.int64)
        numbering.rehash(table, wider)
        table = wider
    if known > len(rows):
        rows = np.concatenate((rows, np.zeros((max(known - len(rows), len(rows)), rows.shape[1]), np.int64)))
    return table, rows


def perf_figures(
    path: str | Sequence[str], *, contention: bool = False, by: str = "", sort: str = "", limit: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> PerfFigures:  # fmt: skip
    """What ``perf lock report`` says of a trace (``by`` "class" as its -c, "task" as -t), or ``perf lock contention``.

    Raises ``UsageError`` for what perf has not.
    """
    by = by or ("caller" if contention else "instance")
    sort = sort or ("wait" if contention else "acquired")
    if by not in _BY or sort not in _SORTS or (contention and by == "class"):
        msg = f"--perf-compat: perf lock has --by instance, class, task or caller, and --sort {', '.join(_SORTS)}"
        raise UsageError(msg)
    reader = open_merged(path)
    ops = _WAITS if contention else (*_ORDERED, *_WAITS)
    named = frozenset({*ops, Op.SWITCH, Op.FORK, Op.RENAME})
    projector, comms, accounts = Projector(named, reader.info.symbols), Comms(reader.info.comms), _Accounts(_BY[by])
    events = 0

    callers = _Callers(reader, wanted=by != "task")

    def taped() -> Iterator[tuple[int, TapeBatch, Ints]]:
        for batch in prefetched(reader.batches(lambda f: source_of(f, named) is not None, rows=_ROWS)):
            cpu_of = np.array([s.cpu for s in reader.info.streams], np.int32)
            tape = projector.project(batch, reader.formats, cpu_of)
            rows = tape.rows(np.arange(len(tape)))
            yield len(batch), rows, callers.of(batch, rows)

    for events_read, tape, called in prefetched(taped()):
        accounts.feed(tape, ops, called)
        if reader.name != "perf.data":  # perf goes by COMM records alone
            comms.feed(tape, projector.texts)
        events += events_read
        if progress is not None:
            progress(events, None)
    stats = accounts.stats[_order(accounts.stats)]
    words = callers.named(stats, projector.texts.all())
    stats = _combined(stats) if by == "class" else stats
    ranked = stats[np.argsort(-stats[:, _SORTS[sort]], kind="stable")]

    def name(row: list[int]) -> str:
        if by == "task":
            return comms.by_pid.get(row[S_KEY], "swapper" if row[S_KEY] == 0 else f":{row[S_KEY]}")
        return words[row[S_NAME]]

    shown = [_row(row, name(row)) for row in ranked.tolist() if contention or row[S_ACQUIRED]]
    broken = dict(zip(perf_sequences.BROKEN, accounts.histogram.tolist(), strict=True))
    bad = int(np.count_nonzero(ranked[:, S_BROKEN]))
    return PerfFigures(reader.info.path, contention, by, tuple(shown[:limit]), bad, len(ranked), broken)


def _row(row: list[int], name: str) -> PerfRow:
    least = 0 if row[S_WAIT_MIN] == _MAX else row[S_WAIT_MIN]
    return PerfRow(
        name, row[S_KEY], type_name(row[S_FLAGS]), row[S_ACQUIRED], row[S_CONTENDED], row[S_WAIT_AVG], row[S_WAIT],
        row[S_WAIT_MAX], least, bool(row[S_BROKEN]),
    )  # fmt: skip


def _order(stats: Ints) -> Ints:
    """perf's hash table: bucket by bucket, in each the newest first."""
    with np.errstate(over="ignore"):
        bucket = (stats[:, S_KEY].view(np.uint64) if len(stats) else np.zeros(0, np.uint64)) * np.uint64(_GOLDEN)
    bucket >>= np.uint64(64 - _BUCKET_BITS)
    return np.lexsort((-np.arange(len(stats)), bucket))


def _combined(stats: Ints) -> Ints:
    """-c: what has one name is one lock, known by the first of them."""
    names, first, of = np.unique(stats[:, S_NAME], return_index=True, return_inverse=True)
    whole = stats[first].copy()
    for c in (S_ACQUIRED, S_CONTENDED, S_WAIT):
        whole[:, c] = 0
        np.add.at(whole[:, c], of.reshape(-1), stats[:, c])
    np.minimum.at(whole[:, S_WAIT_MIN], of.reshape(-1), stats[:, S_WAIT_MIN])
    np.maximum.at(whole[:, S_WAIT_MAX], of.reshape(-1), stats[:, S_WAIT_MAX])
    np.maximum.at(whole[:, S_BROKEN], of.reshape(-1), stats[:, S_BROKEN])
    several = np.bincount(of.reshape(-1), minlength=len(names)) > 1
    contended = (whole[:, S_CONTENDED] > 0) & several
    whole[contended, S_WAIT_AVG] = whole[contended, S_WAIT] // whole[contended, S_CONTENDED]
    return whole[np.argsort(first)]
