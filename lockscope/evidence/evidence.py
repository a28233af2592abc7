"""All that the checks may know of one trace: what was reconstructed, what was recorded, and what was lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lockscope.evidence.buffer_ends import End
from lockscope.evidence.lifetimes import Lifetimes
from lockscope.evidence.lockdep_state import LockdepState
from lockscope.evidence.partners import Stop, Uneven
from lockscope.facts.interruptions import Hole, Silences
from lockscope.results.findings import Context, Witness
from lockscope.rules.book import Rulebook
from lockscope.tables.events import TraceInfo
from lockscope.walk.chains import Anomaly, Chains, Entry, LockClass
from lockscope.walk.waiting import WaitingTask

_CONTEXTS = (Context.TASK, Context.SOFTIRQ, Context.HARDIRQ, Context.NMI)


@dataclass(frozen=True, slots=True)
class Window:
    """A judged stretch between two markers."""

    name: str
    start_ns: int
    end_ns: int


@dataclass(slots=True)
class Evidence:
    """One trace's evidence.

    ``recorded``: events seen, by full name. ``enabled``: events known to have been switched on, by full name: one
    that was not seen did not happen (empty where the trace does not tell). ``lost``: events known to be missing
    (None: unknown how many, 0: none). ``filtered``: the recorder left tasks out (a PID filter): gaps that no loss row
    shows. ``detailed``: the trace has ``lockscope:lockdep_acquire``; ``plain``: it has ``lock:lock_acquire``.
    ``facts``: by name, what the modules of ``facts`` made (``srcu_sections``, ``spte_history`` ...). ``vm_of``: the VM
    number of a KVM lock instance, or None. ``lockdep``: whether it was seen to be off. ``last_taken``: when a task
    (pid) last asked for a lock, at the latest; 0 never. ``waiting``: who holds or waits for locks as the trace ends.
    ``silences``: the longest times without any event. ``stops``: stretches in which one of a pair of events did not
    come. ``uneven``: lock functions of which one of a pair was not recorded whole. ``ends``: where buffers end early.
    ``holes``, ``absent``: stretches that were taken for not recorded, and CPUs. ``seen_cpus``: those with events.
    ``task_name``: what a task is called where its name must not be told.
    """

    info: TraceInfo
    rules: Rulebook
    classes: list[LockClass]
    chains: Chains
    anomalies: list[Anomaly]
    recorded: dict[str, int]
    enabled: frozenset[str] = frozenset()
    lost: int | None = 0
    filtered: bool = False
    detailed: bool = False
    plain: bool = False
    start_ns: int = 0
    end_ns: int = 0
    windows: list[Window] = field(default_factory=list)
    windowed: bool = False
    assumptions: frozenset[str] = frozenset()
    facts: dict[str, Any] = field(default_factory=dict)
    vm_of: Callable[[int], int | None] = lambda _: None
    comms: dict[int, str] = field(default_factory=dict)
    lives: Lifetimes = field(default_factory=Lifetimes)
    lockdep: LockdepState = field(default_factory=LockdepState)
    last_taken: Callable[[int, int], int] = lambda _pid, _lock: 0
    waiting: list[WaitingTask] = field(default_factory=list)
    silences: Silences = field(default_factory=Silences)
    stops: list[Stop] = field(default_factory=list)
    ends: tuple[End, ...] = ()
    uneven: tuple[Uneven, ...] = ()
    holes: tuple[Hole, ...] = ()
    absent: frozenset[int] = frozenset()
    seen_cpus: frozenset[int] = frozenset()
    task_name: Callable[[str], str] = str

    def has(self, *names: str) -> bool:
        """Whether one of these events, by name without its system, was recorded: seen, or switched on and quiet."""
        return self.seen(*names) or any(full.rpartition(":")[2] in names for full in self.enabled)

    def seen(self, *names: str) -> bool:
        """Whether one of these events, by name without its system, is in the trace."""
        return any(full.rpartition(":")[2] in names for full in self.recorded)

    def comm(self, pid: int) -> str:
        """The task's name as it is told (``task_name``); ``<...>`` when the recorder did not keep it, ``<idle>`` for
        pid 0.
        """
        return self.task_name(self.comms.get(pid, "<idle>" if pid == 0 else "<...>"))

    def symbol(self, address: int) -> str | None:
        """The function an address lies in, where the trace carries symbols; None for a return probe's trampoline.

        That one stands in place of the caller where a return probe was set on the function first (kernel/kprobes.c,
        kernel/trace/rethook.c, 4.14 to 7.3).
        """
        found = self.info.symbols().name(address & (1 << 64) - 1) if address else None
        return None if found is not None and "_trampoline" in found else found

    def label(self, cls: int) -> str:
        """A class as lockdep prints it."""
        return self.classes[cls].label

    def window(self, index: int) -> str | None:
        """A window's name."""
        return self.windows[index].name if 0 <= index < len(self.windows) else None

    def witness(self, entry: Entry, cpu: int, pid: int, event: str = "lock_acquire", note: str = "") -> Witness:
        """A lock's acquisition as a witness, on the CPU where it was asked for (``cpu`` where that is not known)."""
        context, place = _CONTEXTS[entry.context & 3], self.symbol(entry.ip)
        cpu = cpu if entry.cpu < 0 else entry.cpu
        return Witness(entry.ts_ns, cpu, pid, self.comm(pid), event, context, place, note)
