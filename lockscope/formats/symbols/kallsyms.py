"""Kernel symbols for traces that have none: of a file beside them, or of the running kernel if it is that one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lockscope.errors import UsageError
from lockscope.formats.files.compressed import open_stream
from lockscope.formats.perf.layout import Kernel
from lockscope.formats.symbols.elf import as_kallsyms
from lockscope.tables.symbols import Symbols, address_in

_IMAGE = 0xFFFF_FFFF_8000_0000  # where x86-64's kernel image begins (Documentation/arch/x86/x86_64/mm.rst, v6.12)
_MOST = 64 << 20  # bytes; a large kernel's kallsyms has 15 MiB
_GNU_BUILD_ID = 3  # NT_GNU_BUILD_ID (include/uapi/linux/elf.h)


def kallsyms_of(path: str, kernel: Kernel) -> bytes:
    """Text as of /proc/kallsyms; empty where there is none.

    ``PATH.kallsyms`` beside the trace, packed or not, a copy of /proc/kallsyms or System.map; or ``PATH.vmlinux``; else
    the running kernel's, if its build id is the recorded one's.
    """
    image = Path(f"{path}.vmlinux")
    if path != "-" and image.is_file():
        with image.open("rb") as file:
            return as_kallsyms(file, str(image))
    beside = Path(f"{path}.kallsyms")
    if path != "-" and beside.is_file():
        with open_stream(str(beside)) as stream:
            text = stream.read(_MOST + 1)
        if len(text) > _MOST:
            msg = f"{beside}: symbols of a kernel have at most {_MOST >> 20} MiB; is it a copy of /proc/kallsyms?"
            raise UsageError(msg)
        return text
    try:
        if kernel.build_id and build_id_in(Path("/sys/kernel/notes").read_bytes()) == kernel.build_id:
            return Path("/proc/kallsyms").read_bytes()
    except OSError:
        pass
    return b""


def build_id_in(notes: bytes) -> str:
    """The build id among ELF notes of this machine's byte order; "" where there is none."""
    at = 0
    while at + 12 <= len(notes):
        name, size, kind = np.frombuffer(notes, np.uint32, 3, at).tolist()
        body = at + 12 + (name + 3 & ~3)
        if kind == _GNU_BUILD_ID and notes[at + 12 : at + 16] == b"GNU\0":
            return notes[body : body + size].hex()
        at = body + (size + 3 & ~3)
    return ""


def placed(kallsyms: bytes, kernel: Kernel) -> Symbols:
    """The symbols where the recorded kernel had them.

    A file of another boot has the image elsewhere (KASLR): it is moved by the reference symbol, and modules, which are
    loaded anywhere, are left out.
    """
    symbols = Symbols.parse(kallsyms)
    listed = address_in(kallsyms, kernel.symbol) if kernel.symbol else None
    shift = kernel.address - listed if listed and kernel.address else 0
    if shift == 0 or not len(symbols.names):
        return symbols
    image = np.flatnonzero((symbols.addresses >= _IMAGE) & np.array([b" [" not in n for n in symbols.names]))
    moved = symbols.addresses[image].view(np.int64) + np.int64(shift)
    marks = {name: address + shift for name, address in symbols.marks.items()}
    return Symbols(moved.view(np.uint64), [symbols.names[i] for i in image.tolist()], marks)
