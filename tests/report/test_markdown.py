from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from lockscope.report.findings import markdown
from lockscope.results.findings import Report, Witness
from tests.builders import reports


def told(report: Report) -> str:
    stream = io.StringIO()
    markdown.write(report, stream, color=True)
    return stream.getvalue()


def outside_blocks(text: str) -> list[str]:
    """The lines that are no fenced block's; a fence closes only with one as long."""
    lines, fence = [], ""
    for line in text.splitlines():
        mark = re.match(r"(`{3,})(\w*)$", line)
        if mark and not fence:
            fence = mark[1]
        elif line == fence:
            fence = ""
        elif not fence:
            lines.append(line)
    assert fence == ""
    return lines


def test_one_finding_is_a_bug_report() -> None:
    out = told(reports.violated())
    lines = out.splitlines()
    assert lines[0] == "# lockscope: possible circular locking dependency detected on Linux 6.12.117"
    assert lines[2] == "- `traces/bug.dat: violation: 1 error; 1 check clean, 1 in part, 2 not judged`"
    assert "## LS101: possible circular locking dependency detected" in lines
    assert "- locks: `&kvm->slots_lock` -> `&kvm->lock`" in lines
    assert "\n`&kvm->lock` is taken inside `&kvm->slots_lock`, and the other way\nround.\n" in out
    assert "- judged: error, likely (circular-lock-dependency)" in lines
    assert f"- fingerprint: `{reports.circular().fingerprint}`" in lines
    assert "```text\n" + "\n".join(reports.STORY) + "\n```\n" in out
    assert "```sh\ntrace-cmd report -t --cpu 0,1 -i traces/bug.dat | grep -F -C3 11.136744291:\n```\n" in out
    assert "  not judged:  LS202 LS203: needs lockscope:srcu_read_lock; trace-cmd record -e lockscope\n" in out
    assert lines[-1] == "What a code means, and why it is a bug: `lockscope explain LS101`."


def test_prose_fits_a_mailing_list() -> None:
    long = "a message of many words " * 20
    out = told(replace(reports.violated(), findings=[reports.circular(message=long.strip())]))
    assert [line for line in outside_blocks(out) if len(line) > 72 and not line.startswith(("#", "- `traces"))] == []


@pytest.mark.parametrize("report", [reports.clean(), reports.undecided()])
def test_nothing_found_still_says_what_was_judged(report: Report) -> None:
    out = told(report)
    assert out.startswith("# lockscope: nothing found")
    assert "## What was judged\n\n```text\ncoverage of traces/bug.dat\n" in out
    assert "LS101:" not in "".join(outside_blocks(out))


def test_many_findings_are_numbered_worst_first() -> None:
    out = told(reports.many())
    assert out.startswith("# lockscope: 50 findings on Linux 6.12.117\n")
    heads = re.findall(r"^## (\d+)\. LS101", out, re.MULTILINE)
    assert [int(n) for n in heads] == list(range(1, 51))
    assert "- `all 2 traces: violation: 40 errors, 10 warnings`\n" in out


def test_text_from_the_trace_is_no_markup() -> None:
    evil = Witness(1, 0, 7, "```\n# x", "lock_acquire", note="<b>`a`</b>\x1b[2J")
    finding = reports.circular(
        title="a *b* <script>", message="# x_y_z [a](b) &lt; _z_ # z", classes=("`tick`",), witnesses=(evil,),
        story=("~~~", "````", "*** DEADLOCK ***"),
    )  # fmt: skip
    out = told(replace(reports.clean(), findings=[finding]))
    rest = "\n".join(outside_blocks(out))
    assert "a \\*b\\* \\<script>" in rest
    assert "\\# x_y_z \\[a](b) \\&lt; \\_z\\_ # z" in rest
    assert "- locks: `` `tick` ``" in rest
    assert "`````text\n~~~\n````\n*** DEADLOCK ***\n`````\n" in out
    assert "\x1b" not in out
