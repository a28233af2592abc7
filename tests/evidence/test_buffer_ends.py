"""Where buffers and CPUs end before the trace does."""

from __future__ import annotations

import numpy as np

from lockscope.evidence.buffer_ends import BufferEnds, End
from lockscope.facts.interruptions import FOREVER, Hole
from lockscope.tables.events import EventBatch, RecordLayout, Stream

STEP = 100_000
LOCKS, OTHERS = 2, 3  # formats


def ends(*parts: tuple[Stream, int, range], batch: int = 97) -> tuple[End, ...]:
    """``parts``: a stream, the format of its events, and in which steps it has one."""
    rows = sorted((step, i, kind) for i, (_, kind, steps) in enumerate(parts) for step in steps)
    streams, found = [stream for stream, _, _ in parts], BufferEnds()
    for at in range(0, len(rows), batch):
        step, stream, kind = np.ascontiguousarray(np.array(rows[at : at + batch]).T)
        zeros = np.zeros(len(step), np.int64)
        found.feed(
            EventBatch(np.zeros(8, np.uint8), step * STEP, zeros, zeros.astype(np.int32), kind.astype(np.int32),
                       stream.astype(np.int32), at, RecordLayout()), streams, 4,
        )  # fmt: skip
    return found.finish(rows[-1][0] * STEP, streams, [LOCKS])


TOP0, TOP1, KVM0 = Stream(0), Stream(1), Stream(0, "kvm")


def test_a_buffer_ends_early() -> None:
    (end,) = ends((TOP0, LOCKS, range(0, 500, 2)), (KVM0, OTHERS, range(1, 1000, 2)))
    told = "buffer top ends at 0.049800000, 50.1 ms before the others"
    assert end == End(Hole(49_800_000, FOREVER, 499, 499), "", None, True, told)


def test_a_buffer_that_was_silent_for_as_long_before_does_not() -> None:
    times = [*range(0, 100, 2), *range(700, 750, 2)]
    assert ends((TOP0, LOCKS, times), (KVM0, OTHERS, range(1, 1000, 2))) == ()


def test_a_cpu_ends_early() -> None:
    (end,) = ends((TOP0, LOCKS, range(0, 1000, 2)), (TOP1, OTHERS, range(1, 600, 2)))
    assert (end.cpu, end.buffer, end.hole.streams) == (1, "", (1,))


def test_a_cpu_of_few_events_had_no_more_to_do() -> None:
    assert ends((TOP0, LOCKS, range(0, 1000, 2)), (TOP1, OTHERS, range(1, 500, 2))) == ()


def test_one_buffer_of_one_cpu_ends_with_the_trace() -> None:
    assert ends((TOP0, LOCKS, range(500))) == ()


def test_the_next_piece_of_a_split_recording_goes_on() -> None:
    one, two = Stream(0, file=0), Stream(0, file=1)
    assert ends((one, LOCKS, range(500)), (two, LOCKS, range(500, 1000))) == ()


def test_a_file_of_a_merge_ends_early() -> None:
    (end,) = ends((Stream(0, file=0), OTHERS, range(500)), (Stream(0, file=1), LOCKS, range(1, 1000)))
    assert (end.buffer, end.hole.start_ns, end.locks) == ("", 49_900_000, False)


def test_buffers_without_a_common_time_are_not_on_one_clock() -> None:
    (end,) = ends((KVM0, OTHERS, range(100)), (TOP0, LOCKS, range(20_000, 20_100)))
    assert (end.hole, end.apart) == (Hole(0, FOREVER, 0, FOREVER, (0,)), True)
    assert end.what == "buffer kvm is 1.990 s away from buffer top (another clock?): left out"


def test_buffers_that_name_different_clocks() -> None:
    top, kvm = Stream(0, "", "local"), Stream(0, "kvm", "mono")
    (end,) = ends((top, LOCKS, range(0, 100, 2)), (kvm, OTHERS, range(1, 100, 2)))
    assert (end.hole.streams, end.what) == ((1,), "buffer kvm is on the clock 'mono', buffer top on 'local': left out")
