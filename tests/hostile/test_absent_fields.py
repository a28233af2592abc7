"""Events without a field that everything else counts on."""

from __future__ import annotations

from pathlib import Path

import lockscope
from tests.builders.script import Script

NO_NAME = "flags:u32 lockdep_addr:ptr"


def test_a_lock_event_without_a_text_does_not_get_the_first_text_of_the_trace(tmp_path: Path) -> None:
    s = Script(events={"lock:lock_acquire": NO_NAME, "lock:lock_release": "name:text lockdep_addr:ptr"})
    task = s.task("qemu", 7)
    task.release("&first->mutex", 0x10)
    task.event("lock:lock_acquire", lockdep_addr=0x20).release("&first->mutex", 0x20)
    holds = lockscope.load(str(s.save(tmp_path / "t.dat"))).table("holds").arrow.to_pylist()
    assert [(h["lock"], h["name"]) for h in holds if h["lock"] == 0x20] == [(0x20, "(null)")]


def test_a_trace_whose_only_events_have_no_text(tmp_path: Path) -> None:
    s = Script(events={"lock:lock_acquire": NO_NAME})
    for lock in range(3):
        s.task("qemu", 7).event("lock:lock_acquire", lockdep_addr=0x20 + lock)
    assert lockscope.load(str(s.save(tmp_path / "t.dat"))).analyze().verdict == "unknown"
