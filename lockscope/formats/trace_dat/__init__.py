"""trace.dat, as trace-cmd writes it (versions 6 and 7)."""

from __future__ import annotations

from lockscope.tables.events import Reader

MAGIC = (b"\x17\x08Dtracing",)  # trace-cmd.dat.v7(5), "INITIAL FORMAT"


def readers() -> tuple[type[Reader], ...]:
    """The reader."""
    from lockscope.formats.trace_dat.reader import TraceDat

    return (TraceDat,)
