"""JSON: one object. ``lockscope/report/lockscope-1.schema.json`` describes it."""

from __future__ import annotations

from typing import TextIO

from lockscope.harmless import json_text
from lockscope.report.data import as_dict
from lockscope.results.findings import Report

NAME = "json"
EXTENSION = ".json"


def write(report: Report, stream: TextIO, *, color: bool = False) -> None:
    """Write the report as one JSON object; never coloured."""
    del color
    stream.write(json_text(as_dict(report), indent=2))
    stream.write("\n")
