"""Text: of tracefs and trace-cmd report (ftrace), of perf script."""

from __future__ import annotations

from lockscope.tables.events import Reader

MAGIC = ()  # no bytes that every such file begins with: the readers look at the lines


def readers() -> tuple[type[Reader], ...]:
    """The readers, the first to ask first."""
    from lockscope.formats.text.ftrace import FtraceText
    from lockscope.formats.text.perf_script import PerfScript

    return (FtraceText, PerfScript)
