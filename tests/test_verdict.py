"""The whole report's verdict is the contract's sentence about its checks and findings, whatever they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockscope.results.findings import CheckRun, Report, Severity, Status, Verdict
from tests.builders import reports

CODES = ("LS101", "LS102", "LS204", "LS303", "LS401", "LS901", "LS903")
RUNS = st.builds(
    CheckRun,
    code=st.sampled_from(CODES),
    name=st.just("check"),
    status=st.sampled_from(Status),
    verdict=st.sampled_from(Verdict),
    trace=st.integers(0, 2),
)
FINDINGS = st.builds(
    lambda severity, code: replace(reports.violated().findings[0], severity=severity, code=code),
    st.sampled_from(Severity), st.sampled_from(CODES),
)  # fmt: skip


@given(st.lists(RUNS, max_size=12), st.lists(FINDINGS, max_size=3))
def test_the_verdict_of_a_report(runs: list[CheckRun], findings: list[object]) -> None:
    """A violation if one was found; clean if every check that judges is clean, and there is one; unknown else."""
    report = Report([], runs, findings)
    verdicts = [run.verdict for run in runs if not run.code.startswith("LS9")]
    loud = [f for f in report.findings if f.severity in (Severity.ERROR, Severity.WARNING)]
    if loud or "violation" in verdicts:
        expected = "violation"
    elif verdicts and set(verdicts) == {"clean"}:
        expected = "clean"
    else:
        expected = "unknown"
    assert report.verdict == expected


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("clean", "unknown"), "unknown"),
        (("clean", "clean"), "clean"),
        (("unknown", "violation"), "violation"),
        (("clean", "violation"), "violation"),
        ((), "unknown"),
    ],
)
def test_one_check_that_cannot_tell_is_no_clean_report(verdicts: tuple[str, ...], expected: str) -> None:
    runs = [CheckRun(f"LS10{i}", "check", Status.PARTIAL, Verdict(v)) for i, v in enumerate(verdicts, 1)]
    assert Report([], runs, []).verdict == expected
