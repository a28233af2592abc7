"""Findings as cards, worst first."""

from __future__ import annotations

from lockscope.harmless import json_text
from lockscope.report.data import as_dict
from lockscope.report.output import is_notice, ordered
from lockscope.report.page import _sections
from lockscope.report.page._card import anchor, card
from lockscope.report.page._sections import Part
from lockscope.report.page_shell import chip, esc, table
from lockscope.results.findings import Finding, Report
from lockscope.results.page_data import Scene
from lockscope.units import count, seconds

ORDER, TITLE, NAV = 20, "Findings", "findings"
_OPEN = 3
_CARDS_BYTES = 3_000_000  # what follows is one line each, and in findings.json
_LINES = 2_000


def made(report: Report, beside: str) -> Part | None:
    """The cards."""
    told = [f for f in ordered(report.findings) if not is_notice(f.code)]
    if not told:
        return Part("<p>Nothing was found. What could not be judged is listed under Coverage.</p>")
    cards, rest, size = [], [], 0
    for number, finding in enumerate(told):
        if size > _CARDS_BYTES:
            rest.append(finding)
            continue
        scene = _scene(report, finding)
        html = card(finding, report.traces[finding.trace], scene, opened=number < _OPEN, several=len(report.traces) > 1)
        size += len(html)
        cards.append(html)
    files = {}
    tail = ""
    if rest:
        files["findings.json"] = json_text(as_dict(report))
        lines = table(("code", "severity", "locks", "#seen", "first (s)"), (_line(f) for f in rest[:_LINES]))
        what = f"{count(len(rest))} more findings without a card; all, with their evidence"
        tail = _sections.more(beside, "findings.json", what, "lockscope analyze --format json TRACE") + lines
    return Part(_tools(told) + "".join(cards) + _NONE + tail, files=files)


_NONE = '<p id="none" class="gone">No finding fits what is searched for.</p>'


def _scene(report: Report, finding: Finding) -> Scene | None:
    if finding.trace >= len(report.page_data):
        return None
    return report.page_data[finding.trace].scenes.get((finding.fingerprint, finding.window))


def _tools(told: list[Finding]) -> str:
    buttons = []
    for word in ("error", "warning", "info"):
        number = sum(f.severity == word for f in told)
        if number:
            buttons.append(
                f'<button type="button" data-severity="{word}" aria-pressed="false">{word} {count(number)}</button>'
            )
    return (
        f'<div class="tools" role="toolbar" aria-label="filter findings">{"".join(buttons)}'
        '<button type="button" id="open-all">open all</button><button type="button" id="close-all">close all</button>'
        '<span class="count" id="shown" aria-live="polite"></span></div>'
    )


def _line(finding: Finding) -> str:
    at = seconds(finding.witnesses[0].ts_ns) if finding.witnesses else ""
    return (
        f'<tr data-search id="{esc(anchor(finding))}"><td>{chip(finding.code, f"code {finding.severity}")}</td>'
        f'<td>{esc(finding.severity)}</td><td class="mono">{esc(" → ".join(finding.classes) or finding.title)}</td>'
        f'<td class="n">{count(finding.count)}</td><td class="t">{at}</td></tr>'
    )
