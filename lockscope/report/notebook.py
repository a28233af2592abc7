"""What a notebook shows of a report: verdict, findings, coverage. A fragment, with its style."""

from __future__ import annotations

from lockscope.report.findings._coverage_text import nothing_found, verdict_lines
from lockscope.report.lines import Paint
from lockscope.report.output import is_notice, ordered
from lockscope.report.page._card import splat
from lockscope.report.page_shell import esc
from lockscope.results.findings import Report, Status, Verdict
from lockscope.units import count, duration, seconds

_PLAIN = Paint(False)
_SHOWN = 20
# Jupyter's themes name their colours; elsewhere the second one counts.
_STYLE = """<style>
.lockscope { font-family: var(--jp-ui-font-family, system-ui, sans-serif); font-size: 13px; line-height: 1.45;
  max-width: 1000px; color: var(--jp-ui-font-color1, inherit); }
.lockscope .ls-verdict { border-left: 5px solid #8b949e; padding: 6px 12px; margin: 4px 0 8px;
  background: color-mix(in srgb, currentColor 5%, transparent); }
.lockscope .violation { border-color: #cf3a45; } .lockscope .clean { border-color: #2e9e5b; }
.lockscope .unknown { border-color: #c98500; }
.lockscope .ls-verdict b { font-size: 15px; }
.lockscope table { border-collapse: collapse; margin: 4px 0; font-size: 12px; }
.lockscope th, .lockscope td { text-align: left !important; padding: 3px 12px 3px 0 !important; border: 0;
  border-bottom: 1px solid color-mix(in srgb, currentColor 14%, transparent); vertical-align: top; background: none; }
.lockscope td.n, .lockscope th.n { text-align: right !important; font-variant-numeric: tabular-nums; }
.lockscope code, .lockscope pre { font-family: var(--jp-code-font-family, ui-monospace, monospace); font-size: 12px; }
.lockscope pre { white-space: pre; overflow-x: auto; padding: 8px 10px; margin: 4px 0;
  background: color-mix(in srgb, currentColor 5%, transparent); }
.lockscope .hot, .lockscope .error { color: #cf3a45; font-weight: 600; }
.lockscope .warning { color: #c98500; font-weight: 600; }
.lockscope .info { color: #3b7dd8; font-weight: 600; } .lockscope .dim { opacity: 0.72; }
.lockscope summary { cursor: pointer; }
</style>"""
_WORDS = {Verdict.VIOLATION: "Violation", Verdict.CLEAN: "Clean", Verdict.UNKNOWN: "Cannot tell"}


def report_html(report: Report) -> str:
    """A report: verdict, findings (each with its story to unfold), and what was judged."""
    lines = [line.partition(": ")[2] for line in verdict_lines(report, _PLAIN)]
    paths = ", ".join(t.path for t in report.traces[:3]) + (" ..." if len(report.traces) > 3 else "")
    kind = "nothing" if nothing_found(report) else str(report.verdict)
    word = "Nothing found" if nothing_found(report) else _WORDS[report.verdict]
    head = (
        f'<div class="ls-verdict {kind}"><b>{word}</b> '
        f"<span>{esc(lines[-1].partition(': ')[2] or lines[-1])}</span><br><code>{esc(paths)}</code></div>"
    )
    return f'{_STYLE}<div class="lockscope">{head}{_findings(report)}{_coverage(report)}</div>'


def trace_html(title: str, facts: list[tuple[str, str]], report: Report | None, hint: str = "") -> str:
    """A trace: what it is, and its report if there is one."""
    rows = "".join(f"<tr><td class='dim'>{esc(name)}</td><td>{esc(value)}</td></tr>" for name, value in facts)
    tail = report_html(report) if report is not None else f'{_STYLE}<div class="lockscope dim">{esc(hint)}</div>'
    return f'{_STYLE}<div class="lockscope"><b>{esc(title)}</b><table>{rows}</table></div>{tail}'


def _findings(report: Report) -> str:
    told = [f for f in ordered(report.findings) if not is_notice(f.code)]
    if not told:
        return ""
    rows = []
    for f in told[:_SHOWN]:
        at = seconds(f.witnesses[0].ts_ns) if f.witnesses else ""
        locks = esc(" → ".join(f.classes)) if f.classes else ""
        story = f"<details><summary>{esc(f.title)}</summary>{splat(f, report.traces[f.trace])}</details>"
        rows.append(
            f'<tr><td class="{f.severity}">{esc(f.code)}</td><td>{f.severity}, {f.confidence}</td>'
            f'<td class="n">{count(f.count)}×</td>'
            f'<td class="n">{at}</td><td><code>{locks}</code>{story}</td></tr>'
        )
    more = (
        f'<p class="dim">and {len(told) - _SHOWN} more: <code>report.findings</code></p>' if len(told) > _SHOWN else ""
    )
    head = '<tr><th>code</th><th>judged</th><th class="n">seen</th><th class="n">first at (s)</th><th>what</th></tr>'
    return f"<table>{head}{''.join(rows)}</table>{more}"


def _coverage(report: Report) -> str:
    runs = [c for c in report.checks if not is_notice(c.code)]
    clean = sum(c.verdict is Verdict.CLEAN for c in runs)
    skipped = sum(c.status is Status.SKIPPED for c in runs)
    reasons: dict[str, list[str]] = {}
    for c in runs:
        if c.verdict is Verdict.UNKNOWN:
            reasons.setdefault(c.reason or "no reason given", []).append(c.code)
    why = "".join(
        f"<tr><td>{esc(' '.join(dict.fromkeys(codes)))}</td><td>{esc(reason)}</td></tr>"
        for reason, codes in reasons.items()
    )
    seen = "; ".join(
        f"{count(t.events)} events in {duration(t.end_ns - t.start_ns)}, "
        + ("an unknown number lost" if t.lost_events is None else f"{count(t.lost_events)} lost")
        for t in report.traces[:3]
    )
    partly = len(runs) - clean - skipped
    line = f"{esc(seen)}. {len(runs)} checks: {clean} clean, {partly} with a finding or in part, {skipped} not judged."
    unfold = (
        f"<details><summary>why a check could not be judged in full</summary><table>{why}</table></details>"
        if why
        else ""
    )
    return f'<div class="dim">{line}</div>{unfold}'
