"""Where locks lie in a kernel's structures, by its BTF (/sys/kernel/btf): offsets, and what kind each is.

Format: Documentation/bpf/btf.rst and include/uapi/linux/btf.h, 6.12. A module's file is split: its type ids and string
offsets go on where vmlinux's end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lockscope.errors import FormatError

_MAGIC = 0xEB9F
_MOST = 1 << 28  # bytes; vmlinux has some 5 MiB
# Kinds, by the number of 32-bit words that follow a type's first three: fixed, and for each of its ``vlen``.
_INT, _ARRAY, _STRUCT, _UNION, _TYPEDEF = 1, 3, 4, 5, 8
_VOLATILE, _CONST, _TYPE_TAG = 9, 10, 18
_FIXED = {1: 1, 3: 3, 14: 1, 17: 1}
_EACH = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}
_KINDS = 20
_LOCKS = {"mutex": "mutex", "spinlock_t": "spinlock", "spinlock": "spinlock", "raw_spinlock_t": "raw_spinlock",
          "raw_spinlock": "raw_spinlock", "rwlock_t": "rwlock", "srcu_struct": "srcu",
          "rw_semaphore": "rwsem"}  # fmt: skip
_DEEPEST = 8


class Place(NamedTuple):
    """A lock in a structure: where, of which kind, and the structure that it is a member of."""

    path: str  # "arch.apic_map_lock"
    offset: int  # bytes
    kind: str  # as ``kvm.locks.kind_of``
    inside: str  # "kvm_arch"


@dataclass(frozen=True, slots=True)
class _Section:
    words: memoryview  # uint32
    starts: list[int]  # of each type, as an index into ``words``
    texts: bytes
    first_type: int
    first_text: int


class Btf:
    """Types of vmlinux, or of a module and vmlinux. Raises ``FormatError`` for a file that is no BTF."""

    def __init__(self, path: str | Path, base: str | Path | None = None) -> None:
        self._sections = [_read(base, 1, 0)] if base is not None else []
        below = self._sections[-1] if self._sections else None
        first = (below.first_type + len(below.starts), len(below.texts)) if below else (1, 0)
        self._sections.append(_read(path, *first))

    def size(self, name: str) -> int | None:
        """Bytes of a structure, None where there is none of this name."""
        found = self._find(name)
        return None if found is None else found[0].words[found[1] + 2]

    def locks(self, name: str) -> list[Place]:
        """Every lock embedded in a structure, by offset; empty where there is no such structure."""
        found = self._find(name)
        return sorted(self._in(*found, "", 0, name, 0), key=lambda p: p.offset) if found else []

    def _find(self, name: str) -> tuple[_Section, int] | None:
        for section in reversed(self._sections):
            for at in section.starts:
                if _kind(section.words[at + 1]) == _STRUCT and self._text(section.words[at]) == name:
                    return section, at
        return None

    def _in(self, section: _Section, at: int, prefix: str, base: int, name: str, depth: int) -> list[Place]:
        places: list[Place] = []
        info = section.words[at + 1]
        for k in range(info & 0xFFFF):
            text, type_id, offset = section.words[at + 3 + 3 * k : at + 6 + 3 * k]
            bits = offset & 0xFFFFFF if info >> 31 else offset
            member = self._text(text)
            path = f"{prefix}.{member}" if prefix and member else member or prefix
            places.extend(self._member(type_id, path, base + bits // 8, name, depth + 1))
        return places

    def _member(self, type_id: int, path: str, offset: int, owner: str, depth: int) -> list[Place]:
        while depth < _DEEPEST:
            found = self._type(type_id)
            if found is None:
                return []
            section, at = found
            kind, name = _kind(section.words[at + 1]), self._text(section.words[at])
            if name in _LOCKS:
                return [Place(path, offset, _LOCKS[name], owner)]
            if kind in (_STRUCT, _UNION):
                return self._in(section, at, path, offset, name or owner, depth)
            if kind not in (_TYPEDEF, _VOLATILE, _CONST, _TYPE_TAG):
                return []
            type_id, depth = section.words[at + 2], depth + 1
        return []

    def _type(self, type_id: int) -> tuple[_Section, int] | None:
        for section in reversed(self._sections):
            if type_id >= section.first_type:
                n = type_id - section.first_type
                return (section, section.starts[n]) if n < len(section.starts) else None
        return None

    def _text(self, offset: int) -> str:
        for section in reversed(self._sections):
            if offset >= section.first_text:
                begin = offset - section.first_text
                end = section.texts.find(b"\0", begin)
                return section.texts[begin : max(end, begin)].decode("utf-8", "replace")
        return ""


def _kind(info: int) -> int:
    return info >> 24 & 0x1F


def _read(path: str | Path, first_type: int, first_text: int) -> _Section:
    with Path(path).open("rb") as file:
        data = file.read(_MOST)
    if len(data) < 24 or int.from_bytes(data[:2], "little") != _MAGIC:
        raise FormatError(path, "offset 0x0", "no little-endian BTF", "wanted a file of /sys/kernel/btf")
    head, type_off, type_len, str_off, str_len = struct.unpack_from("<5I", data, 4)
    types, texts = data[head + type_off :][: type_len & ~3], data[head + str_off :][:str_len]
    if len(types) < type_len & ~3 or len(texts) < str_len:
        raise FormatError(path, f"offset {head:#x}", "BTF that ends early", "the file is damaged")
    words = memoryview(types).cast("I")
    return _Section(words, _starts(path, words, head + type_off), texts, first_type, first_text)


def _starts(path: str | Path, words: memoryview, offset: int) -> list[int]:
    starts, at, end = [], 0, len(words)
    while at + 3 <= end:
        kind, vlen = _kind(words[at + 1]), words[at + 1] & 0xFFFF
        follow = _FIXED.get(kind, 0) + _EACH.get(kind, 0) * vlen
        if kind >= _KINDS or at + 3 + follow > end:
            raise FormatError(path, f"offset {offset + 4 * at:#x}", f"a BTF type of kind {kind} that cannot be", "")
        starts.append(at)
        at += 3 + follow
    return starts
