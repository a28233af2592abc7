"""What the recorder leaves out costs no verdict: ``lock:lock_acquire`` where ``lockscope:lockdep_acquire`` is."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.pipeline import AnalyzeOptions, analyze

SAMPLES = Path(__file__).parents[2] / "sample_traces"


@pytest.mark.parametrize("name", ["bug_mutex_under_mmu_lock", "bug_srcu_then_slots_lock", "dirty_log"])
def test_one_of_two_events_of_one_acquisition_is_enough(name: str) -> None:
    path = str(SAMPLES / f"{name}.dat")
    both = analyze([path], AnalyzeOptions())
    one = analyze([path], AnalyzeOptions(exclude_events=("lock:lock_acquire",)))
    assert both.traces[0].events - one.traces[0].events > 1000
    told = [(f.code, f.classes, f.count, f.confidence, f.fingerprint) for f in both.findings if f.code < "LS9"]
    assert [(f.code, f.classes, f.count, f.confidence, f.fingerprint) for f in one.findings if f.code < "LS9"] == told
    assert [(c.code, c.status, c.verdict) for c in one.checks] == [(c.code, c.status, c.verdict) for c in both.checks]
    assert any(f.code < "LS9" for f in both.findings) is (name != "dirty_log")
