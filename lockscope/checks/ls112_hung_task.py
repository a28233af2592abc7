"""LS112 hung-task: a task that has waited for a lock for seconds as the recording ends, with the chain to who holds it.

What it finds
-------------
At the end of the recording a task waits for a lock, has done so for two seconds or more, and nothing recorded of it since
says that it went on. The chain of holders is followed: who holds the lock, what that task waits for itself, and so on to
the one that waits for nothing, to a deadlock that LS101 or LS104 reports, or to a lock of which nothing says who has it.
Waits are taken from lockdep's events, from probed lock functions and from contention_begin alike.

Why it is a bug
---------------
It need not be one: a holder may sleep for long and be right. A task that hangs for good is what users see first of a
deadlock, a lost wake-up or a lock that was never released, and its chain leads there; the kernel's own khungtaskd warns
after 120 seconds (kernel/hung_task.c). So this is information.

What to do
----------
Follow the chain to its root: the last task named holds a lock and waits for none. A longer recording with
sched:sched_switch and kernel stacks (lockscope record --stacks) shows what it does.

What it looks like
------------------

```firing
     qemu-100     [000] .....     1.000000: mutex_lock_entry: (mutex_lock+0x4/0x30) lock=0xffff888100000100 caller=0xffffffff81000010
     qemu-100     [000] .....     1.000001: mutex_lock: (ioctl+0x10/0x20 <- mutex_lock)
     vcpu-101     [001] .....     1.500000: mutex_lock_entry: (mutex_lock+0x4/0x30) lock=0xffff888100000100 caller=0xffffffff81000010
     work-102     [001] .....     9.000000: sys_exit: NR 16 = 0
```

```quiet
     qemu-100     [000] .....     1.000000: mutex_lock_entry: (mutex_lock+0x4/0x30) lock=0xffff888100000100 caller=0xffffffff81000010
     qemu-100     [000] .....     1.000001: mutex_lock: (ioctl+0x10/0x20 <- mutex_lock)
     vcpu-101     [001] .....     1.500000: mutex_lock_entry: (mutex_lock+0x4/0x30) lock=0xffff888100000100 caller=0xffffffff81000010
     qemu-100     [000] .....     1.600000: mutex_unlock: (mutex_unlock+0x0/0x30) lock=0xffff888100000100
     vcpu-101     [001] .....     1.600001: mutex_lock: (ioctl+0x10/0x20 <- mutex_lock)
     work-102     [001] .....     9.000000: sys_exit: NR 16 = 0
```

What it cannot see
------------------
Waits for anything but locks. Who holds a lock that is known by contention events alone. A wait that was over before the
recording ended. A task of which events may have been lost since it asked.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks.check import Grounds, check
from lockscope.checks.story import Teller, address
from lockscope.evidence.evidence import Evidence
from lockscope.results.findings import Confidence, Finding, Severity, Status, Witness
from lockscope.units import duration
from lockscope.walk.waiting import WaitingTask, circles, owners

_CODE, _NAME = "LS112", "hung-task"
_LONG = 2_000_000_000  # ns
_NOTHING = "no lock events were recorded: lockscope record -- COMMAND, or trace-cmd record -e lock"


def grounds(evidence: Evidence) -> Grounds:
    """Lock or contention events, and none lost."""
    if not (evidence.plain or evidence.detailed or len(evidence.chains) or evidence.has("contention_begin")):
        return Grounds(Status.SKIPPED, _NOTHING)
    return Grounds() if evidence.lost == 0 else Grounds(Status.PARTIAL, "events were lost (LS901)")


@check(_CODE, _NAME, Severity.INFO, grounds)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for each task that waits; those of a deadlock are LS101's and LS104's."""
    if evidence.windowed:
        return
    stuck = {task.number for circle in circles(evidence.waiting) for task, _ in circle}
    teller = Teller(evidence)
    for task in evidence.waiting:
        if task.lock and not task.lost and task.number not in stuck and evidence.end_ns - task.since_ns >= _LONG:
            yield _finding(teller, task, stuck)


def _lock(teller: Teller, task: WaitingTask) -> str:
    return f"{teller.name(task.cls)} at {address(task.lock)}" if task.cls >= 0 else f"the lock at {address(task.lock)}"


def _chain(teller: Teller, task: WaitingTask, stuck: set[int]) -> Iterator[str]:
    """From a task to whoever is to blame, a line each."""
    evidence, seen, here = teller.evidence, {task.number}, task
    while True:
        behind = owners(here, evidence.waiting)
        if not behind:
            yield f"of {_lock(teller, here)} nothing recorded says who holds it"
            return
        owner, entry = behind[0]
        since = duration(evidence.end_ns - entry.ts_ns)
        held = f"{_lock(teller, here)} is held by {teller.task(owner.pid)} for {since}"
        if owner.number in stuck:
            yield f"{held}, which is part of a deadlock (LS101, LS104)"
            return
        if not owner.lock or owner.number in seen:
            yield f"{held}, which waits for no lock"
            return
        yield f"{held}, which waits for {_lock(teller, owner)} for {duration(evidence.end_ns - owner.since_ns)}"
        seen.add(owner.number)
        here = owner


def _finding(teller: Teller, task: WaitingTask, stuck: set[int]) -> Finding:
    evidence = teller.evidence
    waited = duration(evidence.end_ns - task.since_ns)
    chain = tuple(_chain(teller, task, stuck))
    name = teller.name(task.cls) if task.cls >= 0 else ""
    witness = Witness(task.since_ns, task.cpu, task.pid, evidence.comm(task.pid), "lock_acquire",
                      location=evidence.symbol(task.ip),
                      note=f"waits for {_lock(teller, task)} to the end")  # fmt: skip
    return Finding(
        code=_CODE,
        name=_NAME,
        severity=Severity.INFO,
        confidence=Confidence.CERTAIN if evidence.lost == 0 and not evidence.filtered else Confidence.LIKELY,
        reason="no event is missing" if evidence.lost == 0 and not evidence.filtered else "events are missing",
        title=f"task waits for a lock for {waited} to the end of the recording",
        message=f"{teller.task(task.pid)} waits for {_lock(teller, task)}: {chain[-1]}.",
        classes=(name,) if name else (),
        witnesses=(witness,),
        story=(
            f"{teller.task(task.pid)} waits for {_lock(teller, task)}: {teller.moment(task.since_ns, task.cpu)}",
            "",
            *chain,
            "",
            *teller.held_lines(task.held, task.pid, -1),
        ),
        flow="waits",
    )
