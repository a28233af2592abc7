"""Loading every event with all its fields, side by side with the tools that people use, in one run.

    python benchmarks/load.py [--source TRACE.dat] [--events 3000000 30000000] [--codecs none zstd] [--rounds 3]

The trace is the source's pages over and over (``inflate.py``), in a temporary directory. Compared are

- trace-cmd: ``trace-cmd report > /dev/null``, every event as text;
- KernelShark: its library's ``kshark_load_matrix``, five columns of the header, no field (where libkshark.so.2 is);
there);
- lockscope, streamed: every event with all its fields as Arrow columns, batch by batch, in bounded memory;
- lockscope, kept: the same as tables of the whole trace (``Trace.all_events``); left out beyond ``--keep`` events.

Every tool runs once before it is measured, but for trace-cmd beyond ten million events. Figures are of the best round.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pyarrow as pa
from inflate import inflate

from lockscope.evidence.gather import prefetched
from lockscope.formats.trace_dat.reader import TraceDat
from lockscope.tables.decode import FieldDecoder, partition
from lockscope.tables.events import LOSS, EventBatch, Reader
from lockscope.trace.trace import load

SAMPLE = Path(__file__).parents[1] / "sample_traces" / "dirty_log.dat"
_SHARES = 8  # pieces of work a batch is cut into


class Streamed:
    """Decodes batches with two threads while a third reads ahead."""

    def __init__(self, path: Path, reader: Callable[[str], Reader] = TraceDat) -> None:
        self.reader = reader(str(path))
        self.decoder = FieldDecoder()
        self.cpu_of = np.array([s.cpu for s in self.reader.info.streams], np.int32)

    def _shares(self, batch: EventBatch) -> tuple[list[list[int]], np.ndarray, list[int]]:
        order, bounds = partition(batch, len(self.reader.formats))
        present = [i for i in np.flatnonzero(np.diff(bounds)).tolist() if i != LOSS]
        present.sort(key=lambda i: bounds[i] - bounds[i + 1])
        shares: list[list[int]] = [[]]
        rows = 0
        for i in present:
            if rows > len(batch) // _SHARES:
                shares.append([])
                rows = 0
            shares[-1].append(i)
            rows += int(bounds[i + 1] - bounds[i])
        return shares, order, bounds.tolist()

    def _decode(
        self, batch: EventBatch, share: list[int], order: np.ndarray, bounds: list[int]
    ) -> list[pa.RecordBatch]:
        formats = self.reader.formats
        return [self.decoder.rows(batch, order[bounds[i] : bounds[i + 1]], formats[i], self.cpu_of) for i in share]

    def run(self) -> int:
        """Decode everything; returns how many events that were."""
        events = 0
        with ThreadPoolExecutor(2) as pool:
            for batch in prefetched(self.reader.batches()):
                shares, order, bounds = self._shares(batch)
                for done in pool.map(lambda s: self._decode(batch, s, order, bounds), shares):  # noqa: B023
                    events += sum(part.num_rows for part in done)
        return events


def streamed(path: Path) -> int:
    """All fields of all events, batch by batch."""
    return Streamed(path).run()


def kept(path: Path) -> int:
    """All fields of all events, as tables of the whole trace."""
    return sum(len(table) for table in load(path).all_events().values())


def trace_cmd(path: Path) -> int:
    """The text of all events, to nowhere."""
    subprocess.run(["trace-cmd", "report", "-i", str(path)], stdout=subprocess.DEVNULL, check=True)
    return 0


_KSHARK = """
import ctypes, sys
k = ctypes.CDLL("libkshark.so.2")
pointer = ctypes.POINTER(ctypes.c_void_p)
k.kshark_instance.argtypes = [pointer]
k.kshark_open.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
k.kshark_load_matrix.argtypes = [ctypes.c_void_p, ctypes.c_int, *[pointer] * 5]
k.kshark_load_matrix.restype = ctypes.c_ssize_t
k.kshark_close.argtypes = [ctypes.c_void_p, ctypes.c_int]
free = ctypes.CDLL(None).free
free.argtypes = [ctypes.c_void_p]
context = ctypes.c_void_p()
k.kshark_instance(ctypes.byref(context))
import time
best = 1e9
for _ in range(int(sys.argv[2])):
    begin = time.perf_counter()
    stream = k.kshark_open(context, sys.argv[1].encode())
    columns = [ctypes.c_void_p() for _ in range(5)]
    rows = k.kshark_load_matrix(context, stream, *map(ctypes.byref, columns))
    best = min(best, time.perf_counter() - begin)
    for column in columns:
        free(column)
    k.kshark_close(context, stream)
print(rows, best)
"""


def kshark_seconds(path: Path, rounds: int) -> float | None:
    """What KernelShark's library takes, in a process of its own; None where it is not installed."""
    if find_library("kshark") is None:
        try:
            ctypes.CDLL("libkshark.so.2")
        except OSError:
            return None
    done = subprocess.run(
        [sys.executable, "-c", _KSHARK, str(path), str(rounds + 1)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[1])


def best_of(call: Callable[[Path], int], path: Path, rounds: int, *, warm: bool = True) -> float:
    """Seconds of the best round, after one that does not count."""
    if warm:
        call(path)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call(path)
        times.append(time.perf_counter() - begin)
    return min(times)


def compare(path: Path, events: int, rounds: int, keep: int) -> None:
    """Print one table."""
    found: list[tuple[str, float | None]] = []
    short = events <= 10_000_000
    found.append(("trace-cmd report", best_of(trace_cmd, path, rounds if short else 1, warm=short)))
    found.append(("KernelShark's library, 5 header columns", kshark_seconds(path, rounds)))
    found.append(("lockscope, all fields, streamed", best_of(streamed, path, rounds)))
    if events <= keep:
        found.append(("lockscope, all fields, kept", best_of(kept, path, rounds)))
    base = found[0][1]
    for name, seconds in found:
        if seconds is None:
            print(f"  {name:42} not installed")
            continue
        ratio = f"{base / seconds:6.1f} x" if base else ""
        print(f"  {name:42} {seconds:8.3f} s {events / seconds / 1e6:8.2f} M events/s {ratio}", flush=True)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=SAMPLE)
    parser.add_argument("--events", type=int, nargs="+", default=[3_000_000, 30_000_000])
    parser.add_argument("--codecs", nargs="+", choices=("none", "zlib", "zstd"), default=["none", "zstd"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=int, default=10_000_000)
    args = parser.parse_args()
    for events in args.events:
        for codec in args.codecs:
            with tempfile.TemporaryDirectory(prefix="lockscope-bench-") as folder:
                path = Path(folder) / "trace.dat"
                number = inflate(args.source, path, events, codec)
                size = path.stat().st_size / 1e6
                print(f"{args.source.name}, {number:,} events, version 7 {codec}, {size:,.0f} MB", flush=True)
                compare(path, number, args.rounds, args.keep)


if __name__ == "__main__":
    main()
