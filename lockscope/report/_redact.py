"""A report fit to be shared: every name of a task, host, directory and address in it replaced by a pseudonym."""

from __future__ import annotations

from dataclasses import replace

from lockscope.findings import Finding, Report, TraceSummary, Witness
from lockscope.report._pseudonyms import Redactor
from lockscope.report._redact_exhibits import learn, redacted


def redact(report: Report, redactor: Redactor | None = None) -> Report:
    """The same report without what ``Redactor`` hides; verdicts, counts, times and fingerprints are unchanged."""
    red = redactor or Redactor()
    # Whatever names itself is learned before any free text is read: a story may name a task before its witness does.
    for finding in report.findings:
        _learn(finding, red)
    learn(report.exhibits, red)
    for trace in report.traces:
        red.path(trace.path)
        red.path(trace.rules)
        red.value(trace.coverage)
    return replace(
        report,
        traces=[_trace(t, red) for t in report.traces],
        checks=[replace(c, reason=red.text(c.reason) if c.reason else c.reason) for c in report.checks],
        findings=[_finding(f, red) for f in report.findings],
        windows=[replace(w, name=red.window(w.name)) for w in report.windows],
        exhibits=tuple(redacted(e, red) for e in report.exhibits),
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
    return replace(trace, path=red.path(trace.path), rules=red.path(trace.rules), coverage=red.value(trace.coverage))


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
        window=red.window(finding.window) if finding.window is not None else None,
        details=red.value(finding.details),
        behind=tuple(_finding(other, red) for other in finding.behind),
    )


def _witness(witness: Witness, red: Redactor) -> Witness:
    return replace(
        witness,
        comm=red.task(witness.comm),
        pid=red.pid(witness.pid),
        location=red.text(witness.location) if witness.location else witness.location,
        note=red.text(witness.note),
    )
