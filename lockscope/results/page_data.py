"""What a page shows beside findings: plain values of one trace, gathered in the reading that judged it.

Everything is bounded, whatever the trace's size; what was left out is counted. Times are ns of the trace's clock. Made
by ``statistics.page_data``; reports know nothing else of a trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lockscope.results.findings import LockGraph


@dataclass(frozen=True, slots=True)
class Bar:
    """One hold. ``lane``: place in ``Scene.tasks``. ``acquired_ns`` 0: not recorded.

    ``begin_known``, ``end_known``: False where the trace does not show that end.
    """

    lane: int
    name: str
    asked_ns: int
    acquired_ns: int
    end_ns: int
    begin_known: bool
    end_known: bool
    read: bool
    waited: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """A witness on its task's row; ``number`` is its place in the finding's list, from 1."""

    lane: int
    ts_ns: int
    number: int
    event: str
    note: str


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where sides of a ring meet: the task of mark ``wants`` asks for the lock of bar or mark ``holds``."""

    wants: int
    holds: int
    name: str


@dataclass(frozen=True, slots=True)
class Scene:
    """A finding drawn over time: tasks (pid, name) as rows, holds as bars, witnesses as marks.

    ``apart``: rows are sides of a ring that did not meet, each with a time axis of its own; a task may be several.
    """

    tasks: tuple[tuple[int, str], ...]
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    crossings: tuple[Crossing, ...] = ()
    apart: bool = False


@dataclass(frozen=True, slots=True)
class LockNumbers:
    """One class's statistics. ``hold_q``, ``wait_q``: 50th, 90th, 99th percentile in ns, upper ends of their bins.

    ``hold_bins``: how many holds lie in each bin of ``PageData.edges_ns``.
    """

    label: str
    name: str
    kvm: bool
    acquired: int
    contended: int
    wait_ns: int
    wait_max_ns: int
    hold_ns: int
    hold_max_ns: int
    hold_q: tuple[int, int, int]
    wait_q: tuple[int, int, int]
    hold_bins: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Longest:
    """One of the longest holds or waits. ``what``: "hold" or "wait"."""

    what: str
    name: str
    ns: int
    ts_ns: int
    cpu: int
    pid: int
    comm: str
    caller: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Tasks that wait for each lock, on average over slices of ``width_ns`` from ``start_ns`` on."""

    start_ns: int
    width_ns: int
    names: tuple[str, ...]
    tasks: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class SpteChange:
    """One change of a leaf SPTE; ``what`` by the words of ``kvm.spte_changes``."""

    ts_ns: int
    gfn: int
    what: str
    pid: int


@dataclass(frozen=True, slots=True)
class SpteLife:
    """SPTEs over time: all changes of some guest frames. ``share``: one in so many frames is here.

    ``counts``: by word, over all frames. ``told``: frames that a finding names. ``flushes_ns``: TLB flushes of a VM.
    """

    changes: tuple[SpteChange, ...]
    counts: dict[str, int]
    share: int
    told: tuple[int, ...] = ()
    flushes_ns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FlushFlow:
    """Flush debts of one flow with one outcome. ``latency_q``: 50th, 99th percentile and longest, of those paid."""

    flow: str
    outcome: str
    groups: int
    sptes: int
    latency_q: tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class PageData:
    """All of one trace. ``scenes``: by finding's fingerprint and window. ``left_out``: what the page must say."""

    graph: LockGraph | None = None
    locks: tuple[LockNumbers, ...] = ()
    edges_ns: tuple[int, ...] = ()
    longest: tuple[Longest, ...] = ()
    waiting: Waiting | None = None
    sptes: SpteLife | None = None
    flushes: tuple[FlushFlow, ...] = ()
    scenes: dict[tuple[str, str | None], Scene] = field(default_factory=dict)
