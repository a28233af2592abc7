"""LS903 coverage: a check could not run, or only in part: the events it needs were not recorded.

What it finds
-------------
Every selected check whose evidence is missing or incomplete, with what to record so that it can be judged.

Why it is a bug
---------------
It is none of the kernel's. But silence is no verdict: a trace without lock events has no lock bugs to show. A check
that did not see its evidence is never clean, and this notice says which they are.

What to do
----------
Record what is named: lockscope record -- COMMAND sets all of it up, and lockscope info lists the command lines.

What it looks like
------------------
``lockscope analyze --select LS102,LS903`` of a trace with nothing but wake-ups, which no lock check can judge:

```firing
  qemu-100 [000] d..2.  1.000001: sched_wakeup: comm=qemu pid=101 prio=120 target_cpu=000
```

The same of one that has what LS102 needs:

```quiet
     qemu-100     [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock
     qemu-100     [000] .....     1.000002: lock_release: 0xffff888100000100 &kvm->lock
```

With every check selected it is only quiet on a trace that holds all events of the probe pack and lost none.

What it cannot see
------------------
Whether the workload reached the code that a check is about.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks.check import Grounds, check
from lockscope.evidence.evidence import Evidence
from lockscope.results.findings import CheckRun, Confidence, Finding, Severity, Status


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
