"""An earlier JSON report as a baseline: what it lists is known, counted and not listed again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lockscope.errors import FormatError
from lockscope.report.data import SCHEMA
from lockscope.results.findings import Finding, Report


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
    found = _findings(path, document)
    listed = {_fingerprint(path, i, f) for i, f in enumerate(found)}
    return frozenset(listed.union(*(_behind(path, i, f) for i, f in enumerate(found))))


def without_known(report: Report, known: frozenset[str]) -> Report:
    """The report with the known findings counted in ``known``, no longer listed, also not by the windows."""
    met = sum(finding.fingerprint in known for finding in report.findings)
    return replace(unlisted(report, lambda finding: finding.fingerprint in known), known=report.known + met)


def unlisted(report: Report, known: Callable[[Finding], bool]) -> Report:
    """The report without known findings, also not counted by the windows. What stands behind one takes its place."""
    kept, gone = [], Counter[tuple[int, str | None]]()
    for finding in report.findings:
        left = finding.beyond(known)
        if left is None:
            gone[finding.trace, finding.window] += 1
        else:
            kept.append(left)
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


def _behind(path: str, index: int, finding: dict[str, Any]) -> list[str]:
    value = finding.get("behind", [])
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise _not_one(path, f"findings[{index}]", "has a behind that is no list of fingerprints")
    return value


def _not_one(path: str, where: str, problem: str) -> FormatError:
    return FormatError(path, where, f"{problem}; wanted a report by lockscope analyze --format json")
