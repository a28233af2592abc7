"""Damaged traces, one after another in a process with little memory.

    python -m tests.builders.fuzz FOLDER FIRST LAST

FOLDER holds whole files (and, beside each, NAME.places: offsets at which something begins). Every case is made from its
number alone. It must end in a ``LockscopeError`` of one line, or in a result of which every field decodes. Prints what
became of them as JSON; anything else is a Python traceback, or, after ``_PATIENCE`` seconds, where it hangs.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from lockscope.errors import LockscopeError
from lockscope.formats.open import open_trace
from lockscope.tables.decode import FieldDecoder, partition
from lockscope.tables.events import LOSS
from lockscope.tables.tape import Projector

_MEMORY = 1 << 30  # bytes beyond what the process has when it begins
_PATIENCE = 30
_NUMBERS = [0, 1, 2, 127, 255, 0xFFFF, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40]
_NUMBERS += [(1 << 63) - 1, 1 << 63, (1 << 64) - 1]


def damaged(whole: bytes, places: list[int], case: int) -> bytes:
    """A damaged copy of a file, by the case's number."""
    rng = np.random.default_rng(case)

    def somewhere() -> int:
        """An offset; half of the time near one at which something begins."""
        if places and rng.random() < 0.5:
            at = int(rng.choice(places)) + int(rng.integers(-8, 24))
            return min(max(at, 0), len(whole) - 1)
        return int(rng.integers(0, len(whole)))

    data = bytearray(whole)
    kind = case % 6
    if kind == 0 and places:  # cut where something begins, or a byte beside it
        return whole[: max(places[case // 6 % len(places)] + int(rng.integers(-1, 2)), 0)]
    if kind == 1:
        return whole[: somewhere()]
    if kind == 2:  # flipped bits
        for _ in range(int(rng.integers(1, 30))):
            data[somewhere()] ^= 1 << int(rng.integers(0, 8))
    elif kind == 3:  # absurd numbers
        for _ in range(int(rng.integers(1, 4))):
            at, width = somewhere(), int(rng.choice([2, 4, 8]))
            value = int(rng.choice(_NUMBERS)) & ((1 << 8 * width) - 1)
            data[at : at + width] = value.to_bytes(width, rng.choice(["little", "big"]))
    elif kind == 4:  # a stretch of other bytes
        at, size = somewhere(), int(rng.integers(1, 300))
        data[at : at + size] = rng.bytes(size)
    else:  # a stretch left out, or there twice
        at, size = somewhere(), int(rng.integers(1, 5000))
        data[at : at + size] = data[at : at + size] * int(rng.choice([0, 2]))
    return bytes(data)


def read_all(path: str, rows: int) -> str:
    """What became of a file: "error", "salvaged" or "whole"."""
    try:
        reader = open_trace(path)
        reader.info.symbols()
        decoder, projector = FieldDecoder(), Projector()
        events = 0
        for batch in reader.batches(rows=rows):
            cpu_of = np.array([s.cpu for s in reader.info.streams], np.int64).astype(np.int32)
            order, bounds = partition(batch, len(reader.formats))
            for i in np.flatnonzero(np.diff(bounds)).tolist():
                if i != LOSS:
                    events += decoder.rows(batch, order[bounds[i] : bounds[i + 1]], reader.formats[i], cpu_of).num_rows
            events += int(bounds[LOSS + 1])
            projector.project(batch, reader.formats, cpu_of)
            assert batch.first_seq + len(batch) == events
    except LockscopeError as error:
        if "\n" in str(error) or path not in str(error):
            msg = f"no line that names the file: {error}"
            raise AssertionError(msg) from error
        return "error"
    damage = [n for n in reader.info.losses if n.kind in ("truncated", "unparsed")]
    return "salvaged" if damage or reader.info.notes else "whole"


def main(folder: Path, first: int, last: int) -> None:
    """Run the cases."""
    wholes = []
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".dat", ".txt")):
        wholes.append((path.read_bytes(), json.loads(path.with_suffix(".places").read_text())))
        became = read_all(str(path), 1 << 14)
        assert became == "whole" or (path.suffix == ".txt" and became == "salvaged"), path  # a text has its notes
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
    target = folder / "case.damaged"
    found: Counter[str] = Counter()
    for case in range(first, last):
        faulthandler.dump_traceback_later(_PATIENCE, exit=True)
        whole, places = wholes[case // 6 % len(wholes)]
        target.write_bytes(damaged(whole, places, case))
        try:
            found[read_all(str(target), 64 if case % 3 else 1 << 14)] += 1
        except BaseException:
            print(f"case {case}", file=sys.stderr)
            raise
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
