"""LS902 clock: the trace's clock does not order events across CPUs.

What it finds
-------------
A recording of more than one CPU with the ``local`` clock (ftrace's default), with one that it does not name, or whose
buffers use different clocks.

Why it is a bug
---------------
It is none of the kernel's. The kernel documents that the local clock may not be in step between CPUs
(Documentation/trace/ftrace.rst, trace_clock, v6.12). What one task did in order stands under any clock, so lock order
and held locks are judged in full; whatever rests on the order of two CPUs' events is weaker.

What to do
----------
Record with a clock that all CPUs share: trace-cmd record -C mono. lockscope record does.

What it looks like
------------------
It fires on every trace.dat of two CPUs that ``trace-cmd record`` writes without ``-C``: its clock option says local.
It fires on text of two CPUs, which does not name its clock:

```firing
            qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock
            qemu-100     [001] .....     1.000009: lock_release: 0xffff888100000100 &kvm->lock
```

Quiet: a trace.dat with ``trace-cmd record -C mono`` (or global, boot, tai, x86-tsc), and anything of one CPU:

```quiet
            qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock
            qemu-100     [000] .....     1.000009: lock_release: 0xffff888100000100 &kvm->lock
```

What it cannot see
------------------
How far the clocks really were apart: often they are in step to some hundred nanoseconds.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks.check import Grounds, check
from lockscope.evidence.evidence import Evidence
from lockscope.results.findings import Confidence, Finding, Severity


def _grounds(_: Evidence) -> Grounds:
    return Grounds()


@check("LS902", "clock", Severity.INFO, _grounds, notice=True)
def clock(evidence: Evidence) -> Iterator[Finding]:
    """One notice a trace."""
    named = [s.clock for s in evidence.info.streams if s.clock] or [evidence.info.clock or ""]
    clocks = sorted({c for c in named if c})
    cpus = {s.cpu for s in evidence.info.streams}
    if len(cpus) < 2:
        return
    if len(clocks) > 1:
        message = f"buffers use different clocks ({', '.join(clocks)}): order between them is not known"
    elif clocks == ["local"]:
        message = "the local clock may not be in step between CPUs: order between them is not certain"
    elif not clocks:
        message = "the trace does not name its clock, which may be the local one: order between CPUs is not certain"
    else:
        return
    message += "; record with trace-cmd record -C mono"
    yield Finding("LS902", "clock", Severity.INFO, Confidence.CERTAIN, "the clock does not order CPUs", message)
