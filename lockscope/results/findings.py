"""What a check says: findings with their witnesses, and whether the check could run at all.

These records are what reports print; they know neither the trace nor the check that made them. The lock dependency
graph and suppressions are here too, as plain values: outputs know nothing else.
"""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from lockscope.results.page_data import PageData


class Severity(StrEnum):
    """What the finding would mean; fixed by its code (``lockscope explain``)."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Confidence(StrEnum):
    """How sure the trace makes us."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class Status(StrEnum):
    """Whether a check had the evidence it needs."""

    RAN = "ran"
    PARTIAL = "partial"
    SKIPPED = "skipped"


class Verdict(StrEnum):
    """The three answers."""

    VIOLATION = "violation"
    CLEAN = "clean"
    UNKNOWN = "unknown"


class Context(StrEnum):
    """Where an event happened, from its irq context flags."""

    TASK = "task"
    SOFTIRQ = "softirq"
    HARDIRQ = "hardirq"
    NMI = "nmi"


def context_of(flags: int) -> Context:
    """The context of an event with these ``common_flags`` (HARDIRQ 0x08, SOFTIRQ 0x10, NMI 0x40)."""
    if flags & 0x40:
        return Context.NMI
    if flags & 0x08:
        return Context.HARDIRQ
    return Context.SOFTIRQ if flags & 0x10 else Context.TASK


@dataclass(frozen=True, slots=True)
class Witness:
    """One event of the trace that the finding rests on. ``event`` is the event's name, ``location`` a symbol."""

    ts_ns: int
    cpu: int
    pid: int
    comm: str
    event: str
    context: Context = Context.TASK
    location: str | None = None
    note: str = ""  # its part in the story: "acquires &kvm->lock at 0xffffc900001b1408"
    side: int = 0  # of those that meet in the defect, the one it belongs to: a ring of locks has one for each edge
    missing: str = ""  # what should have happened before this event and did not: "no TLB flush of the VM"


@dataclass(frozen=True, slots=True)
class RuleRef:
    """The rule that was broken and the sentence of the kernel's documentation it comes from."""

    id: str
    source: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One defect, however often it was seen.

    ``title`` is the report's headline, ``message`` one or two sentences, ``story`` the full report in lockdep's
    dialect (lines, without the header). ``classes`` outermost first. ``flow`` is what, beside code, rule and classes,
    tells this defect from another in its ``fingerprint``: no addresses, times, pids, gfns or call sites. ``behind``:
    what is not listed beside it because one cause explains both; who knows this finding need not know those.
    ``effect``: what can go wrong because of it. ``advice``: what to do about it. ``reason``: why the confidence is what
    it is. ``by_events``: the witnesses in order of time tell all that ``story`` does, so that text shows them instead.
    ``rests``: for each time it was met, from when to when no event may be missing for it to be true (ns); empty where
    none can, None where each side's witnesses say it. ``undecided``: the trace does not tell whether it is one, as it
    lacks this; its check is not clean.
    """

    code: str
    name: str
    severity: Severity
    confidence: Confidence
    title: str
    message: str
    classes: tuple[str, ...] = ()
    rule: RuleRef | None = None
    count: int = 1
    witnesses: tuple[Witness, ...] = ()
    story: tuple[str, ...] = ()
    flow: str = ""
    window: str | None = None
    trace: int = 0
    effect: str = ""
    advice: str = ""
    reason: str = ""
    by_events: bool = False
    details: dict[str, Any] = field(default_factory=dict, compare=False)
    behind: tuple[Finding, ...] = field(default=(), compare=False)
    rests: tuple[tuple[int, int], ...] | None = field(default=None, compare=False)
    undecided: str | None = field(default=None, compare=False)

    @property
    def fingerprint(self) -> str:
        """Equal for the same defect in another trace of the same kernel."""
        parts = "\x1f".join((self.code, self.rule.id if self.rule else "", *self.classes, self.flow))
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.code} {self.severity}, {self.confidence}: {self.title}: {self.message}"

    @property
    def sides(self) -> tuple[tuple[Witness, ...], ...]:
        """The witnesses, those of one side and task together; sides in the order of their first witness."""
        found: dict[tuple[int, int], list[Witness]] = {}
        for witness in self.witnesses:
            found.setdefault((witness.side, witness.pid), []).append(witness)
        return tuple(tuple(side) for side in found.values())

    def of_trace(self, index: int) -> Finding:
        """The same finding, of the trace with this index."""
        return replace(self, trace=index, behind=tuple(f.of_trace(index) for f in self.behind))

    def beyond(self, known: Callable[[Finding], bool]) -> Finding | None:
        """Itself where it is not known, else the first finding behind it that is not, with the others behind that."""
        if not known(self):
            return self
        fresh = [finding for finding in self.behind if not known(finding)]
        return replace(fresh[0], behind=tuple(fresh[1:])) if fresh else None


@dataclass(frozen=True, slots=True)
class CheckRun:
    """What became of one check on one trace. ``reason`` says what was missing and how to record it."""

    code: str
    name: str
    status: Status
    verdict: Verdict
    reason: str | None = None
    trace: int = 0


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """JSON's ``traces`` entry, and what the coverage block adds.

    ``coverage`` holds plain values, each key optional: ``decoded`` {event's full name: rows}, ``unpaired`` {what:
    count}, ``lost`` [{"cpu", "kind", "count", "remedy", "buffer"}], ``notes`` [text], ``host``, ``machine``.
    """

    path: str
    format: str
    kernel: str | None
    clock: str | None
    cpus: int
    events: int
    lost_events: int | None
    start_ns: int
    end_ns: int
    rules: str
    chosen: str
    coverage: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WindowSummary:
    """JSON's ``windows`` entry."""

    trace: int
    name: str
    start_ns: int
    end_ns: int
    findings: int


@dataclass(frozen=True, slots=True)
class Suppression:
    """What a user does not want to be told again, and why. What is None matches anything.

    ``classes``: one pattern for each class of the finding, outermost first; ``*`` and ``?`` as in a shell. ``until``:
    the last day on which it counts. ``origin``: where it was asked for, "known.toml:7" or "--ignore".
    """

    reason: str
    origin: str
    fingerprint: str | None = None
    code: str | None = None
    classes: tuple[str, ...] | None = None
    until: datetime.date | None = None


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Findings of one fingerprint in one trace that a suppression took out; ``count``: how many (one a window)."""

    trace: int
    code: str
    fingerprint: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class GraphClass:
    """A class of the lock dependency graph.

    ``label``: the name, with ``/N`` for a subclass. ``key``: its address, 0 where it was not recorded. ``usage``: the
    four letters of /proc/lockdep. ``forward``, ``backward``: classes that depend on it and that it depends on, itself
    counted. ``count``: acquisitions.
    """

    name: str
    label: str
    subclass: int
    key: int
    kvm: bool
    usage: str
    forward: int
    backward: int
    count: int


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """``taken`` was asked for while ``held`` was held (both: places in ``LockGraph.classes``).

    ``kinds``: how often by kind (EN, ER, SN, SR: Documentation/locking/lockdep-design.rst). ``direct``: at some time
    nothing lay between the two. ``first_ns``: when first seen. ``rings``: places in ``LockGraph.rings``.
    """

    held: int
    taken: int
    kinds: dict[str, int]
    direct: bool
    first_ns: int
    rings: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """How often it was seen."""
        return sum(self.kinds.values())


@dataclass(frozen=True, slots=True)
class LockGraph:
    """The dependencies of one trace, all windows in one. ``rings``: the classes of each one that LS101 reports.

    ``keyed``: classes are told apart by their keys; else by their names alone.
    """

    path: str
    kernel: str | None
    keyed: bool
    classes: tuple[GraphClass, ...]
    edges: tuple[GraphEdge, ...]
    rings: tuple[tuple[int, ...], ...] = ()


class Outputs(Protocol):
    """What makes a report into something else; whoever makes reports sets it (``pipeline``)."""

    def html(self, report: Report) -> str:
        """HTML for a notebook."""
        ...

    def save(self, report: Report, path: str | Path, format: str | None, force: bool) -> Path:
        """Write a file."""
        ...

    def frame(self, report: Report) -> Any:
        """The findings as a pandas DataFrame."""
        ...


@dataclass(slots=True, repr=False)
class Report:
    """Everything one run of ``analyze`` found; what every output is made from."""

    traces: list[TraceSummary]
    checks: list[CheckRun]
    findings: list[Finding]
    windows: list[WindowSummary] = field(default_factory=list)
    assumptions: tuple[str, ...] = ()
    known: int = 0  # findings the baseline lists: counted, not listed
    strict: bool = False
    left_out: int = 0  # findings that are not of the part of the trace that was asked for
    suppressed: tuple[Suppressed, ...] = ()  # what suppressions took out: counted, not listed
    page_data: tuple[PageData, ...] = ()  # by trace, where an output asked for them; never in JSON
    outputs: ClassVar[Outputs | None] = None

    def __repr__(self) -> str:
        """One line: the verdict, how many findings of which code, of which trace."""
        codes = Counter(f.code for f in self.findings if f.code < "LS9")
        found = ", ".join(f"{code} ({n})" if n > 1 else code for code, n in sorted(codes.items())) or "nothing found"
        paths = self.traces[0].path if len(self.traces) == 1 else f"{len(self.traces)} traces"
        return f"Report({self.verdict}: {found}; {paths})"

    def _repr_html_(self) -> str | None:
        return self.outputs.html(self) if self.outputs is not None else None

    def save(self, path: str | Path, *, format: str | None = None, force: bool = False) -> Path:
        """Write it to a file, in the format of the file's ending (.html, .json, .md, .sarif, .txt) or another.

        Raises ``UsageError`` for a file that exists, unless ``force``.
        """
        assert self.outputs is not None
        return self.outputs.save(self, path, format, force)

    def to_pandas(self) -> Any:
        """The findings as a pandas DataFrame, a row each."""
        assert self.outputs is not None
        return self.outputs.frame(self)

    @property
    def verdict(self) -> Verdict:
        """Violation if anything at warning or error was found; clean only if every check that judges is clean.

        What the baseline knows or a suppression took out is not in ``findings``, but still a violation of its check.
        """
        judged = [c for c in self.checks if c.code < "LS9"]
        if any(f.severity is not Severity.INFO for f in self.findings) or any(
            c.verdict is Verdict.VIOLATION for c in judged
        ):
            return Verdict.VIOLATION
        return Verdict.CLEAN if judged and all(c.verdict is Verdict.CLEAN for c in judged) else Verdict.UNKNOWN
