"""Whole commands on a damaged file, in this process: what each may say and where it may write."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

from lockscope.cli._run import run
from lockscope.nightly import tables
from lockscope.nightly.examine import Job
from lockscope.nightly.examine import run as examined
from lockscope.nightly.sources import Source

NIGHT = ("nightly",)  # a trace's part of it, without the processes
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("analyze", "TRACE"),
    ("analyze", "TRACE", "--format", "html", "-o", "OUT.html"),
    ("export", "TRACE", "--format", "csv", "-o", "OUT"),
    ("locks", "TRACE", "--by", "instance,task,owner", "--format", "csv"),
    ("info", "TRACE"),
    ("export", "TRACE", "--format", "parquet", "--redact", "-o", "OUT"),
    NIGHT,
    ("analyze", "TRACE", "--format", "markdown", "--window-start", "a", "--window-end", "b"),
    ("graph", "TRACE", "--format", "dot"),
    ("export", "TRACE", "--format", "text", "-o", "OUT.txt"),
    ("locks", "TRACE", "--chains", "5"),
    ("analyze", "TRACE", "--format", "json", "--redact"),
    ("export", "TRACE", "--format", "perfetto", "-o", "OUT.pb"),
    ("plot", "TRACE", "gantt", "-o", "OUT.svg"),
    ("analyze", "TRACE", "--format", "sarif"),
    ("export", "TRACE", "--format", "parquet", "-o", "OUT"),
    ("locks", "TRACE", "--perf-compat", "--format", "json"),
    ("info", "TRACE", "--json", "--redact"),
    ("export", "TRACE", "--format", "std", "-o", "OUT.std"),
    ("plot", "TRACE", "hold-times", "-o", "OUT.svg"),
    ("graph", "TRACE", "--format", "lockdep"),
    ("analyze", "TRACE", "--format", "html", "--redact", "-o", "OUT.html"),
    ("export", "TRACE", "--format", "csv", "--redact", "-o", "OUT"),
    ("locks", "TRACE", "--contention", "--by", "caller", "--redact"),
    ("analyze", "TRACE", "--format", "jsonl", "--assume", "selftest-softirq"),
)
_BESIDE = {"html", "data"}


def commanded(number: int, trace: Path, folder: Path) -> str:
    """What became of a file under a command: "status 0" and so on. Raises ``AssertionError`` for what must not be."""
    out = folder / "out"
    out.mkdir()
    try:
        if COMMANDS[number] == NIGHT:
            return _night(trace)
        words = [w.replace("TRACE", str(trace)).replace("OUT", str(out / "o")) for w in COMMANDS[number]]
        said, told = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
            status = run(words)
        _proper(status, said.getvalue(), told.getvalue())
        target = words[words.index("-o") + 1] if "-o" in words else ""
        _nothing_else(folder, Path(target) if target else None, status)
    finally:
        shutil.rmtree(out)
    return f"status {status}"


def _night(trace: Path) -> str:
    job = Job(Source(str(trace), "s"), "n1", "0")
    (row,) = tables.unpack(examined(job))["traces"].select(["error"]).to_pylist()
    error = row["error"] or ""
    assert "internal error" not in error, error
    return "night: broken" if error else "night: judged"


def _proper(status: int, said: str, told: str) -> None:
    assert status in (0, 1, 2), status
    assert "internal error" not in told, told
    assert "Traceback" not in told, told
    if status == 2:
        assert told.startswith("lockscope: "), told
    odd = [c for c in said + told if not c.isprintable() and c not in "\n\t"]
    assert not odd, f"control characters: {odd[:5]}"


def _nothing_else(folder: Path, target: Path | None, status: int) -> None:
    """Nothing lies outside of the target, and nothing that is half a file."""
    assert {p.name for p in folder.iterdir()} <= {"case", "out", "made"}, "outside the target"
    found = {p.name for p in (folder / "out").iterdir()}
    names = set() if target is None else {target.name, f"{target.stem}.data", f"{target.name}.names.csv"}
    assert found <= names, f"outside the target: {found - names}"
    assert not list((folder / "out").rglob(".*"))
    if target is not None and status == 0:
        assert target.exists()
