"""What a verdict rests on: per trace, what was read, lost and judged, and what could not be. Always printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lockscope.harmless import printable
from lockscope.report.lines import Paint, labelled
from lockscope.report.output import is_notice, verdict_of
from lockscope.results.findings import CheckRun, Report, Status, Suppressed, TraceSummary, Verdict
from lockscope.units import count, duration, seconds

_CHOSEN = {
    "auto": "chosen by the trace's kernel",
    "user": "chosen by --rules",
    "default": "the default: the trace names no kernel",
}
_EVENTS_SHOWN = 24
_WORDS = {Verdict.VIOLATION: "violation", Verdict.CLEAN: "clean", Verdict.UNKNOWN: "cannot tell"}
_STYLES = {Verdict.VIOLATION: "error", Verdict.CLEAN: "good", Verdict.UNKNOWN: "warning"}


def coverage_lines(report: Report, index: int, paint: Paint) -> Iterator[str]:
    """The block of one trace. Keys of ``TraceSummary.coverage`` it knows: see there."""
    trace = report.traces[index]
    runs = [c for c in report.checks if c.trace == index]
    extra = trace.coverage
    yield paint("bold", f"coverage of {printable(trace.path)}")
    clock = f"clock {trace.clock}" if trace.clock else "clock unknown"
    cpus = f"{trace.cpus} CPU{'' if trace.cpus == 1 else 's'}"
    host = [f"host {extra['host']}"] if extra.get("host") else []
    yield from _block("format", [", ".join([trace.format, clock, cpus])])
    kernel = [trace.kernel or "not named", *([str(extra["machine"])] if extra.get("machine") else []), *host]
    yield from _block("kernel", [", ".join(kernel)])
    yield from _block("rules", [f"{trace.rules} ({_CHOSEN.get(trace.chosen, trace.chosen)})"])
    yield from _block("events", [_span(trace)])
    yield from _block("decoded", _tally(extra.get("decoded", {})))
    yield from _block("unpaired", _tally(extra.get("unpaired", {})) or ["none"])
    yield from _block("lost", _losses(trace))
    yield from _judged(runs)
    notices = [f for f in report.findings if f.trace == index and is_notice(f.code)]
    yield from _block("suppressed", [_out(s) for s in report.suppressed if s.trace == index])
    yield from _block("notices", [f"{f.code} {f.name}: {f.message}" for f in notices])
    yield from _block("notes", [str(n) for n in extra.get("notes", ())])


def short_coverage(report: Report, index: int) -> Iterator[str]:
    """One line of a trace: its kernel, how much of it there is, what was lost, what was suppressed."""
    trace = report.traces[index]
    lost = "none lost"
    if trace.lost_events != 0:
        lost = "an unknown number lost" if trace.lost_events is None else f"{count(trace.lost_events)} lost"
    kernel = f"kernel {trace.kernel}" if trace.kernel else "kernel not named"
    span = f" in {duration(trace.end_ns - trace.start_ns)}" if trace.events else ""
    words = f"{kernel}, {count(trace.events)} events{span}, {lost}, rules {trace.rules}"
    yield printable(f"{trace.path}: {words}")
    if any(c.trace == index and c.verdict is Verdict.UNKNOWN and not is_notice(c.code) for c in report.checks):
        yield "  --coverage says which checks were not judged in full, why, and what to record"
    yield from _block("suppressed", [_out(s) for s in report.suppressed if s.trace == index])


def verdict_lines(report: Report, paint: Paint) -> Iterator[str]:
    """One line a trace, and one for all where there are several."""
    for index, trace in enumerate(report.traces):
        yield _verdict(printable(trace.path), verdict_of(report, index), report, index, paint)
    if len(report.traces) != 1:
        yield _verdict(f"all {len(report.traces)} traces", report.verdict, report, None, paint)


def nothing_found(report: Report, index: int | None = None) -> bool:
    """Whether some checks were judged in full, none found anything, and others could not be judged in full.

    "Cannot tell" would be too little to say of that, "clean" too much.
    """
    found = [f for f in report.findings if index in (None, f.trace) and not is_notice(f.code)]
    runs = [c for c in report.checks if index in (None, c.trace) and not is_notice(c.code)]
    verdict = report.verdict if index is None else verdict_of(report, index)
    return verdict is Verdict.UNKNOWN and not found and any(c.verdict is Verdict.CLEAN for c in runs)


def _verdict(subject: str, verdict: Verdict, report: Report, index: int | None, paint: Paint) -> str:
    found = [f for f in report.findings if index in (None, f.trace) and not is_notice(f.code)]
    runs = [c for c in report.checks if index in (None, c.trace) and not is_notice(c.code)]
    parts = [_plural(n, word) for word in ("error", "warning", "info") if (n := sum(f.severity == word for f in found))]
    if verdict is Verdict.VIOLATION and not parts:
        parts = ["only what the baseline knows" if not report.suppressed else "only what is known or suppressed"]
    what = ", ".join(parts) or "nothing found"
    # "nothing found; 18 checks clean" says more than that not all is clean; where no check was, that comes first.
    word = "" if nothing_found(report, index) else f"{paint(_STYLES[verdict], _WORDS[verdict])}: "
    return f"{subject}: {word}{'; '.join(filter(None, (what, _tallied(runs))))}"


def _tallied(runs: list[CheckRun]) -> str:
    """``18 checks clean, 7 in part, 1 not judged``."""
    clean = sum(c.verdict is Verdict.CLEAN for c in runs)
    skipped = sum(c.status is Status.SKIPPED for c in runs)
    part = sum(c.verdict is Verdict.UNKNOWN for c in runs) - skipped
    if not runs:
        return "no check ran"
    words = [f"{_plural(clean, 'check')} clean"] if clean else []
    words += [f"{count(part)} in part"] if part else []
    words += [f"{count(skipped)} not judged"] if skipped else []
    return ", ".join(words)


def _plural(number: int, word: str) -> str:
    return f"{count(number)} {word}{'' if number == 1 else 's'}"


def _block(label: str, lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in labelled(label, [printable(line) for line in lines], 12)]


def _span(trace: TraceSummary) -> str:
    if not trace.events:
        return "none"
    span = f"{seconds(trace.start_ns)} .. {seconds(trace.end_ns)} ({duration(trace.end_ns - trace.start_ns)})"
    return f"{count(trace.events)} in {span}"


def _tally(counts: Mapping[str, int]) -> list[str]:
    """Names with their counts, most frequent first, as many to a line as fit."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{name} {count(number)}" for name, number in ranked[:_EVENTS_SHOWN]]
    if len(ranked) > _EVENTS_SHOWN:
        rest = ranked[_EVENTS_SHOWN:]
        words.append(f"and {len(rest)} more with {count(sum(n for _, n in rest))}")
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) < 98:
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return lines


def _losses(trace: TraceSummary) -> list[str]:
    lines = [_loss(loss) for loss in trace.coverage.get("lost", ())]
    if lines or trace.lost_events == 0:
        return lines or ["none"]
    return ["an unknown number" if trace.lost_events is None else f"{count(trace.lost_events)} events"]


def _loss(loss: Mapping[str, Any]) -> str:
    number = loss.get("count")
    text = "an unknown number" if number is None else count(number)
    if loss.get("kind"):
        text += f" ({loss['kind']})"
    text += f" on CPU {loss['cpu']}" if loss.get("cpu") is not None else ""
    text += f" in buffer {loss['buffer']}" if loss.get("buffer") else ""
    return text + (f"; {loss['remedy']}" if loss.get("remedy") else "")


def _out(suppressed: Suppressed) -> str:
    return f"{count(suppressed.count)} {suppressed.code} {suppressed.fingerprint}: {suppressed.reason}"


def _judged(runs: list[CheckRun]) -> Iterator[str]:
    judging = [c for c in runs if not is_notice(c.code)]
    whole = [c for c in judging if c.status is Status.RAN]
    yield from _block("violated", _codes([c for c in judging if c.verdict is Verdict.VIOLATION]))
    yield from _block("clean", _codes([c for c in whole if c.verdict is Verdict.CLEAN]))
    yield from _block("in part", _reasons([c for c in judging if c.status is Status.PARTIAL]))
    yield from _block("not judged", _reasons([c for c in judging if c.status is Status.SKIPPED]))
    yield from _block("cannot tell", _reasons([c for c in whole if c.verdict is Verdict.UNKNOWN]))


def _codes(runs: list[CheckRun]) -> list[str]:
    words = [f"{c.code} {c.name}" for c in runs]
    return [", ".join(words[i : i + 4]) for i in range(0, len(words), 4)]


def _reasons(runs: list[CheckRun]) -> list[str]:
    """Checks with one reason share its lines."""
    by_reason: dict[str, list[str]] = {}
    for run in runs:
        by_reason.setdefault(run.reason or "no reason given", []).append(run.code)
    return [f"{' '.join(codes)}: {reason}" for reason, codes in by_reason.items()]
