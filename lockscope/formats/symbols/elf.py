"""The symbol table of an ELF file: a vmlinux. Layout: include/uapi/linux/elf.h and elf(5)."""

from __future__ import annotations

import os
from typing import BinaryIO

import numpy as np

from lockscope.errors import UsageError

_MAGIC = b"\x7fELF"
_SYMTAB, _MOST = 2, 256 << 20  # SHT_SYMTAB; bytes of a table
_LONGEST = 512  # KSYM_NAME_LEN (include/linux/kallsyms.h, v6.12)
_FUNCTION, _OBJECT, _NOTYPE = 2, 1, 0  # STT_*: what kallsyms lists too
_UNDEFINED, _ABSOLUTE = 0, 0xFFF1  # SHN_*


def as_kallsyms(file: BinaryIO, path: str) -> bytes:
    """Functions and data of a symbol table as lines of /proc/kallsyms. Raises ``UsageError`` where there is none."""
    head = file.read(64)
    if len(head) < 64 or head[:4] != _MAGIC or head[4] not in (1, 2) or head[5] not in (1, 2):
        raise _no(path)
    order, wide = "<>"[head[5] - 1], head[4] == 2
    word = f"{order}u{8 if wide else 4}"
    begin = int(np.frombuffer(head, word, 1, 0x28 if wide else 0x20)[0])
    size, number = np.frombuffer(head, f"{order}u2", 2, 0x3A if wide else 0x2E).tolist()
    number_of = f"{order}u4"
    shape = [("name", number_of), ("type", number_of), ("flags", word), ("address", word), ("offset", word),
             ("size", word), ("link", number_of), ("info", number_of), ("align", word), ("each", word)]  # fmt: skip
    sections = _table(file, begin, number * size, np.dtype(shape), size, path)
    tables = sections[sections["type"] == _SYMTAB]
    if not len(tables) or tables[0]["link"] >= len(sections):
        raise _no(path)
    table, texts = tables[0], sections[tables[0]["link"]]
    small = [("info", "u1"), ("other", "u1"), ("section", f"{order}u2")]
    places = [("value", word), ("size", word)]
    shape = [("name", number_of), *small, *places] if wide else [("name", number_of), *places, *small]
    symbols = _table(file, int(table["offset"]), int(table["size"]), np.dtype(shape), None, path)
    names = _bytes(file, int(texts["offset"]), int(texts["size"]), path)
    kinds = symbols["info"] & 15
    good = np.isin(kinds, (_FUNCTION, _OBJECT, _NOTYPE)) & ~np.isin(symbols["section"], (_UNDEFINED, _ABSOLUTE))
    good &= symbols["name"] < len(names)
    lines = []
    for kind, value, at in zip(kinds[good].tolist(), symbols["value"][good].tolist(), symbols["name"][good].tolist(),
                               strict=True):  # fmt: skip
        name = names[at : max(names.find(b"\0", at, at + _LONGEST), at)]
        if name and not name.isspace():
            lines.append(b"%016x %s %s" % (value, b"d" if kind == _OBJECT else b"t", name))
    return b"\n".join(lines) + b"\n"


def _table(
    file: BinaryIO, at: int, size: int, shape: np.dtype[np.void], each: int | None, path: str
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    if each is not None and each != shape.itemsize:
        raise _no(path)
    raw = _bytes(file, at, size, path)
    return np.frombuffer(raw, shape, len(raw) // shape.itemsize)


def _bytes(file: BinaryIO, at: int, size: int, path: str) -> bytes:
    if size > _MOST:
        raise _no(path)
    file.seek(0, os.SEEK_END)
    if at + size > file.tell():
        raise _no(path)
    file.seek(at)
    return file.read(size)


def _no(path: str) -> UsageError:
    return UsageError(f"{path}: has no symbol table that can be read; is it a whole vmlinux, not stripped?")
