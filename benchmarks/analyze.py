"""Whole commands side by side: `lockscope analyze` against `trace-cmd report > /dev/null`, on inflated traces.

    python benchmarks/analyze.py SOURCE [--events 3000000 30000000] [--codecs zstd none] [--runs 3] [--arguments ...]

Each size and codec: one run of each command that is not counted, then pairs; medians of wall time, the ratio, and
lockscope's peak memory. The last lines say how the time grows with the events. Needs trace-cmd.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).parent


def timed(command: list[str]) -> tuple[float, int]:
    """Wall seconds and peak memory in KiB of a command; its output goes nowhere."""
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1, 2):
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    return time.monotonic() - began, usage.ru_maxrss


def compared(trace: Path, runs: int, arguments: list[str]) -> tuple[float, float, int]:
    """Medians of lockscope's and trace-cmd's seconds, and lockscope's peak KiB."""
    ours = [sys.executable, "-m", "lockscope", "analyze", str(trace), *arguments]
    theirs = ["trace-cmd", "report", str(trace)]
    timed(ours), timed(theirs)
    pairs = [(timed(ours), timed(theirs)) for _ in range(runs)]
    return (
        statistics.median(o[0] for o, _ in pairs),
        statistics.median(t[0] for _, t in pairs),
        max(o[1] for o, _ in pairs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--events", type=int, nargs="+", default=[3_000_000, 30_000_000])
    parser.add_argument("--codecs", nargs="+", default=["zstd", "none"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--arguments", nargs=argparse.REMAINDER, default=[])
    options = parser.parse_args()
    print("      events  codec  lockscope s  trace-cmd s  ratio  Mev/s  peak MiB")
    for codec in options.codecs:
        seconds: list[float] = []
        for events in options.events:
            with tempfile.TemporaryDirectory() as folder:
                trace = Path(folder) / f"{events}-{codec}.dat"
                inflate = [sys.executable, str(HERE / "inflate.py"), str(options.source), str(trace)]
                inflate += ["--events", str(events), "--codec", codec]
                subprocess.run(inflate, check=True, stdout=subprocess.DEVNULL)
                ours, theirs, peak = compared(trace, options.runs, options.arguments)
            seconds.append(ours)
            figures = f"{events:>12,} {codec:>6} {ours:>12.2f} {theirs:>12.2f} {theirs / ours:>6.1f}"
            print(f"{figures} {events / ours / 1e6:>6.2f} {peak / 1024:>9.0f}", flush=True)
        for (less, before), (more, after) in pairwise(zip(options.events, seconds, strict=True)):
            print(f"{codec}: {more / less:.1f} times the events, {after / before:.1f} times the time")


if __name__ == "__main__":
    main()
