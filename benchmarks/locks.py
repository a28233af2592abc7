"""`lockscope locks` against `perf lock report`, side by side on one perf.data, inflated from a short one.

    python benchmarks/locks.py SOURCE.data [--events 5000000] [--rounds 3]

CPU seconds (user and system, all threads) and wall seconds of whole commands, in turn; start-up apart: the time that
each takes for SOURCE itself is taken off, and SOURCE's events with it. SOURCE is a file, not a pipe, and not
compressed. Needs perf.
"""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_SAMPLE, _FINISHED_ROUND = 9, 68  # enum perf_event_type; the second is perf's own (tools/lib/perf/include/perf/event.h)
_IDENTIFIER, _IP, _TID, _TIME = 1 << 16, 1, 2, 4  # enum perf_event_sample_format
_PAUSE = 1_000_000  # ns between rounds


def _time_at(head: bytes, raw: bytes) -> int:
    """Where the time lies in a sample: behind what comes first (include/uapi/linux/perf_event.h)."""
    attrs_at, attr_size = struct.unpack_from("<Q", raw, 24)[0], struct.unpack_from("<Q", head, 16)[0]
    kind = struct.unpack_from("<Q", raw, attrs_at + 24)[0]
    assert attr_size
    assert kind & _TIME
    return 8 + 8 * (bool(kind & _IDENTIFIER) + bool(kind & _IP) + bool(kind & _TID))


def inflate(source: Path, target: Path, events: int) -> tuple[int, int]:
    """Write at least ``events`` events; returns how many the source has, and how many the target."""
    raw = source.read_bytes()
    data_at, data_size = struct.unpack_from("<QQ", raw, 40)
    time_at = _time_at(raw[:104], raw)
    first, again, times = data_at, bytearray(), []
    while first < data_at + data_size:
        kind, _, size = struct.unpack_from("<IHH", raw, first)
        if kind == _SAMPLE:
            times.append(len(again) + time_at)
        if kind in (_SAMPLE, _FINISHED_ROUND):
            again += raw[first : first + size]
        first += size
    stamps = [struct.unpack_from("<Q", again, at)[0] for at in times]
    length = max(stamps) - min(stamps) + _PAUSE
    rounds = max(-(-events // len(times)) - 1, 0)
    grown = rounds * len(again)
    with target.open("wb") as file:
        file.write(raw[:48] + struct.pack("<Q", data_size + grown) + raw[56 : data_at + data_size])
        for number in range(1, rounds + 1):
            for at, stamp in zip(times, stamps, strict=True):
                struct.pack_into("<Q", again, at, stamp + number * length)
            file.write(again)
        file.write(_moved_features(raw, data_at + data_size, grown))
    return len(times), len(times) * (rounds + 1)


def _moved_features(raw: bytes, at: int, moved: int) -> bytes:
    """The table behind the data, whose offsets point behind itself, and all that follows."""
    number = sum(bin(word).count("1") for word in struct.unpack_from("<4Q", raw, 72))
    table = bytearray(raw[at : at + 16 * number])
    for i in range(number):
        offset = struct.unpack_from("<Q", table, 16 * i)[0]
        struct.pack_into("<Q", table, 16 * i, offset + moved if offset >= at else offset)
    return bytes(table) + raw[at + 16 * number :]


def timed(command: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of a command; its output goes nowhere."""
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        big = Path(folder) / "big.data"
        few, many = inflate(options.source, big, options.events)
        commands = {
            "perf lock report": ["perf", "lock", "report", "-i"],
            "lockscope locks": [sys.executable, "-m", "lockscope", "locks"],
            "  --perf-compat": [sys.executable, "-m", "lockscope", "locks", "--perf-compat"],
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for number in range(options.rounds + 1):
            for name, command in commands.items():
                small, large = timed([*command, str(options.source)]), timed([*command, str(big)])
                if number:  # the first is for the page cache, and for what is compiled once
                    found[name].append((large[0] - small[0], large[1] - small[1]))
        print(f"{many:,} events, without start-up (median of {options.rounds}):")
        print(f"{'':<18} {'CPU s':>7} {'wall s':>7} {'Mev/s CPU':>10} {'Mev/s wall':>11}")
        for name, pairs in found.items():
            cpu, wall = (statistics.median(p[i] for p in pairs) for i in (0, 1))
            rates = f"{(many - few) / cpu / 1e6:>10.2f} {(many - few) / wall / 1e6:>11.2f}"
            print(f"{name:<18} {cpu:>7.2f} {wall:>7.2f} {rates}")


if __name__ == "__main__":
    main()
