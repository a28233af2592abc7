"""Every dependency drawn from a trace is in the list of the kernel that was recorded, /proc/lockdep of the same boot.

``sample_traces/proc_lockdep.txt.xz`` is that list. It has one line a class and below it the classes taken directly
under it: those at distance 1 (l_show, kernel/locking/lockdep_proc.c), so not what an unchecked lock lay between.
"""

from __future__ import annotations

import lzma
import os
import re
from pathlib import Path

import pytest

from lockscope.evidence.evidence import Evidence
from lockscope.evidence.gather import GatherOptions, gather
from lockscope.formats.open import open_trace
from lockscope.lockgraph.graph import edges
from lockscope.rules.load import choose

SAMPLES = Path(__file__).parents[2] / "sample_traces"
MORE = Path(os.environ.get("LOCKSCOPE_TRACES", SAMPLES)) / "formats"
_VERSION = re.compile(r"#\d+")  # classes of one name are numbered in the order in which they were registered


def listed() -> set[tuple[str, str]]:
    """Pairs of class names (held, taken) of the kernel's list."""
    found: set[tuple[str, str]] = set()
    held = ""
    for line in lzma.decompress((SAMPLES / "proc_lockdep.txt.xz").read_bytes()).decode().splitlines():
        if inner := re.match(r" -> \[[0-9a-f]+\] (.*)", line):
            found.add((_VERSION.sub("", held), _VERSION.sub("", inner[1])))
        elif outer := re.match(r"\S+ FD: +\d+ BD: +\d+ \S+: (.*)", line):
            held = outer[1]
    return found


def evidence_of_trace(path: Path) -> Evidence:
    reader = open_trace(str(path))
    return gather(reader, choose(reader.info.kernel)[0], GatherOptions()).evidence


def drawn(path: Path) -> set[tuple[str, str]]:
    """Pairs of class names of the trace's graph."""
    evidence = evidence_of_trace(path)
    assert evidence.detailed
    return {(evidence.label(a), evidence.label(b)) for a, b, _ in edges(evidence, near=True) if a != b}


def test_the_list_is_read() -> None:
    pairs = listed()
    assert len(pairs) > 1500
    assert ("&kvm->lock", "&vcpu->mutex") in pairs


@pytest.mark.parametrize("name", ["lossy.dat"])
def test_sample(name: str) -> None:
    found = drawn(SAMPLES / name)
    assert len(found) > 50
    # The seqcount of struct pvclock_gtod_data (arch/x86/kvm/x86.c) has no name: it is called by the variable it is in.
    assert ("&____s->seqcount", "pvclock_gtod_data") in found
    assert found - listed() == set()


@pytest.mark.all
@pytest.mark.parametrize(
    "path",
    [p for p in sorted(MORE.glob("v*.dat")) if p.stem in ("v6", "v7_none_mono", "v7_global", "v7_tsc")] or [None],
)
def test_more_of_the_same_boot(path: Path | None) -> None:
    """All traces of that boot, where the folder with them is at hand; the sample again where it is not."""
    found = drawn(path or SAMPLES / "lossy.dat")
    assert found - listed() == set()
    assert ("&kvm->slots_lock", "&kvm->slots_arch_lock") in found or path is None
