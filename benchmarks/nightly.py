"""A night of 200 traces: two workers on two cores against one single-threaded process, and the night after it.

    python benchmarks/nightly.py [--traces 200] [--events 1000000] [--rounds 1] [--folder DIR]

The traces are those of ``sample_traces``, inflated, each at another time so that no two are the same, in folders of ten
hosts. The single process is bound to one CPU, so that its threads take turns. Both begin with an empty history; the
second night gets ten traces more. Where other work shares the machine, wall time says little: the second ratio is of
CPU time, twice that of one process to that of all processes of the other run.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from inflate import inflate

SAMPLES = Path(__file__).parents[1] / "sample_traces"
SOURCES = ("dirty_log", "memslot_stress", "legacy_mmu", "instances", "lossy", "bug_slots_lock_then_kvm_lock")
HOSTS = 10


@dataclass
class Run:
    """A run's wall seconds, CPU seconds of all its processes, and the largest one's peak memory in MiB."""

    wall: float
    cpu: float
    peak: float


def make(folder: Path, first: int, last: int, events: int) -> int:
    """Traces number ``first`` to ``last``; returns how many events they have."""
    total = 0
    for number in range(first, last):
        host = folder / f"host{number % HOSTS}"
        host.mkdir(parents=True, exist_ok=True)
        source = SAMPLES / f"{SOURCES[number % len(SOURCES)]}.dat"
        total += inflate(source, host / f"{number:04}.dat", events, begin=number * 1_000)
    return total


def night(traces: Path, history: Path, name: str, workers: int, one_cpu: bool) -> Run:
    """One run of the command."""
    command = [sys.executable, "-m", "lockscope", "nightly", str(traces), "--history", str(history), "--night", name]
    command += ["--workers", str(workers), "--fail-on", "never", "--host", r"(?P<host>[^/]+)/[^/]+$"]
    cpus = sorted(os.sched_getaffinity(0))
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, check=False,
        preexec_fn=(lambda: os.sched_setaffinity(0, {cpus[0]})) if one_cpu else None,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(time.monotonic() - began, cpu, after.ru_maxrss / 1024)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=200)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="lockscope-nightly-"))
    traces = folder / "traces"
    events = make(traces, 0, options.traces, options.events)
    print(f"{options.traces} traces, {events:,} events", flush=True)
    for number in range(options.rounds):
        histories = {workers: folder / f"history-{workers}-{number}" for workers in (1, 2)}
        for history in histories.values():
            shutil.rmtree(history, ignore_errors=True)
        one = night(traces, histories[1], "n1", 1, one_cpu=True)
        two = night(traces, histories[2], "n1", 2, one_cpu=False)
        for name, run in (("one process, one CPU", one), ("two workers", two)):
            print(f"{name:22} {run.wall:7.1f} s  CPU {run.cpu:7.1f} s  {events / run.wall / 1e6:.2f} Mev/s", flush=True)
        print(
            f"ratio {one.wall / two.wall:.2f} by wall time, at most {2 * one.cpu / two.cpu:.2f} by CPU time", flush=True
        )
    make(traces, options.traces, options.traces + 10, options.events)
    again = night(traces, histories[2], "n2", 2, one_cpu=False)
    print(f"second night, 10 new: {again.wall:.1f} s, CPU {again.cpu:.1f} s; peak of a process {again.peak:.0f} MiB")
    if options.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
