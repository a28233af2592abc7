"""ftrace text for tests."""

from __future__ import annotations

from pathlib import Path

from lockscope.formats.text.ftrace import FtraceText

TRACEFS_HEADER = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 6/6   #P:4
#
#                                _-----=> irqs-off/BH-disabled
#                               / _----=> need-resched
#                              | / _---=> hardirq/softirq
#                              || / _--=> preempt-depth
#                              ||| / _-=> migrate-disable
#                              |||| /     delay
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
"""
EVENT = "  bash-7       [001] .....     1.%06d: lock_release: 1 x\n"


def open_text(tmp_path: Path, text: str | bytes) -> FtraceText:
    """A reader of a file with this content."""
    path = tmp_path / "trace.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return FtraceText(str(path))
