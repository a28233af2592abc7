from __future__ import annotations

import pytest

from lockscope.errors import UsageError
from lockscope.report.output import reporter, reporter_names, reporters, verdict_of
from lockscope.results.findings import Verdict
from tests.builders import reports


def test_outputs_are_found_by_walking_the_folder() -> None:
    assert {"json", "jsonl", "text"} <= set(reporters())
    assert reporter_names() == list(reporters())
    for name, output in reporters().items():
        assert name == output.NAME
        assert output.EXTENSION.startswith(".")
        assert callable(output.write)


def test_an_unknown_output_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"--format tarot: unknown value; choose from html, json, .*text"):
        reporter("tarot")


def test_a_traces_verdict_is_its_own() -> None:
    report = reports.many()
    report.findings = [f for f in report.findings if f.trace == 1]
    report.checks = [reports.ran("LS101", "circular-lock-dependency", Verdict.CLEAN, trace=0), report.checks[1]]
    assert [verdict_of(report, 0), verdict_of(report, 1)] == [Verdict.CLEAN, Verdict.VIOLATION]
    assert report.verdict is Verdict.VIOLATION
