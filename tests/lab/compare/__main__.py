"""``python -m tests.lab.compare FOLDER [--accept]``: the edits, one a line; status 1 where there are any."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.lab.compare import document, events, functions, lockdep, recordings, sptes
from tests.lab.compare.edits import Edit


def edits(folder: Path) -> Iterator[Edit]:
    """All there is to do, subject by subject."""
    kernel = events.of_kernel(folder)
    yield from events.differences(kernel, events.known())
    yield from functions.differences(functions.of_kernel(folder), functions.known(folder))
    yield from lockdep.differences(folder)
    yield from document.differences(folder)
    yield from sptes.differences(folder)
    yield from recordings.differences(folder)


def main() -> int:
    """Print them."""
    parser = argparse.ArgumentParser(prog="tests.lab.compare")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--accept", action="store_true", help="the edits are made: keep what this kernel has")
    chosen = parser.parse_args()
    if chosen.accept:
        events.accept(events.of_kernel(chosen.folder))
        functions.accept(chosen.folder)
        document.accept(chosen.folder)
        return 0
    release = (chosen.folder / "release").read_text().split()[0]
    found = list(edits(chosen.folder))
    print(f"{release}: {len(found) or 'no'} differences to what lockscope knows")
    for edit in found:
        print(f"  {edit}")
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, json.JSONDecodeError, AssertionError) as error:
        sys.exit(f"compare: {error}")
