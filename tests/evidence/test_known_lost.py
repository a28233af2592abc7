"""A trace in which nothing was found, but something is missing, is judged from one reading, as from a second one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import lockscope
from lockscope import pipeline
from lockscope.evidence.doubts import Doubts
from lockscope.results.findings import Verdict

AT, LENGTH = 3_873, 3_000  # of the events: a pause that a task was in a system call over
SAMPLES = Path(__file__).parents[2] / "sample_traces"


def lines_of(sample: str, folder: Path) -> tuple[list[str], list[str]]:
    """A sample as text: its head, and a line for each event."""
    (path,) = lockscope.load(SAMPLES / sample).export(folder / "whole.txt", format="text")
    lines = path.read_text().splitlines(keepends=True)
    return [line for line in lines if line.startswith("#")], [line for line in lines if not line.startswith("#")]


def without_a_cpu(folder: Path) -> list[str]:
    head, events = lines_of("stock61_smm.dat", folder)
    return head + [line for line in events if "[000]" not in line]


def paused(folder: Path) -> list[str]:
    head, events = lines_of("memslot_stress.dat", folder)
    return head + events[:AT] + events[AT + LENGTH :]


@pytest.mark.parametrize("made", [without_a_cpu, paused])
def test_one_reading_says_what_two_say(
    made: Callable[[Path], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "cut.txt"
    trace.write_text("".join(made(tmp_path)))
    seen = []
    once = pipeline._Reading._known_lost

    def both(self: object, of: object, taken: Doubts) -> object:
        short, again = once(self, of, taken), self._once(taken)
        seen.append([{run.code: (run.status, run.verdict) for run in judged.runs} for judged in (short, again)])
        return short

    monkeypatch.setattr(pipeline._Reading, "_known_lost", both)
    report = pipeline.analyze([str(trace)])
    ((short, again),) = seen
    assert short == again
    assert short["LS101"][1] is Verdict.UNKNOWN
    assert report.traces[0].lost_events is None
