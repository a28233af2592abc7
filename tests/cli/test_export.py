from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.builders.fakes import FakeTrace, trace_module
from tests.cli.conftest import Lockscope

WHOLE = {"force": True}  # what is there was looked at before
FORMATS = "choose from csv, parquet, perfetto, std, text"


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> FakeTrace:
    fake = FakeTrace({})
    monkeypatch.setitem(sys.modules, "lockscope.trace.trace", trace_module(fake))
    return fake


def test_what_is_wanted_reaches_the_trace(lockscope: Lockscope, trace: FakeTrace, tmp_path: Path) -> None:
    place = tmp_path / "out"
    done = lockscope(
        "export", "t.dat", "-o", str(place), "--format", "csv", "--table", "holds,losses",
        "--event", "sched:sched_switch", "--event", "kvm:*", "--redact",
    )  # fmt: skip
    assert (done.status, done.err) == (0, "")
    assert lockscope("export", "t.dat", "-o", str(place)).status == 0
    assert trace.asked == [
        {"directory": place, "format": "csv", "tables": ("holds", "losses"),
         "events": ("sched:sched_switch", "kvm:*"), "redact": True, **WHOLE},
        {"directory": place, "format": "parquet", "tables": (), "events": (), "redact": False, **WHOLE},
    ]  # fmt: skip


def test_a_directory_with_files_is_left_alone_without_force(
    lockscope: Lockscope, trace: FakeTrace, tmp_path: Path
) -> None:
    (tmp_path / "old.parquet").touch()
    done = lockscope("export", "t.dat", "-o", str(tmp_path))
    assert done.status == 2
    assert done.err == f"lockscope: -o {tmp_path}: the directory is not empty (--force writes into it)\n"
    assert trace.asked == []
    assert lockscope("export", "t.dat", "-o", str(tmp_path), "--force").status == 0
    assert len(trace.asked) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--format", "ctf"], f"--format ctf: unknown value; {FORMATS}"),
        (["--format", "parket"], f"--format parket: unknown value (did you mean parquet?); {FORMATS}"),
        (
            ["--start", "soon"],
            "--from: 'soon' is no time; wanted one like 2.1s, 350us, +5ms (after the start) or -5ms (before the end)",
        ),
        (["--format", "parquet", "-o", "-"], "-o -: parquet is a directory of files; wanted a directory's name"),
        (["--cpu", "x"], "--cpu x: not a number"),
        (["--table", "hold"], "--table hold: unknown value (did you mean holds?); choose from holds, losses"),
    ],
)
def test_a_mistake_is_one_line(
    lockscope: Lockscope, trace: FakeTrace, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    done = lockscope("export", "t.dat", "-o", str(tmp_path / "x"), *arguments)
    assert (done.status, done.err) == (2, f"lockscope: {complaint}\n")
    assert trace.asked == []


def test_a_file_is_no_directory(lockscope: Lockscope, trace: FakeTrace, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    done = lockscope("export", "t.dat", "-o", str(tmp_path / "f"))
    assert (done.status, done.err) == (2, f"lockscope: -o {tmp_path}/f: is not a directory\n")


def test_a_file_is_written_over_only_by_force(lockscope: Lockscope, trace: FakeTrace, tmp_path: Path) -> None:
    place = tmp_path / "x.std"
    assert lockscope("export", "t.dat", "-o", str(place), "--format", "std", "--start", "1.5").status == 0
    place.touch()
    done = lockscope("export", "t.dat", "-o", str(place), "--format", "std")
    assert (done.status, done.err) == (2, f"lockscope: -o {place}: exists (--force overwrites it)\n")
    assert lockscope("export", "t.dat", "-o", str(place), "--format", "std", "--force").status == 0
    assert lockscope("export", "t.dat", "-o", "-", "--format", "std").status == 0
    assert [a["directory"] for a in trace.asked] == [place, place, Path("-")]
    assert trace.parts[0] == {"from_": "1.5", "to": None, "task": (), "vm": None, "cpu": (), "lock": ()}
    done = lockscope("export", str(place), "-o", str(place), "--format", "text", "--force")
    assert done.err == f"lockscope: -o {place}: would overwrite the input\n"
    done = lockscope("export", "t.dat", "-o", str(tmp_path), "--format", "perfetto")
    assert done.err == f"lockscope: -o {tmp_path}: is a directory; wanted a file\n"
