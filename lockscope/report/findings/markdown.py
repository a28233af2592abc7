"""Markdown for a bug report or a mailing list: what was found, each with its story, and what the verdict rests on.

Readable as plain text too: lists instead of tables, everything of fixed width in fenced blocks.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from lockscope.harmless import printable
from lockscope.report.findings._coverage_text import coverage_lines, verdict_lines
from lockscope.report.findings._finding_text import seen, witness_lines
from lockscope.report.findings._where import locate
from lockscope.report.lines import Paint
from lockscope.report.output import is_notice, ordered
from lockscope.results.findings import Finding, Report
from lockscope.units import count

NAME = "markdown"
EXTENSION = ".md"

_PLAIN = Paint(False)
_WIDTH = 72  # of prose: what a mailing list takes
# What is markup in the middle of a line (CommonMark 0.31): an underscore inside a word is not.
_SPECIAL = re.compile(r"[\\`*\[<~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
_FIRST = re.compile(r"^ *\d+(?=[.)] )|^ *(?=[#>=]|[-+] )")  # and at its beginning


def write(report: Report, stream: TextIO, *, color: bool = False) -> None:
    """Write the report; never coloured."""
    del color
    for line in _lines(report):
        stream.write(f"{line}\n")


def _lines(report: Report) -> Iterator[str]:
    told = [f for f in ordered(report.findings) if not is_notice(f.code)]
    yield f"# lockscope: {_headline(report, told)}"
    yield ""
    yield from (f"- {_code(line)}" for line in verdict_lines(report, _PLAIN))
    yield ""
    for number, finding in enumerate(told, 1):
        yield from _finding(report, finding, f"{number}. " if len(told) > 1 else "")
    yield "## What was judged"
    yield ""
    yield from _fenced(line for index in range(len(report.traces)) for line in coverage_lines(report, index, _PLAIN))
    yield ""
    yield from (f"Assumed: {', '.join(_code(a) for a in report.assumptions)}.\n" for _ in report.assumptions[:1])
    if told:
        yield f"What a code means, and why it is a bug: `lockscope explain {told[0].code}`."


def _headline(report: Report, told: list[Finding]) -> str:
    kernels = sorted({t.kernel for t in report.traces if t.kernel})
    where = f" on Linux {', '.join(_prose(k) for k in kernels)}" if kernels else ""
    if not told:
        return f"nothing found{where}"
    if len(told) == 1:
        return f"{_prose(told[0].title)}{where}"
    return f"{count(len(told))} findings{where}"


def _finding(report: Report, finding: Finding, number: str) -> Iterator[str]:
    trace = report.traces[finding.trace]
    yield f"## {number}{finding.code}: {_prose(finding.title)}"
    yield ""
    yield from _wrapped(_sentence(finding.message, finding.classes), "")
    yield ""
    if finding.classes:
        yield from _wrapped(" -> ".join(_code(c) for c in finding.classes), "- locks: ")
    yield f"- judged: {finding.severity}, {finding.confidence} ({finding.name})"
    yield from _wrapped(_prose(seen(finding)), "- seen: ")
    if finding.rule:
        yield from _wrapped(f"{_code(finding.rule.id)}, {_prose(finding.rule.source)}", "- rule: ")
    yield from _wrapped(_code(trace.path), "- trace: ")
    if finding.window is not None:
        yield from _wrapped(_code(finding.window), "- window: ")
    yield f"- fingerprint: `{finding.fingerprint}`"
    yield ""
    if finding.story:
        yield from _fenced(line.expandtabs() for line in finding.story)
        yield ""
    if not finding.witnesses:
        return
    yield "Evidence:"
    yield ""
    yield from _fenced(witness_lines(finding.witnesses))
    yield ""
    command = locate(trace, finding.witnesses)
    if command:
        yield "To see it in the trace:"
        yield ""
        yield from _fenced([command], "sh")
        yield ""


def _fenced(lines: Iterable[str], language: str = "text") -> Iterator[str]:
    """A fenced block; its fence is longer than any in the text."""
    shown = [printable(line).rstrip() for line in lines]
    longest = max((len(run) for line in shown for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield fence + language
    yield from shown
    yield fence


def _code(text: str) -> str:
    """A code span, whatever backticks are in the text (CommonMark 0.31, 6.1)."""
    shown = printable(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def _prose(text: str) -> str:
    """Text in which nothing is markup, but for the beginning of a line."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text))


def _sentence(text: str, classes: Sequence[str]) -> str:
    """Prose in which lock classes stand as code."""
    if not classes:
        return _prose(text)
    names = "|".join(re.escape(c) for c in sorted(classes, key=len, reverse=True))
    parts = re.split(f"({names})", text)
    return "".join(_code(part) if place % 2 else _prose(part) for place, part in enumerate(parts))


def _wrapped(text: str, label: str) -> list[str]:
    indent = "  " if label else ""
    lines = textwrap.wrap(
        label + text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line if label and not i else _FIRST.sub(r"\g<0>\\", line) for i, line in enumerate(lines)] or [""]
