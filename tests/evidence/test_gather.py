"""A reading with threads and one that takes turns on a single CPU say the same; what a thread raises is raised."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from threading import current_thread

import pytest

from lockscope.evidence.gather import prefetched
from lockscope.pipeline import AnalyzeOptions, analyze
from lockscope.results.findings import Report

BUG = str(Path(__file__).parents[2] / "sample_traces" / "bug_clear_log_without_flush.dat")


def told(report: Report) -> list[tuple[object, ...]]:
    found = sorted((f.code, f.fingerprint, f.count, f.message) for f in report.findings)
    return [*found, *((c.code, c.status, c.verdict) for c in report.checks), (report.traces[0].events,)]


def on_one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


def test_on_one_cpu_all_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    threaded = told(analyze([BUG], AnalyzeOptions(select=("LS1", "LS3"))))
    assert threaded[0][0] == "LS301"
    on_one_cpu(monkeypatch)
    assert told(analyze([BUG], AnalyzeOptions(select=("LS1", "LS3")))) == threaded


def made() -> Iterator[str]:
    yield current_thread().name
    msg = "the second"
    raise ValueError(msg)


@pytest.mark.parametrize("single", [False, True])
def test_where_items_are_made_and_what_is_raised(single: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0} if single else {0, 1})
    items = prefetched(made())
    assert next(items) == (current_thread().name if single else "lockscope-reader")
    with pytest.raises(ValueError, match="the second"):
        next(items)
