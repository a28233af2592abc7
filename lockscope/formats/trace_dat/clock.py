"""Raw times of a trace.dat as nanoseconds of its clock: guest to host, TSC to nanoseconds, then a fixed offset.

The order is that of timestamp_calc() in lib/trace-cmd/trace-input.c, trace-cmd 3.4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lockscope.formats.trace_dat.batches import Clock
from lockscope.formats.trace_dat.layout import Head, TimeShift
from lockscope.formats.trace_dat.pages import PageStream

Times = NDArray[np.int64]


def clock_of(head: Head) -> Clock | None:
    """The correction that the file asks for; None where raw times are the times."""
    shifts = head.time_shift
    if not shifts and head.tsc2nsec is None and not head.offset_ns:
        return None

    offset = np.array(head.offset_ns, np.int64)

    def clock(ts: Times, s: PageStream) -> Times:
        if 0 <= s.place.cpu < len(shifts) and shifts[s.place.cpu].samples:
            ts = shifted(ts, shifts[s.place.cpu], interpolates=head.shift_interpolates)
        if head.tsc2nsec is not None:
            ts = scaled(ts, *head.tsc2nsec)
        return np.add(ts, offset)

    return clock


def scaled(ts: Times, factor: int, shift: int) -> Times:
    """``ts * factor >> shift``, the product taken to 128 bits (trace-cmd's mul_u64_u32_shr() for 32-bit factors)."""
    factor &= (1 << 64) - 1
    low32, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a = ts.astype(np.uint64)
    a_low, a_high = a & low32, a >> half
    f_low, f_high = np.uint64(factor & 0xFFFFFFFF), np.uint64(factor >> 32)
    low = a_low * f_low
    cross = a_high * f_low
    other = a_low * f_high
    middle = (low >> half) + (cross & low32) + (other & low32)
    low = (low & low32) | (middle << half)
    high = a_high * f_high + (cross >> half) + (other >> half) + (middle >> half)
    if shift:
        low = (low >> np.uint64(shift)) | (high << np.uint64(64 - shift))
    return np.asarray(low, np.uint64).view(np.int64)


def shifted(ts: Times, shift: TimeShift, *, interpolates: bool) -> Times:
    """Guest times as the host's: scaled, plus the offset of the sample before (timestamp_host_sync())."""
    samples = shift.samples
    times = np.array([t for t, *_ in samples], np.int64)
    offsets = np.array([o for _, o, _, _ in samples], np.int64)
    if len(samples) == 1:
        return np.asarray(ts + offsets[0], np.int64)
    before = np.clip(np.searchsorted(times, ts, side="right") - 1, 0, len(samples) - 2)
    offset = offsets[before]
    if interpolates:
        between = times[before + 1] - times[before]
        part = (ts - times[before]) * (offsets[before + 1] - offsets[before]) + between // 2
        toward_zero = np.abs(part) // between * np.sign(part)
        offset = offset + toward_zero
    # trace-cmd 3.4 keeps 64 bits of this product, which overflows with the 48 fraction bits of a VMX guest.
    out = np.empty_like(ts)
    for ratio in {(s, f) for _, _, s, f in samples}:
        rows = np.flatnonzero([(s, f) == ratio for _, _, s, f in samples])
        here = np.isin(before, rows)
        out[here] = scaled(ts[here], *ratio)
    return np.add(out, offset)
