"""Every event of a reader as plain values, decoded by its own format: slow, and independent of lockscope.tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lockscope.tables.events import LOSS, EventBatch, EventFormat, Reader, Wanted


@dataclass(frozen=True)
class Event:
    """One row. A loss has its count in ``fields``."""

    name: str  # "system:name", "loss"
    ts_ns: int
    cpu: int
    buffer: str
    pid: int
    flags: int
    preempt: int
    fields: dict[str, Any]


def _fields(fmt: EventFormat, record: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fmt.fields:
        raw = record[field.offset : field.offset + field.size]
        assert len(raw) == field.size
        if field.kind == "int":
            found[field.name] = int.from_bytes(raw, "little", signed=field.signed)
            continue
        if field.kind == "data_loc":
            place = int.from_bytes(raw, "little")
            raw = record[place & 0xFFFF :][: place >> 16]
            assert len(raw) == place >> 16
        if field.text:
            assert raw.endswith(b"\0")
            found[field.name] = raw[:-1].decode()
        elif field.item == 1:
            found[field.name] = raw
        else:
            items = (raw[i : i + field.item] for i in range(0, len(raw), field.item))
            found[field.name] = [int.from_bytes(item, "little") for item in items]
    return found


def _event(reader: Reader, batch: EventBatch, row: int) -> Event:
    stream = reader.info.streams[int(batch.stream[row])]
    ts, at, size = int(batch.ts_ns[row]), int(batch.at[row]), int(batch.size[row])
    if batch.kind[row] == LOSS:
        return Event("loss", ts, stream.cpu, stream.buffer, 0, 0, 0, {"count": at})
    fmt = reader.formats[int(batch.kind[row])]
    record = batch.data[at : at + size].tobytes()
    assert len(record) == size
    assert fmt.raw_id < 0 or int.from_bytes(record[:2], "little") == fmt.raw_id
    pid = int.from_bytes(record[4:8], "little", signed=True)
    return Event(fmt.full_name, ts, stream.cpu, stream.buffer, pid, record[2], record[3], _fields(fmt, record))


def events(reader: Reader, wanted: Wanted | None = None, rows: int = 1 << 20) -> list[Event]:
    """All rows of a reader, in its order."""
    found: list[Event] = []
    for batch in reader.batches(wanted, rows=rows):
        assert batch.first_seq == len(found)
        found.extend(_event(reader, batch, row) for row in range(len(batch)))
    return found
