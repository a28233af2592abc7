"""A host: the machine, the kernel it runs, its global locks, and the events that are recorded of it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lockscope.simulate.engine import locks, srcu
from lockscope.simulate.engine.classes import Lock, LockClass, LockEvents
from lockscope.simulate.engine.machine import Machine
from lockscope.simulate.engine.srcu import Srcu, SrcuEvents
from lockscope.simulate.engine.switching import Switching
from lockscope.simulate.engine.tasks import Task, Work
from lockscope.simulate.kvm.kernels import Kernel, Named
from lockscope.simulate.kvm.symbols import Symbols
from lockscope.simulate.parameters import Parameters
from lockscope.simulate.trace.events import Event
from lockscope.simulate.trace.files import Recording
from lockscope.simulate.truth import Truth

if TYPE_CHECKING:
    from lockscope.simulate.kvm.vm import Vm

_KEYS = 0xFFFFFFFF82843700
_PER_CPU = 1 << 18
IOCTL, CLOSE = 16, 3
_SIX = struct.Struct("<6Q")
# A distribution's kernel without lockdep and without probes: what is left of the events.
STOCK_SYSTEMS = ("sched", "irq", "raw_syscalls", "kvm", "kvmmmu")
STOCK_EVENTS = ("lock:contention_begin", "lock:contention_end", "lock:contended_release")


class Host:
    """``e``: the recorded events by name (None: this kernel or this recording has not got it). ``vms``: alive."""

    def __init__(self, kernel: Kernel, parameters: Parameters, recording: Recording) -> None:
        self.kernel, self.parameters = kernel, parameters
        self.machine = Machine(recording, parameters.seed, _skews(parameters), bh_flag=kernel.bh_flag)
        self.rng = self.machine.rng
        self.truth = Truth()
        self.symbols = Symbols(recording.symbols)
        self.intel = parameters.vendor == "intel"
        stock = parameters.fidelity == "stock"
        self.e: dict[str, Event | None] = {
            event.name: event
            for name, event in recording.events.items()
            if not stock or event.system in STOCK_SYSTEMS or name in STOCK_EVENTS
        }
        self.probe = self.symbols["lock_acquire"] + 4
        self.lock_events = LockEvents(
            self.event("lock_acquire"), self.event("lockdep_acquire"), self.event("lock_acquired"),
            self.event("lock_contended"), self.event("lock_release"), self.event("contention_begin"),
            self.event("contention_end"), self.event("contended_release"), self.probe, kernel.blind,
        )  # fmt: skip
        self.srcu_events = SrcuEvents(
            self.event("srcu_read_lock"), self.event("srcu_read_lock_entry"), self.event("srcu_read_unlock"),
            self.event("synchronize_srcu"), self.event("synchronize_srcu_expedited"),
            self.symbols["__srcu_read_lock"] + 4, self.symbols["vcpu_enter_guest"] + 0x3C6,
        )  # fmt: skip
        self.classes: dict[str, LockClass] = {}
        for i, (name, named) in enumerate({**kernel.vm, **{f"vcpu_{k}": v for k, v in kernel.vcpu.items()},
                                           **kernel.others}.items()):  # fmt: skip
            self.classes[name] = LockClass(named.name, named.kind, _KEYS + 16 * i, named.check)
        self.globals: dict[str, Lock] = {
            name: Lock(self.classes[name], named.place, self.lock_events)
            for name, named in kernel.others.items()
            if named.place >> 32 == 0xFFFFFFFF  # static; the others are per CPU, or in something else
        }
        self.per_cpu: dict[str, list[Lock]] = {
            name: [Lock(self.classes[name], kernel.others[name].place + c.number * _PER_CPU, self.lock_events)
                   for c in self.machine.cpus]
            for name in ("wakeup", "hrtimer", "slab", "pcp") if name in kernel.others
        }  # fmt: skip
        self.mn_srcu = Srcu(kernel.others["mn_srcu"].place - 16, self.globals["mn_srcu"], self.srcu_events)
        rq = kernel.others["rq"]
        self.switching = Switching.make(
            self.machine.cpus, self.classes["rq"], rq.place, self.lock_events,
            self.event("sched_switch"), self.event("sched_process_exit"),
        )  # fmt: skip
        self.vms: list[Vm] = []
        # kvm_usage_count: from 6.12 on the module itself counts (enable_virt_at_load).
        self.usage = 1 if kernel.has("usage_lock") else 0
        self.made_vms = 0
        self.broken: set[str] = set()  # what this kernel forgets to do: see the scenarios
        self.machine.start_ticks(self._tick)

    def event(self, name: str) -> Event | None:
        """An event, if it is recorded."""
        return self.e.get(name)

    def write(self, t: Task, name: str, *values: object) -> int:
        """Write an event if it is recorded; returns the ns that it took."""
        return t.event(self.e.get(name), *values)

    def at(self, t: Task, function: str) -> None:
        """Which function a task is in."""
        t.ip = self.symbols[function] + 0x2A

    def sys_enter(self, t: Task, number: int, *args: int) -> Work:
        """A system call begins."""
        yield t.event(self.e.get("sys_enter"), number, _SIX.pack(*(args + (0,) * 6)[:6]))

    def sys_exit(self, t: Task, number: int, ret: int = 0) -> Work:
        """It ends."""
        yield t.event(self.e.get("sys_exit"), number, ret)

    def reclaim(self, t: Task) -> Work:
        """GFP_KERNEL memory: might_alloc() tells lockdep that reclaim, and a notifier, may happen here."""
        if "fs_reclaim" in self.globals:
            outer, inner = self.globals["fs_reclaim"], self.globals["notifier"]
            yield from locks.map_acquire(t, outer)
            yield from locks.map_acquire(t, inner)
            yield from locks.map_release(t, inner)
            yield from locks.map_release(t, outer)

    def user_copy(self, t: Task, mmap_lock: Lock) -> Work:
        """copy_from_user(), copy_to_user(): might fault, and might_fault() says so to lockdep: nobody waits."""
        yield from locks.might_lock_read(t, mmap_lock)

    def init(self, t: Task, lock: Lock) -> int:
        """A lock is initialised."""
        event = self.e.get("lockdep_init")
        cls = lock.cls
        inner = {"mutex": 4, "rwsem": 4, "percpu_rwsem": 4, "raw_spinlock": 2, "srcu": 0}.get(cls.kind, 3)
        return t.event(event, self.symbols["lockdep_init_map_type"] + 4, lock.addr, cls.key, 0, inner, 0, cls.name)

    def named(self, name: str, named: Named, base: int) -> Lock:
        """An instance of a lock in something that was just made."""
        return Lock(self.classes[name], base + named.place, self.lock_events)

    def _tick(self, t: Task) -> Work:
        """The timer interrupt: tick_nohz_handler(), update_wall_time(), and RCU's callbacks in softirq."""
        cpu = t.cpu
        self.at(t, "hrtimer_interrupt")
        if "hrtimer" in self.per_cpu:
            timers = self.per_cpu["hrtimer"][cpu.number]
            yield from locks.spin_lock(t, timers)
            yield from locks.spin_unlock(t, timers)
        if cpu.number == 0:
            for name in ("jiffies", "timekeeper"):
                lock = self.globals[name]
                yield from locks.spin_lock(t, lock)
                yield 200
                yield from locks.spin_unlock(t, lock)
        if self.rng.random() < 0.3:
            cpu.softirqs.append(self._rcu_softirq)

    def _rcu_softirq(self, t: Task) -> Work:
        self.at(t, "rcu_do_batch")
        yield self.write(t, "softirq_entry", 9)
        callback = self.globals["rcu_callback"]
        yield from locks.map_acquire(t, callback, 2)
        yield 300
        yield from locks.map_release(t, callback)
        yield self.write(t, "softirq_exit", 9)

    def srcu_section(self, t: Task, s: Srcu, inside: Work) -> Work:
        """Work inside a read section."""
        index = yield from srcu.read_lock(t, s)
        yield from inside
        yield from srcu.read_unlock(t, s, index)

    def locked(self, t: Task, lock: Lock, inside: Work | None = None) -> Work:
        """Work with a lock held that fits its kind: a mutex, or a spinning lock."""
        if lock.cls.kind in ("mutex", "rwsem", "percpu_rwsem"):
            yield from locks.mutex_lock(t, lock)
            yield from inside or _moment()
            yield from locks.mutex_unlock(t, lock)
        else:
            yield from locks.spin_lock(t, lock)
            yield from inside or _moment()
            yield from locks.spin_unlock(t, lock)


def _moment() -> Work:
    yield 150


def _skews(p: Parameters) -> list[int]:
    """What each CPU's trace clock is off by: the first CPU's is right."""
    return [0] + [(i * 7919 + p.seed * 104729) % (p.skew_ns + 1) for i in range(1, p.cpus)]
