"""Memory that is used again: never while somebody looks into it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from lockscope.formats.open import open_trace
from lockscope.formats.perf.batches import Arenas
from lockscope.formats.trace_dat.pages import Arena
from lockscope.tables.events import EventBatch

SAMPLE = Path(__file__).parents[2] / "sample_traces" / "memslot_stress.perf.data.xz"


def digest(batch: EventBatch) -> str:
    return hashlib.sha256(batch.data.tobytes() + batch.ts_ns.tobytes() + batch.at.tobytes()).hexdigest()


def test_an_arena_comes_back_when_its_last_view_is_gone() -> None:
    arenas, busy = Arenas(), Arena(1)
    first = arenas.take(100, busy)
    view = first.data[10:20]
    second = arenas.take(100, busy)
    assert second is not first
    first.used = 50
    del view
    assert arenas.take(100, second) is first
    assert first.used == 0
    assert arenas.take(100, first) is second
    assert len(arenas.take(1_000, first).data) >= 1_000


def test_batches_that_are_kept_stay_what_they_were() -> None:
    reader = open_trace(str(SAMPLE))
    kept, told = [], []
    for batch in reader.batches(rows=1_000):
        kept.append(batch)
        told.append(digest(batch))
    assert len(kept) > 5
    assert [digest(batch) for batch in kept] == told
    dropped = [digest(batch) for batch in open_trace(str(SAMPLE)).batches(rows=1_000)]
    assert dropped == told
    assert all(np.all(batch.ts_ns[1:] >= batch.ts_ns[:-1]) for batch in kept)
