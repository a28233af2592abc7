"""Loading every sample of a perf.data with all its fields, side by side with ``perf script > /dev/null``, in one run.

    python benchmarks/load_perf.py [--source PERF.data.xz] [--events 5000000] [--packed] [--rounds 3]

The file is the source's samples over and over (``inflate_perf.py``), in a temporary directory. Each tool runs once
before it is measured; then in turns. Besides wall time there is processor time: on a machine that does other things
too, that is what can be compared. Needs perf.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from inflate_perf import inflate
from load import Streamed

from lockscope.formats.perf.reader import PerfData

SAMPLE = Path(__file__).parents[1] / "sample_traces" / "memslot_stress.perf.data.xz"


def _processor_seconds() -> float:
    return sum(
        u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def perf_script(path: Path) -> None:
    """The text of all samples, to nowhere."""
    command = ["perf", "script", "-i", str(path)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def streamed(path: Path) -> None:
    """Every sample with all its fields as Arrow columns, batch by batch."""
    Streamed(path, PerfData).run()


def timed(call: Callable[[Path], None], path: Path) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, busy = time.perf_counter(), _processor_seconds()
    call(path)
    return time.perf_counter() - wall, _processor_seconds() - busy


def compare(path: Path, events: int, rounds: int) -> None:
    """Print one table: the best of the rounds."""
    calls = {"perf script > /dev/null": perf_script, "lockscope, all fields, streamed": streamed}
    for call in calls.values():
        call(path)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(timed(call, path))
    best = {name: [min(column) for column in zip(*times, strict=True)] for name, times in found.items()}
    theirs = best["perf script > /dev/null"]
    for name, (wall, busy) in best.items():
        rates = f"{events / wall / 1e6:7.2f} M events/s {theirs[0] / wall:6.1f} x"
        print(f"  {name:34} {wall:8.2f} s {rates}   processor {busy:7.2f} s {theirs[1] / busy:6.1f} x", flush=True)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=SAMPLE)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--packed", action="store_true", help="as perf record -z does")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lockscope-bench-") as folder:
        path = Path(folder) / "perf.data"
        number = inflate(args.source, path, args.events, packed=args.packed)
        print(f"{args.source.name}, {number:,} samples, {path.stat().st_size / 1e6:,.0f} MB", flush=True)
        compare(path, number, args.rounds)


if __name__ == "__main__":
    main()
