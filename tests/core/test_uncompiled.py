"""Whole readings with the loops as plain Python: the same as compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compiling import units
from lockscope.tables.ops import Op
from lockscope.tables.texts import Texts
from lockscope.walk import regions as walk_regions
from lockscope.walk.walk import LockWalk, WalkOptions
from tests.builders import canaries
from tests.builders.perf_data import Kernel
from tests.builders.script import HARDIRQ, Script
from tests.builders.uncompiled import uncompiled
from tests.formats.test_fuzz_perf_data import _file as perf_file
from tests.walk.test_walk_growth import tape

A, B, C = 0xFFFF888100000100, 0xFFFF888100000200, 0xFFFF888100000300
ROOT = Path(__file__).parents[2]
SAY = """
import io, json, sys, lockscope
from lockscope.core import walk
from lockscope.report.findings import json as json_report
from lockscope.trace.perf import perf_figures
path, perf = sys.argv[1], sys.argv[2] == "perf"
out = io.StringIO()
json_report.write(lockscope.load(path).analyze(), out)
trace = lockscope.load(path)
counted = trace.locks("class", "task").arrow.to_pylist()
figures = [repr(row) for row in perf_figures(path).rows] if perf else []
holds = trace.table("holds").arrow.to_pylist()
print(json.dumps([walk.__file__.endswith(".py"), out.getvalue(), counted, holds, figures]))
"""


def locks(folder: Path) -> Path:
    """Orders, interrupts, losses, waits, leaks, releases of nothing, a recursion at the end."""
    s = Script()
    one, two = s.task("one", 100), s.task("two", 101, 1)
    for i in range(4):
        one.sys_exit()
        one.take("&a->mutex", A).take("&b->mutex", B)
        with one.context(HARDIRQ):
            one.acquire("&c->lock", C).acquired("&c->lock", C).release("&c->lock", C)
        one.release("&b->mutex", B).release("&a->mutex", A)
        two.take("&b->mutex", B).take("&a->mutex", A).release("&a->mutex", A).release("&b->mutex", B)
        one.release("&d->mutex", A + 64 * i)
        two.detail("&a->mutex", A, trylock=1).acquire("&a->mutex", A, trylock=True)
        two.release("&a->mutex", A)
    s.loss(1, 5)
    one.take("&a->mutex", A)
    two.acquire("&a->mutex", A).contended("&a->mutex", A)
    one.release("&a->mutex", A)
    two.acquired("&a->mutex", A)
    two.acquire("&a->mutex", A)
    return s.save(folder / "locks.dat")


def perf(folder: Path) -> Path:
    return Path(perf_file(Kernel(), zstd=True).write(folder, "p.data"))


def said(path: Path, kind: str, **environment: str) -> list[object]:
    command = [sys.executable, "-W", "error", "-c", SAY, str(path), kind]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    found: list[object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("made", [locks, canaries.trace, perf])
def test_a_reading_says_the_same(tmp_path: Path, made: Callable[[Path], Path]) -> None:
    path = made(tmp_path)
    plain = said(path, made.__name__, LOCKSCOPE_UNCOMPILED="1")
    compiled = said(path, made.__name__)
    assert (compiled[0], plain[0]) == (False, True)
    assert plain[1:] == compiled[1:]


def test_every_loop_is_compiled() -> None:
    made = {p.name.partition(".")[0] for p in units.HERE.glob("*.so")} - {"_shared"}
    assert set(units.units()) == made
    assert {"walk", "records", "columns", "perf_records", "kvm_flush", "kvm_srcu", "kvm_spte", "graph"} <= made


@pytest.mark.parametrize("region", ["stacks", "recent", "taken", "names", "cpus", "held"])
def test_what_lies_outside_a_region_raises(region: str) -> None:
    """Compiled: nothing is read or written beside a region, whatever is believed of its size."""
    walk = LockWalk(texts := Texts(), WalkOptions())
    texts.number("&kvm->lock")
    walk._learn_names()
    made = tape([(Op.ACQUIRE, 1, 8, 0)])
    walk.memory.w.attach({**walk.memory.regions, region: walk.memory.regions[region][:0]})
    rest = (walk.kinds, np.ones(64, np.int64), 0, 1, np.zeros(1, np.int64), np.zeros((1, 18), np.int64))
    if region == "names":  # a lock without a name is none of KVM's
        assert walk_regions.compiled.walk(walk.memory.w, made.head, made.slots, *rest) == 1
        return
    with pytest.raises(IndexError):
        walk_regions.compiled.walk(walk.memory.w, made.head, made.slots, *rest)


def test_bytes_outside_their_buffer_raise() -> None:
    with uncompiled() as load:
        machine = load("machine")
    data = np.zeros(16, np.uint8)
    for at in (-1, 9, 1 << 40):
        with pytest.raises(IndexError):
            machine.u64(data, at, False)
        with pytest.raises(IndexError):
            machine.put64(data, at, 0)
