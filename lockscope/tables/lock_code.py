"""Which code of a kernel takes locks for others: what lies behind it in a callchain is the caller.

Sections: what is marked ``__sched`` (mutexes, rwsems) and ``__lockfunc`` (spinlocks, rwlocks) is in text sections of
its own (include/linux/sched/debug.h, include/linux/spinlock.h, 4.14 to 6.12; perf lock goes by them too,
is_lock_function() of tools/perf/builtin-lock.c). Outside of them are lockdep, the tracepoints' callbacks, the releases
of rwsems (kernel/locking/rwsem.c), per-CPU rwsems and, by kernel version, the slow paths of queued locks.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from lockscope.tables.symbols import Symbols

_SECTIONS = ((b"__sched_text_start", b"__sched_text_end"), (b"__lock_text_start", b"__lock_text_end"))
_FUNCTION = (
    rb"(lock_(acquire|release|acquired|contended)|__traceiter_\w+|perf_trace_\w+|trace_event_raw_event_\w+"
    rb"|_raw_(spin|read|write)_\w+|do_raw_\w+|(native_|__pv_)?queued_(spin|read|write)_\w+|osq_(un)?lock"
    rb"|__?mutex_\w+|mutex_\w+|(down|up)(_read|_write)?(_killable|_interruptible|_trylock|_timeout|_nested|_non_owner)*"
    rb"|(down_write_nest_lock|downgrade_write)|(__)?percpu_(down|up)_\w+|rwsem_\w+|(__)?rt_mutex_\w+|rt_(spin|read|write)_\w+|ww_mutex_\w+"
    rb"|__(down|up)(_(read|write|common|interruptible|killable|timeout|trylock)\w*)?)(\.\w+)*"
)  # fmt: skip
_BEGIN = (
    b"lock_", b"__traceiter_", b"perf_trace_", b"trace_event_raw_event_", b"_raw_", b"do_raw_", b"native_queued_",
    b"__pv_queued_", b"queued_", b"osq_", b"_mutex_", b"__mutex_", b"mutex_", b"down", b"up", b"percpu_", b"__percpu_",
    b"rwsem_", b"rt_", b"__rt_mutex_", b"ww_mutex_", b"__down", b"__up",
)  # fmt: skip


def lock_code(symbols: Symbols) -> NDArray[np.int64]:
    """Where that code lies: int64[n, 2], from and up to, in order and apart from each other; none without symbols.

    Addresses are the int64 of the same bits.
    """
    marks = symbols.marks
    sections = [(marks[b], marks[e]) for b, e in _SECTIONS if 0 < marks.get(b, 0) < marks.get(e, 0) < 1 << 64]
    last = len(symbols.names) - 1
    whole = re.compile(_FUNCTION).fullmatch
    functions = [i for i, name in enumerate(symbols.names[:last]) if name.startswith(_BEGIN) and whole(name)]
    each = np.column_stack((symbols.addresses[functions], symbols.addresses[1:][functions]))
    return _apart(np.concatenate((np.array(sections, np.uint64).reshape(-1, 2), each)).view(np.int64))


def _apart(spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same in order, those that touch as one."""
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    if not len(spans):
        return spans
    reach = np.maximum.accumulate(spans[:, 1])
    first = np.flatnonzero(np.concatenate(([True], spans[1:, 0] > reach[:-1])))
    last = np.concatenate((first[1:], [len(spans)])) - 1
    return np.column_stack((spans[first, 0], reach[last]))
