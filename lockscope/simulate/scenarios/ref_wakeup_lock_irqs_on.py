"""The wake-up list's lock is taken with interrupts on."""

from __future__ import annotations

from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import RECENT, ioctl, planted
from lockscope.simulate.world import Mix, World


def plant(world: World) -> None:
    """A list is looked at by a task that a wake-up interrupt may come on top of."""

    def body(t: Task, vm: Vm) -> Work:
        del vm
        lists = world.host.per_cpu["wakeup"]
        # Another CPU's: of its own the handler would wait for ever, and the trace would end there.
        lock = lists[(t.cpu.number + 1) % len(lists)]
        before = locks.irqs_off(t) if world.near else 0
        if world.near:
            yield from world.host.locked(t, lock)
            locks.irqs_back(t, before)
            return
        world.truth.also["LS104"] = "if the interrupt comes just then, two locks of the class are held at once"
        with planted(world, t, "the wake-up list's lock with interrupts on", ("LS108", ())):
            yield from world.host.locked(t, lock)

    ioctl(world, "pi_has_pending_interrupt", body)


SCENARIO = Scenario(
    "ref-wakeup-lock-irqs-on",
    "the wake-up list's lock, which an interrupt takes, is taken with interrupts on",
    "3. Reference: blocked_vcpu_on_cpu_lock is taken in the wakeup notification event",
    plant,
    Mix(assigned=True, halt=6),
    near="interrupts are off while it is held",
    kernels=RECENT,
)
