from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest

from tests.builders.fakes import FakeTrace, trace_module
from tests.cli.conftest import Lockscope

FACTS: dict[str, Any] = {
    "path": "/srv/vmhost7/t.dat",
    "format": "trace.dat v7 (zstd)",
    "kernel": None,
    "cpus": np.int64(2),
    "host": "vmhost7",
    "ns_exact": True,
    "events": {"lock:lock_acquire": 1_000, "kvm:kvm_exit": 20_000},
    "losses": [{"cpu": 0, "kind": "overrun", "count": 1_234, "remedy": "", "buffer": ""}],
    "notes": ["option 17: unknown, \x1b skipped"],
    "streams": [],
    "clock_skew": {"measured": True, "pairs": [1, 2]},
}


@pytest.fixture(autouse=True)
def trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lockscope.trace.trace", trace_module(FakeTrace(FACTS)))


def test_facts_for_a_person(lockscope: Lockscope) -> None:
    done = lockscope("info", "t.dat")
    assert done.status == 0
    assert done.out.splitlines() == [
        "path:     /srv/vmhost7/t.dat",
        "format:   trace.dat v7 (zstd)",
        "kernel:   unknown",
        "cpus:     2",
        "host:     vmhost7",
        "ns exact: yes",
        "",
        "events:",
        "  kvm:kvm_exit       20,000",
        "  lock:lock_acquire   1,000",
        "",
        "losses:",
        "  cpu 0, kind overrun, count 1,234",
        "",
        "notes:",
        "  option 17: unknown, \\x1b skipped",
        "",
        "streams: none",
        "",
        "clock skew:",
        "  measured  yes",
        "  pairs     1, 2",
    ]


def test_facts_for_a_program(lockscope: Lockscope) -> None:
    facts = json.loads(lockscope("info", "t.dat", "--json").out)
    assert facts == {**FACTS, "cpus": 2}


def test_redacted_facts(lockscope: Lockscope) -> None:
    facts = json.loads(lockscope("info", "t.dat", "--json", "--redact").out)
    assert (facts["path"], facts["host"], facts["cpus"]) == ("t.dat", "host1", 2)
    assert facts["events"] == FACTS["events"]
