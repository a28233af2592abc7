from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lockscope.errors import FormatError
from lockscope.report.findings import json as json_report
from lockscope.report.known.baseline import load_baseline, without_known
from lockscope.results.findings import Verdict
from tests.builders import reports


def test_what_an_earlier_report_lists_is_counted_not_listed(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    with old.open("w") as stream:
        json_report.write(reports.windowed(), stream)
    known = load_baseline(str(old))
    assert known == {reports.circular().fingerprint}
    new = reports.circular(classes=("&a", "&b"), window="AA_rsem")
    report = replace(reports.windowed(), findings=[*reports.windowed().findings, new])
    report.windows[1] = replace(report.windows[1], findings=1)
    rest = without_known(report, known)
    assert rest.findings == [new]
    assert rest.known == 1
    assert [w.findings for w in rest.windows] == [0, 1]


def test_a_known_violation_is_still_one() -> None:
    rest = without_known(reports.violated(), frozenset({reports.circular().fingerprint}))
    assert [f.code for f in rest.findings] == ["LS901"]
    assert rest.verdict is Verdict.VIOLATION


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"schema": ', r"old.json: line 1 column 12: is not JSON; wanted a report"),
        (b"\xff\xfe", r"old.json: is not JSON; wanted"),
        (b"[" * 100_000, r"old.json: is not JSON; wanted"),
        (b"[1]", r"old.json: key schema: says None, not 'lockscope/1'"),
        (b'{"schema": "sarif"}', r"old.json: key schema: says 'sarif'"),
        (b'{"schema": "lockscope/1", "findings": 3}', r"old.json: key findings: is not a list"),
        (
            json.dumps({"schema": "lockscope/1", "findings": [{}]}).encode(),
            r"old.json: findings\[0\]: has no fingerprint",
        ),
    ],
)
def test_what_is_no_report_is_one_line_with_the_place(tmp_path: Path, content: bytes, complaint: str) -> None:
    old = tmp_path / "old.json"
    old.write_bytes(content)
    with pytest.raises(FormatError, match=complaint) as caught:
        load_baseline(str(old))
    assert "\n" not in str(caught.value)


def test_a_missing_baseline_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none.json: cannot read the baseline: No such file"):
        load_baseline(str(tmp_path / "none.json"))
