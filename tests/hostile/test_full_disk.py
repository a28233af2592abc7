"""Nothing can be written: one line, status 2, and nothing under the final name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRACE = str(ROOT / "sample_traces" / "stacks.dat")
# A limit on the size of files, of whatever the process writes: as a full disk, but for the word.
LIMITED = (
    "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from lockscope.cli._run import run; "
)
LIMITED += "import lockscope.pipeline, lockscope.trace.trace; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)); "
LIMITED += "sys.exit(run(sys.argv[1:]))"


@pytest.mark.parametrize(
    ("command", "target"),
    [
        (("analyze", TRACE, "--format", "html"), "r.html"),
        (("analyze", TRACE, "--format", "json"), "r.json"),
        (("export", TRACE), "tables"),
        (("export", TRACE, "--format", "text"), "t.txt"),
        (("simulate", "quiet-lifecycle", "--duration", "1"), "t.dat"),
    ],
    ids=lambda v: v if isinstance(v, str) else v[0],
)
def test_one_line_and_no_file(tmp_path: Path, command: tuple[str, ...], target: str) -> None:
    arguments = [*command, "-o", str(tmp_path / target)]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert "internal error" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_standard_output_is_full() -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "lockscope", "analyze", TRACE, "--format", "json"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("lockscope: cannot be written: No space left on device (standard output")
    assert done.stderr.count("\n") == 1
