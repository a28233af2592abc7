"""Walk the records of a perf.data and note where each sample's tracepoint record lies.

Layout: include/uapi/linux/perf_event.h (enum perf_event_type) and kernel/events/core.c, perf_output_sample(), v6.12;
record types from 64 on are perf's own (tools/perf/util/event.h).
"""

from __future__ import annotations

from lockscope.core.c_types import Buffer, Bytes, Grid, Halves, Ints, inline, loop
from lockscope.core.hashing import known
from lockscope.core.machine import put8, put16, put32, put64, u8, u16, u32, u64

LOST, COMM, THROTTLE, UNTHROTTLE, FORK, SAMPLE, LOST_SAMPLES = 2, 3, 5, 6, 7, 9, 13
TRACING_DATA, FINISHED_ROUND, AUXTRACE, COMPRESSED, COMPRESSED2 = 66, 68, 71, 81, 83

IP, TID, TIME, ADDR, READ, CALLCHAIN, ID, CPU, PERIOD, STREAM_ID, RAW = (1 << i for i in range(11))
IDENTIFIER = 1 << 16
READ_ENABLED, READ_RUNNING, READ_ID, READ_GROUP, READ_LOST = 1, 2, 4, 8, 16

# Columns of ``attrs``: how an event's records are laid out.
A_SAMPLE_TYPE, A_READ_FORMAT, A_KIND, A_TIME_BACK, A_CPU_BACK, A_FIXED, A_SLOT, A_WIDTH = range(8)
# Entries of ``state``.
(S_POS, S_ROWS, S_NEWEST, S_NEXT, S_SETTLED, S_SIDE, S_LOST, S_LOST_CPU, S_LOST_TS, S_TS, S_CPU, S_BROKEN,
 S_MOST_CPU, S_ROUNDS, S_SAMPLES, S_THROTTLED, S_WIDTH) = range(17)  # fmt: skip
# Why the walk stopped.
ALL_READ, SPECIAL, FULL, BAD = range(4)

MOST_CPUS = 8192  # the most that any architecture's NR_CPUS allows
BPF_FILTERED = 1 << 15  # PERF_RECORD_MISC_LOST_SAMPLES_BPF: left out by a filter, not lost (v6.12, perf_event.h)
_CONTEXT_MAX = -4095  # PERF_CONTEXT_MAX: entries of a callchain from here on say what kind of addresses follow


@inline
def put32_as(data: Buffer, place: int, value: int, big: bool) -> None:
    """Store 32 bits in the file's byte order."""
    if big:
        value = (value & 0xFF) << 24 | (value & 0xFF00) << 8 | (value >> 8) & 0xFF00 | (value >> 24) & 0xFF
    put32(data, place, value)


@inline
def read_size(data: Bytes, place: int, end: int, read_format: int, big: bool) -> int:
    """Bytes of a sample's counter values (PERF_SAMPLE_READ); negative where they do not fit."""
    values = 1 + ((read_format & READ_ID) != 0) + ((read_format & READ_LOST) != 0)
    times = ((read_format & READ_ENABLED) != 0) + ((read_format & READ_RUNNING) != 0)
    if not read_format & READ_GROUP:
        return 8 * (values + times)
    if place + 8 > end:
        return -1
    members = u64(data, place, big)
    if members < 0 or members > (end - place) >> 3:
        return -1
    return 8 * (1 + times + members * values)


@inline
def without_contexts(data: Buffer, first: int, entries: int, big: bool) -> int:
    """Close a callchain's ranks over its context markers, towards its end; return how many addresses stay."""
    to = first + 8 * entries
    kept = 0
    for i in range(entries - 1, -1, -1):
        ip = u64(data, first + 8 * i, big)
        if _CONTEXT_MAX <= ip < 0:
            continue
        kept += 1
        if kept != entries - i:
            put64(data, to - 8 * kept, u64(data, first + 8 * i, False))
    return kept


@inline
def attr_of(ident: int, table: Ints, owners: Ints) -> int:
    """The event that an id belongs to; 0 where it is not known."""
    n = known(table, ident)
    return owners[n] if n >= 0 else 0


@loop
def walk(
    data: Buffer,  # written to: a callchain's length goes in front of the record behind it
    end: int,  # of what has been read
    big: bool,
    attrs: Grid,  # [attrs, A_WIDTH]
    ids: Ints,  # hash table of ids
    owners: Ints,  # their events; empty where all samples are of the first attr
    id_at: int,  # where a sample has its id
    id_back: int,  # how far from the end other records have theirs; 0: nowhere
    chains: bool,  # whether records get the length of their callchain in front
    type_at: int,  # where a tracepoint's record has its common_type
    preempt_at: int,  # where its preempt count is too high by one; -1: nowhere
    wanted: Halves,  # [65536 + attrs]; by common_type, then by attr: the format's index, -1 = leave out
    state: Ints,  # [S_WIDTH]
    last: Ints,  # [MOST_CPUS]; the newest time of each CPU
    out_ts: Ints,
    out_at: Ints,  # where the record begins; for a loss how many events, -1 = unknown
    out_size: Halves,
    out_kind: Halves,
    out_cpu: Halves,
    out_lead: Halves,  # bytes in front of the record that belong to it
    side: Ints,  # places of records that are none of the walk's business
) -> int:
    """Fill the columns from ``state[S_POS]`` on, and move it; return why the walk stopped.

    SPECIAL: at a record that is followed by data, or is packed. BAD: at what can't be a record. Every loss becomes a
    row of kind 0 in front of the sample behind it.
    """
    several = len(owners) > 0
    pos, n, sides = state[S_POS], state[S_ROWS], state[S_SIDE]
    limit = len(out_ts) - 2
    place: int = 0
    chain: int = 0
    reason = ALL_READ
    while pos + 8 <= end:
        rec = pos
        kind = u32(data, rec, big)
        size = u16(data, rec + 6, big)
        if size < 8:
            reason = BAD
            break
        if pos + size > end:
            break
        stop = rec + size
        if kind == SAMPLE:
            if n >= limit:
                reason = FULL
                break
            a = 0
            if several and id_at + 8 <= size:
                a = attr_of(u64(data, rec + id_at, big), ids, owners)
            shape = attrs[a, A_SAMPLE_TYPE]
            place = rec + 8 + attrs[a, A_FIXED]
            if place > stop:
                state[S_BROKEN] += 1
                pos += size
                continue
            p = rec + 8
            ts, cpu, tid = state[S_TS], 0, 0
            p += 8 * (((shape & IDENTIFIER) != 0) + ((shape & IP) != 0))
            if shape & TID:
                tid = u32(data, p + 4, big)
                p += 8
            if shape & TIME:
                ts = u64(data, p, big)
                p += 8
            p += 8 * (((shape & ADDR) != 0) + ((shape & ID) != 0) + ((shape & STREAM_ID) != 0))
            if shape & CPU:
                cpu = u32(data, p, big)
            if shape & READ:
                more = read_size(data, place, stop, attrs[a, A_READ_FORMAT], big)
                place = place + more if more >= 0 else stop + 1
            chain, entries = 0, 0
            if shape & CALLCHAIN and place + 8 <= stop:
                entries = u64(data, place, big)
                chain = place + 8
                if entries < 0 or entries > (stop - chain) >> 3:
                    place = stop + 1
                else:
                    place = chain + 8 * entries
                    held = without_contexts(data, chain, entries, big)
                    chain += 8 * (entries - held)
                    entries = held
            if place > stop or cpu >= MOST_CPUS or ts < 0:
                state[S_BROKEN] += 1
                pos += size
                continue
            record, extent = rec, size
            index = -1
            if attrs[a, A_KIND] < 0:
                extent = u32(data, place, big) if shape & RAW and place + 4 <= stop else 0
                record = place + 4
                if extent < type_at + 2 or record + extent > stop:
                    state[S_BROKEN] += 1
                    pos += size
                    continue
                index = wanted[u16(data, record + type_at, big)]
                if chains:
                    put32_as(data, place, entries, big)
                if preempt_at >= 0 and preempt_at < extent:
                    depth = u8(data, record + preempt_at, False)
                    if depth & 15:
                        put8(data, record + preempt_at, depth - 1)
            else:
                index = wanted[65536 + a]
                mode = u16(data, rec + 4, big) & 7
                put16(data, rec, 0)
                put16(data, rec + 2, 0)
                put32_as(data, rec + 4, tid, big)
                slot = attrs[a, A_SLOT]
                if slot > 0:
                    put32_as(data, rec + slot, (8 * entries) << 16 | (chain - rec) if entries else 0, big)
                    put8(data, rec + slot + 4, mode)
            if state[S_LOST] != 0:
                same = state[S_LOST_CPU] == cpu or state[S_LOST_CPU] < 0
                out_ts[n], out_at[n], out_size[n], out_kind[n], out_lead[n] = state[S_LOST_TS], state[S_LOST], 0, 0, 0
                out_cpu[n] = state[S_LOST_CPU]
                if same:
                    out_ts[n], out_cpu[n] = ts, cpu
                state[S_LOST] = 0
                n += 1
            state[S_TS], state[S_CPU] = ts, cpu
            state[S_SAMPLES] += 1
            state[S_NEWEST] = max(state[S_NEWEST], ts)
            state[S_MOST_CPU] = max(state[S_MOST_CPU], cpu)
            last[cpu] = max(last[cpu], ts)
            if index >= 0:
                out_ts[n], out_at[n], out_size[n], out_kind[n] = ts, record, extent, index
                out_cpu[n], out_lead[n] = cpu, record - rec
                n += 1
        elif kind in (LOST, LOST_SAMPLES, THROTTLE, UNTHROTTLE):
            if n >= limit:
                reason = FULL
                break
            a = 0
            if several and id_back > 0 and id_back + 8 <= size:
                a = attr_of(u64(data, stop - id_back, big), ids, owners)
            ts, cpu = state[S_TS], state[S_CPU]
            back = attrs[a, A_TIME_BACK]
            if back > 0 and back + 8 <= size:
                ts = u64(data, stop - back, big)
            back = attrs[a, A_CPU_BACK]
            if back > 0 and back + 8 <= size:
                cpu = u32(data, stop - back, big)
            count = -1
            if kind == LOST and size >= 24:
                count = u64(data, rec + 16, big)
            elif kind == LOST_SAMPLES and size >= 16:
                count = u64(data, rec + 8, big)
            if kind == LOST_SAMPLES and (ts == 0 or u16(data, rec + 4, big) & BPF_FILTERED):
                if sides >= len(side):
                    reason = FULL
                    break
                side[sides] = pos
                sides += 1
            elif cpu < MOST_CPUS and count != 0 and ts >= 0:
                if state[S_LOST] != 0:
                    out_ts[n], out_at[n], out_size[n], out_kind[n] = state[S_LOST_TS], state[S_LOST], 0, 0
                    out_cpu[n], out_lead[n] = state[S_LOST_CPU], 0
                    n += 1
                state[S_LOST], state[S_LOST_CPU], state[S_LOST_TS] = max(count, -1), cpu, ts
                state[S_MOST_CPU] = max(state[S_MOST_CPU], cpu)
                state[S_THROTTLED] += kind == THROTTLE
        elif kind in (COMM, FORK):
            if sides >= len(side):
                reason = FULL
                break
            side[sides] = pos
            sides += 1
        elif kind == FINISHED_ROUND:
            # All of the round before last is there: perf's own rule (tools/perf/util/ordered-events.c, v6.12).
            state[S_SETTLED] = state[S_NEXT]
            state[S_NEXT] = state[S_NEWEST]
            state[S_ROUNDS] += 1
        elif kind in (COMPRESSED, COMPRESSED2, TRACING_DATA, AUXTRACE):
            reason = SPECIAL
            break
        pos += size
    state[S_POS], state[S_ROWS], state[S_SIDE] = pos, n, sides
    return reason


@loop
def last_boundary(data: Bytes, begin: int, end: int, big: bool) -> int:
    """Where the last whole record before ``end`` ends; -1 where something can't be a record."""
    pos = begin
    while pos + 8 <= end:
        size = u16(data, pos + 6, big)
        if size < 8:
            return -1
        if pos + size > end:
            break
        pos += size
    return pos


@loop
def carry(data: Bytes, at: Ints, size: Halves, kind: Halves, lead: Halves, out: Buffer) -> int:
    """Copy the records of some rows, with what belongs to them in front, to the beginning of ``out``; move ``at``."""
    pos = 0
    for i in range(len(at)):
        if kind[i] == 0:
            continue
        begin, length = at[i] - lead[i], size[i] + lead[i]
        for k in range(length):
            out[pos + k] = data[begin + k]
        at[i] = pos + lead[i]
        pos += length
    return pos
