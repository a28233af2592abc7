from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lockscope.report.findings._where import locate
from lockscope.results.findings import Witness
from tests.builders import reports

HERE = Witness(11_136_744_291, 1, 70, "t", "lock_acquire")
EARLY = Witness(756_141_102, 0, 94, "t", "lock_release")


@pytest.mark.parametrize(
    ("changes", "witness", "command"),
    [
        ({}, HERE, "trace-cmd report -t --cpu 1 -i 'a b.dat' | grep -F -C3 11.136744291:"),
        ({"clock": "x86-tsc"}, HERE,
         "trace-cmd report -t --cpu 1 -i 'a b.dat' | grep -E -C3 '(^|[^0-9])11\\.?136744291:'"),
        ({"clock": "x86-tsc"}, EARLY,
         "trace-cmd report -t --cpu 0 -i 'a b.dat' | grep -E -C3 '[^0-9](0\\.)?0*756141102:'"),
        ({"format": "tracefs text"}, HERE, "grep -F -C3 11.136744 'a b.dat'"),
        ({"format": "tracefs text (xz)"}, HERE, "xzgrep -F -C3 11.136744 'a b.dat'"),
        ({"format": "perf script text", "path": "s.txt.gz"}, HERE, "zgrep -F -C3 11.136744 s.txt.gz"),
        ({"format": "trace-cmd report text", "path": "s.zst"}, HERE, "zstdgrep -F -C3 11.136744 s.zst"),
        ({"format": "perf.data"}, HERE, "perf script --ns --time 11.136743291,11.136745291 -C 1 -i 'a b.dat'"),
        ({"format": "perf.data", "path": "d/p.data.xz"}, HERE,
         "xzcat d/p.data.xz > p.data; perf script --ns --time 11.136743291,11.136745291 -C 1 -i p.data"),
        ({"path": "-"}, HERE, None),
    ],
)  # fmt: skip
def test_the_command_that_shows_a_witness(changes: dict[str, str], witness: Witness, command: str | None) -> None:
    assert locate(reports.trace(**{"path": "a b.dat", **changes}), [witness]) == command


def test_a_plain_count_is_found_with_and_without_the_point(tmp_path: Path) -> None:
    command = locate(reports.trace(clock="x86-tsc"), [Witness(125_756_141_102, 0, 94, "t", "lock_release")])
    assert command is not None
    grep = command.split("| ")[1].replace(" -C3", "")
    lines = "t-94 [000]125756141102: a\nt-94 [000] 125.756141102: b\nt-94 [000]9125756141102: c\n"
    found = subprocess.run(["sh", "-c", grep], input=lines, capture_output=True, text=True, check=True).stdout
    assert found == "t-94 [000]125756141102: a\nt-94 [000] 125.756141102: b\n"
