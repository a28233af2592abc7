"""A report from Python: as a file, or as columns of findings."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from lockscope.errors import UsageError
from lockscope.outfiles import refuse_existing, write_text
from lockscope.report.output import is_notice, ordered, reporter, reporters
from lockscope.results.findings import Report


def save(report: Report, path: Path, format: str | None, *, force: bool) -> Path:
    """Write the report; what a page leaves for files beside it goes into ``NAME.data``."""
    if format is None:
        named = [r.NAME for r in reporters().values() if path.suffix.lower() == r.EXTENSION]
        if not named:
            msg = f"{path}: no report has this ending; there are {', '.join(r.EXTENSION for r in reporters().values())}"
            raise UsageError(msg)
        format = named[0]
    wanted, text = reporter(format), io.StringIO()
    refuse_existing(path, force=force)
    beside = getattr(wanted, "write_beside", None)
    if beside is None:
        wanted.write(report, text)
    else:
        folder = path.with_suffix(".data")
        for name, more in beside(report, text, folder.name).items():
            refuse_existing(folder / name, force=force)
            write_text(folder / name, more)
    write_text(path, text.getvalue())
    return path


def rows(report: Report) -> dict[str, list[Any]]:
    """Columns with a row for each finding, in the order of all outputs."""
    found = [f for f in ordered(report.findings) if not is_notice(f.code)]
    first = [f.witnesses[0] if f.witnesses else None for f in found]
    return {
        "code": [f.code for f in found],
        "severity": [str(f.severity) for f in found],
        "confidence": [str(f.confidence) for f in found],
        "title": [f.title for f in found],
        "message": [f.message for f in found],
        "classes": [list(f.classes) for f in found],
        "rule": [f.rule.id if f.rule else None for f in found],
        "count": [f.count for f in found],
        "ts_ns": [w.ts_ns if w else None for w in first],
        "cpu": [w.cpu if w else None for w in first],
        "pid": [w.pid if w else None for w in first],
        "comm": [w.comm if w else None for w in first],
        "window": [f.window for f in found],
        "trace": [report.traces[f.trace].path for f in found],
        "fingerprint": [f.fingerprint for f in found],
    }
