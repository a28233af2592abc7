"""A report fit to be shared: every name of a task, host, directory and address in it replaced by a pseudonym."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lockscope.report.redaction.page_data import learn, redacted
from lockscope.report.redaction.pseudonyms import Redactor
from lockscope.results.findings import Finding, Report, TraceSummary, Witness


def redact(report: Report, redactor: Redactor | None = None) -> Report:
    """The same report without what ``Redactor`` hides; verdicts, counts, times and fingerprints are unchanged."""
    red = redactor or Redactor()
    # Whatever names itself is learned before any free text is read: a story may name a task before its witness does.
    for finding in report.findings:
        _learn(finding, red)
    learn(report.page_data, red)
    for trace in report.traces:
        red.path(trace.path)
        red.path(trace.rules)
        coverage(trace.coverage, red)
    return replace(
        report,
        traces=[_trace(t, red) for t in report.traces],
        checks=[replace(c, reason=red.text(c.reason) if c.reason else c.reason) for c in report.checks],
        findings=[_finding(f, red) for f in report.findings],
        windows=[replace(w, name=red.window(w.name)) for w in report.windows],
        page_data=tuple(redacted(e, red) for e in report.page_data),
        suppressed=tuple(replace(s, reason=red.text(s.reason)) for s in report.suppressed),
    )


def _learn(finding: Finding, red: Redactor) -> None:
    red.keep(finding.classes)
    for witness in finding.witnesses:
        red.task(witness.comm)
        red.pid(witness.pid)
    for line in (*finding.story, finding.message):
        red.learn(line)


def _trace(trace: TraceSummary, red: Redactor) -> TraceSummary:
    return replace(
        trace, path=red.path(trace.path), rules=red.path(trace.rules), coverage=coverage(trace.coverage, red)
    )


def coverage(found: Mapping[str, Any], red: Redactor) -> dict[str, Any]:
    """What a trace holds and lost (``TraceSummary.coverage``); what is not known here is left out.

    Events, what did not come in pairs and the machine's kind are the kernel's words and ours.
    """
    made = {name: found[name] for name in ("decoded", "unpaired", "machine") if name in found}
    if "host" in found:
        made["host"] = red.host(found["host"]) if found["host"] else found["host"]
    if "lost" in found:
        made["lost"] = [loss(one, red) for one in found["lost"]]
    if "notes" in found:
        made["notes"] = [red.text(note) for note in found["notes"]]
    return made


def loss(one: Mapping[str, Any], red: Redactor) -> dict[str, Any]:
    """One loss: of a CPU, or of a buffer, which people name."""
    return {
        name: red.instance(value) if name == "buffer" else value
        for name, value in one.items()
        if name in ("cpu", "count", "kind", "buffer", "remedy")
    }


def facts(found: Mapping[str, Any], red: Redactor) -> dict[str, Any]:
    """What ``lockscope info`` says of a trace; what is not known here is left out."""
    made = {name: value for name, value in found.items() if name in _FACTS}
    for name in ("path", "rules"):
        if name in found:
            made[name] = red.path(found[name])
    told = coverage({name: found[name] for name in ("host", "lost", "notes") if name in found}, red)
    checks = {code: red.text(text) for code, text in found.get("checks", {}).items()}
    shown = made | told | ({"checks": checks} if "checks" in found else {})
    return {name: shown[name] for name in found if name in shown}  # in the order in which they are told


_FACTS = frozenset({
    "format", "kernel", "machine", "clock", "cpus", "events", "start_ns", "end_ns", "lost_events", "rules_chosen",
    "spte_layout", "pid_filter", "events_by_name", "tables", "answers", "to_add",
})  # fmt: skip


def _details(found: Mapping[str, Any], red: Redactor) -> dict[str, Any]:
    """Guest frames, how many rings a finding stands for, and why it is believed; nothing else is known."""
    made = {name: found[name] for name in ("gfn_runs", "also") if name in found}
    if "trust" in found:
        made["trust"] = {why: red.text(text) if isinstance(text, str) else text for why, text in found["trust"].items()}
    return made


def _finding(finding: Finding, red: Redactor) -> Finding:
    # The fingerprint is made of classes, rule id and flow: they stay, but for an address that got into a class's name.
    return replace(
        finding,
        title=red.text(finding.title),
        message=red.text(finding.message),
        classes=tuple(red.addresses(c) for c in finding.classes),
        rule=replace(finding.rule, source=red.text(finding.rule.source)) if finding.rule else None,
        witnesses=tuple(_witness(w, red) for w in finding.witnesses),
        story=tuple(red.text(line) for line in finding.story),
        effect=red.text(finding.effect),
        advice=red.text(finding.advice),
        reason=red.text(finding.reason),
        window=red.window(finding.window) if finding.window is not None else None,
        details=_details(finding.details, red),
        behind=tuple(_finding(other, red) for other in finding.behind),
    )


def _witness(witness: Witness, red: Redactor) -> Witness:
    return replace(
        witness,
        comm=red.task(witness.comm),
        pid=red.pid(witness.pid),
        location=red.text(witness.location) if witness.location else witness.location,
        note=red.text(witness.note),
        missing=red.text(witness.missing),
    )
