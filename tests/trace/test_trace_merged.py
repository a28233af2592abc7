"""Several files of one recording from Python: judged, drawn and exported as the command line does it."""

from __future__ import annotations

from pathlib import Path

import pytest

import lockscope
from lockscope.cli._run import run
from lockscope.pipeline import AnalyzeOptions, analyze
from tests.builders import perf_copy

BUG = Path(__file__).parents[2] / "sample_traces" / "bug_slots_lock_then_kvm_lock.dat"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The bug's lock events in one file, everything else in another."""

    def locks(fmt: object) -> bool:
        return str(getattr(fmt, "system", "")) in ("lock", "lockscope")

    folder = tmp_path_factory.mktemp("merged")
    return [
        perf_copy.write(BUG, folder / "locks.data", locks),
        perf_copy.write(BUG, folder / "rest.data", lambda f: not locks(f)),
    ]


def test_load_of_several_files_judges_them_as_one(pair: list[str]) -> None:
    trace = lockscope.load(*pair)
    by_hand = analyze(pair, AnalyzeOptions(merge=True))
    report = trace.analyze()
    assert [(f.code, f.fingerprint, f.count) for f in report.findings] == [
        (f.code, f.fingerprint, f.count) for f in by_hand.findings
    ]
    assert {"LS101", "LS102"} <= {f.code for f in report.findings}
    assert [(t.path, t.events) for t in report.traces] == [(" + ".join(pair), by_hand.traces[0].events)]
    assert [f.code for f in trace.report().findings] == [f.code for f in report.findings]
    only = trace.analyze(select="LS102")  # one trace is one trace
    assert [(len(only.traces), {f.code for f in only.findings if f.code < "LS9"})] == [(1, {"LS102"})]


def test_what_asks_for_the_report(pair: list[str], tmp_path: Path) -> None:
    trace = lockscope.load(*pair)
    axes = trace.plot.findings()
    assert axes.get_figure() is not None
    assert "LS102" in trace._repr_html_()
    text = trace.export(tmp_path / "t.txt", format="text")[0]
    assert lockscope.load(text).info()["events"] == trace.info()["events"]
    for name, format in (("t.pftrace", "perfetto"), ("t.std", "std")):
        assert trace.export(tmp_path / name, format=format)[0].stat().st_size > 1000


def test_export_of_several_files_on_the_command_line(pair: list[str], tmp_path: Path) -> None:
    assert run(["export", "--merge", "--format", "perfetto", "-o", str(tmp_path / "m"), *pair]) == 0
    assert (tmp_path / "m").stat().st_size > 1000


def test_no_command_is_said_to_show_a_line_of_several_files(
    pair: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["analyze", "--merge", "--select", "LS102", *pair]) == 1
    assert "show it" not in capsys.readouterr().out
