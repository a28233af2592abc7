"""Traces in, a report out: opens, reads once, judges. The only place that sees formats, facts, rules and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from lockscope.checks._base import Check, all_checks
from lockscope.errors import UsageError
from lockscope.findings import CheckRun, Finding, Report, TraceSummary, WindowSummary
from lockscope.formats.merged import open_merged
from lockscope.kernels import walk_memory as counters
from lockscope.reconstruct.collect import EXHIBIT_FACTS, Collector
from lockscope.reconstruct.evidence import Evidence
from lockscope.reconstruct.exhibiting import exhibits
from lockscope.reconstruct.gather import Gathered, GatherOptions, gather
from lockscope.rules.load import choose
from lockscope.tables.events import EventFormat, Reader, TraceInfo


def _show(report: Report) -> str:
    from lockscope.report._notebook import report_html

    return report_html(report)


Report.show = _show
ASSUMPTIONS = ("selftest-softirq", "recursive-read-locks")
Progress = Callable[[int, int | None], None]
Ended = Callable[[NDArray[np.int64]], None]


@dataclass(frozen=True, slots=True)
class AnalyzeOptions:
    """What to judge and how; see the command line's help.

    ``events``/``exclude_events``: patterns of event names. ``exhibits``: gather what pages show beside findings.
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
    exhibits: bool = False


def analyze(paths: Iterable[str], options: AnalyzeOptions | None = None, progress: Progress | None = None) -> Report:
    """Judge traces one by one, or as one with ``merge``. Raises ``LockscopeError`` for a user's or a file's mistake."""
    options = options or AnalyzeOptions()
    unknown = [a for a in options.assume if a not in ASSUMPTIONS]
    if unknown:
        msg = f"--assume {unknown[0]!r}: known are {', '.join(ASSUMPTIONS)}"
        raise UsageError(msg)
    chosen = selected_checks(options.select, options.ignore)
    report = Report([], [], [], assumptions=options.assume)
    files = [str(path) for path in paths]
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
) -> tuple[Gathered, str]:
    """The evidence that these checks need, and how the rulebook was chosen. ``seen`` collects what pages show."""
    rules, how = choose(reader.info.kernel, options.rules)
    facts = tuple(sorted({f for c in checks for f in c.facts} | (set(EXHIBIT_FACTS) if seen else set())))
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
    )
    found = gather(reader, rules, wanted, progress)
    if reader.info.only_enabled:
        found.evidence.enabled = frozenset(f.full_name for f in reader.formats if wanted.keep is None or wanted.keep(f))
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
    seen = Collector() if options.exhibits else None
    found, how = gathered(reader, checks, options, progress, ended, seen)
    runs, findings = judged(found.evidence, checks)
    if seen is not None:
        report.exhibits += (exhibits(found.evidence, found.walk, seen, findings),)
    report.traces.append(_summary(reader.info, found, how))
    report.checks.extend(_of(run, index) for run in runs)
    report.findings.extend(f.of_trace(index) for f in findings)
    for window in found.evidence.windows:
        number = sum(f.window == window.name for f in findings)
        report.windows.append(WindowSummary(index, window.name, window.start_ns, window.end_ns, number))
    return found


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
        "locks held or released without their other end": walk.counter(counters.K_UNPAIRED),
        f"acquisitions deeper than {counters.DEPTH - 1}": walk.counter(counters.K_TOO_DEEP),
        "times that events contradicted what a task seemed to hold": walk.counter(counters.K_STALE),
    }
    notes = list(info.notes)
    if evidence.filtered:
        notes.append("task switches are missing that no loss accounts for: the recorder left tasks out (a PID filter)")
    lost = [{"cpu": cpu, "count": number, "kind": "gap"} for cpu, number in sorted(found.lost_by_cpu.items())]
    lost += [
        {"cpu": n.cpu, "count": n.count, "kind": n.kind, "buffer": n.buffer, "remedy": n.remedy} for n in info.losses
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
