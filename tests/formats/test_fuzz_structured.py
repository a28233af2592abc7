"""Files that lie about themselves never do more than be read in part or refused: every format, each of its numbers.

The cases are their numbers (``tests.builders.structured``): the first always, the rest with ``make fuzz``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORMATS = ("trace.dat", "perf.data", "ftrace text", "perf script")
FEW, ALL = 60, 10_000


def run(form: str, first: int, last: int) -> dict[str, int]:
    """What became of the cases; the assertion's message is what broke, and the number of the case."""
    command = [sys.executable, "-W", "error", "-m", "tests.builders.fuzz_structured", form, str(first), str(last)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, int] = json.loads(done.stdout)["cases"]
    assert sum(found.get(word, 0) for word in ("error", "salvaged", "whole", "not made")) == last - first
    return found


@pytest.mark.parametrize("form", FORMATS)
def test_files_that_lie_are_refused_or_read_in_part(form: str) -> None:
    found = run(form, 0, FEW)
    assert found.get("whole", 0) + found.get("salvaged", 0) > FEW // 4
    assert found.get("status 0", 0) >= 3  # of the commands that every eighth is given to


@pytest.mark.all
@pytest.mark.long
@pytest.mark.parametrize("form", FORMATS)
def test_many_more_files_that_lie(form: str) -> None:
    run(form, FEW, ALL)
