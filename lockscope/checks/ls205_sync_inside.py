"""LS205 synchronize-inside-srcu: synchronize_srcu() on an SRCU that the task is reading.

What it finds
-------------
synchronize_srcu() or synchronize_srcu_expedited() of an srcu_struct, called by a task with an open read section of it.

Why it is a bug
---------------
It waits for all readers, its own caller among them: the task never goes on, and neither does any later grace period.

What to do
----------
Leave the read section before synchronize_srcu() is called, or use call_srcu(), which does not wait.

What it looks like
------------------

```firing
     qemu-100     [000] .....     1.000001: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=0
     qemu-100     [000] .....     1.000002: synchronize_srcu_expedited: (ffffffff811b0914) ssp=0xffffc90000003300
     qemu-100     [000] .....     1.000003: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=0
```

```quiet
     qemu-100     [000] .....     1.000001: srcu_read_lock: (ffffffff811aeb24 <- ffffffff813a93cc) ssp=0xffffc90000003300 idx=0
     qemu-100     [000] .....     1.000002: synchronize_srcu_expedited: (ffffffff811b0914) ssp=0xffffc90000003348
     qemu-100     [000] .....     1.000003: srcu_read_unlock: (ffffffff811aeb44) ssp=0xffffc90000003300 idx=0
     qemu-100     [000] .....     1.000004: synchronize_srcu: (ffffffff811b0934) ssp=0xffffc90000003300
```

What it cannot see
------------------
A wait for readers that goes through another task (LS101 and LS204 look for those), and call_srcu() followed by a wait.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterator

from lockscope.checks import _kvm, _kvm_srcu
from lockscope.checks.check import Grounds, check
from lockscope.evidence.evidence import Evidence
from lockscope.facts.srcu_sections import SrcuEvent
from lockscope.results.findings import Finding, Severity, Witness

_EFFECT = "Deadlock: the task waits for itself, and so does every later synchronize_srcu() of it."
_SYNC = ("synchronize_srcu", "synchronize_srcu_expedited")


def grounds(evidence: Evidence) -> Grounds:
    """Read sections and synchronisations must be probed."""
    how = f"no grace periods: the probes lockscope:synchronize_srcu and synchronize_srcu_expedited; {_kvm.RECORD}"
    return _kvm_srcu.section_grounds(evidence, (_SYNC, how))


@check("LS205", "synchronize-inside-srcu", Severity.ERROR, grounds, facts=_kvm_srcu.FACTS)
def judge(evidence: Evidence) -> Iterator[Finding]:
    """One finding for every kind of srcu_struct."""
    sections = _kvm_srcu.sections_of(evidence)

    def tell(event: SrcuEvent, times: int) -> tuple[str, tuple[Witness, ...], str]:
        name = sections.name(event.ssp)
        function = _SYNC[1] if event.detail else _SYNC[0]
        message = (
            f"{evidence.comm(event.pid)}/{event.pid} called {function}() on {name} ({_kvm.hex64(event.ssp)}) inside "
            f"a read section of it, entered {_kvm_srcu.age(event)} before"
            + (f" ({times} times)." if times > 1 else ".")
        )
        waits = _kvm_srcu.at_event(evidence, event, f"waits for all readers of {name}, itself among them", function)
        return (
            message,
            (_kvm_srcu.opened(evidence, event), waits),
            _EFFECT,
        )

    yield from _kvm_srcu.findings(
        evidence, sections.of("sync-inside"), lambda e: (sections.name(e.ssp).partition(" at ")[0], "", "sync"), tell,
        code="LS205", name="synchronize-inside-srcu", title="synchronize_srcu() inside its own read section",
    )  # fmt: skip
