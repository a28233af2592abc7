"""SARIF 2.1.0 (OASIS, https://docs.oasis-open.org/sarif/sarif/v2.1.0/): one run, a result for each finding.

Each side of a finding (the tasks that meet in a deadlock) is a thread flow of one code flow; ``executionOrder`` is the
order in time over all sides. What could not be judged, and notices about the trace, are notifications of the
invocation: an empty list of results is only clean where they say nothing against it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, TextIO
from urllib.parse import quote

from lockscope.harmless import json_text, printable
from lockscope.report.data import SCHEMA, plain
from lockscope.report.output import is_notice, ordered, verdict_of
from lockscope.results.findings import Finding, Report, Status, Witness
from lockscope.units import seconds

NAME = "sarif"
EXTENSION = ".sarif"

_SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}
_MOST_STEPS = 1_000  # of a thread flow; viewers show no more


def write(report: Report, stream: TextIO, *, color: bool = False) -> None:
    """Write the report as one SARIF log; never coloured."""
    del color
    stream.write(json_text(plain(_log(report)), indent=2))
    stream.write("\n")


def _log(report: Report) -> dict[str, Any]:
    told = [f for f in ordered(report.findings) if not is_notice(f.code)]
    names = {c.code: c.name for c in report.checks} | {f.code: f.name for f in report.findings}
    places = {code: place for place, code in enumerate(sorted(names))}
    run = {
        "tool": {"driver": _driver(names)},
        "invocations": [
            {"executionSuccessful": True, "toolExecutionNotifications": list(_notifications(report, places))}
        ],
        "artifacts": [
            {"location": {"uri": _uri(t.path)}, "roles": ["analysisTarget"],
             "properties": {"format": t.format, "kernel": t.kernel, "events": t.events, "lost_events": t.lost_events,
                            "rules": t.rules, "verdict": verdict_of(report, i).value}}
            for i, t in enumerate(report.traces)
        ],
        "results": [_result(report, f, places[f.code]) for f in told],
        "columnKind": "unicodeCodePoints",
        "properties": {"schema": SCHEMA, "verdict": report.verdict.value, "assumptions": report.assumptions,
                       "known": report.known, "suppressed": sum(s.count for s in report.suppressed)},
    }  # fmt: skip
    return {"$schema": _SCHEMA_URI, "version": "2.1.0", "runs": [run]}


def _driver(names: dict[str, str]) -> dict[str, Any]:
    driver: dict[str, Any] = {
        "name": "lockscope",
        "rules": [
            {
                "id": code,
                "name": name,
                "shortDescription": {"text": name.replace("-", " ")},
                "help": {"text": f"lockscope explain {code}"},
            }
            for code, name in sorted(names.items())
        ],
    }
    from importlib import metadata  # takes longer than the rest of a small report

    with contextlib.suppress(metadata.PackageNotFoundError):  # run from a checkout that is not installed
        driver["version"] = metadata.version("lockscope")
    return driver


def _notifications(report: Report, places: dict[str, int]) -> Iterator[dict[str, Any]]:
    """What weakens the verdict: checks that could not run in full, and notices about the trace."""
    for check in report.checks:
        if check.status is Status.RAN or is_notice(check.code):
            continue
        reason = f"{check.code} {check.name} {check.status}: {check.reason or 'no reason given'}"
        yield _notification(report, check.trace, check.code, places, reason)
    for finding in report.findings:
        if is_notice(finding.code):
            yield _notification(report, finding.trace, finding.code, places, finding.message)


def _notification(report: Report, trace: int, code: str, places: dict[str, int], text: str) -> dict[str, Any]:
    return {
        "associatedRule": {"id": code, "index": places[code]},
        "level": "note",
        "message": {"text": printable(text)},
        "locations": [{"physicalLocation": _place(report, trace)}],
    }


def _result(report: Report, finding: Finding, place: int) -> dict[str, Any]:
    text = f"{finding.title}: {finding.message}" if finding.message else finding.title
    message = {"text": printable(text)}
    if finding.story:
        message["markdown"] = "\n".join(
            [message["text"], "", "~~~~~~text", *(printable(line.expandtabs()) for line in finding.story), "~~~~~~"]
        )
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": place,
        "kind": "fail",
        "level": _LEVELS[finding.severity],
        "message": message,
        "locations": [_location(report, finding)],
        "partialFingerprints": {"lockscope/v1": finding.fingerprint},
        "occurrenceCount": finding.count,
        "properties": {
            "confidence": finding.confidence.value,
            "classes": finding.classes,
            "rule": {"id": finding.rule.id, "source": finding.rule.source} if finding.rule else None,
            "window": finding.window,
            "details": finding.details,
        },
    }
    if finding.witnesses:
        result["codeFlows"] = [_code_flow(report, finding)]
    return result


def _location(report: Report, finding: Finding) -> dict[str, Any]:
    logical = [{"name": printable(c), "kind": "resource"} for c in dict.fromkeys(finding.classes)]
    place: dict[str, Any] = {"physicalLocation": _place(report, finding.trace)}
    return place | ({"logicalLocations": logical} if logical else {})


def _code_flow(report: Report, finding: Finding) -> dict[str, Any]:
    times = sorted({w.ts_ns for w in finding.witnesses})
    order = {ts: number for number, ts in enumerate(times, 1)}
    flows = []
    for number, side in enumerate(finding.sides, 1):
        first = side[0]
        flows.append(
            {
                "id": f"side {number}: {printable(first.comm)}/{first.pid}",
                "message": {"text": f"{printable(first.comm)}/{first.pid} from {seconds(first.ts_ns)}"},
                "locations": [_step(report, finding, w, order[w.ts_ns]) for w in side[:_MOST_STEPS]],
            }
        )
    return {"threadFlows": flows}


def _step(report: Report, finding: Finding, witness: Witness, order: int) -> dict[str, Any]:
    what = printable(witness.note or witness.event)
    context = "" if witness.context == "task" else f" in {witness.context}"
    place: dict[str, Any] = {
        "physicalLocation": _place(report, finding.trace),
        "message": {"text": f"[{seconds(witness.ts_ns)}] CPU {witness.cpu}{context}: {what}"},
    }
    if witness.location:
        function = printable(witness.location)
        place["logicalLocations"] = [
            {"name": function.partition("+")[0], "fullyQualifiedName": function, "kind": "function"}
        ]
    return {
        "location": place,
        "executionOrder": order,
        "importance": "essential",
        "properties": {
            "ts_ns": witness.ts_ns,
            "cpu": witness.cpu,
            "pid": witness.pid,
            "comm": printable(witness.comm),
            "event": witness.event,
            "context": witness.context.value,
        },
    }


def _place(report: Report, trace: int) -> dict[str, Any]:
    return {"artifactLocation": {"uri": _uri(report.traces[trace].path), "index": trace}}


def _uri(path: str) -> str:
    """The trace as a URI: relative as it was named; ``stdin:`` for a pipe."""
    if path in ("", "-"):
        return "stdin:"
    quoted = quote(os.fsencode(path))
    return f"file://{quoted}" if path.startswith("/") else quoted
