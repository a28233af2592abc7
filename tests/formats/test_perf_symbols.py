"""Symbols for perf.data: from a file beside it, moved to where the recorded kernel lay."""

from __future__ import annotations

import lzma
import struct
from pathlib import Path

import pytest

from lockscope.errors import UsageError
from lockscope.formats import _perf_symbols
from lockscope.formats._perf_layout import Kernel
from lockscope.formats._perf_symbols import build_id_in, kallsyms_of, placed
from lockscope.formats.open import open_trace

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
    monkeypatch.setattr(_perf_symbols, "_MOST", 100)
    (tmp_path / "perf.data.kallsyms").write_bytes(KALLSYMS)
    with pytest.raises(UsageError, match=r"perf\.data\.kallsyms: symbols of a kernel have at most"):
        kallsyms_of(str(tmp_path / "perf.data"), Kernel())
