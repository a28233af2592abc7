"""What a field of an event, or a column of a table, is about: by its type, and by what is read from it.

For whoever must not let everything out. What is not known to be harmless is ``UNKNOWN``.
"""

from __future__ import annotations

import re
from enum import StrEnum

from lockscope.tables.events import EventFormat, Field
from lockscope.tables.ops import SLOTS
from lockscope.tables.schema import Column
from lockscope.tables.tape import source_of


class Meaning(StrEnum):
    """What a value tells. ``Column.about`` uses the same words."""

    PID = "pid"
    COMM = "comm"
    ADDRESS = "address"
    SPTE = "spte"
    CLASS = "class"  # of locks
    SYMBOL = "symbol"
    INSTANCE = "instance"  # of tracing: a name that people gave
    PLAIN = "plain"  # numbers and words of the kernel's
    UNKNOWN = "unknown"


_OF_SLOT = {
    **dict.fromkeys(("lock", "ip", "key", "nest", "caller", "ret_ip", "ptr", "ssp", "sptep", "kvm", "vcpu", "addr",
                     "start", "end"), Meaning.ADDRESS),
    **dict.fromkeys(("parent", "child", "prev_pid", "next_pid", "pid"), Meaning.PID),
    **dict.fromkeys(("prev_comm", "next_comm", "comm", "child_comm"), Meaning.COMM),
    **dict.fromkeys(("old", "new", "spte"), Meaning.SPTE),
    **dict.fromkeys(("text", "arg0", "arg1", "ret", "previous", "next", "what"), Meaning.UNKNOWN),
    "name": Meaning.CLASS,
    "function": Meaning.SYMBOL,
}  # fmt: skip
_TASK = re.compile(r"(?:^|_)(?:\w?pid|tgid|tid|task|thread|process|uid|gid)s?(?:_|$)")
# Words of which a name consists that is about a number of the kernel's own: no person, host, place or content.
_HARMLESS = frozenset({
    "action", "check", "count", "cpu", "cpus", "delay", "dest", "dirty", "errno", "error", "exit", "expedited",
    "fail", "failed", "flag", "flags", "gen", "gfn", "granularity", "idx", "inactive", "inner", "irq", "isa", "lat",
    "latency", "len", "length", "level", "mmu", "mode", "nice", "node", "npages", "nr", "ns", "num", "order", "outer",
    "pages", "policy", "prev", "prio", "priority", "read", "reason", "req", "runtime", "size", "slot", "state",
    "subclass", "success", "switch", "time", "timeout", "trylock", "type", "unsync", "vcpu", "vec", "vector", "wait",
    "write",
    "vcpu_id", "as_id",
})  # fmt: skip


def of_column(column: Column) -> Meaning:
    """What a column of a declared table is about."""
    if column.about:
        return Meaning(column.about)
    if column.unit == "address":
        return Meaning.ADDRESS
    return Meaning.UNKNOWN if column.type == "text" else Meaning.PLAIN


def of_field(fmt: EventFormat, field: Field) -> Meaning:
    """What a field is about: by the slot it fills where we read it, else by its type."""
    slot = _slot(fmt, field)
    if slot is not None:
        known = _OF_SLOT.get(slot, Meaning.PLAIN)
        if known is not Meaning.PLAIN or field.kind == "int":
            return _fitting(known, field)
    if field.text:
        return Meaning.COMM if "comm" in field.name or field.ctype.replace(" ", "") == "char[16]" else Meaning.UNKNOWN
    return _of_type(field) if field.kind == "int" else Meaning.UNKNOWN


def _slot(fmt: EventFormat, field: Field) -> str | None:
    source = source_of(fmt)
    if source is None:
        return None
    for slot in SLOTS[source.op]:
        wanted = source.slots.get(slot, slot)
        spellings = (wanted,) if isinstance(wanted, str) else wanted if isinstance(wanted, tuple) else ()
        if field.name in spellings:
            return slot
    return None


def _fitting(meaning: Meaning, field: Field) -> Meaning:
    """A meaning, if the field's type can have it: a trace may call anything ``lock_acquire``."""
    text = meaning in (Meaning.COMM, Meaning.CLASS, Meaning.SYMBOL)
    if text != field.text or (not text and field.kind != "int"):
        return Meaning.UNKNOWN
    return meaning


def _of_type(field: Field) -> Meaning:
    kind = field.ctype
    if "pid_t" in kind or _TASK.search(field.name):
        return Meaning.PID
    if "*" in kind:
        return Meaning.ADDRESS
    if kind in ("bool", "_Bool") or kind.startswith("enum ") or field.size == 1:
        return Meaning.PLAIN
    words = set(re.findall(r"[a-z]+", field.name))
    harmless = field.name in _HARMLESS or field.name.endswith(("_cpu", "_ns")) or (words and words <= _HARMLESS)
    return Meaning.PLAIN if harmless else Meaning.UNKNOWN
