"""Required TLB flushes: which SPTE changes need one, and whether and when it came."""

from __future__ import annotations

from lockscope.report.page._sections import Part
from lockscope.report.page_shell import chip, esc, table
from lockscope.results.findings import Report
from lockscope.results.page_data import FlushFlow
from lockscope.units import count, duration

ORDER, TITLE, NAV = 70, "Required TLB flushes", "flushes"
_KIND = {"paid": "clean", "harmless": "skipped", "unpaid": "violation", "late": "warning", "foreign": "warning",
         "too-small": "warning", "ended": "unknown", "open": "unknown", "overdue": "unknown"}  # fmt: skip
_WORDS = {"paid": "in time", "unpaid": "missing", "foreign": "by another task", "harmless": "not needed"}
_MEANS = {
    "paid": "flushed before it was due", "harmless": "the VM was going away", "unpaid": "a vCPU ran without a flush",
    "late": "flushed after it was due", "foreign": "only another task's flush covered it",
    "too-small": "the range flush missed some", "ended": "no flush, and no vCPU seen to run",
    "open": "not due yet when the trace ended", "overdue": "due, and not flushed when the trace ended",
}  # fmt: skip

_LEAD = (
    "A change that takes rights from the guest requires a flush of the VM's TLBs. Times are from the first change of a "
    "critical section to the flush."
)


def made(report: Report, beside: str) -> Part | None:
    """A table a trace that shows SPTE changes."""
    del beside
    html = []
    for index, shown in enumerate(report.page_data):
        if shown.flushes:
            title = f"<h3>{esc(report.traces[index].path)}</h3>" if len(report.page_data) > 1 else ""
            head = ("flow", "outcome", "", "#sections", "#SPTEs", "#median", "#p99", "#longest")
            html.append(title + table(head, (_row(f) for f in shown.flushes)))
    return Part("".join(html), _LEAD) if html else None


def _row(f: FlushFlow) -> str:
    times = f.latency_q or (0, 0, 0)
    cells = "".join(f'<td class="n">{duration(t) if f.latency_q else "–"}</td>' for t in times)
    return (
        f"<tr data-search><td>{esc(f.flow)}</td>"
        f"<td>{chip(_WORDS.get(f.outcome, f.outcome), _KIND.get(f.outcome, ''))}</td>"
        f'<td class="dim what">{esc(_MEANS.get(f.outcome, ""))}</td><td class="n">{count(f.groups)}</td>'
        f'<td class="n">{count(f.sptes)}</td>{cells}</tr>'
    )
