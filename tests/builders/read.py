"""Everything that a reader says of a trace, as plain Python values."""

from __future__ import annotations

from typing import Any

import numpy as np

from lockscope.tables.decode import FieldDecoder, partition
from lockscope.tables.events import LOSS, Reader, Wanted

Row = dict[str, Any]


def events(reader: Reader, wanted: Wanted | None = None, *, rows: int = 1 << 16) -> list[Row]:
    """All rows in order: ``event`` (its name, "loss", "unknown"), ``ts_ns``, ``cpu``, ``buffer``, then its fields.

    A loss has its ``count`` instead of fields.
    """
    found: dict[int, Row] = {}
    decoder = FieldDecoder()
    streams = reader.info.streams
    expected = 0
    for batch in reader.batches(wanted, rows=rows):
        assert batch.first_seq == expected
        cpu_of = np.array([s.cpu for s in streams], np.int32)  # text shows its CPUs as it goes
        expected += len(batch)
        order, bounds = partition(batch, len(reader.formats))
        for fmt in reader.formats:
            here = order[bounds[fmt.index] : bounds[fmt.index + 1]]
            if fmt.index == LOSS:
                for i in here:
                    found[int(i) + batch.first_seq] = {
                        "event": "loss", "ts_ns": int(batch.ts_ns[i]), "cpu": streams[batch.stream[i]].cpu,
                        "buffer": streams[batch.stream[i]].buffer, "count": int(batch.at[i]),
                    }  # fmt: skip
            elif len(here):
                for row in decoder.rows(batch, here, fmt, cpu_of).to_pylist():
                    seq = row.pop("seq")
                    stream = streams[row.pop("stream")]
                    found[seq] = {"event": fmt.name, **row, "buffer": stream.buffer}
    assert sorted(found) == list(range(expected))
    return [found[seq] for seq in range(expected)]
