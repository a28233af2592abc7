"""What the verdict rests on: of each trace its facts, every check with what became of it, and the coverage in full."""

from __future__ import annotations

from lockscope.report.findings._coverage_text import coverage_lines
from lockscope.report.lines import Paint
from lockscope.report.output import is_notice
from lockscope.report.page._sections import Part
from lockscope.report.page_shell import chip, esc, facts
from lockscope.results.findings import CheckRun, Report, Status, Verdict
from lockscope.units import count, duration, seconds

ORDER, TITLE, NAV = 90, "Coverage", "coverage"
_PLAIN = Paint(False)
_TRACES = 40


def made(report: Report, beside: str) -> Part | None:
    """A block a trace."""
    del beside
    return Part("".join(_trace(report, index) for index in range(min(len(report.traces), _TRACES))))


def _trace(report: Report, index: int) -> str:
    trace = report.traces[index]
    several = f'<h3 id="coverage-{index}">{esc(trace.path)}</h3>' if len(report.traces) > 1 else ""
    span = duration(trace.end_ns - trace.start_ns) if trace.events else "nothing"
    lost = "unknown how many" if trace.lost_events is None else count(trace.lost_events)
    extra = trace.coverage
    grid = facts((
        ("kernel", esc(", ".join(str(w) for w in (trace.kernel or "not named", extra.get("machine")) if w))),
        ("events", f"{count(trace.events)} in {esc(span)}"),
        ("from .. to", f"{seconds(trace.start_ns)} .. {seconds(trace.end_ns)}"),
        ("lost", chip(lost, "good" if trace.lost_events == 0 else "warning")),
        ("format", esc(trace.format)),
        ("CPUs, clock", esc(f"{trace.cpus}, {trace.clock or 'unknown'}")),
        ("rules", esc(trace.rules)),
        ("host", esc(extra.get("host") or "not named")),
    ))  # fmt: skip
    whole = "\n".join(esc(text) for text in coverage_lines(report, index, _PLAIN))
    return (
        f"{several}{grid}{_checks([c for c in report.checks if c.trace == index])}"
        f"<details><summary>Coverage in full: what was decoded, lost, unpaired, and why a check could not be judged"
        f"</summary><pre>{whole}</pre></details>"
    )


def _checks(runs: list[CheckRun]) -> str:
    judged = [c for c in runs if not is_notice(c.code)]
    groups = (
        ("violated", "violation", [c for c in judged if c.verdict is Verdict.VIOLATION]),
        ("clean", "clean", [c for c in judged if c.verdict is Verdict.CLEAN]),
        (
            "judged in part",
            "unknown",
            [c for c in judged if c.verdict is Verdict.UNKNOWN and c.status is not Status.SKIPPED],
        ),
        ("not judged", "skipped", [c for c in judged if c.status is Status.SKIPPED]),
    )
    out = []
    for word, kind, group in groups:
        if group:
            chips = "".join(f"<li>{chip(f'{c.code} {c.name}', kind, c.reason or word)}</li>" for c in group)
            out.append(f'<h3>{word} ({len(group)})</h3><ul class="chips">{chips}</ul>')
    return "".join(out)
