"""LS901 event-loss: events were lost, and some verdicts are weaker for it.

What it finds
-------------
Gaps in the recording: pages that the kernel marked as following missed events, the recorder's own counts (overrun,
commit overrun, dropped events), data cut off at the end of the file, and records that could not be read.

Why it is a bug
---------------
It is none of the kernel's. But a lost release looks like a lock that is never released, a lost acquisition like an
unbalanced unlock, a lost flush like a missing one. After a gap nothing is known of what the tasks that may have run
there hold;
lockscope forgets it, and every check that needs unbroken evidence says ``partial`` and is never clean.

What to do
----------
Record again with larger buffers (trace-cmd record -b KIB; lockscope record chooses the size by a test run), fewer
events, or fewer CPUs.

What it looks like
------------------
A gap, as tracefs prints it:

```firing
# tracer: nop
#
# entries-in-buffer/entries-written: 2/12   #P:1
#
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
            qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock
CPU:0 [LOST 10 EVENTS]
            qemu-100     [000] .....     1.000009: lock_release: 0xffff888100000100 &kvm->lock
```

The same without one:

```quiet
            qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock
            qemu-100     [000] .....     1.000009: lock_release: 0xffff888100000100 &kvm->lock
```

What it cannot see
------------------
Events that a filter kept out (a PID filter, an event filter) are no losses and leave no gap; a recording whose task
switches do not follow one another is noted as filtered. Events overwritten before the trace begins are only known by
the recorder's counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks.check import Grounds, check
from lockscope.evidence.doubts import told
from lockscope.evidence.evidence import Evidence
from lockscope.results.findings import CheckRun, Confidence, Finding, Severity, Status
from lockscope.tables.events import larger_buffer
from lockscope.units import count


def _grounds(_: Evidence) -> Grounds:
    return Grounds()


@check("LS901", "event-loss", Severity.INFO, _grounds, notice=True)
def event_loss(evidence: Evidence) -> Iterator[Finding]:
    """One notice a trace, naming the checks that the losses weaken."""
    if evidence.lost == 0:
        return
    runs: tuple[CheckRun, ...] = evidence.facts.get("runs", ())
    weakened = [run.code for run in runs if run.status is Status.PARTIAL]
    many = "an unknown number of" if evidence.lost is None else count(evidence.lost)
    message = f"{many} events are missing"
    if weakened:
        message += f"; weakened: {', '.join(weakened)}"
    remedies = sorted({note.remedy for note in (*evidence.info.losses, *told(evidence)) if note.remedy}) or [
        larger_buffer(evidence.info)
    ]
    message += f"; {'; '.join(remedies)}"
    yield Finding("LS901", "event-loss", Severity.INFO, Confidence.CERTAIN, "events were lost", message)
