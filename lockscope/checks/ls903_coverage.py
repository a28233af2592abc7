"""A check could not run, or only in part: the events it needs were not recorded.

What it finds
-------------
Every selected check whose evidence is missing or incomplete, with what to record so that it can be judged.

Why it is a bug
---------------
It is none of the kernel's. But silence is no verdict: a trace without lock events has no lock bugs to show. A check
that did not see its evidence is never clean, and this notice says which they are.

What it looks like
------------------
A trace with nothing but wake-ups can't be judged by any lock check:

```firing
  qemu-100 [000] d..2.  1.000001: sched_wakeup: comm=qemu pid=101 prio=120 target_cpu=000
```

There is no trace from which every check can be judged in full and this notice is missing but one that holds all events
of the probe pack and lost none; ``lockscope analyze --select`` a single check that could run, and it is quiet.

What it cannot see
------------------
Whether the workload reached the code that a check is about.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks._base import Grounds, check
from lockscope.findings import CheckRun, Confidence, Finding, Severity, Status
from lockscope.reconstruct.evidence import Evidence


def _grounds(_: Evidence) -> Grounds:
    return Grounds()


@check("LS903", "coverage", Severity.INFO, _grounds, notice=True)
def coverage(evidence: Evidence) -> Iterator[Finding]:
    """One notice for all checks that share a reason."""
    runs: tuple[CheckRun, ...] = evidence.facts.get("runs", ())
    by_reason: dict[tuple[Status, str], list[str]] = {}
    for run in runs:
        if run.status is not Status.RAN:
            by_reason.setdefault((run.status, run.reason or "no reason given"), []).append(run.code)
    for (status, reason), codes in by_reason.items():
        could = "could not run" if status is Status.SKIPPED else "could run in part"
        yield Finding("LS903", "coverage", Severity.INFO, Confidence.CERTAIN, f"{', '.join(codes)} {could}", reason,
                      flow=",".join(codes))  # fmt: skip
