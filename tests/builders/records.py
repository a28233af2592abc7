"""Events by name and values as records, as a kernel would lay them out: a reader in memory, and a trace.dat."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lockscope.formats.trace_dat import layout, writer
from lockscope.tables.events import LOSS, EventBatch, EventFormat, Field, RecordLayout, Stream, TraceInfo, Wanted
from lockscope.units import ByteOrder, byte_order

_TYPES = {
    "u8": ("unsigned char", 1, False),
    "s8": ("signed char", 1, True),
    "u16": ("unsigned short", 2, False),
    "s16": ("short", 2, True),
    "u32": ("u32", 4, False),
    "s32": ("int", 4, True),
    "u64": ("u64", 8, False),
    "s64": ("s64", 8, True),
    "ptr": ("void *", 8, False),
    "long": ("long", 8, True),
    "bool": ("bool", 1, False),
}
_COMMON = (("unsigned short", "common_type", 0, 2), ("unsigned char", "common_flags", 2, 1),
           ("unsigned char", "common_preempt_count", 3, 1), ("int", "common_pid", 4, 4))  # fmt: skip
_FN_ENTRY = "__probe_ip:u64 lock:u64 caller:u64"
_FN_RETURN = "__probe_func:u64 __probe_ret_ip:u64"

# Fields as NAME:TYPE; besides the integers: text (__data_loc), rel (__rel_loc text), comm (char[16]), words (__data_loc
# unsigned long[]), mask (__data_loc cpumask), six (unsigned long[6]), tail (char buf[] to the record's end).
EVENTS = {
    "lock:lock_acquire": "flags:u32 name:text lockdep_addr:ptr",
    "lock:lock_acquired": "name:text lockdep_addr:ptr",
    "lock:lock_contended": "name:text lockdep_addr:ptr",
    "lock:lock_release": "name:text lockdep_addr:ptr",
    "lock:contention_begin": "lock_addr:ptr flags:u32",
    "lock:contention_end": "lock_addr:ptr ret:s32",
    "lock:contended_release": "lock_addr:ptr",
    "lockscope:lockdep_acquire": "__probe_ip:u64 lock:u64 subclass:u32 trylock:s32 read:s32 check:s32 nest:u64 ip:u64 "
    "key:u64 wait_outer:u8 wait_inner:u8 lock_type:u8 name:text",
    "lockscope:lockdep_init": "__probe_ip:u64 lock:u64 key:u64 subclass:s32 wait_inner:u8 wait_outer:u8 name:text",
    "lockscope:mutex_lock_entry": _FN_ENTRY,
    "lockscope:mutex_lock": _FN_RETURN,
    "lockscope:mutex_lock_killable_entry": _FN_ENTRY,
    "lockscope:mutex_lock_killable": f"{_FN_RETURN} ret:s32",
    "lockscope:mutex_trylock_entry": _FN_ENTRY,
    "lockscope:mutex_trylock": f"{_FN_RETURN} ret:s32",
    "lockscope:mutex_unlock": "__probe_ip:u64 lock:u64",
    "lockscope:raw_spin_lock_entry": _FN_ENTRY,
    "lockscope:raw_spin_lock": _FN_RETURN,
    "lockscope:raw_spin_unlock": "__probe_ip:u64 lock:u64",
    "lockscope:rt_spin_lock_entry": _FN_ENTRY,
    "lockscope:rt_spin_lock": _FN_RETURN,
    "lockscope:rt_spin_unlock": "__probe_ip:u64 lock:u64",
    "lockscope:rt_write_lock_entry": _FN_ENTRY,
    "lockscope:rt_write_lock": _FN_RETURN,
    "lockscope:rt_write_unlock": "__probe_ip:u64 lock:u64",
    "lockscope:raw_read_lock_entry": _FN_ENTRY,
    "lockscope:raw_read_lock": _FN_RETURN,
    "lockscope:raw_read_unlock": "__probe_ip:u64 lock:u64",
    "lockscope:kvm_make_all_cpus_request": "__probe_ip:u64 kvm:u64 req:u32",
    "lockscope:srcu_read_lock": "__probe_func:u64 __probe_ret_ip:u64 ssp:u64 idx:s32",
    "lockscope:srcu_read_unlock": "__probe_ip:u64 ssp:u64 idx:s32",
    "lockscope:synchronize_srcu": "__probe_ip:u64 ssp:u64",
    "kvmmmu:kvm_tdp_mmu_spte_changed": "gfn:u64 old_spte:u64 new_spte:u64 level:s32 as_id:s32",
    "kvmmmu:fast_page_fault": "vcpu_id:s32 cr2_or_gpa:u64 error_code:u64 sptep:ptr old_spte:u64 new_spte:u64 ret:s32",
    "sched:sched_switch": "prev_comm:comm prev_pid:s32 prev_prio:s32 prev_state:long next_comm:comm next_pid:s32 "
    "next_prio:s32",
    "sched:sched_process_exit": "comm:comm pid:s32 prio:s32",
    "sched:sched_process_fork": "parent_comm:comm parent_pid:s32 child_comm:comm child_pid:s32",
    "task:task_rename": "pid:s32 oldcomm:comm newcomm:comm oom_score_adj:s16",
    "raw_syscalls:sys_enter": "id:long args:six",
    "raw_syscalls:sys_exit": "id:long ret:long",
    "preemptirq:irq_enable": "caller_offs:s32 parent_offs:s32",
    "kmem:kfree": "call_site:u64 ptr:ptr",
    "ftrace:print": "ip:u64 buf:tail",
    "ftrace:bputs": "ip:u64 str:ptr",
    "ftrace:bprint": "ip:u64 fmt:ptr buf:tail",
    "test:every": "a:u8 b:s8 c:u16 d:s16 e:u32 f:s32 g:u64 h:s64 name:comm label:text other:rel list:words cpus:mask "
    "args:six",
}
PLAIN = {name: fields for name, fields in EVENTS.items() if not name.startswith("lockscope:lockdep")}  # no probe pack


PLAIN_INIT = PLAIN | {"lockscope:lockdep_init": EVENTS["lockscope:lockdep_init"]}


@dataclass(frozen=True)
class Row:
    """An event, or with an empty ``name`` a loss (``count`` in ``values``)."""

    name: str
    ts_ns: int
    cpu: int
    pid: int = 0
    flags: int = 0
    preempt: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    buffer: str = ""


def _field(spec: str, offset: int) -> Field:
    name, kind = spec.split(":")
    if kind in _TYPES:
        ctype, size, signed = _TYPES[kind]
        return Field(name, ctype, offset, size, signed, "int", size)
    if kind == "comm":
        return Field(name, "char[16]", offset, 16, True, "string", 1, 16, True)
    if kind == "six":
        return Field(name, "unsigned long[6]", offset, 48, False, "array", 8, 6)
    if kind == "tail":
        return Field(name, "char[]", offset, 0, True, "tail", 1, 0, True)
    ctype = {"text": "char", "rel": "char", "words": "unsigned long", "mask": "cpumask_t"}[kind]
    place, item = ("rel_loc" if kind == "rel" else "data_loc"), (1 if ctype == "char" else 8)
    return Field(name, f"__{place} {ctype}[]", offset, 4, False, place, item, 0, ctype == "char")


def _fields(specs: str) -> tuple[Field, ...]:
    fields, offset = [], 8
    for spec in specs.split():
        probe = _field(spec, 0)
        align = 1 if probe.kind in ("string", "tail") else (4 if probe.kind.endswith("loc") else probe.item)
        offset = -(-offset // align) * align
        fields.append(_field(spec, offset))
        offset += probe.size
    return tuple(fields)


def formats(events: dict[str, str]) -> list[EventFormat]:
    """A catalogue of these events."""
    found = [EventFormat(0, -1, "", "loss", ()), EventFormat(1, -1, "", "unknown", ())]
    for name, specs in events.items():
        system, _, event = name.partition(":")
        found.append(EventFormat(len(found), len(found) + 300, system, event, _fields(specs)))
    return found


def _payload(f: Field, value: Any, order: ByteOrder) -> bytes:
    if f.text:
        return str(value).encode() + b"\0"
    items = value if isinstance(value, (list, tuple)) else [value]
    return b"".join((int(v) & (1 << 8 * f.item) - 1).to_bytes(f.item, order) for v in items)


def pack(fmt: EventFormat, row: Row, *, big: bool = False) -> bytes:
    """The record of an event. Fields not given are zero, or empty."""
    order = byte_order(big)
    end = max([8, *(f.offset + f.size for f in fmt.fields)])
    record = bytearray(end)
    record[:8] = struct.pack(">HBBi" if big else "<HBBi", fmt.raw_id, row.flags, row.preempt, row.pid)
    for f in fmt.fields:
        value = row.values.get(f.name, "" if f.text else [] if f.kind.endswith("loc") else 0)
        if f.kind == "tail":
            record += value if isinstance(value, bytes) else str(value).encode() + b"\0"
        elif f.kind.endswith("loc"):
            body = _payload(f, value, order)
            record += bytes(-len(record) % f.item)
            where = len(record) - (f.offset + 4 if f.kind == "rel_loc" else 0)
            record[f.offset : f.offset + 4] = (len(body) << 16 | where).to_bytes(4, order)
            record += body
        else:
            body = _payload(f, value, order)[: f.size]
            record[f.offset : f.offset + len(body)] = body
    return bytes(record)


class MemoryReader:
    """A trace that is nowhere but in memory; see ``lockscope.tables.events.Reader``."""

    name: ClassVar[str] = "memory"

    @classmethod
    def sniff(cls, head: bytes) -> bool:
        return False

    def __init__(self, rows: list[Row], info: TraceInfo, catalogue: list[EventFormat], *, big: bool = False) -> None:
        self.rows = sorted(rows, key=lambda r: r.ts_ns)
        self.info, self.formats, self.big = info, catalogue, big
        self._index = {f.full_name: f for f in catalogue}
        places = sorted({(r.buffer, r.cpu) for r in rows})
        info.streams = [Stream(cpu, buffer, info.clock) for buffer, cpu in places] or [Stream(0, "", info.clock)]
        info.cpus = max(s.cpu for s in info.streams) + 1
        self._stream = {place: i for i, place in enumerate(places)}

    def batches(self, wanted: Wanted | None = None, *, rows: int = 1 << 20) -> Iterator[EventBatch]:
        chosen = [r for r in self.rows if not r.name or wanted is None or wanted(self._index[r.name])]
        for begin in range(0, len(chosen), rows):
            batch = self._batch(chosen[begin : begin + rows], begin)
            later = list(reversed(chosen[begin + rows :]))
            after = {self._stream[r.buffer, r.cpu]: r for r in later}  # the next of each stream
            batch.cut_streams = tuple(sorted(s for s, r in after.items() if not r.name))
            yield batch

    def _batch(self, rows: list[Row], first: int) -> EventBatch:
        data, at, size, kind = bytearray(), [], [], []
        for r in rows:
            if not r.name:
                at.append(r.values["count"])
                size.append(0)
                kind.append(LOSS)
                continue
            fmt = self._index[r.name]
            record = pack(fmt, r, big=self.big)
            at.append(len(data))
            size.append(len(record))
            kind.append(fmt.index)
            data += record + bytes(-len(record) % 4)
        return EventBatch(
            np.frombuffer(bytearray(data) or bytearray(8), np.uint8),
            np.array([r.ts_ns for r in rows], np.int64),
            np.array(at, np.int64),
            np.array(size, np.int32),
            np.array(kind, np.int32),
            np.array([self._stream[r.buffer, r.cpu] for r in rows], np.int32),
            first,
            RecordLayout(self.big),
        )


def format_text(fmt: EventFormat) -> str:
    """The ``format`` file of an event."""
    lines = [f"name: {fmt.name}", f"ID: {fmt.raw_id}", "format:"]
    for ctype, name, offset, size in _COMMON:
        lines.append(f"\tfield:{ctype} {name};\toffset:{offset};\tsize:{size};\tsigned:{int(ctype == 'int')};")
    for f in fmt.fields:
        ctype, brackets, count = f.ctype.partition("[")
        decl = f"{f.ctype} {f.name}" if f.kind.endswith("loc") else f"{ctype} {f.name}{brackets}{count}"
        lines.append(f"\tfield:{decl};\toffset:{f.offset};\tsize:{f.size};\tsigned:{int(f.signed)};")
    return "\n".join([*lines, "", 'print fmt: ""', ""])


def _page(ts: int, events: list[bytes], lost: bool) -> bytes:
    body = b"".join(events)
    return struct.pack("<QQ", ts, len(body) | (1 << 31 if lost else 0)) + body.ljust(4080, b"\0")


def _pages(reader: MemoryReader, cpu: int, buffer: str) -> bytes:
    """A ring buffer's pages: a new one for a loss, and wherever one is full or a delta does not fit."""
    out, begin, last, events, lost = b"", 0, 0, list[bytes](), False
    index = {f.full_name: f for f in reader.formats}
    for r in reader.rows:
        if r.cpu != cpu or r.buffer != buffer:
            continue
        if not r.name:
            out += _page(begin, events, lost) if events else b""
            events, lost = [], True
            continue
        record = pack(index[r.name], r)
        record += bytes(-len(record) % 4)
        if events and (sum(map(len, events)) + len(record) + 8 > 4080 or r.ts_ns - last >= 1 << 27):
            out += _page(begin, events, lost)
            events, lost = [], False
        if not events:
            begin = last = r.ts_ns
        events.append(struct.pack("<II", (r.ts_ns - last) << 5, len(record) + 4) + record)
        last = r.ts_ns
    return out + (_page(begin, events, lost) if events else b"")


def save(reader: MemoryReader, path: Path, *, kallsyms: str = "", printk: str = "") -> None:
    """Write it as a trace.dat, version 7. Counts of losses are not kept: a ring buffer's page says only that."""
    content = writer.Content({})

    def texts(chosen: list[EventFormat]) -> bytes:
        found = [format_text(f).encode() for f in chosen]
        return content.number(len(found), 4) + b"".join(content.number(len(t), 8) + t for t in found)

    systems: dict[str, list[EventFormat]] = {}
    for f in reader.formats[2:]:
        systems.setdefault(f.system, []).append(f)
    own = systems.pop("ftrace", [])
    page = b"\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
    comms = "".join(f"{pid} {comm}\n" for pid, comm in reader.info.comms.items()).encode()
    content.sections = {
        layout.HEADER_INFO: writer.header_info(content, page, b""),
        layout.FTRACE_EVENTS: texts(own),
        layout.EVENT_FORMATS: content.number(len(systems), 4)
        + b"".join(name.encode() + b"\0" + texts(found) for name, found in systems.items()),
        layout.KALLSYMS: content.number(len(kallsyms), 4) + kallsyms.encode(),
        layout.PRINTK: content.number(len(printk), 4) + printk.encode(),
        layout.CMDLINES: content.number(len(comms), 8) + comms,
    }
    uname = f"Linux {reader.info.host or 'host'} {reader.info.kernel} x86_64".encode() + b"\0"
    content.options = [(layout.UNAME, uname), (layout.CPUCOUNT, content.number(reader.info.cpus, 4))]
    by_buffer: dict[str, list[writer.CpuPages]] = {}
    for s in reader.info.streams:
        by_buffer.setdefault(s.buffer, []).append(writer.CpuPages(s.cpu, [_pages(reader, s.cpu, s.buffer)]))
    content.buffers = [writer.BufferPages(b, cpus, reader.info.clock or "global") for b, cpus in by_buffer.items()]
    with path.open("wb") as file:
        writer.write_v7(file, content)
