"""The recordings of that kernel: no alarm on what is right, and every check decided that was before.

Belief: a stock kernel's recording with the default probes decides these; a KVM self-test of a released kernel is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lockscope.pipeline import AnalyzeOptions, analyze
from lockscope.results.findings import Verdict
from tests.lab.compare.edits import Edit

DECIDED = ("LS201", "LS202", "LS203", "LS205", "LS206", "LS301", "LS302", "LS303")


def differences(folder: Path) -> Iterator[Edit]:
    """What the recordings below ``folder`` show that they should not."""
    for place in sorted(folder.glob("*.dat")):
        report = analyze([str(place)], AnalyzeOptions())
        for finding in report.findings:
            if finding.code < "LS9":
                yield Edit(
                    f"lockscope/checks ({finding.code})", f"{place.name}: {finding.title}: {finding.message[:200]}"
                )
        for check in report.checks:
            if check.code in DECIDED and check.verdict is Verdict.UNKNOWN:
                yield Edit(f"lockscope/checks ({check.code})", f"{place.name}: not decided: {check.reason}")
