"""One reading of a trace: events in, evidence out. The only loop over a trace's batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import Queue
from threading import Thread
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lockscope.core.tape_rows import H_OP
from lockscope.errors import FormatError
from lockscope.evidence.buffer_ends import BufferEnds
from lockscope.evidence.comms import Comms
from lockscope.evidence.evidence import Evidence
from lockscope.evidence.holes import Holes
from lockscope.evidence.lifetimes import Lifetimes
from lockscope.evidence.lockdep_state import LockdepState, exchanged, swap
from lockscope.evidence.markers import Markers
from lockscope.evidence.partners import Partners, uneven
from lockscope.evidence.srcu_links import linked
from lockscope.evidence.switches import SwitchChain
from lockscope.facts.fact import FactSet
from lockscope.facts.interruptions import Hole, Silences
from lockscope.kvm import versions
from lockscope.rules.book import Rulebook
from lockscope.tables.events import LOSS, UNKNOWN, EventBatch, EventFormat, Reader
from lockscope.tables.ops import Op
from lockscope.tables.tape import PackedTape, Projector, TapeBatch, source_of
from lockscope.walk.lock_names import named
from lockscope.walk.lock_places import OPS as _PLACING
from lockscope.walk.lock_places import LockPlaces
from lockscope.walk.walk import LOCK_OPS, WALKED_OPS, Ended, LockWalk, WalkOptions

T = TypeVar("T")
Progress = Callable[[int, int | None], None]
_ROWS = 1 << 17  # a batch and its tape take 40 MB, and five are about at once
_TASKS = frozenset({Op.SWITCH, Op.RENAME, Op.FORK, Op.TASK_EXIT, Op.LOSS, Op.GAP, Op.CONSOLE})


@dataclass(frozen=True, slots=True)
class GatherOptions:
    """What to read and how.

    ``facts``: names of facts to make. ``keep``: which events count (None: all). ``ops``: rows that ``tape`` wants to
    see beside those that locks and facts need. ``ended``: takes the ended holds of each batch, by ``HOLD_COLUMNS``, so
    that they need no memory. ``judged``: False where nobody asks for chains and anomalies.
    """

    facts: tuple[str, ...] = ()
    window_start: str | None = None
    window_end: str | None = None
    assumptions: frozenset[str] = frozenset()
    keep: Callable[[EventFormat], bool] | None = None
    holds: bool = False
    tape: Callable[[TapeBatch], None] | None = None  # sees what is kept of every batch
    ops: frozenset[Op] = frozenset()
    ended: Callable[[NDArray[np.int64]], None] | None = None
    follow: Callable[[Ended], None] | None = None  # sees ended holds too, and what findings may name of them
    judged: bool = True
    holes: tuple[Hole, ...] = ()  # stretches to take for missing
    absent: frozenset[int] = frozenset()  # CPUs to take for not recorded


@dataclass(slots=True)
class Gathered:
    """The evidence, and what else one reading leaves behind."""

    evidence: Evidence
    walk: LockWalk
    events: int
    lost_by_cpu: dict[int, int | None] = field(default_factory=dict)


def gather(reader: Reader, rules: Rulebook, options: GatherOptions, progress: Progress | None = None) -> Gathered:
    """Read the trace once. Raises ``FormatError`` where it holds more of something than any kernel has."""
    try:
        return _Reading(reader, rules, options).run(progress)
    except MemoryError as full:
        what = str(full) or "more than fits into memory"
        raise FormatError(reader.info.path, "", what, "is the file damaged?") from full


class _Reading:
    def __init__(self, reader: Reader, rules: Rulebook, options: GatherOptions) -> None:
        self.reader, self.rules, self.options = reader, rules, options
        self.info = reader.info
        self.kernel = versions.parse(self.info.kernel)
        self.markers = Markers(self.info, options.window_start, options.window_end)
        self.counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self.start, self.end, self.events = (1 << 63) - 1, -(1 << 63), 0
        self.lost: dict[int, int | None] = {}
        self.silences, self.partners = Silences(), Partners(self.info.cpus)
        self.ends = BufferEnds()
        self.holes = Holes(options.holes, options.absent)
        self.swapped: bool | None = None

    def run(self, progress: Progress | None) -> Gathered:
        projector = Projector(None, self.info.symbols)
        self.places = LockPlaces(self.info, projector.texts)
        # Chains name the SRCUs that a task waits for by what this fact learns of them.
        graph = ("srcu_sections",) if self.options.judged else ()
        self.facts = FactSet({*self.options.facts, *graph}, self.info, self.rules, projector.texts, self.places)
        self.kept = _TASKS | self.facts.ops | self.options.ops
        projector.ops = WALKED_OPS | self.kept
        if self._functions_probed():
            projector.ops |= _PLACING
        self.walk: LockWalk | None = None
        comms, switches = Comms(self.info.comms, self.info.parents), SwitchChain()
        self.lives = Lifetimes()
        self.lockdep = LockdepState()
        projector.texts.shared = True
        for tape, ended in prefetched(self._walked(projector)):
            self.facts.feed(tape)
            if self.options.follow is not None and ended is not None:
                self.options.follow(ended)
            comms.feed(tape, projector.texts)
            switches.feed(tape)
            self.lives.feed(tape)
            self.lockdep.feed(tape, projector.texts)
            if self.options.tape is not None:
                self.options.tape(tape)
            if progress is not None:
                progress(self.events, None)
        projector.texts.shared = False
        walk = self.walk or LockWalk(projector.texts, self._walk_options())
        walk.finish(self.end)
        if self.options.follow is not None:
            self.options.follow(walk.ended())
        return Gathered(self._evidence(walk, comms, switches), walk, self.events, self.lost)

    def _walked(self, projector: Projector) -> Iterator[tuple[TapeBatch, Ended | None]]:
        """What is kept of the tape after the walk: one thread reads, one walks, and the caller's makes the facts of the
        batch before.
        """
        for batch, tape in prefetched(self._taped(projector)):
            self._count(batch)
            if self.walk is None:
                self.walk = LockWalk(projector.texts, self._walk_options())
                self.walk.memory.sink = self.options.ended
            kept = self.walk.feed(tape, self.markers.in_batch(batch, tape, self.reader.formats))
            yield kept, self.walk.ended() if self.options.follow is not None else None

    def _taped(self, projector: Projector) -> Iterator[tuple[EventBatch, PackedTape]]:
        """Batches with their rows of the tape: made by the reading thread, while another walks the ones before."""
        for batch in self.reader.batches(self.options.keep, rows=_ROWS):
            cpu_of = np.array([s.cpu for s in self.info.streams], np.int32)
            tape = projector.project(batch, self.reader.formats, cpu_of)
            if self.swapped is None and len(tape):
                self.swapped = exchanged(tape.head[:, H_OP], self.kernel)
            if self.swapped:
                swap(tape.head)
            self.places.take(batch, tape, self.reader.formats)
            projector.texts.publish()
            yield batch, self.holes.put(tape, batch.first_seq, len(batch), self.info.streams)

    def _walk_options(self) -> WalkOptions:
        names = {f.name for f in self.reader.formats}
        flags = not self.info.options.get("flags_unknown", False) and not (self.kernel and self.kernel.before(5, 10))
        checked = self.kernel is None or self.kernel.at_least(6, 4)
        return WalkOptions(
            detailed="lockdep_acquire" in names and self._kept("lockdep_acquire"),
            fake_softirq="selftest-softirq" in self.options.assumptions,
            recursive_reads="recursive-read-locks" in self.options.assumptions,
            rt=bool(self.kernel and self.kernel.rt),
            flags_say_irqs=flags,
            no_validate=self.info.symbol_address("__lockdep_no_validate__") or 0,
            srcu_checked=checked,
            hashed=self.info.hashed_pointers,
            holds=self.options.holds or self.options.ended is not None or self.options.follow is not None,
            keep=self.kept,
            # Which tasks each of several buffers follows is told from all events (facts.vms).
            keep_locks=bool(self.options.ops & LOCK_OPS) or len({s.buffer for s in self.info.streams}) > 1,
            judged=self.options.judged and not self.markers.wanted,
            preempt_mask=0xFF if self.kernel and self.kernel.before(5, 15) else 0x0F,
            split=not (self.kernel and self.kernel.before(7, 0)),
            contexts=not self.info.options.get("flags_unknown", False),
        )

    def _functions_probed(self) -> bool:
        """Whether lock functions may have been probed: of text, nobody knows beforehand."""
        formats = self.reader.formats
        return len(formats) <= UNKNOWN + 1 or any(source_of(f, frozenset({Op.FN_ENTRY})) for f in formats)

    def _lock_kinds(self) -> list[int]:
        """Formats of events that what tasks hold is known by."""
        return [f.index for f in self.reader.formats[UNKNOWN + 1 :] if source_of(f, WALKED_OPS)]

    def _kept(self, name: str) -> bool:
        keep = self.options.keep
        return keep is None or any(keep(f) for f in self.reader.formats if f.name == name)

    def _count(self, batch: EventBatch) -> None:
        if not len(batch):
            return
        counts = np.bincount(batch.kind, minlength=len(self.counts))
        counts[: len(self.counts)] += self.counts
        self.counts = counts
        self.events = int(counts.sum() - counts[LOSS])
        self.start = min(self.start, int(batch.ts_ns[0]))
        self.end = max(self.end, int(batch.ts_ns[-1]))
        self.silences.feed(batch.ts_ns, batch.first_seq)
        self.partners.feed(batch, self.reader.formats)
        self.ends.feed(batch, self.info.streams, len(self.reader.formats))
        for row in np.flatnonzero(batch.kind == LOSS) if counts[LOSS] else ():
            cpu = self.info.streams[int(batch.stream[row])].cpu
            number, before = int(batch.at[row]), self.lost.get(cpu, 0)
            self.lost[cpu] = None if number < 0 or before is None else before + number

    def _recorded(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for fmt, number in zip(self.reader.formats, self.counts.tolist(), strict=False):
            if fmt.index > UNKNOWN and number:
                found[fmt.full_name] = found.get(fmt.full_name, 0) + number
        return found

    def _lost(self) -> int | None:
        """Events known to be missing: by the recorder's counters where they say more than the gaps."""
        rows: int | None = 0
        for number in self.lost.values():
            rows = None if rows is None or number is None else rows + number
        counted = [n.count for n in self.info.losses if n.kind in ("overrun", "commit overrun", "dropped")]
        if any(n.kind in ("truncated", "unparsed") for n in self.info.losses):
            return None
        total = sum(c for c in counted if c is not None)
        return (total or None) if rows is None else max(rows, total)

    def _evidence(self, walk: LockWalk, comms: Comms, switches: SwitchChain) -> Evidence:
        self.markers.refuse_unmatched()
        if self.events == 0:
            self.start = self.end = 0
        self.lives.seen = walk.first_seen()
        facts = self.facts.finish()
        recorded = self._recorded()
        vms = facts.get("vms")
        chains = walk.chains()
        classes, chains.entries = linked(walk.classes(), chains, facts.get("srcu_sections"))
        evidence = Evidence(
            info=self.info,
            rules=self.rules,
            classes=named(classes, chains, self.info, self.places.name),
            chains=chains,
            anomalies=walk.anomalies(),
            recorded=recorded,
            lost=self._lost(),
            filtered=switches.broken or walk.tasks_left_out(len(self.ends.cpus(self.info.streams))),
            detailed=any(n.endswith(":lockdep_acquire") for n in recorded),
            plain="lock:lock_acquire" in recorded,
            start_ns=self.start,
            end_ns=self.end,
            windows=self.markers.windows(self.end),
            windowed=self.markers.wanted,
            assumptions=self.options.assumptions,
            facts=facts,
            comms=comms.by_pid,
            lives=self.lives,
            last_taken=walk.last_taken,
            waiting=walk.waiting,
            silences=self.silences,
            stops=self.partners.finish(),
            uneven=uneven(self.reader.formats, self.counts, self.info.cpus, only_enabled=self.info.only_enabled),
            ends=self.ends.finish(self.end, self.info.streams, self._lock_kinds()),
            holes=self.options.holes,
            absent=self.options.absent,
            seen_cpus=self.ends.cpus(self.info.streams),
            lockdep=self.lockdep,
        )
        if self.options.holes or self.options.absent:
            evidence.lost = None
        self.lockdep.learn(evidence)
        self.lockdep.exchanged = bool(self.swapped)
        if vms is not None and hasattr(vms, "vm_of"):
            evidence.vm_of = vms.vm_of
        return evidence


def prefetched(batches: Iterable[T], depth: int = 1) -> Iterator[T]:
    """The same items, made by another thread while the caller works on the one before; in turns on a single CPU."""
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1:  # macOS has none
        yield from batches
        return
    queue: Queue[T | BaseException | None] = Queue(depth)
    stopped = False

    def read() -> None:
        try:
            for batch in batches:
                if stopped:
                    return
                queue.put(batch)
            queue.put(None)
        except BaseException as failure:
            queue.put(failure)

    thread = Thread(target=read, daemon=True, name="lockscope-reader")
    thread.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped = True
        while thread.is_alive():
            while not queue.empty():
                queue.get()
            thread.join(0.01)
