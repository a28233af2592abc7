"""The build of `make fuzz`: a bad access ends the process, and so does what C leaves undefined; a good one does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from compiling import sanitized, units

pytestmark = pytest.mark.all
# Compiled as the loops are, and used on memory that they are used on.
WRONG = "int beyond(const char *bytes, int at) { return bytes[at]; }\nint shifted(int by) { return 1 << by; }\n"
CALL = """
import ctypes, sys
import numpy as np
function = getattr(ctypes.CDLL(sys.argv[1]), sys.argv[2])
data = np.zeros(4096, np.uint8).ctypes.data_as(ctypes.c_char_p)
print(function(*eval(sys.argv[3])))
"""
LOAD = """
import lockscope
from lockscope.core import records, walk
report = lockscope.load("sample_traces/bug_mutex_under_mmu_lock.dat").analyze()
print(records.__file__, walk.__file__, len(report.findings))
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "compiling.sanitized", sys.executable, *command]
    return subprocess.run(whole, cwd=sanitized.building.ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "wrong.c").write_text(WRONG)
    sources = ["-shared", "-fPIC", str(folder / "wrong.c"), "-o", str(folder / "wrong.so")]
    subprocess.run(["gcc", *sanitized.COMPILER, *sources], check=True)
    return folder / "wrong.so"


def test_a_good_reading_ends_as_always() -> None:
    done = run("-W", "error", "-c", LOAD)
    assert (done.returncode, done.stderr) == (0, "")
    *files, findings = done.stdout.split()[-3:]
    assert files == [str(sanitized.FOLDER / f"lockscope/core/{name}.abi3.so") for name in ("records", "walk")]
    assert int(findings) > 0


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        (("beyond", "(data, 4095)"), 0, ""),
        (("beyond", "(data, 4096)"), 1, "heap-buffer-overflow"),
        (("beyond", "(data, -1)"), 1, "heap-buffer-overflow"),
        (("shifted", "(31,)"), 0, ""),
        (("shifted", "(32,)"), 66, "runtime error: shift exponent 32 is too large"),
    ],
)
def test_what_is_wrong_ends_the_process(wrong: Path, call: tuple[str, str], status: int, words: str) -> None:
    done = run("-c", CALL, str(wrong), *call)
    assert done.returncode == status
    assert words in done.stderr
    assert bool(done.stderr) == bool(words)


def test_every_loop_is_watched() -> None:
    assert run("-c", "").returncode == 0
    made = sorted((sanitized.FOLDER / "lockscope/core").glob("*.so"))
    assert {path.name.partition(".")[0] for path in made} == {"_shared", *units.units()}
    for name in made:
        whole = name.read_bytes()
        assert b"__asan_report_load8" in whole, name
        assert b"__ubsan_handle_pointer_overflow_abort" in whole, name  # and no handler that goes on
        assert b"__ubsan_handle_pointer_overflow\0" not in whole, name
