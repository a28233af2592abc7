"""The declared tables of a trace, made from one reading of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lockscope.evidence.gather import Gathered, GatherOptions, Progress, gather
from lockscope.facts import flush_debts, flush_log
from lockscope.kvm import spte_changes
from lockscope.rules.load import choose
from lockscope.tables.events import Reader, Wanted, larger_buffer
from lockscope.tables.ops import SLOTS, Op
from lockscope.tables.schema import all_schemas
from lockscope.tables.tape import TapeBatch
from lockscope.walk.walk import HOLD_COLUMNS

_CONTEXTS = pa.array(["task", "softirq", "hardirq", "nmi"])
_LOCK_OPS = (Op.ACQUIRE, Op.DETAIL, Op.ACQUIRED, Op.CONTENDED, Op.RELEASE, Op.INIT)
_SPTE_OPS = (Op.SPTE_TDP, Op.SPTE_SET, Op.FAST_PF, Op.SPTE_MMIO, Op.SPTE_UPDATE)
# What becomes of a required flush, in the table's words where they are not those of ``facts.flush_debts``.
OUTCOMES = {"paid": "in-time", "unpaid": "missing", "foreign": "by-another-task", "harmless": "not-needed"}
_NO_OLD = (Op.SPTE_SET, Op.SPTE_MMIO, Op.SPTE_UPDATE)  # their events do not say what was there before
_FLUSH_OPS = (Op.REQUEST, Op.FLUSH, Op.FLUSH_RANGE, Op.FLUSH_SLOT)
_SRCU_OPS = (Op.SRCU_LOCK, Op.SRCU_LOCK_ENTRY, Op.SRCU_UNLOCK, Op.SRCU_SYNC)
_OF_TAPE = {
    "lock_events": _LOCK_OPS,
    "spte_changes": _SPTE_OPS,
    "tlb_flushes": _FLUSH_OPS,
    "srcu_events": _SRCU_OPS,
    "task_switches": (Op.SWITCH,),
    "losses": (Op.LOSS,),
}

_FACTS_OF = {"holds": ("vms",), "spte_changes": ("spte_layout", "vms"), "required_flushes": ("flush_debts",)}


@dataclass(slots=True)
class Rows:
    """Rows of the tape kept for a table, column by column."""

    ops: tuple[Op, ...]
    parts: list[TapeBatch] = field(default_factory=list)

    def take(self, batch: TapeBatch) -> None:
        """Keep the rows of the wanted operations."""
        rows = batch.of(*self.ops)
        if len(rows):
            picked = {
                name: getattr(batch, name)[rows]
                for name in ("ts_ns", "cpu", "pid", "flags", "preempt", "op", "slots", "seq", "stream", "kind")
            }
            held = batch.held[rows] if batch.held is not None and len(batch.held) else None
            self.parts.append(TapeBatch(**picked, held=held))

    def column(self, name: str) -> NDArray[Any]:
        """A common column of all rows."""
        parts = [getattr(p, name) for p in self.parts]
        return (
            np.concatenate(parts) if parts else np.zeros((0, len(SLOTS[Op.DETAIL])) if name == "slots" else 0, np.int64)
        )

    def slot(self, names: dict[Op, str] | str, missing: int = 0) -> NDArray[np.int64]:
        """A slot by name, where it differs by operation with a name for each; ``missing`` where an operation has
        none.
        """
        op, slots = self.column("op"), self.column("slots")
        out = np.full(len(op), missing, np.int64)
        for one in self.ops:
            name = names if isinstance(names, str) else names.get(one, "")
            if name in SLOTS[one]:
                rows = op == one
                out[rows] = slots[rows, SLOTS[one].index(name)]
        return out


@dataclass(slots=True)
class Material:
    """What one reading left for a table."""

    gathered: Gathered
    rows: Rows | None

    @property
    def words(self) -> pa.Array:
        """The texts by number."""
        return pa.array(self.gathered.walk.texts.all() or [""], pa.string())


def read(
    reader: Reader, names: Iterable[str], progress: Progress | None = None, keep: Wanted | None = None
) -> dict[str, Material]:
    """Read a trace once for some tables. ``keep``: which events count (None: all)."""
    names = tuple(names)
    rows = {name: Rows(_OF_TAPE[name]) for name in names if name in _OF_TAPE}

    def take(batch: TapeBatch) -> None:
        for each in rows.values():
            each.take(batch)

    rules, _ = choose(reader.info.kernel)
    facts = sorted({fact for name in names for fact in _FACTS_OF.get(name, ())})
    ops = frozenset(op for each in rows.values() for op in each.ops)
    options = GatherOptions(tuple(facts), keep=keep, holds="holds" in names, tape=take if rows else None, ops=ops)
    found = gather(reader, rules, options, progress)
    return {name: Material(found, rows.get(name)) for name in names}


def build(name: str, material: Material) -> pa.Table:
    """The table of that name."""
    return all_schemas()[name].build(_BUILDERS[name](material))


def _text(numbers: NDArray[np.int64], words: pa.Array) -> pa.DictionaryArray:
    """Dictionary-encoded text, null for None; equal words become one, since pandas' categories must differ."""
    once = words.dictionary_encode()
    codes = once.indices.fill_null(-1).to_numpy()[numbers].astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), once.dictionary)


def _op_names(rows: Rows) -> pa.DictionaryArray:
    words = pa.array([op.name.lower() for op in rows.ops])
    numbers = np.zeros(len(rows.column("op")), np.int64)
    for i, op in enumerate(rows.ops):
        numbers[rows.column("op") == op] = i
    return _text(numbers, words)


def _common(rows: Rows) -> dict[str, Any]:
    return {
        "ts_ns": rows.column("ts_ns"),
        "seq": rows.column("seq"),
        "cpu": rows.column("cpu").astype(np.int32),
        "pid": rows.column("pid").astype(np.int32),
        "flags": rows.column("flags").astype(np.uint8),
        "preempt_count": rows.column("preempt").astype(np.uint8),
    }


def _rows(material: Material) -> Rows:
    assert material.rows is not None
    return material.rows


def _lock_events(material: Material) -> dict[str, Any]:
    rows = _rows(material)
    plain = rows.slot({Op.ACQUIRE: "flags"})
    read = np.where(rows.column("op") == Op.DETAIL, rows.slot("read"), (plain >> 1) & 1)
    return {
        **_common(rows),
        "op": _op_names(rows),
        "lock": rows.slot("lock"),
        "name": _text(rows.slot("name"), material.words),
        "trylock": ((plain & 1) | (rows.slot("trylock") != 0)).astype(bool),
        "read": read.astype(np.uint8),
        "subclass": _subclasses(rows.slot("subclass")),
        "ip": rows.slot("ip"),
    }


def _subclasses(values: Any) -> NDArray[np.uint8]:
    """lockdep has eight; 255 stands for one that is not known, or that no kernel has."""
    numbers = np.asarray(values, np.int64)
    return np.where((numbers < 0) | (numbers > 254), 255, numbers).astype(np.uint8)


def _class_names(material: Material) -> pa.Array:
    return pa.array([c.name for c in material.gathered.evidence.classes] or [""], pa.string())


def _holds(material: Material) -> dict[str, Any]:
    parts = material.gathered.walk.holds
    raw = np.concatenate(parts) if parts else np.zeros((0, len(HOLD_COLUMNS)), np.int64)
    raw = raw[np.argsort(raw[:, HOLD_COLUMNS.index("seq")], kind="stable")]
    c = {name: np.ascontiguousarray(raw[:, i]) for i, name in enumerate(HOLD_COLUMNS)}
    subclasses = _subclasses([k.subclass for k in material.gathered.evidence.classes] or [0])
    mode = c["mode"]
    ips, places = np.unique(c["ip"].view(np.uint64), return_inverse=True)
    symbols = material.gathered.evidence.info.symbols()
    callers = pa.array([(symbols.name(int(ip)) or None) if ip else None for ip in ips] or [None], pa.string())
    begun, ended = (c["known"] & 1).astype(bool), (c["known"] >> 1).astype(bool)
    return {
        "seq": c["seq"],
        "pid": c["pid"],
        "comm": _comms(c["pid"], material),
        "lock": c["lock"],
        "vm": _vms(c["lock"], material),
        "wait_ns": _waits(c, material),
        "hold_ns": np.ma.array(c["end_ns"] - np.maximum(c["acquired_ns"], c["asked_ns"]), mask=~(begun & ended)),
        "name": _text(c["cls"], _class_names(material)),
        "subclass": subclasses[c["cls"]],
        "asked_ns": c["asked_ns"],
        "acquired_ns": c["acquired_ns"],
        "contended_ns": c["contended_ns"],
        "end_ns": c["end_ns"],
        "begin_known": begun,
        "end_known": ended,
        "cpu": c["cpu"].astype(np.int32),
        "end_cpu": c["end_cpu"].astype(np.int32),
        "context": _text((mode >> 3) & 3, _CONTEXTS),
        "read": (mode & 3).astype(np.uint8),
        "trylock": ((mode >> 2) & 1).astype(bool),
        "contended": ((mode >> 5) & 1).astype(bool),
        "waited_for": ((mode >> 6) & 1).astype(bool),
        "depth": c["depth"].astype(np.uint8),
        "ip": c["ip"],
        "caller": _text(places.astype(np.int64), callers),
    }


def _comms(pids: NDArray[np.int64], material: Material) -> pa.DictionaryArray:
    """The name of each row's task; null where it is not known."""
    known, places = np.unique(pids, return_inverse=True)
    comms = material.gathered.evidence.comms
    names = [("<idle>" if pid == 0 else comms.get(pid)) for pid in known.tolist()] or [None]
    return _text(places.astype(np.int64), pa.array(names, pa.string()))


def _vms(locks: NDArray[np.int64], material: Material) -> NDArray[np.int32]:
    """The number of the VM that each lock lies in, -1 for none."""
    known, places = np.unique(locks, return_inverse=True)
    vm_of = material.gathered.evidence.vm_of
    numbers = [vm_of(lock) for lock in known.view(np.uint64).tolist()] or [None]
    return np.array([-1 if vm is None else vm for vm in numbers], np.int32)[places]


def _waits(c: dict[str, NDArray[np.int64]], material: Material) -> NDArray[np.int64]:
    """How long each acquisition waited; hidden where the trace does not tell."""
    contended = c["contended_ns"] > 0
    told = material.gathered.evidence.seen("lock_contended", "contention_begin")
    waited = np.where(contended, c["acquired_ns"] - c["contended_ns"], 0)
    unknown = np.where(contended, c["acquired_ns"] == 0, not told) | (c["known"] & 1 == 0)
    hidden: NDArray[np.int64] = np.ma.array(waited, mask=unknown)
    return hidden


def _order_edges(material: Material) -> dict[str, Any]:
    evidence = material.gathered.evidence
    edges: dict[tuple[str, str, int, int, int], list[int]] = {}
    for i in range(len(evidence.chains)):
        chain = evidence.chains[i]
        outer = chain.held[-1] if chain.held else None
        if outer is None or outer.context != chain.next.context:
            continue
        key = (
            evidence.label(outer.cls),
            evidence.label(chain.next.cls),
            outer.read,
            chain.next.read,
            chain.next.trylock,
        )
        known = edges.setdefault(key, [0, chain.next.ts_ns, chain.cpu, chain.pid])
        known[0] += chain.count
        if chain.next.ts_ns < known[1]:
            known[1:] = [chain.next.ts_ns, chain.cpu, chain.pid]
    keys, values = list(edges), list(edges.values())

    def text(i: int) -> pa.Array:
        return pa.array([k[i] for k in keys], pa.string()).dictionary_encode()

    def number(column: list[int], kind: Any) -> Any:
        return np.array(column, kind)

    return {
        "outer": text(0),
        "inner": text(1),
        "outer_read": number([int(k[2]) for k in keys], np.uint8),
        "inner_read": number([int(k[3]) for k in keys], np.uint8),
        "trylock": number([int(k[4]) for k in keys], bool),
        "count": number([v[0] for v in values], np.int64),
        "first_ns": number([v[1] for v in values], np.int64),
        "cpu": number([v[2] for v in values], np.int32),
        "pid": number([v[3] for v in values], np.int32),
    }


def _spte_changes(material: Material) -> dict[str, Any]:
    rows = _rows(material)
    vm_of = material.gathered.evidence.vm_of
    held = [p.held for p in rows.parts if p.held is not None]
    roles = np.concatenate(held) if held else np.zeros((len(rows.column("op")), 18), np.int64)
    locks, places = np.unique(roles[:, 1], return_inverse=True)
    vms = np.array(
        [-1 if not lock or vm_of(int(lock)) is None else vm_of(int(lock)) for lock in locks] or [-1], np.int32
    )
    level, old = rows.slot("level"), rows.slot("old")
    new = rows.slot({Op.SPTE_TDP: "new", Op.SPTE_SET: "spte", Op.FAST_PF: "new", Op.SPTE_UPDATE: "new"})
    layout = material.gathered.evidence.facts["spte_layout"].layout
    op, gfn = rows.column("op"), rows.slot("gfn")
    if (op == Op.SPTE_TDP).any():  # two-dimensional paging: what faulted is a guest physical address
        gfn = np.where(op == Op.FAST_PF, rows.slot("addr") >> 12, gfn)
    change = spte_changes.changes(old.view(np.uint64), new.view(np.uint64), np.maximum(level, 1), layout)
    return {
        **_common(rows),
        "event": _op_names(rows),
        "change": _text(change, pa.array(spte_changes.WORDS)),
        "vm": vms[places] if len(places) else np.zeros(0, np.int32),
        "as_id": rows.slot("as_id", -1).astype(np.int32),
        "level": level.astype(np.int32),
        "gfn": gfn,
        "sptep": rows.slot("sptep"),
        "old_spte": np.ma.array(old, mask=np.isin(op, _NO_OLD)),
        "new_spte": new,
        "mmu_lock": _text(roles[:, 16], pa.array(["none", "read", "write"])),
    }


def _tlb_flushes(material: Material) -> dict[str, Any]:
    rows = _rows(material)
    return {
        **_common(rows),
        "event": _op_names(rows),
        "kvm": rows.slot("kvm"),
        "req": rows.slot("req").astype(np.uint32),
        "gfn": rows.slot("gfn"),
        "nr_pages": rows.slot("nr_pages"),
    }


def _required_flushes(material: Material) -> dict[str, Any]:
    rows = material.gathered.evidence.facts["flush_debts"].log.rows()
    columns = {name: rows[:, getattr(flush_log, name.upper())].copy() for name in ("code", "flow", "state")}
    return {
        "ts_ns": rows[:, flush_log.TS],
        "seq": rows[:, flush_log.SEQ],
        "cpu": rows[:, flush_log.CPU].astype(np.int32),
        "pid": rows[:, flush_log.PID].astype(np.int32),
        "vm": rows[:, flush_log.VM].astype(np.int32),
        "code": pa.array([f"LS{code}" for code in columns["code"].tolist()], pa.string()).dictionary_encode(),
        "flow": _text(columns["flow"], pa.array(flush_debts.FLOWS)),
        "outcome": _text(columns["state"], pa.array([OUTCOMES.get(s, s) for s in flush_debts.STATES])),
        "sptes": rows[:, flush_log.NUMBER],
        "flushed_ns": rows[:, flush_log.PAID_TS],
    }


def _srcu_events(material: Material) -> dict[str, Any]:
    rows = _rows(material)
    return {
        **_common(rows),
        "op": _op_names(rows),
        "ssp": rows.slot("ssp"),
        "idx": rows.slot("idx", -1).astype(np.int32),
    }


def _task_switches(material: Material) -> dict[str, Any]:
    rows = _rows(material)
    return {
        **_common(rows),
        "prev_pid": rows.slot("prev_pid").astype(np.int32),
        "prev_comm": _text(rows.slot("prev_comm"), material.words),
        "prev_state": rows.slot("prev_state"),
        "next_pid": rows.slot("next_pid").astype(np.int32),
        "next_comm": _text(rows.slot("next_comm"), material.words),
    }


def _losses(material: Material) -> dict[str, Any]:
    rows, info = _rows(material), material.gathered.evidence.info
    streams, notes = rows.column("stream").tolist(), info.losses
    remedy = larger_buffer(info)
    ts = np.concatenate((rows.column("ts_ns"), np.zeros(len(notes), np.int64)))
    cpu = [info.streams[s].cpu for s in streams] + [-1 if n.cpu is None else n.cpu for n in notes]
    count = [*rows.slot("count").tolist(), *(-1 if n.count is None else n.count for n in notes)]

    def text(words: list[str]) -> pa.Array:
        return pa.array(words, pa.string()).dictionary_encode()

    return {
        "ts_ns": ts,
        "cpu": np.array(cpu, np.int32),
        "count": np.array(count, np.int64),
        "buffer": text([info.streams[s].buffer for s in streams] + [n.buffer for n in notes]),
        "kind": text(["gap"] * len(streams) + [n.kind for n in notes]),
        "remedy": text([remedy] * len(streams) + [n.remedy for n in notes]),
    }


def _lock_classes(material: Material) -> dict[str, Any]:
    classes, numbers = material.gathered.evidence.classes, material.gathered.walk.statistics()

    def text(words: list[str]) -> pa.Array:
        return pa.array(words, pa.string()).dictionary_encode()

    def small(values: list[int]) -> NDArray[np.uint8]:
        return np.array(values, np.int64).astype(np.uint8)

    return {
        "name": text([c.name for c in classes]),
        "kind": text([c.kind for c in classes]),
        "key": np.array([c.key for c in classes], np.int64),
        "subclass": _subclasses([c.subclass for c in classes]),
        "wait_inner": small([c.wait_inner for c in classes]),
        "wait_outer": small([c.wait_outer for c in classes]),
        **numbers,
    }


_BUILDERS: dict[str, Callable[[Material], dict[str, Any]]] = {
    "lock_events": _lock_events,
    "holds": _holds,
    "order_edges": _order_edges,
    "spte_changes": _spte_changes,
    "tlb_flushes": _tlb_flushes,
    "required_flushes": _required_flushes,
    "srcu_events": _srcu_events,
    "task_switches": _task_switches,
    "losses": _losses,
    "lock_classes": _lock_classes,
}
