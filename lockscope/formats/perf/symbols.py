"""Kernel symbols that stand in perf script's callchains, for who has neither its kernel's kallsyms nor its vmlinux.

A frame is ``address symbol+offset (file)``: tools/perf/util/evsel_fprintf.c, sample__fprintf_callchain() (v6.12). It
says where the symbol begins, and that it reaches as far as the address; what lies between symbols is unknown. perf
before 4.16 prints no offset unless asked to (-F +symoff): then nobody knows where a symbol begins.
"""

from __future__ import annotations

import re

import numpy as np

from lockscope.formats.files.compressed import open_stream
from lockscope.tables.symbols import Symbols

_FRAME = re.compile(
    rb"^[ \t]+([0-9a-f]{5,16}) ([^\s()]{1,512}?)(?:\+0x([0-9a-f]{1,8}))?(?: \(([^()\n]{0,512})\))?$", re.MULTILINE
)
_KERNEL = re.compile(rb"\[(?:kernel|guest\.kernel)\.\w+\](?:\.\w+)*|(?:.*/)?vmlinux[^/]*")
_MODULE = re.compile(rb"\[([\w-]+)\]|(?:.*/)?([\w-]+)\.ko(?:\.\w+)?")
_NO_MODULES = (b"unknown", b"vdso", b"vdso32", b"vsyscall", b"heap", b"stack")
_HIGH = 1 << 63  # kernel addresses of 64-bit machines, where perf printed no file
_MOST = 1 << 20
_STEP = 1 << 20


def symbols_of(path: str) -> Symbols:
    """What the callchains of a whole text say; ``Symbols.none()`` where they name no kernel function."""
    begins: dict[int, tuple[bytes, int]] = {}  # where a symbol begins: its name, and the last address seen in it
    offsets = False
    rest = b""
    with open_stream(path) as stream:
        while fresh := stream.read(_STEP):
            chunk = (rest + fresh).replace(b"\r\n", b"\n")
            end = chunk.rfind(b"\n") + 1
            rest = chunk[end:] if len(chunk) - end < _STEP else b""
            for address, name, offset, file in set(_FRAME.findall(chunk[:end])):
                at = int(address, 16)
                known = _name(at, name, file)
                begin = at - int(offset or b"0", 16)
                if known is None or begin <= 0 or (begin not in begins and len(begins) >= _MOST):
                    continue
                offsets = offsets or offset != b""
                begins[begin] = known, max(at, begins.get(begin, (b"", 0))[1])
    return _sparse(begins, offsets)


def _name(address: int, name: bytes, file: bytes) -> bytes | None:
    """The symbol as ``Symbols`` has it, with its module; None for what is not the kernel's."""
    if name == b"[unknown]" or file == b"inlined":
        return None
    if not file:
        return name if address >= _HIGH else None
    if _KERNEL.fullmatch(file):
        return name
    module = _MODULE.fullmatch(file)
    found = (module[1] or module[2]) if module else None
    return name + b" [" + found.replace(b"-", b"_") + b"]" if found and found not in _NO_MODULES else None


def _sparse(begins: dict[int, tuple[bytes, int]], offsets: bool) -> Symbols:
    """The symbols, and behind each what is known to be nobody's (a name of no letters)."""
    if not begins:
        return Symbols.none()
    names: dict[int, bytes] = {}
    for begin, (name, last) in begins.items():
        names.setdefault(min(last + 1, (1 << 64) - 1), b"")
        names[begin] = name
    order = sorted(names)
    return Symbols(np.array(order, np.uint64), [names[at] for at in order], offsets=offsets)
