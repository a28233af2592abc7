"""Damaged text never does more than be read in part or refused; as ``test_fuzz_trace_dat`` for trace.dat.

The texts are those of the simulated host: tracefs' and perf script's, plain and packed, and perf's with callchains.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from lockscope.simulate.parameters import Parameters
from lockscope.simulate.run import simulate
from tests.formats.test_fuzz_trace_dat import run

FEW, ALL = 240, 4_000
CHAIN = "\n\tffffffff818a8113 mutex_lock+0x633 ([kernel.kallsyms])\n\t    7f6aee01fad7 [unknown] ([unknown])\n"


def _text(folder: Path, kind: str) -> str:
    path = folder / "made"
    simulate("quiet-mixed", path, Parameters(seed=3, duration_ms=1), format=kind)
    return "\n".join(path.read_text().splitlines()[:250]) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole files of every kind."""
    home, aside = tmp_path_factory.mktemp("fuzz-text"), tmp_path_factory.mktemp("aside")
    ftrace, perf = (_text(aside, kind) for kind in ("text", "perf"))
    wholes = [ftrace, perf, re.sub(r"\n(?=.*lock_acquired)", CHAIN + "\n", perf)]
    for i, text in enumerate(wholes):
        (home / f"{i}.txt").write_text(text)
        places = [m.start() for m in re.finditer(r"(?m)^.| \[|: |=", text)]
        (home / f"{i}.places").write_text(json.dumps(places[:: 1 + len(places) // 500]))
    (home / "3.txt").write_bytes(gzip.compress(perf.encode()))
    (home / "3.places").write_text("[0, 2, 10]")
    return home


def test_damaged_text_is_refused_or_read_in_part(folder: Path) -> None:
    found = run(folder, 0, FEW)
    assert found["salvaged"] > FEW // 8


@pytest.mark.all
def test_much_more_damaged_text(folder: Path) -> None:
    run(folder, FEW, ALL)
