"""What a batch says of the recording itself: silences, how far buffers reach, pairs of which one side stops."""

from __future__ import annotations

from lockscope.core.c_types import Grid, Halves, Ints, Row, Rows, loop, ref, step

LOSS = 0  # tables.events.LOSS
NEITHER = -1  # a loss ends a run of one side


class Reach(Row):
    """How far the events of a stream, or of a buffer, reach, and the longest time without one in between."""

    number: int
    first_ns: int
    last_ns: int
    last_seq: int
    longest_ns: int


class Run(Row):
    """One pair: how often each side came, and the run of one side that is going on."""

    gave: int
    took: int
    takes: int
    length: int
    begin: int  # seq of the first event behind the last one of the other side
    start_ns: int
    last_seq: int
    last_ns: int
    seen: int


class Stopped(Row):
    """A run that was longer than any number of tasks explains."""

    pair: int
    took: int
    length: int
    start_ns: int
    end_ns: int
    begin: int
    seq: int


@loop
def silences(ts: Ints, before: int, least_ns: int, counts: Ints, rows: Ints) -> int:
    """Count the distances of events by their bits, the first one's from ``before``; the rows that come more than
    ``least_ns`` after the one before them, and their number.
    """
    found, last = 0, before
    for i in range(len(ts)):
        apart, bits = ts[i] - last, 0
        if apart > least_ns:
            rows[found] = i
            found += 1
        while apart > 0 and bits < 63:
            apart >>= 1
            bits += 1
        counts[bits] += 1
        last = ts[i]
    return found


@step
def reach_on(of: Reach, ts: int, seq: int) -> None:
    """One more event."""
    if of.number == 0:
        of.first_ns = ts
    else:
        of.longest_ns = max(of.longest_ns, ts - of.last_ns)
    of.number += 1
    of.last_ns, of.last_seq = ts, seq


@loop
def reaches(
    ts: Ints, streams: Halves, kinds: Halves, first_seq: int, buffer_of: Ints, parts: Rows[Reach],
    buffers: Rows[Reach], by_kind: Grid,
) -> None:  # fmt: skip
    """Follow streams (``parts``) and buffers, and count each buffer's events by kind. ``buffer_of``: by stream."""
    for i in range(len(ts)):
        if kinds[i] != LOSS:
            buffer = buffer_of[streams[i]]
            reach_on(ref(parts[streams[i]]), ts[i], first_seq + i)
            reach_on(ref(buffers[buffer]), ts[i], first_seq + i)
            by_kind[buffer, kinds[i]] += 1


@step
def run_on(of: Run, side: int, ts: int, seq: int) -> bool:
    """One more event of a pair; whether it ends the run, which is then still there."""
    if side == 0:
        of.gave += 1
    elif side == 1:
        of.took += 1
    if of.length > 0 and side == of.takes:
        of.length += 1
        of.last_seq, of.last_ns = seq, ts
        return False
    return True


@step
def run_anew(of: Run, side: int, ts: int, seq: int) -> None:
    """Begin a run of this side, or none; what came before is told."""
    of.takes, of.length = side, int(0 <= side <= 1)
    of.begin = of.last_seq + 1 if of.seen else seq
    of.start_ns = of.last_ns if of.seen else ts
    of.last_seq, of.last_ns, of.seen = seq, ts, 1


@loop
def runs(
    ts: Ints, kinds: Halves, first_seq: int, pairs_of: Grid, pairs: Rows[Run], most: int, out: Rows[Stopped]
) -> int:
    """Follow runs of one side; the number of those that end here and were longer than ``most``, as many as fit.

    ``pairs_of``: by kind up to two pairs (their number + 1, 0 for none), each with the side; what is neither giving (0)
    nor taking (1) ends a run, and so does a loss, of every pair.
    """
    made = 0
    for i in range(len(ts)):
        lost = kinds[i] == LOSS
        for j in range(len(pairs) if lost else 2):
            p = j if lost else pairs_of[kinds[i], 2 * j] - 1
            if p < 0:
                break
            side = NEITHER if lost else pairs_of[kinds[i], 2 * j + 1]
            pair = ref(pairs[p])
            if run_on(pair, side, ts[i], first_seq + i):
                if pair.length > most and made < len(out):
                    told = ref(out[made])
                    told.pair, told.took, told.length = p, pair.takes, pair.length
                    told.start_ns, told.end_ns, told.begin, told.seq = pair.start_ns, ts[i], pair.begin, first_seq + i
                    made += 1
                run_anew(pair, side, ts[i], first_seq + i)
    return made
