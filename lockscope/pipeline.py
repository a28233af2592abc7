"""Traces in, a report out: opens, reads once, judges. The only place that sees formats, facts, rules and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lockscope.checks.check import Check, all_checks
from lockscope.core import walk_rows as counters
from lockscope.errors import MatchError, UsageError
from lockscope.evidence.doubts import Doubts, doubts, is_alarm, rests_on, told
from lockscope.evidence.evidence import Evidence
from lockscope.evidence.gather import Gathered, GatherOptions, gather
from lockscope.facts.interruptions import Hole
from lockscope.formats.merge.reader import open_merged
from lockscope.results.findings import CheckRun, Finding, Report, Status, TraceSummary, Verdict, WindowSummary
from lockscope.rules.book import Rulebook
from lockscope.rules.load import choose, known_locks
from lockscope.tables.events import UNKNOWN, EventFormat, Reader, TraceInfo
from lockscope.tables.tape import sources

if TYPE_CHECKING:
    from lockscope.statistics.collect import Collector


class _Outputs:
    """What a report can be made into. Heavy modules are imported where they are asked for."""

    def html(self, report: Report) -> str:
        from lockscope.report.notebook import report_html

        return report_html(report)

    def save(self, report: Report, path: str | Path, format: str | None, force: bool) -> Path:
        from lockscope.report.saved import save

        return save(report, Path(path), format, force=force)

    def frame(self, report: Report) -> Any:
        import pyarrow as pa

        from lockscope.report.saved import rows
        from lockscope.tables.schema import to_pandas

        return to_pandas(pa.table(rows(report)))


Report.outputs = _Outputs()
ASSUMPTIONS = ("selftest-softirq", "recursive-read-locks")
Progress = Callable[[int, int | None], None]
Ended = Callable[[NDArray[np.int64]], None]
_READINGS = 4  # of a trace whose findings rest on silences; more turn up each time only in ever longer traces


@dataclass(frozen=True, slots=True)
class AnalyzeOptions:
    """What to judge and how; see the command line's help.

    ``events``/``exclude_events``: patterns of event names. ``page_data``: gather what pages show beside findings.
    ``task_name``: what tasks are called in all that is told, by their names; judged is by the names as they are.
    """

    rules: str = "auto"
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    window_start: str | None = None
    window_end: str | None = None
    assume: tuple[str, ...] = ()
    merge: bool = False
    events: tuple[str, ...] = ()
    exclude_events: tuple[str, ...] = ()
    page_data: bool = False
    task_name: Callable[[str], str] | None = None


def analyze(
    paths: str | Iterable[str], options: AnalyzeOptions | None = None, progress: Progress | None = None
) -> Report:
    """Judge traces one by one, or as one with ``merge``. Raises ``LockscopeError`` for a user's or a file's mistake."""
    options = options or AnalyzeOptions()
    unknown = [a for a in options.assume if a not in ASSUMPTIONS]
    if unknown:
        msg = f"--assume {unknown[0]!r}: known are {', '.join(ASSUMPTIONS)}"
        raise UsageError(msg)
    chosen = selected_checks(options.select, options.ignore)
    report = Report([], [], [], assumptions=options.assume)
    files = [paths] if isinstance(paths, str) else [str(path) for path in paths]
    for index, group in enumerate([files] if options.merge and files else [[f] for f in files]):
        _judge(index, open_merged(group), chosen, options, report, progress)
    return report


def selected_checks(select: Iterable[str] = (), ignore: Iterable[str] = ()) -> list[Check]:
    """The checks that ``select`` names (all if none) without those of ``ignore``.

    Codes, prefixes ("LS3", "LS3xx"), names, comma-separated. Raises ``UsageError`` for what matches nothing.
    """
    wanted, unwanted = _words(select), _words(ignore)
    for word in (*wanted, *unwanted):
        if not any(_names(c, word) for c in all_checks().values()):
            msg = f"no check is called {word!r}; 'lockscope explain' lists them"
            raise UsageError(msg)
    return [
        c
        for c in all_checks().values()
        if (not wanted or any(_names(c, w) for w in wanted)) and not any(_names(c, w) for w in unwanted)
    ]


def _words(given: Iterable[str]) -> list[str]:
    return [w.strip() for text in given for w in text.split(",") if w.strip()]


def _names(check: Check, word: str) -> bool:
    return check.name == word or check.code.startswith(word.upper().rstrip("X"))


def event_filter(events: Iterable[str], excluded: Iterable[str]) -> Callable[[EventFormat], bool] | None:
    """Which events count: ``system:name`` patterns (a pattern without ":" is of the name alone)."""
    keep, drop = _words(events), _words(excluded)
    if not keep and not drop:
        return None

    def matches(fmt: EventFormat, pattern: str) -> bool:
        return fnmatchcase(fmt.full_name if ":" in pattern else fmt.name, pattern)

    return lambda fmt: (not keep or any(matches(fmt, p) for p in keep)) and not any(matches(fmt, p) for p in drop)


def refuse_unmatched(reader: Reader, events: Iterable[str], excluded: Iterable[str]) -> None:
    """Raise ``MatchError`` for a pattern that no event matches; ask when all was read, as text shows its own late.

    What is left out need not be in the trace, as one list may be for many, but must be an event that is known of.
    """
    there = [f.full_name for f in reader.formats[UNKNOWN + 1 :]]
    known_of = [*there, *(s.event.replace("*:", "") for s in sources())]
    for option, words, known in (("--event", _words(events), there), ("--exclude-event", _words(excluded), known_of)):
        for word in words:
            names = known if ":" in word else [name.rpartition(":")[2] for name in known]
            if not any(fnmatchcase(name, word) for name in names):
                raise MatchError(option, word, f"no event of {reader.info.path} matches", names)


def _refuse_unknown_locks(rules: Rulebook, evidence: Evidence, spec: str) -> None:
    """Raise ``MatchError`` where a user's rule is about a lock that nobody knows: it would never fire."""
    if not rules.speaks_of:
        return
    there = {rules.canonical(c.name) for c in evidence.classes}
    known = there | known_locks()
    symbols: set[str] | None = None
    for rule, name in rules.speaks_of:
        if rules.canonical(name) in known:
            continue
        if symbols is None:  # a static lock's class has its symbol's name
            symbols = {s.decode(errors="replace").partition(" ")[0] for s in evidence.info.symbols().names}
        if name.lstrip("&") not in symbols:
            what = f"rule {rule}: no lock of KVM's, of {evidence.info.path} or of the file's [[reference]] is called so"
            raise MatchError(f"--rules {spec}:", name, what, sorted(known))


def examine(
    reader: Reader, options: AnalyzeOptions, ended: Ended | None = None, progress: Progress | None = None
) -> tuple[Report, Gathered]:
    """Judge one trace, and keep what its report was made from. ``ended``: see ``gather.GatherOptions``."""
    report = Report([], [], [], assumptions=options.assume)
    checks = selected_checks(options.select, options.ignore)
    return report, _judge(0, reader, checks, options, report, progress, ended)


def gathered(
    reader: Reader,
    checks: list[Check],
    options: AnalyzeOptions,
    progress: Progress | None = None,
    ended: Ended | None = None,
    seen: Collector | None = None,
    taken: Doubts | None = None,
) -> tuple[Gathered, str]:
    """The evidence that these checks need, and how the rulebook was chosen. ``seen`` collects what pages show;
    ``taken`` is what to take for lost.
    """
    rules, how = choose(reader.info.kernel, options.rules)
    facts = tuple(sorted({"continuity", *(f for c in checks for f in c.facts), *(seen.facts if seen else ())}))
    wanted = GatherOptions(
        facts,
        options.window_start,
        options.window_end,
        frozenset(options.assume),
        event_filter(options.events, options.exclude_events),
        ended=ended,
        tape=seen.tape if seen else None,
        ops=seen.ops if seen else frozenset(),
        follow=seen.ended if seen else None,
        holes=tuple(sorted(taken.holes)) if taken else (),
        absent=taken.absent if taken else frozenset(),
    )
    found = gather(reader, rules, wanted, progress)
    if options.task_name is not None:
        found.evidence.task_name = options.task_name
    refuse_unmatched(reader, options.events, options.exclude_events)
    _refuse_unknown_locks(rules, found.evidence, options.rules)
    if reader.info.only_enabled:
        silent = {stop.missing for stop in found.evidence.stops if stop.hole is None}
        found.evidence.enabled = frozenset(
            f.full_name for f in reader.formats if (wanted.keep is None or wanted.keep(f)) and f.name not in silent
        )
    return found, how


def _judge(
    index: int,
    reader: Reader,
    checks: list[Check],
    options: AnalyzeOptions,
    report: Report,
    progress: Progress | None,
    ended: Ended | None = None,
) -> Gathered:
    read = _Reading(reader, checks, options, progress)
    found, how, runs, findings, seen = read.settled(ended)
    if seen is not None:
        from lockscope.statistics.page_data import page_data

        report.page_data += (page_data(found.evidence, found.walk, seen, findings),)
    report.traces.append(_summary(reader.info, found, how))
    report.checks.extend(_of(run, index) for run in runs)
    report.findings.extend(f.of_trace(index) for f in findings)
    for window in found.evidence.windows:
        number = sum(f.window == window.name for f in findings)
        report.windows.append(WindowSummary(index, window.name, window.start_ns, window.end_ns, number))
    return found


class _Judged(NamedTuple):
    """One reading, judged."""

    found: Gathered
    how: str
    runs: list[CheckRun]
    findings: list[Finding]
    seen: Collector | None


class _Reading:
    """Reads a trace as often as it takes to know which findings hold wherever the recording was interrupted."""

    def __init__(self, reader: Reader, checks: list[Check], options: AnalyzeOptions, progress: Progress | None) -> None:
        self.reader, self.checks, self.options, self.progress = reader, checks, options, progress

    def settled(self, ended: Ended | None) -> _Judged:
        """What holds. Most traces are read once: only what a silence may explain is judged again without it."""
        first = self._once(Doubts(), ended)
        wanted = doubts(first.found.evidence, first.findings)
        if not wanted.holes and not wanted.absent:
            return first
        if first.seen is None and not any(is_alarm(f) for f in first.findings):
            return self._known_lost(first, wanted)
        taken, last = Doubts(), first
        causes = _causes(first)
        for _ in range(_READINGS):
            if wanted == taken:
                break
            taken = wanted
            last = self._once(taken)
            causes = {**_causes(last), **causes}
            wanted = taken | doubts(last.found.evidence, last.findings)
        left = {f.fingerprint for f in last.findings if rests_on(f, last.found.evidence) - taken.holes}
        true = {f.fingerprint for f in last.findings} - left
        of_others = (holes for told_of, holes in causes.items() if told_of not in true)
        needed = Doubts(taken.proved.union(*of_others), taken.absent, taken.proved)
        if needed != taken:
            last = self._once(needed) if needed != Doubts() else first
        return _withheld(last, needed)

    def _known_lost(self, of: _Judged, taken: Doubts) -> _Judged:
        """The same reading, judged with this for lost. With less evidence nothing more is found, so that what was read
        need not be read again to say which checks cannot tell.
        """
        evidence = of.found.evidence
        evidence.holes, evidence.absent, evidence.lost = tuple(sorted(taken.holes)), taken.absent, None
        runs, findings = judged(evidence, self.checks)
        return of._replace(runs=runs, findings=findings)

    def _once(self, taken: Doubts, ended: Ended | None = None) -> _Judged:
        seen = _collector() if self.options.page_data else None
        found, how = gathered(self.reader, self.checks, self.options, self.progress, ended, seen, taken)
        return _Judged(found, how, *judged(found.evidence, self.checks), seen)


def _collector() -> Collector:
    from lockscope.statistics.collect import Collector

    return Collector()


def _withheld(of: _Judged, taken: Doubts) -> _Judged:
    """Without the findings that still rest on silences only: their checks cannot tell."""
    evidence = of.found.evidence
    doubtful = {f.fingerprint: f for f in of.findings if is_alarm(f) and rests_on(f, evidence) - taken.holes}
    if of.found.evidence.windowed or taken == Doubts():
        return of
    runs = [_in_doubt(run, [f for f in doubtful.values() if f.code == run.code]) for run in of.runs]
    return of._replace(runs=runs, findings=[f for f in of.findings if f.fingerprint not in doubtful])


def _in_doubt(run: CheckRun, doubtful: list[Finding]) -> CheckRun:
    if not doubtful:
        return run
    rest = "each rests on a stretch of time without any event (was tracing paused?)"
    why = f"{len(doubtful)} more could not be decided: {rest}"
    reason = "; ".join(filter(None, (run.reason, why)))
    return replace(run, status=Status.PARTIAL, verdict=Verdict.UNKNOWN, reason=reason)


def _causes(of: _Judged) -> dict[str, frozenset[Hole]]:
    """By fingerprint, the silences that a finding rests on."""
    return {f.fingerprint: rests_on(f, of.found.evidence) for f in of.findings if is_alarm(f)}


def judged(evidence: Evidence, checks: list[Check]) -> tuple[list[CheckRun], list[Finding]]:
    """Run the checks. Notices (LS9xx) run last and see what became of the others."""
    runs: list[CheckRun] = []
    findings: list[Finding] = []
    for check in sorted(checks, key=lambda c: (c.notice, c.code)):
        if check.notice:
            evidence.facts["runs"] = tuple(runs)
        run, found = check.run(evidence)
        runs.append(run)
        findings.extend(found)
    return runs, findings


def _of(run: CheckRun, index: int) -> CheckRun:
    return CheckRun(run.code, run.name, run.status, run.verdict, run.reason, index)


def _summary(info: TraceInfo, found: Gathered, how: str) -> TraceSummary:
    evidence, walk = found.evidence, found.walk
    unpaired = {
        "unmatched acquire and release events": walk.counter("unpaired"),
        f"acquisitions nested deeper than {counters.DEPTH - 1}": walk.counter("too_deep"),
        "states of held locks discarded because later events contradicted them": walk.counter("stale"),
    }
    notes = list(info.notes)
    if evidence.filtered:
        notes.append("sched_switch events are missing although no loss was recorded: a PID filter was probably active")
    if evidence.lockdep.exchanged:
        notes.append("this kernel logged lock_acquired and lock_contended exchanged (5.9 to 5.12): read as meant")
    if evidence.lockdep.doubt:
        notes.append(evidence.lockdep.doubt)
    lost = [{"cpu": cpu, "count": number, "kind": "gap"} for cpu, number in sorted(found.lost_by_cpu.items())]
    lost += [
        {"cpu": n.cpu, "count": n.count, "kind": n.kind, "buffer": n.buffer, "remedy": n.remedy}
        for n in (*info.losses, *told(evidence))
    ]
    coverage = {
        "decoded": evidence.recorded,
        "unpaired": {k: v for k, v in unpaired.items() if v},
        "lost": lost,
        "notes": notes,
        "host": info.host,
        "machine": info.machine,
    }
    return TraceSummary(
        info.path,
        info.format,
        info.kernel,
        info.clock,
        info.cpus,
        found.events,
        evidence.lost,
        evidence.start_ns,
        evidence.end_ns,
        evidence.rules.name,
        how,
        coverage,
    )
