"""One HTML file that opens offline, whatever the trace's size: verdict first, then findings as cards, then pictures.

Sections are the files of ``report/page``. Where one leaves something out it hands over the whole as CSV or JSON, which
the command line writes beside the page, into ``NAME.data/``, and the page links.
"""

from __future__ import annotations

from typing import TextIO

from lockscope.report.output import is_notice
from lockscope.report.page import _sections
from lockscope.report.page_shell import chip, esc, page
from lockscope.results.findings import Report

NAME = "html"
EXTENSION = ".html"
PAGE_DATA = True


def write(report: Report, stream: TextIO, *, color: bool = False) -> None:
    """Write the page alone; it says how to get what it leaves out."""
    del color
    write_beside(report, stream, "")


def write_beside(report: Report, stream: TextIO, beside: str) -> dict[str, str]:
    """Write the page, with links to files in the folder ``beside``; returns these files' texts by name."""
    made = [_sections.made(part, report, beside) for part in _sections.sections()]
    shown = [m for m in made if m is not None]
    told = [f for f in report.findings if not is_notice(f.code)]
    paths = [t.path for t in report.traces]
    name = paths[0] if len(paths) == 1 else f"{len(paths)} traces"
    title = f"{len(told)} findings" if len(told) != 1 else f"{told[0].code}: {told[0].title}"
    heading = f"<h1>{esc(name)}</h1>"
    stream.write(page(f"{title} - {name}", heading, [m.section for m in shown], foot=_foot(report)))
    return {file: text for m in shown for file, text in m.files.items()}


def _foot(report: Report) -> str:
    codes = "".join(f"<li>{chip(a)}</li>" for a in report.assumptions)
    assumed = f'<p>Assumed:</p><ul class="chips">{codes}</ul>' if codes else ""
    return f"{assumed}<p>Made by lockscope. Times are seconds of the trace's clock.</p>"
