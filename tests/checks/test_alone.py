"""A check says the same alone as among all others: it asks for every row and fact that it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.checks.check import all_checks
from lockscope.pipeline import AnalyzeOptions, analyze
from lockscope.results.findings import Report

SAMPLES = Path(__file__).parents[2] / "sample_traces"
CODES = [code for code in all_checks() if code < "LS9"]  # notices speak of what became of the others


def said(report: Report, code: str) -> tuple[object, ...]:
    runs = [(c.status, c.verdict, c.reason) for c in report.checks if c.code == code]
    return runs, sorted((f.fingerprint, f.severity, f.confidence, f.count) for f in report.findings if f.code == code)


def differing(name: str, codes: list[str]) -> list[str]:
    path = [str(SAMPLES / f"{name}.dat")]
    together = analyze(path)
    return [c for c in codes if said(analyze(path, AnalyzeOptions(select=(c,))), c) != said(together, c)]


@pytest.mark.parametrize(
    ("name", "codes"),
    [("bug_clear_log_without_flush", ["LS301"]), ("bug_srcu_then_slots_lock", ["LS204"]),
     ("bug_mutex_under_mmu_lock", ["LS109"]), ("bug_slots_lock_then_kvm_lock", ["LS101", "LS102"])],
)  # fmt: skip
def test_what_finds_the_defect(name: str, codes: list[str]) -> None:
    assert said(analyze([str(SAMPLES / f"{name}.dat")]), codes[0])[1]
    assert differing(name, codes) == []


@pytest.mark.all
@pytest.mark.parametrize("name", sorted(p.stem for p in SAMPLES.glob("*.dat")))
def test_every_check_on_every_sample(name: str) -> None:
    assert differing(name, CODES) == []
