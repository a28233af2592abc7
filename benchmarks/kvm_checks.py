"""What KVM's checks cost, side by side with decoding the same events, and how many SPTE transitions they follow.

    python benchmarks/kvm_checks.py [TRACE.dat ...] [--rounds 5]

CPU time of this process, the best round of each: decoding every event with all its fields as Arrow columns; reading
alone (no field); and what the checks LS2xx, LS3xx and LS4xx add to an analysis: their facts, and their judging.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from lockscope.facts.fact import FactSet
from lockscope.formats.open import open_trace
from lockscope.pipeline import AnalyzeOptions, gathered, judged, selected_checks
from lockscope.tables.decode import FieldDecoder, partition
from lockscope.tables.events import LOSS
from lockscope.tables.tape import TapeBatch

SAMPLE = Path(__file__).parents[1] / "sample_traces" / "dirty_log.dat"
CODES = ("LS2", "LS3", "LS4")


class Timed:
    """Adds up the CPU time of a thread that feeds facts."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._feed = FactSet.feed

    def __enter__(self) -> Timed:
        def feed(facts: FactSet, batch: TapeBatch) -> None:
            begin = time.thread_time()
            self._feed(facts, batch)
            self.seconds += time.thread_time() - begin

        FactSet.feed = feed  # put in its place while it is timed
        return self

    def __exit__(self, *_: object) -> None:
        FactSet.feed = self._feed  # and back


def checked(path: str) -> tuple[float, int, int]:
    """Seconds for facts and judging, SPTE transitions, events."""
    checks = selected_checks(CODES)
    with Timed() as timed:
        found, _ = gathered(open_trace(path), checks, AnalyzeOptions())
    begin = time.thread_time()
    judged(found.evidence, checks)
    seconds = timed.seconds + time.thread_time() - begin
    return seconds, found.evidence.facts["spte_history"].transitions, found.events


def read(path: str, *, fields: bool) -> float:
    """Seconds for all events."""
    reader: Any = open_trace(path)
    decoder, cpu_of = FieldDecoder(), np.array([s.cpu for s in reader.info.streams], np.int32)
    begin = time.process_time()
    for batch in reader.batches(None):
        order, bounds = partition(batch, len(reader.formats))
        for i in np.flatnonzero(np.diff(bounds)).tolist() if fields else ():
            if i != LOSS:
                decoder.rows(batch, order[bounds[i] : bounds[i + 1]], reader.formats[i], cpu_of)
    return time.process_time() - begin


def main() -> None:
    """Print a line for each trace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="*", default=[str(SAMPLE)])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for path in options.traces:
        rounds = [(checked(path), read(path, fields=True), read(path, fields=False)) for _ in range(options.rounds + 1)]
        rounds = rounds[1:]  # the first compiles
        cost, transitions, events = min(r[0] for r in rounds)
        decode, alone = min(r[1] for r in rounds), min(r[2] for r in rounds)
        print(
            f"{Path(path).name}: {events:,} events; decoding {1e3 * decode:.1f} ms (reading alone {1e3 * alone:.1f}); "
            f"KVM's checks {1e3 * cost:.1f} ms, {cost / decode:.2f} of decoding; {transitions:,} SPTE transitions, "
            f"{transitions / cost / 1e3:,.0f} thousand a second with all checks"
        )


if __name__ == "__main__":
    main()
