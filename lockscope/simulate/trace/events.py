"""The events that a simulated kernel has: by version, as the kernel lays them out, ready to be packed.

Names, fields and the texts of ``print fmt``: the ``format`` files of 6.12 (read in recordings of 6.12.117), and
include/trace/events/kvm.h, lock.h, arch/x86/kvm/trace.h and mmutrace.h of 4.14. Where a kernel's ``print fmt`` is C
that only a plug-in can print (shadow pages' roles, exit reasons), a plain one stands for it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from lockscope.simulate.trace.catalogue import EVENTS, Declared

FIRST_ID = 300
_INTEGERS = {
    "u8": ("B", 1, "u8", 0),
    "s8": ("b", 1, "signed char", 1),
    "bool": ("?", 1, "bool", 0),
    "u32": ("I", 4, "u32", 0),
    "uint": ("I", 4, "unsigned int", 0),
    "s32": ("i", 4, "int", 1),
    "u64": ("Q", 8, "u64", 0),
    "ulong": ("Q", 8, "unsigned long", 0),
    "long": ("q", 8, "long", 1),
    "ptr": ("Q", 8, "void *", 0),
}
_COMMON = (
    ("unsigned short common_type", 0, 2, 0),
    ("unsigned char common_flags", 2, 1, 0),
    ("unsigned char common_preempt_count", 3, 1, 0),
    ("int common_pid", 4, 4, 1),
)


class Line(NamedTuple):
    """A field as the ``format`` file declares it."""

    declaration: str
    offset: int
    size: int
    signed: int


@dataclass(frozen=True, slots=True)
class Event:
    """One event type. ``packer``: of the fixed part, the common fields first. ``text``: which field is text, or -1."""

    system: str
    name: str
    number: int
    lines: tuple[Line, ...]
    print_fmt: str
    packer: struct.Struct
    text: int

    def record(self, flags: int, preempt: int, pid: int, *values: object) -> bytes:
        """The record of an event, to a multiple of four bytes; ``values`` in the order of the fields."""
        if self.text < 0:
            body = self.packer.pack(self.number, flags, preempt, pid, *values)
        else:
            words = str(values[self.text]).encode() + b"\0"
            where = len(words) << 16 | self.packer.size
            rest = values[self.text + 1 :]
            body = self.packer.pack(self.number, flags, preempt, pid, *values[: self.text], where, *rest) + words
        return body + bytes(-len(body) & 3)

    def format_text(self) -> str:
        """The ``format`` file."""
        rows = [
            f"\tfield:{d};\toffset:{at};\tsize:{size};\tsigned:{signed};"
            for d, at, size, signed in (*_COMMON, *self.lines)
        ]
        head = [f"name: {self.name}", f"ID: {self.number}", "format:"]
        return "\n".join([*head, *rows[:4], "", *rows[4:], "", f"print fmt: {self.print_fmt}", ""])


def _laid_out(declared: Declared, number: int) -> Event:
    """Offsets as the kernel has them: aligned in a tracepoint, packed in a dynamic event (trace_probe.c)."""
    system, _, name = declared.name.partition(":")
    packed = system == "lockscope"
    code, at, lines = "<HBBi", 8, []
    text = -1
    for i, field in enumerate(declared.fields.split()):
        label, kind = field.split(":")
        if kind in _INTEGERS:
            letter, size, ctype, signed = _INTEGERS[kind]
            repeat, align, decl = 1, size, f"{ctype} {label}"
        elif kind == "text":
            letter, size, align, signed, repeat, decl = "I", 4, 4, 0, 1, f"__data_loc char[] {label}"
            signed, text = int(packed), i
        elif kind == "comm":
            letter, size, align, signed, repeat, decl = "16s", 16, 1, 0, 1, f"char {label}[16]"
        else:  # six
            letter, size, align, signed, repeat, decl = "48s", 48, 8, 0, 1, f"unsigned long {label}[6]"
        pad = 0 if packed else -at % align
        code += f"{pad}x" * bool(pad) + letter * repeat
        lines.append(Line(decl, at + pad, size, signed))
        at += pad + size
    return Event(system, name, number, tuple(lines), declared.print_fmt, struct.Struct(code), text)


def events_of(version: tuple[int, int]) -> dict[str, Event]:
    """The events of a kernel version by full name, numbered in a fixed order."""
    chosen: dict[str, Declared] = {}
    for declared in EVENTS:
        if declared.since <= version and (declared.until is None or version <= declared.until):
            chosen[declared.name] = declared
    return {name: _laid_out(declared, FIRST_ID + i) for i, (name, declared) in enumerate(chosen.items())}
