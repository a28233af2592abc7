"""An earlier JSON report as a baseline: what it lists is known, counted and not listed again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lockscope.errors import FormatError
from lockscope.findings import Finding, Report
from lockscope.report._data import SCHEMA


def load_baseline(path: str) -> frozenset[str]:
    """The fingerprints an earlier ``--format json`` report lists. ``FormatError`` where the file is none."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(path, "", f"cannot read the baseline: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise _not_one(path, f"line {error.lineno} column {error.colno}", "is not JSON") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise _not_one(path, "", "is not JSON") from error
    found = document.get("schema") if isinstance(document, dict) else None
    if found != SCHEMA:
        raise _not_one(path, "key schema", f"says {found!r}, not {SCHEMA!r}")
    return frozenset(_fingerprint(path, i, f) for i, f in enumerate(_findings(path, document)))


def without_known(report: Report, known: frozenset[str]) -> Report:
    """The report with the known findings counted in ``known``, no longer listed, also not by the windows."""
    rest = unlisted(report, lambda _, finding: finding.fingerprint in known)
    return replace(rest, known=report.known + len(report.findings) - len(rest.findings))


def unlisted(report: Report, leaves: Callable[[int, Finding], bool]) -> Report:
    """The report without the findings that ``leaves(place, finding)`` says, also not counted by the windows."""
    kept, gone = [], Counter[tuple[int, str | None]]()
    for place, finding in enumerate(report.findings):
        if leaves(place, finding):
            gone[finding.trace, finding.window] += 1
        else:
            kept.append(finding)
    windows = [replace(w, findings=max(w.findings - gone[w.trace, w.name], 0)) for w in report.windows]
    return replace(report, findings=kept, windows=windows)


def _findings(path: str, document: dict[str, Any]) -> list[Any]:
    findings = document.get("findings")
    if not isinstance(findings, list):
        raise _not_one(path, "key findings", "is not a list")
    return findings


def _fingerprint(path: str, index: int, finding: Any) -> str:
    value = finding.get("fingerprint") if isinstance(finding, dict) else None
    if not isinstance(value, str):
        raise _not_one(path, f"findings[{index}]", "has no fingerprint")
    return value


def _not_one(path: str, where: str, problem: str) -> FormatError:
    return FormatError(path, where, f"{problem}; wanted a report by lockscope analyze --format json")
