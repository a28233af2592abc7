"""Installation where nothing is but Python and make: a compiler is brought, or the loops run as Python and say so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, SOURCES, copied

pytestmark = [pytest.mark.all, pytest.mark.machine]
SAMPLE = "sample_traces/bug_clear_log_without_flush.dat"
NOT_COMPILED = "lockscope: its loops are not compiled in this installation"
ASK = "from lockscope.core import walk; print(walk.__file__)"


def inside(job: Path, script: str) -> subprocess.CompletedProcess[str]:
    """What a shell in the root said to a script; the folder is ``/job`` there."""
    command = [str(Path(__file__).with_name("root.sh")), str(job), "sh", "-euc", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_there_is_no_compiler(tmp_path: Path) -> None:
    done = inside(tmp_path, "for c in cc gcc clang tcc c99 x86_64-linux-gnu-gcc; do command -v $c || echo none; done")
    assert done.stdout == 6 * "none\n"


def test_a_compiler_is_brought(tmp_path: Path) -> None:
    job = copied(tmp_path / "job", *SOURCES, "Makefile", SAMPLE)
    done = inside(job, f"make demo >said 2>&1; .venv/bin/python -c '{ASK}'; ! ls -d .venv/lib/*/site-packages/ziglang")
    said = (job / "said").read_text()
    assert done.returncode == 0, said + done.stderr
    assert f"{SAMPLE}: violation: 1 error" in said
    assert "exit status 1: " in said
    assert NOT_COMPILED not in said
    assert done.stdout == "/job/lockscope/core/walk.abi3.so\n"
    shutil.rmtree(job)


def test_without_headers_the_loops_run_as_python(tmp_path: Path, dist: Path) -> None:
    job = copied(tmp_path / "job", SAMPLE)
    shutil.copy(next(dist.glob("*.tar.gz")), job)
    hidden = "mount -t tmpfs none /usr/include; python3 -m venv v; v/bin/pip install -v *.tar.gz >said 2>&1; "
    done = inside(
        job, hidden + f"v/bin/lockscope analyze {SAMPLE} || echo status $?; v/bin/python -c '{ASK}' 2>/dev/null"
    )
    said = (job / "said").read_text()
    assert "its loops could not be compiled and will run as Python" in said
    assert "ziglang" not in said  # 100 MB for nothing
    assert done.stderr.splitlines()[-1].startswith(NOT_COMPILED)
    assert done.stderr.count(NOT_COMPILED) == 1
    assert f"{SAMPLE}: violation: 1 error" in done.stdout
    assert done.stdout.splitlines()[-2] == "status 1"
    assert done.stdout.splitlines()[-1].endswith("/site-packages/lockscope/core/walk.py")
    shutil.rmtree(job)


def test_the_wheel_runs_on_the_newest_python_of_debian(tmp_path: Path, wheel: Path) -> None:
    job = copied(tmp_path / "job", SAMPLE)
    shutil.copy(wheel, job)
    install = "python3 -m venv v; v/bin/pip install -q *.whl >&2; v/bin/python -c "
    use = f"'{ASK}'; v/bin/lockscope analyze {SAMPLE} || echo status $?"
    done = inside(job, install + use)
    assert done.stderr == ""
    where, *_, verdict, status = done.stdout.splitlines()
    assert where.startswith("/job/v/lib/python3.")
    assert where.endswith("/core/walk.abi3.so")
    assert (verdict.partition(",")[0], status) == (f"{SAMPLE}: violation: 1 error", "status 1")
    shutil.rmtree(job)


def test_the_tree_has_what_the_root_is_given() -> None:
    assert all((ROOT / name).exists() for name in (*SOURCES, "Makefile", SAMPLE))
