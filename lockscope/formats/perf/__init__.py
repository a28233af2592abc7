"""perf.data, as perf record writes it: files, pipes and directories."""

from __future__ import annotations

from lockscope.tables.events import Reader

MAGIC = (b"PERFILE2", b"2ELIFREP")  # of either byte order: tools/perf/Documentation/perf.data-file-format.txt


def readers() -> tuple[type[Reader], ...]:
    """The reader."""
    from lockscope.formats.perf.reader import PerfData

    return (PerfData,)
