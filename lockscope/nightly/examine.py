"""One trace to one record of the history. Runs in the worker processes; what goes wrong is a row, not an exception."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from lockscope.errors import FormatError, LockscopeError, RuleError, UsageError
from lockscope.formats.open import open_trace
from lockscope.harmless import printable
from lockscope.kvm import locks
from lockscope.nightly import tables
from lockscope.nightly.edges import Edge, edges_of
from lockscope.nightly.histograms import ClassTimes, by_label
from lockscope.nightly.sources import Source, at_hand
from lockscope.nightly.tables import Row
from lockscope.pipeline import AnalyzeOptions, examine
from lockscope.results.findings import Finding, Report, Status, Verdict
from lockscope.statistics.lock_statistics import LockStatistics

_NOBODY = ("", "(none)", "localhost", "localhost.localdomain")  # what uname(1) says where nobody gave a name
_SHORT = 12  # digits of a digest that tell traces apart


@dataclass(frozen=True, slots=True)
class Job:
    """A trace to look at. ``version``: lockscope's. ``host``: expression for the path with such a group."""

    source: Source
    night: str
    version: str
    host: str | None = None
    options: AnalyzeOptions = field(default_factory=AnalyzeOptions)


def run(job: Job) -> bytes:
    """The packed record of a trace (``tables.unpack``): its findings and figures, or one row that says what is wrong.

    Raises ``UsageError`` and ``RuleError``, which are not about the trace.
    """
    digest, size = "", 0
    try:
        with at_hand(job.source) as (path, digest, size):
            try:
                return tables.pack(_record(job, path, digest, size))
            except LockscopeError as error:
                if isinstance(error, UsageError | RuleError):
                    raise
                return broken(job, str(error).replace(path, job.source.path), digest, size)
    except (UsageError, RuleError):
        raise
    except OSError as error:
        return broken(job, f"{job.source.path}: cannot read the trace: {error.strerror or error}", "", size)
    except MemoryError:
        return broken(job, f"{job.source.path}: takes more memory than there is", digest, size)
    except Exception as error:  # one trace that meets a mistake of ours must not cost the others' night
        text = f"{job.source.path}: internal error: {type(error).__name__}: {error}; please report it"
        return broken(job, text, digest, size)


def broken(job: Job, error: str, digest: str, size: int = 0) -> bytes:
    """The record of a file without a verdict. Without a digest nothing is remembered: it is tried again next time."""
    row = {
        **_trace_row(job, digest, size),
        "host": host_of(job, None),
        "kernel": "",
        "format": "",
        "clock": "",
        "rules": "",
        "cpus": 0,
        "events": 0,
        "lost_events": None,
        "length_ns": 0,
        "verdict": Verdict.UNKNOWN.value,
        "ran": 0,
        "partial": 0,
        "skipped": 0,
        "error": " ".join(error.split()),
    }
    return tables.pack(tables.record({"traces": [row]}))


def host_of(job: Job, said: str | None) -> str:
    """The machine's name: by the expression, else what the trace says, else the file's folder, else its name."""
    path = job.source.path
    if job.host is not None:
        found = re.search(job.host, path)
        if found is not None and found["host"]:
            return found["host"]
    if said is not None and said not in _NOBODY:
        return said
    folder, name = os.path.split(path.partition("://")[2] or path)
    return os.path.basename(folder) or name


def _trace_row(job: Job, digest: str, size: int) -> Row:
    return {
        "night": job.night,
        "digest": digest,
        "path": job.source.path,
        "stamp": job.source.stamp,
        "size": size,
        "version": job.version,
    }


def _record(job: Job, path: str, digest: str, size: int) -> tables.Record:
    times = LockStatistics(("cls",))
    report, gathered = examine(open_trace(path), job.options, ended=times.feed)
    if not gathered.events:
        raise FormatError(path, "", "holds no events")
    summary, evidence = report.traces[0], gathered.evidence
    host = host_of(job, summary.coverage.get("host"))
    kernel = " ".join(filter(None, (summary.kernel, summary.coverage.get("machine"))))
    known = {"night": job.night, "digest": digest, "host": host, "kernel": kernel}
    statuses = [c.status for c in report.checks if c.code < "LS9"]
    trace = {
        **_trace_row(job, digest, size),
        **known,
        "format": summary.format,
        "clock": summary.clock or "",
        "rules": summary.rules,
        "cpus": summary.cpus,
        "events": summary.events,
        "lost_events": summary.lost_events,
        "length_ns": summary.end_ns - summary.start_ns,
        "verdict": report.verdict.value,
        "ran": statuses.count(Status.RAN),
        "partial": statuses.count(Status.PARTIAL),
        "skipped": statuses.count(Status.SKIPPED),
        "error": "",
    }
    labels = [c.label for c in evidence.classes]
    return tables.record(
        {
            "traces": [trace],
            "findings": [finding_row(f, known, job.source.path) for f in report.findings if f.code < "LS9"],
            "checks": list(_checks(report, known)),
            "classes": [class_row(n, t, known) for n, t in sorted(by_label(times.groups(), labels).items())],
            "edges": [edge_row(e, known, job.source.path) for e in edges_of(evidence, report, digest[:_SHORT])],
            "losses": list(_losses(report, known)),
        }
    )


def finding_row(finding: Finding, known: Mapping[str, str], path: str) -> Row:
    """A finding as a row."""
    first = finding.witnesses[0] if finding.witnesses else None
    return {
        **known,
        "fingerprint": finding.fingerprint,
        "code": finding.code,
        "check": finding.name,
        "severity": finding.severity.value,
        "confidence": finding.confidence.value,
        "title": finding.title,
        "message": finding.message,
        "classes": list(finding.classes),
        "rule": finding.rule.id if finding.rule else "",
        "source": finding.rule.source if finding.rule else "",
        "count": finding.count,
        "window": finding.window or "",
        "path": path,
        "ts_ns": first.ts_ns if first else None,
        "task": f"{first.comm}/{first.pid}" if first else "",
        "story": "\n".join(map(printable, finding.story)),  # a line of it stays one: names may have any letter
        "ring": list(finding.details.get("ring", ())),
        "suspect": finding.details.get("suspect"),
    }


def class_row(name: str, times: ClassTimes, known: Mapping[str, str]) -> Row:
    """A class's statistics as a row."""
    row: Row = {**known, "name": name, "kvm": locks.is_kvm(name), "contended": times.contended}
    for kind, one in (("hold", times.hold), ("wait", times.wait)):
        bins, counts = one.sparse()
        row |= {
            f"{kind}s": one.number,
            f"{kind}_ns": one.total_ns,
            f"{kind}_max": one.longest_ns,
            f"{kind}_bins": bins,
            f"{kind}_counts": counts,
        }
        row |= {f"{kind}_p{round(100 * q)}": one.at(q) if one.number else None for q in (0.5, 0.9, 0.99)}
    return row


def edge_row(edge: Edge, known: Mapping[str, str], path: str) -> Row:
    """A dependency as a row."""
    return {**known, **asdict(edge), "guards": list(edge.guards), "hosts": 1, "path": path}


def _checks(report: Report, known: Mapping[str, str]) -> Iterator[Row]:
    for run in report.checks:
        yield {**known, "code": run.code, "status": run.status, "verdict": run.verdict, "reason": run.reason or ""}


def _losses(report: Report, known: Mapping[str, str]) -> Iterator[Row]:
    for loss in report.traces[0].coverage.get("lost", ()):
        yield {
            **known,
            "cpu": -1 if loss.get("cpu") is None else loss["cpu"],
            "kind": loss["kind"],
            "count": loss["count"],
            "buffer": loss.get("buffer") or "",
            "remedy": loss.get("remedy") or "",
        }
