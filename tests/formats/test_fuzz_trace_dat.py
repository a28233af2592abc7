"""Damaged trace.dat files never do more than be read in part or refused: no other exception, no hang, little memory.

The cases are their numbers (``tests.builders.fuzz``): 0 to 599 always, the rest with ``make test-all``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lockscope.formats.trace_dat import layout
from lockscope.formats.trace_dat.reader import TraceDat
from tests.builders.trace_dat import Kernel, TraceFile, format_text

ROOT = Path(__file__).parents[2]
FEW, ALL = 600, 6_000


def _file(k: Kernel, version: int, codec: str) -> TraceFile:
    cpus = {}
    for cpu in (0, 3):
        pages = []
        for p in range(6):
            page = k.page(10_000 * p + cpu, missed=5 * p if p % 2 else None)
            for i in range(20):
                page.event(3, k.acquire(cpu, b"&lock_%d" % (i % 7), i)).event(1, k.switch(i, b"comm %d" % i, i, -1))
                page.event(1, k.mixed(i, i, -i, i, i << 59, (i, i), range(i % 4), b"tail" * (i % 3)))
            pages.append(
                page.extend(1 << 30).discarded(1, 16).stamp(10_000 * p + 9_000).event(1, k.record(999, 1, b"abcd"))
            )
        cpus[cpu] = pages
    stack = format_text("kernel_stack", 4, [("int size", 8, 4, 1), ("unsigned long caller[8]", 16, 64, 0)])
    symbols = b"".join(b"%x T symbol_%d\n" % (0xFFFFFFFF81000000 + 16 * i, i) for i in range(50))
    options = [
        (layout.UNAME, b"Linux h 6.12.1 x86_64\0"),
        (layout.CPUSTAT, b"CPU: 0\noverrun: 0\n\0"),
        (layout.TRACEID, k.pack("Q", 9)),
        (layout.GUEST, b"g\0" + k.pack("QIII", 1, 1, 0, 77)),
        (layout.OFFSET, b"0\0"),
    ]
    bodies = {
        layout.FTRACE_EVENTS: k.pack("IQ", 1, len(stack)) + stack,
        layout.KALLSYMS: k.pack("I", len(symbols)) + symbols,
        layout.CMDLINES: k.pack("Q", 9) + b"3 comm 3\n",
    }
    file = TraceFile(cpus, k, version, codec, options=options, bodies=bodies)
    file.instances.append(
        file.buffer("kvm", {1: [k.page(77).event(1, k.acquire(1, b"in an instance", 1))]}, "local", 4096)
    )
    return file


def _places(path: Path) -> list[int]:
    """Where sections, options and each CPU's data begin and end."""
    reader = TraceDat(str(path))
    whole = path.read_bytes()
    found = {0, 10, 12, 13, 14, 18, 32, len(whole)}
    for body in reader.head.sections.values():
        at = whole.find(body[:64]) if body else -1
        found |= {at, at + 8, at + len(body)} if at > 0 else set()
    for _, body in reader.head.options:
        at = whole.find(body) if len(body) > 3 else -1
        found |= {at - 6, at - 4, at, at + len(body)} if at > 0 else set()
    for buffer in reader.head.buffers:
        found.add(buffer.offset)
        for cpu in buffer.cpus:
            found |= {cpu.offset, cpu.offset + 4, cpu.offset + 8, cpu.offset + 16, cpu.offset + cpu.size}
            found |= set(range(cpu.offset, cpu.offset + cpu.size, 4096)) if not buffer.compressed else set()
    return sorted(p for p in found if 0 <= p <= len(whole))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole files of every kind, and a small real one."""
    home = tmp_path_factory.mktemp("fuzz")
    kinds = [
        (Kernel(), 7, "none"),
        (Kernel(), 7, "zstd"),
        (Kernel(True, 8), 7, "zlib"),
        (Kernel(False, 4), 6, "none"),
        (Kernel(True, 4), 6, "none"),
    ]
    for i, (k, version, codec) in enumerate(kinds):
        path = Path(_file(k, version, codec).write(home, f"{i}.dat"))
        path.with_suffix(".places").write_text(json.dumps(_places(path)))
    real = home / "real.dat"
    shutil.copy(ROOT / "sample_traces" / "stacks.dat", real)
    real.with_suffix(".places").write_text(json.dumps(_places(real)))
    return home


def run(folder: Path, first: int, last: int, **environment: str) -> dict[str, int]:
    """What became of the cases; the assertion's message is what broke."""
    command = [sys.executable, "-W", "error", "-m", "tests.builders.fuzz", str(folder), str(first), str(last)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, int] = json.loads(done.stdout)
    assert sum(found.values()) == last - first
    return found


def test_damaged_files_are_refused_or_read_in_part(folder: Path) -> None:
    found = run(folder, 0, FEW)
    assert found["error"] > FEW // 10
    assert found["salvaged"] > FEW // 4


@pytest.mark.all
def test_many_more_damaged_files(folder: Path) -> None:
    run(folder, FEW, ALL)


@pytest.mark.all
def test_damaged_files_with_the_loops_as_python(folder: Path) -> None:
    run(folder, 0, FEW // 10, LOCKSCOPE_UNCOMPILED="1")
