"""The real trace-cmd opens what is written, and prints every event in full."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lockscope.simulate.parameters import Parameters
from lockscope.simulate.run import simulate

_LINE = re.compile(r"^\s*.+-\d+\s+\[\d{3}\]\s+\d+\.\d{9}: \w+:\s+\S")


def said(*args: object) -> list[str]:
    done = subprocess.run([str(a) for a in ("trace-cmd", *args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.all
@pytest.mark.parametrize("kernel", ["4.14", "6.12", "7.3"])
@pytest.mark.parametrize("form", ["dat7", "dat7-none", "dat6"])
@pytest.mark.parametrize("mmu", ["legacy", "shadow"])
def test_trace_cmd_prints_every_event(tmp_path: Path, kernel: str, form: str, mmu: str) -> None:
    path = tmp_path / "trace.dat"
    done = simulate("quiet-mixed", path, Parameters(kernel=kernel, duration_ms=6, mmu=mmu), format=form)
    # -N: no plug-ins, only what the file says of its events.
    lines = [line for line in said("report", "-t", "-N", "-i", path) if not line.startswith(("cpus=", "CPU "))]
    assert len(lines) == done.events
    assert [line for line in lines if not _LINE.match(line)] == []
    assert [line for line in lines if "FAILED TO PARSE" in line or "UNKNOWN" in line] == []


@pytest.mark.all
@pytest.mark.parametrize("form", ["dat7", "dat6"])
def test_trace_cmd_dump_reads_the_whole_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / "trace.dat"
    simulate("quiet-mixed", path, Parameters(duration_ms=3), format=form)
    summary = "\n".join(said("dump", "--summary", "-i", path))
    assert f"{'7' if form == 'dat7' else '6'}\t[Version]" in summary
    said("dump", "--all", "-i", path)


@pytest.mark.all
def test_trace_cmd_counts_the_losses(tmp_path: Path) -> None:
    path = tmp_path / "trace.dat"
    done = simulate("quiet-mixed", path, Parameters(duration_ms=40, buffer_kib=64))
    text = "\n".join(said("report", "-t", "-N", "-i", path))
    counted = [int(n) for n in re.findall(r"\[(\d+) EVENTS DROPPED\]", text)]
    # Where a sub-buffer has no room behind its data, the kernel leaves the count out, and so does the model.
    uncounted = text.count("[EVENTS DROPPED]")
    assert sum(counted) + uncounted <= done.lost
    assert sum(counted) > done.lost // 2
