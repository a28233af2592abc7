"""The holder of a raw lock is preempted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from lockscope.simulate.engine import locks
from lockscope.simulate.engine.tasks import YIELD, Task, Work
from lockscope.simulate.kvm.vm import Vm
from lockscope.simulate.parameters import KERNEL_NAMES
from lockscope.simulate.scenario import Scenario
from lockscope.simulate.scenarios._plans import ioctl, lock_of, planted
from lockscope.simulate.world import Mix, World


@dataclass(frozen=True, slots=True)
class _Raw:
    """A raw lock (see ``lock_of``), as the document calls it, why it is raw, and in which function it is held."""

    lock: str
    shown: str
    why: str
    function: str
    kernels: tuple[str, ...] = KERNEL_NAMES


_RAW = (
    # Whoever switches virtualization gives the CPU away: the task could go on on another one.
    _Raw(
        "count_lock",
        "kvm_count_lock",
        "kvm_count_lock is raw because hardware enabling must be atomic with regard to migration",
        "hardware_enable_all",
        kernels=("4.14",),
    ),
    # The update gives the CPU away, as if the lock were none that spins.
    _Raw(
        "tsc_write_lock",
        "tsc_write_lock",
        "kvm_arch::tsc_write_lock is raw because updating the tsc offsets must not be preempted",
        "kvm_synchronize_tsc",
    ),
)


def _busy() -> Work:
    yield 20_000


def _preempted(world: World, t: Task) -> Work:
    """Somebody else gets the CPU, whatever the task holds: it calls schedule() ("scheduling while atomic")."""
    rival = world.host.machine.new_task("kworker/u8:1", cpu=t.cpu.number)
    rival.state = 0
    rival.gen = _busy()
    t.cpu.queue.appendleft(rival)
    yield YIELD
    yield 500


def _plant(raw: _Raw, world: World) -> None:
    """An ioctl gives the CPU away while it holds the lock; the near miss right behind it."""

    def body(t: Task, vm: Vm) -> Work:
        lock = lock_of(world, vm, raw.lock)
        if world.near:
            yield from world.host.locked(t, lock)
            yield from _preempted(world, t)
            return
        yield from locks.spin_lock(t, lock)
        with planted(world, t, f"{raw.shown} held by a task that is switched out", ("LS110", ())):
            yield from _preempted(world, t)
        yield from locks.spin_unlock(t, lock)

    ioctl(world, raw.function, body)


SCENARIOS = tuple(
    Scenario(
        f"ref-{raw.shown.replace('_', '-')}-preempted",
        f"the holder of the raw {raw.shown} is preempted",
        f"3. Reference: {raw.why}",
        partial(_plant, raw),
        Mix(),
        near="the task is preempted right after it released the lock",
        kernels=raw.kernels,
    )
    for raw in _RAW
)
