"""What a value is stored as, and the binary record that a line of text becomes.

A record begins with the common fields (type u16 at 0, flags u8 at 2, preempt count u8 at 3, pid s32 at 4), then come
the event's own fields, packed; text is ``__data_loc`` (include/trace/stages/stage4_event_fields.h, v6.12),
NUL-terminated at the record's end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lockscope.formats.text import names
from lockscope.tables.events import Field

Value = int | bytes
HEAD_BYTES = 8
_LIMIT = 0xFFFF  # a data_loc's offset and length have 16 bits each


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of one kind are spelled (``pattern``), read, and stored (``code`` of ``struct``; "I" for data_loc)."""

    pattern: str
    read: Callable[[bytes], Value]
    code: str
    ctype: str
    size: int
    signed: bool = False
    how: str = "int"  # Field.kind
    item: int = 0


def _integer(bits: int, spelling: str) -> Kind:
    mask = (1 << bits) - 1
    code = {8: "B", 16: "H", 32: "I", 64: "Q"}[bits]
    size = bits // 8
    if spelling in "us":
        return Kind(r"-?\d{1,20}", lambda text: int(text) & mask, code, f"{spelling}{bits}", size, spelling == "s")
    return Kind(r"(?:0x)?[0-9a-f]{1,16}", lambda text: int(text, 16) & mask, code, f"u{bits}", size)


def _pointer(text: bytes) -> int:
    return 0 if text.startswith(b"(") else int(text, 16)  # "(null)", "(____ptrval____)"


def _named(bits: int, signed: bool, pattern: str, read: Callable[[bytes], int]) -> Kind:
    mask = (1 << bits) - 1
    plain = _integer(bits, "s" if signed else "u")
    return Kind(pattern, lambda text: read(text) & mask, plain.code, plain.ctype, plain.size, signed)


def _choice(first: str, second: str, bits: int = 8) -> Kind:
    """0 for the first word, 1 for the second."""
    return _named(bits, False, f"{second}|{first}", lambda text: int(text == second.encode()))


def _text(pattern: str) -> Kind:
    return Kind(pattern, bytes, "I", "__data_loc char[]", 4, False, "data_loc", 1)


def _tsc_mode(text: bytes) -> int:
    return int(text, 16) if text.startswith(b"0x") else int(text == b"tsc")  # enum vdso_clock_mode


_FLAG = r"(?:[A-Z]+|0x[0-9a-f]{1,16})"
_FLAGS = rf"(?:{_FLAG}(?:\|{_FLAG})*)?"
KINDS: dict[str, Kind] = {
    **{f"{spelling}{bits}": _integer(bits, spelling) for spelling in "usx" for bits in (8, 16, 32, 64)},
    "ptr": Kind(r"(?:0x)?[0-9a-f]{1,16}|\([^)\s]*\)", _pointer, "Q", "void *", 8),
    "str": _text(r".{0,128}?"),  # up to what the pattern says next; bounded, or hostile text takes quadratic time
    "word": _text(r"\S+"),
    "rest": _text(r".*"),
    "bytes": Kind(r"ARRAY\[[^\]]*\]", bytes, "I", "__data_loc u8[]", 4, False, "data_loc", 1),
    "longs": Kind("", bytes, "I", "__data_loc u64[]", 4, False, "data_loc", 8),
    "args": Kind("", bytes, "48s", "u64[6]", 48, False, "array", 8),
    "given": _named(8, False, r"[^\])]*", lambda _: 1),  # 1 where the optional words are there
    "lock_flags": _named(32, False, r"(?:try )?(?:read )?", lambda t: int(b"try" in t) | int(b"read" in t) << 1),
    "contention": _named(32, False, _FLAGS, names.flags_of(names.CONTENTION)),
    "page_fault": _named(64, False, _FLAGS, names.flags_of(names.PAGE_FAULT)),
    "task_state": _named(64, True, r"[A-Za-z](?:\|[A-Za-z])*\+?", names.task_state),
    "handled": _choice("unhandled", "handled", 32),
    "rw": _choice("read", "write", 32),
    "found": _choice("not found", "found"),
    "load": _choice("unload", "load", 32),
    "waited": _choice("poll", "wait"),
    "valid": _choice("invalid", "valid"),
    "grow": _choice("shrink", "grow"),
    "set": _choice("cleared", "set"),
    "young": _choice("OLD", "YOUNG"),
    "unsync": _choice("sync", "unsync"),
    "created": _choice("existing", "new"),
    "boolean": _choice("false", "true"),
    "mmio": _named(32, False, r"unsatisfied-read|read|write", (b"unsatisfied-read", b"read", b"write").index),
    "tsc_mode": _named(32, False, r"none|tsc|0x[0-9a-f]{1,8}", _tsc_mode),
    "letter": _named(8, True, r"\w|-", lambda text: int(text != b"-")),
    "maybe_letter": _named(8, True, r"[u-]?", lambda text: int(text == b"u") if text else -1),
    "page_role": _named(32, False, names.ROLE, names.page_role),
    "exit_reason": _named(32, False, r"[\w\- ]+?(?: \(\d+\))?", names.exit_reason),
    "exit_isa": _named(32, False, r"[\w\- ]+?(?: \(\d+\))?", names.exit_isa),
    # kvm_userspace_exit prints "restart (4)" or "error (n)" in place of the reason (include/trace/events/kvm.h, v6.12)
    "user_reason": _named(32, False, r"(?:restart|error) \(\d{1,10}\)", lambda _: 0),
    "user_errno": _named(32, True, r"(?:restart|error) \(\d{1,10}\)", lambda t: -int(t[t.index(b"(") + 1 : -1])),
}  # fmt: skip


def add_ret_kinds(kinds: dict[str, Kind], invalid: int, fixed: int, spurious: int) -> None:
    """Kind ``pf_ret``: fast_page_fault's "spurious 0 fixed 1" as the RET_PF_* numbers of a kernel."""

    def read(text: bytes) -> int:
        return fixed if text.endswith(b"1") else spurious if text.startswith(b"spurious 1") else invalid

    kinds["pf_ret"] = _named(32, True, r"spurious \d fixed \d", read)


add_ret_kinds(KINDS, 4, 5, 6)  # v6.12


class Shape:
    """An event with a certain set of fields, each of a certain kind; packs values into records."""

    __slots__ = ("_loose", "_size", "_struct", "_text", "fields", "name", "system")

    def __init__(self, system: str, name: str, columns: Sequence[tuple[str, Kind]]) -> None:
        self.system, self.name = system, name
        codes, fields, at = f"<{HEAD_BYTES}x", [], HEAD_BYTES
        for field, kind in columns:
            count = kind.size // kind.item if kind.how == "array" else 0 if kind.how == "data_loc" else 1
            text = kind.how == "data_loc" and kind.ctype.endswith("char[]")
            item = kind.item or kind.size
            fields.append(Field(field, kind.ctype, at, kind.size, kind.signed, kind.how, item, count, text))
            codes += kind.code
            at += kind.size
        self.fields = tuple(fields)
        self._struct, self._size = struct.Struct(codes), at
        self._loose = [i for i, field in enumerate(self.fields) if field.kind == "data_loc"]
        self._text = [self.fields[i].text for i in self._loose]

    def pack(self, values: Sequence[Value]) -> bytes:
        """The record: common fields zero, ``values`` as each field's kind reads them. Text is cut to fit 64 KiB."""
        if not self._loose:
            return self._struct.pack(*values)
        out, tail, at = list(values), [], self._size
        for i, is_text in zip(self._loose, self._text, strict=True):
            value = out[i]
            blob = value + b"\0" if is_text and isinstance(value, bytes) else value
            assert isinstance(blob, bytes)
            if at + len(blob) > _LIMIT:
                blob = blob[: _LIMIT - at - 1] + b"\0"
            out[i] = len(blob) << 16 | at
            at += len(blob)
            tail.append(blob)
        return self._struct.pack(*out) + b"".join(tail)
