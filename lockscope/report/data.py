"""The report as plain data; what JSON and JSON Lines write (``lockscope-1.schema.json``).

All keys that the schema requires are there. Beyond it: ``note``, ``side`` and ``missing`` of a witness, ``story``,
``effect``, ``advice``, ``reason``, ``place`` and ``details`` of a finding, ``coverage`` of a trace, and of the whole
``assumptions``, ``known``, ``strict``, ``suppressed``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lockscope.report.output import places
from lockscope.results.findings import Finding, Report, TraceSummary, Witness

SCHEMA = "lockscope/1"


def as_dict(report: Report) -> dict[str, Any]:
    """The whole report as dicts, lists, text and integers."""
    document = {
        "schema": SCHEMA,
        "verdict": report.verdict.value,
        "traces": [_trace(t) for t in report.traces],
        "checks": [
            {"trace": c.trace, "code": c.code, "name": c.name, "status": c.status.value, "verdict": c.verdict.value,
             "reason": c.reason}
            for c in report.checks
        ],
        "findings": [
            _finding(f) | {"place": number} for number, place in enumerate(places(report.findings)) for f in place
        ],
        "windows": [
            {"trace": w.trace, "name": w.name, "start_ns": w.start_ns, "end_ns": w.end_ns, "findings": w.findings}
            for w in report.windows
        ],
        "assumptions": report.assumptions,
        "known": report.known,
        "strict": report.strict,
        "suppressed": [
            {"trace": s.trace, "code": s.code, "fingerprint": s.fingerprint, "reason": s.reason, "count": s.count}
            for s in report.suppressed
        ],
    }  # fmt: skip
    clean = plain(document)
    assert isinstance(clean, dict)
    return clean


def _trace(trace: TraceSummary) -> dict[str, Any]:
    return {
        "path": trace.path,
        "format": trace.format,
        "kernel": trace.kernel,
        "clock": trace.clock,
        "cpus": trace.cpus,
        "events": trace.events,
        "lost_events": trace.lost_events,
        "start_ns": trace.start_ns,
        "end_ns": trace.end_ns,
        "rules": {"name": trace.rules, "chosen": trace.chosen},
        "coverage": trace.coverage,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "trace": finding.trace,
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "confidence": finding.confidence.value,
        "title": finding.title,
        "message": finding.message,
        "classes": finding.classes,
        "rule": {"id": finding.rule.id, "source": finding.rule.source} if finding.rule else None,
        "count": finding.count,
        "witnesses": [_witness(w) for w in finding.witnesses],
        "fingerprint": finding.fingerprint,
        "behind": [other.fingerprint for other in finding.behind],
        "window": finding.window,
        "story": finding.story,
        "effect": finding.effect,
        "advice": finding.advice,
        "reason": finding.reason,
        "details": finding.details,
    }


def _witness(witness: Witness) -> dict[str, Any]:
    return {
        "ts_ns": witness.ts_ns,
        "cpu": witness.cpu,
        "pid": witness.pid,
        "comm": witness.comm,
        "event": witness.event,
        "context": witness.context.value,
        "location": witness.location,
        "note": witness.note,
        "side": witness.side,
        "missing": witness.missing,
    }


def plain(value: Any) -> Any:
    """A value as JSON knows it: NumPy scalars as Python's, sets sorted, NaN as null, anything else as text."""
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays, without importing it
        return plain(value.tolist())
    return str(value)
