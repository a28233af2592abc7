"""JSON Lines: the first line is the report of ``--format json`` with ``findings`` as a number, then a finding a line.

Each line has ``kind``: "report" or "finding".
"""

from __future__ import annotations

from typing import Any, TextIO

from lockscope.harmless import json_text
from lockscope.report.data import as_dict
from lockscope.results.findings import Report

NAME = "jsonl"
EXTENSION = ".jsonl"


def write(report: Report, stream: TextIO, *, color: bool = False) -> None:
    """Write the header line and the findings; never coloured."""
    del color
    document = as_dict(report)
    findings = document["findings"]
    _line({"kind": "report", **document, "findings": len(findings)}, stream)
    for finding in findings:
        _line({"kind": "finding", **finding}, stream)


def _line(value: dict[str, Any], stream: TextIO) -> None:
    stream.write(json_text(value) + "\n")
