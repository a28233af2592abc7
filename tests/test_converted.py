"""A trace says the same whatever form it is given: version 6, text, in two pieces that are merged again.

trace-cmd converts and splits (3.1 and later); text is lockscope's own export and ``trace-cmd report``'s.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

import lockscope
from lockscope.formats.open import open_trace
from lockscope.pipeline import AnalyzeOptions, analyze
from lockscope.results.findings import Report
from tests.builders.altered import alarms, fresh

SAMPLES = Path(__file__).parents[1] / "sample_traces"
NAMES = (
    "dirty_log memslot_stress legacy_mmu stock61_dirty_log_auto stock61_smm instances lossy stacks big_endian "
    "arm_32bit bug_clear_log_without_flush bug_mutex_under_mmu_lock bug_slots_lock_then_kvm_lock "
    "bug_srcu_then_slots_lock"
)
# trace-cmd report's text names no kernel, and wait types and the state of softirqs need one.
RULES = "kvm-6.12"
PLACES = 200


def report(*paths: Path) -> Report:
    """What is said of one recording."""
    return analyze([str(p) for p in paths], AnalyzeOptions(rules=RULES, merge=len(paths) > 1))


def trace_cmd(*arguments: str | Path) -> bytes:
    return subprocess.run(["trace-cmd", *map(str, arguments)], capture_output=True, check=True).stdout


def statuses(of: Report) -> dict[str, str]:
    return {c.code: str(c.verdict) for c in of.checks if c.code < "LS9"}


@pytest.fixture(scope="module", params=NAMES.split())
def whole(request: pytest.FixtureRequest) -> tuple[Path, Report]:
    path = SAMPLES / f"{request.param}.dat"
    return path, report(path)


@pytest.mark.all
def test_version_6(whole: tuple[Path, Report], tmp_path: Path) -> None:
    path, before = whole
    six = tmp_path / "six.dat"
    trace_cmd("convert", "--file-version", "6", "--compression", "none", "-i", path, "-o", six)
    after = report(six)
    assert after.traces[0].format == "trace.dat v6"
    assert after.traces[0].events == before.traces[0].events
    assert (alarms(after), statuses(after)) == (alarms(before), statuses(before))


@pytest.mark.all
def test_to_text_and_back(whole: tuple[Path, Report], tmp_path: Path) -> None:
    """Text has less to say; what it says is no more certain, and nothing is clean that was not."""
    path, before = whole
    (text,) = lockscope.load(path).export(tmp_path / "t.txt", format="text")
    after = report(Path(text))
    assert after.traces[0].events == before.traces[0].events
    assert fresh(alarms(before), alarms(after)) == []
    assert {c for c, v in statuses(after).items() if v == "clean" and statuses(before)[c] == "unknown"} == set()


@pytest.mark.all
def test_the_text_of_trace_cmd_report(whole: tuple[Path, Report], tmp_path: Path) -> None:
    path, before = whole
    text = tmp_path / "t.txt"
    text.write_bytes(trace_cmd("report", "-t", "-l", "-i", path))
    assert fresh(alarms(before), alarms(report(text))) == []


@pytest.mark.all
@pytest.mark.parametrize("number", [3, pytest.param(PLACES, marks=pytest.mark.long)])
def test_split_in_two_and_merged(whole: tuple[Path, Report], tmp_path: Path, number: int) -> None:
    path, before = whole
    start, end = before.traces[0].start_ns, before.traces[0].end_ns
    rng, bad = random.Random(f"{path.name} {number}"), []
    for _ in range(number):
        at = rng.randrange(start + 1_000, end - 1_000)
        pieces = [tmp_path / "one.dat", tmp_path / "two.dat"]
        for piece, times in zip(pieces, (("0", _seconds(at)), (_seconds(at), _seconds(end + 1_000))), strict=True):
            trace_cmd("split", "-i", path, "-o", piece, *times)
        made = [p.with_name(p.name + ".1") if not p.exists() else p for p in pieces]
        if any(not p.exists() or open_trace(str(p)).info.clock is None for p in made):
            continue  # empty; or trace-cmd 3.1 lost the clock of a file of version 6, and such files are not merged
        if found := fresh(alarms(before), alarms(report(*made))):
            bad.append((at, found))
    assert bad == []


def _seconds(ns: int) -> str:
    return f"{ns // 1_000_000_000}.{ns % 1_000_000_000:09}"
