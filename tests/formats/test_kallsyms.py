"""Symbols for perf.data: from a file beside it, moved to where the recorded kernel lay."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path

import pytest

from lockscope.errors import UsageError
from lockscope.formats.open import open_trace
from lockscope.formats.perf.layout import Kernel
from lockscope.formats.symbols import kallsyms as _kallsyms
from lockscope.formats.symbols.kallsyms import build_id_in, kallsyms_of, placed

SAMPLE = Path(__file__).parents[2] / "sample_traces" / "memslot_stress.perf.data.xz"
KALLSYMS = b"""0000000000000000 A fixed_percpu_data
ffffffff81000000 T _text
ffffffff81001000 T mutex_lock
ffffffff81002000 t kvm_static [kvm]
ffffffffa0000000 t kvm_vm_ioctl\t[kvm]
"""


def test_a_file_of_the_same_boot_is_taken_as_it_is() -> None:
    symbols = placed(KALLSYMS, Kernel("_text", 0xFFFFFFFF81000000))
    assert symbols.name(0xFFFFFFFF81001004) == "mutex_lock+0x4"
    assert symbols.name(0xFFFFFFFFA0000010) == "kvm_vm_ioctl+0x10 [kvm]"


def test_a_file_of_another_boot_is_moved_and_loses_its_modules() -> None:
    symbols = placed(KALLSYMS, Kernel("_text", 0xFFFFFFFF9B000000))
    assert symbols.name(0xFFFFFFFF9B001004) == "mutex_lock+0x4"
    assert symbols.name(0xFFFFFFFF81001004) is None
    assert symbols.name(0xFFFFFFFFA0000010) is None


def test_nothing_is_moved_by_a_symbol_that_is_not_there() -> None:
    assert placed(KALLSYMS, Kernel("_stext", 0xFFFFFFFF9B000000)).name(0xFFFFFFFF81001000) == "mutex_lock+0x0"
    assert placed(b"", Kernel("_text", 0xFFFFFFFF9B000000)).name(0xFFFFFFFF9B001004) is None


def test_build_id_among_other_notes() -> None:
    other = struct.pack("<III", 6, 3, 257) + b"Linux\0\0\0" + b"abc\0"
    notes = other + struct.pack("<III", 4, 4, 3) + b"GNU\0" + bytes.fromhex("00c0ffee")
    assert build_id_in(notes) == "00c0ffee"
    assert build_id_in(other) == ""
    assert build_id_in(notes[:-3][:20]) == ""


def test_a_file_beside_the_trace(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    path.write_bytes(lzma.decompress(SAMPLE.read_bytes()))
    assert open_trace(str(path)).info.symbols().names == []
    (tmp_path / "perf.data.kallsyms").write_bytes(lzma.compress(KALLSYMS))
    info = open_trace(str(path)).info
    assert info.symbol_address("_text") == 0xFFFFFFFF81000000
    assert info.symbol_address("nowhere") is None
    assert info.symbols().exact(0xFFFFFFFF81001000) == "mutex_lock"


def test_a_file_beside_it_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kallsyms, "_MOST", 100)
    (tmp_path / "perf.data.kallsyms").write_bytes(KALLSYMS)
    with pytest.raises(UsageError, match=r"perf\.data\.kallsyms: symbols of a kernel have at most"):
        kallsyms_of(str(tmp_path / "perf.data"), Kernel())


def test_text_has_a_file_beside_it_too(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("  qemu-1   [000] .....     1.000001: lock_acquire: 0xffff888100000100 &kvm->lock\n")
    assert open_trace(str(path)).info.symbols().names == []
    (tmp_path / "trace.txt.kallsyms").write_bytes(KALLSYMS)
    info = open_trace(str(path)).info
    assert info.symbols().name(0xFFFFFFFFA0000010) == "kvm_vm_ioctl+0x10 [kvm]"
    assert (info.symbol_address("_text"), info.symbol_address("nowhere")) == (0xFFFFFFFF81000000, None)


def _vmlinux(*, wide: bool, big: bool, link: int = 2) -> bytes:
    """An ELF file with a symbol table: a function, an object, a file's name, something undefined, a bad name."""
    order, word = "<>"[big], "Q" if wide else "I"
    names = b"\0schedule\0tasklist_lock\0core.c\0printk\0"
    rows = [(1, 2, 1, 0x81001000), (10, 1, 3, 0x82000000), (24, 4, 0xFFF1, 0), (31, 0, 0, 0), (9999, 2, 1, 0x81002000)]
    table = b""
    for at, kind, section, value in rows:
        if wide:
            table += struct.pack(f"{order}IBBHQQ", at, 16 | kind, 0, section, 0xFFFFFFFF_00000000 | value, 8)
        else:
            table += struct.pack(f"{order}IIIBBH", at, value, 8, 16 | kind, 0, section)
    head_size = 64 if wide else 52
    body = [(0, b"", 0), (2, table, link), (3, names, 0)]
    sections, data = b"", b""
    for kind, content, other in body:
        at = head_size + len(data)
        sections += struct.pack(f"{order}II{word * 4}II{word * 2}", 0, kind, 0, 0, at, len(content), other, 0, 1, 0)
        data += content
    begin = head_size + len(data)
    ident = b"\x7fELF" + bytes([1 + wide, 1 + big, 1]) + bytes(9)
    each = len(sections) // 3
    numbers = (2, 62, 1, 0, 0, begin, 0, head_size, 0, 0, each, 3, 0)
    return ident + struct.pack(f"{order}HHI{word * 3}IHHHHHH", *numbers) + data + sections


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_a_vmlinux_beside_it(wide: bool, big: bool, tmp_path: Path) -> None:
    (tmp_path / "perf.data.vmlinux").write_bytes(_vmlinux(wide=wide, big=big))
    top = 0xFFFFFFFF_00000000 if wide else 0
    found = kallsyms_of(str(tmp_path / "perf.data"), Kernel())
    assert found == b"%016x t schedule\n%016x d tasklist_lock\n" % (top + 0x81001000, top + 0x82000000)
    assert placed(found, Kernel()).name(top + 0x81001004) == "schedule+0x4"


@pytest.mark.parametrize(
    "damaged",
    [b"\x7fELF", _vmlinux(wide=True, big=False)[:-30], _vmlinux(wide=True, big=False, link=9), b"\x7fELF" * 40],
)
def test_what_is_no_vmlinux_is_said(damaged: bytes, tmp_path: Path) -> None:
    (tmp_path / "perf.data.vmlinux").write_bytes(damaged)
    with pytest.raises(UsageError, match=r"perf\.data\.vmlinux: has no symbol table that can be read"):
        kallsyms_of(str(tmp_path / "perf.data"), Kernel())


def test_a_name_without_an_end_is_none(tmp_path: Path) -> None:
    """Nobody copies a table of names once for each symbol."""
    names = b"tasklist_lock\0core.c\0printk\0"
    endless = _vmlinux(wide=True, big=False).replace(names, names.replace(b"\0", b"."))
    (tmp_path / "perf.data.vmlinux").write_bytes(endless)
    assert kallsyms_of(str(tmp_path / "perf.data"), Kernel()) == b"%016x t schedule\n" % 0xFFFFFFFF81001000
