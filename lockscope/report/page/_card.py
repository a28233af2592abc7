"""A finding as a card: its scenario over time, the rule's sentence, evidence, lockdep's words, how to suppress it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lockscope.harmless import printable
from lockscope.report.findings._finding_text import seen, splat_lines
from lockscope.report.findings._where import locate
from lockscope.report.lines import Paint
from lockscope.report.page import _scene
from lockscope.report.page_shell import chip, copyable, esc, table
from lockscope.results.findings import Finding, TraceSummary, Witness
from lockscope.results.page_data import Scene
from lockscope.units import count, seconds

_PLAIN = Paint(False)
_WITNESSES = 24


def anchor(finding: Finding) -> str:
    """The card's anchor on the page: the same in every report of the same defect."""
    return f"f-{finding.trace}-{finding.fingerprint}" + ("" if finding.window is None else f"-{finding.window}")


def card(finding: Finding, trace: TraceSummary, scene: Scene | None, *, opened: bool, several: bool = False) -> str:
    """The card. ``several``: the report is of more than one trace, so each card says which."""
    place = f" in {esc(trace.path)}" if several else ""
    window = f", window {esc(finding.window)}" if finding.window is not None else ""
    locks = esc(" → ".join(finding.classes)) if finding.classes else esc(finding.name)
    return (
        f'<details class="card {finding.severity}" id="{esc(anchor(finding))}" data-severity="{finding.severity}"'
        f"{' open' if opened else ''}><summary>{chip(finding.code, f'code {finding.severity}')}"
        f'<span class="what"><b>{esc(finding.title)}</b><span class="locks mono">{locks}</span>{place}{window}</span>'
        f'<span class="seen">{count(finding.count)}×, {esc(finding.confidence)}</span></summary>'
        f"<div>{_body(finding, trace, scene)}</div></details>"
    )


def _body(finding: Finding, trace: TraceSummary, scene: Scene | None) -> str:
    parts = [f"<p>{esc(finding.message)}</p>"]
    parts += [f"<p><b>Effect:</b> {esc(finding.effect)}</p>"] if finding.effect else []
    parts += [f"<p><b>To do:</b> {esc(finding.advice)}</p>"] if finding.advice else []
    if scene is not None and (scene.bars or len(scene.marks) > 1):
        parts.append(_scene.picture(scene, finding))
    parts.append(_meta(finding))
    if finding.witnesses:
        parts.append(_evidence(finding.witnesses, trace))
    if finding.story and not finding.by_events:  # else the evidence says the same
        parts.append("<h3>In lockdep's words</h3>" + splat(finding, trace))
    parts.append("<h3>To suppress it</h3>" + copyable(suppression(finding)))
    return "".join(parts)


def _meta(finding: Finding) -> str:
    rows = [
        (
            "judged",
            esc(f"{finding.severity}, {finding.confidence}" + (f": {finding.reason}" if finding.reason else "")),
        ),
        ("seen", esc(seen(finding))),
    ]
    if finding.rule:
        rows.append(("rule", f"<code>{esc(finding.rule.id)}</code><br>{esc(finding.rule.source)}"))
    if finding.window is not None:
        rows.append(("window", esc(finding.window)))
    rows.append(("fingerprint", f'<a href="#{esc(anchor(finding))}"><code>{finding.fingerprint}</code></a>'))
    rows.append(("explained by", f"<code>lockscope explain {esc(finding.code)}</code>"))
    return '<dl class="meta">' + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows) + "</dl>"


def _evidence(witnesses: Sequence[Witness], trace: TraceSummary) -> str:
    rows = [
        f'{_missing(w)}<tr><td class="n">{number}</td><td class="t">{seconds(w.ts_ns)}</td>'
        f'<td class="keep">CPU {w.cpu}</td>'
        f'<td class="mono">{esc(w.comm)}/{w.pid}</td><td class="mono">{esc(w.event)}</td>'
        f'<td class="what">{_part(w)}</td></tr>'
        for number, w in enumerate(witnesses[:_WITNESSES], 1)
    ]
    more = len(witnesses) - _WITNESSES
    rest = f'<p class="dim">and {count(more)} more: lockscope analyze --format json has all</p>' if more > 0 else ""
    command = locate(trace, witnesses)
    show = f"<p>In the trace:</p>{copyable(command)}" if command else ""
    head = ("#", "time (s)", "CPU", "task", "event", "what")
    return '<h3>Evidence</h3><div class="evidence">' + table(head, rows) + "</div>" + rest + show


def _missing(witness: Witness) -> str:
    """A row before an event for what should have come before it and did not."""
    if not witness.missing:
        return ""
    return f'<tr class="missing"><td></td><td colspan="5">missing: {esc(witness.missing)}</td></tr>'


def _part(witness: Witness) -> str:
    parts = [] if witness.context == "task" else [f"in {esc(witness.context)}"]
    if witness.note:
        parts.append(esc(witness.note))
    if witness.location:
        parts.append(f'at <span class="mono">{esc(witness.location)}</span>')
    return ", ".join(parts)


def splat(finding: Finding, trace: TraceSummary) -> str:
    """The finding in lockdep's words."""
    lines = []
    for line in splat_lines(finding, trace, _PLAIN):
        shown = esc(line)
        lines.append(f'<span class="hot">{shown}</span>' if "***" in line or line.startswith("WARNING:") else shown)
    return f"<pre>{chr(10).join(lines).rstrip()}</pre>"


def suppression(finding: Finding) -> str:
    """The entry for ``--suppressions`` that takes exactly this defect out; TOML's strings are written as JSON's."""
    locks = f", {' -> '.join(finding.classes)}" if finding.classes else ""
    # A comment ends with its line: a class's name must not go on as an entry of its own.
    about = printable(f"{finding.code} {finding.name}{locks}").encode("ascii", "backslashreplace").decode()
    return (
        f"[[suppress]]   # {about}\n"
        f"fingerprint = {json.dumps(finding.fingerprint)}\n"
        'reason = "why this is accepted, and for how long"\n'
        "# until = 2027-12-31"
    )
