"""What every test shares: how Hypothesis searches, and that nothing is skipped for want of a tool or a trace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from compiling import units

ROOT = Path(__file__).parents[1]
TOOLS = ("trace-cmd", "perf")  # what `make test-all` needs beside Python packages

# A slow machine is no failure, and a failure must come back: no deadline, the same examples every time where CI runs.
settings.register_profile("lockscope", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("lockscope")


def pytest_configure(config: pytest.Config) -> None:
    """The loops are those of the sources; a folder of traces without one would leave tests without cases."""
    if not hasattr(config, "workerinput"):  # of several processes the first
        _compile()
    folder = os.environ.get("LOCKSCOPE_TRACES")
    if folder is not None and not any(Path(folder).rglob("*.dat")):
        msg = f"LOCKSCOPE_TRACES: {folder!r} holds no trace (*.dat)"
        raise pytest.UsageError(msg)


def _compile() -> None:
    """Compile the loops where their sources changed: what is tested would be another program's."""
    stale = [unit for unit in units.units() if not _fresh(unit)]
    if stale:
        done = subprocess.run(
            [sys.executable, "-m", "compiling.building"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            msg = f"lockscope/core was not compiled ({', '.join(stale)}):\n{done.stderr[-2000:]}"
            raise pytest.UsageError(msg)


def _fresh(unit: str) -> bool:
    """Whether a unit is compiled, and younger than its sources."""
    newest = max(source.stat().st_mtime_ns for source in units.sources(unit))
    return any(made.stat().st_mtime_ns >= newest for made in units.HERE.glob(f"{unit}.*.so"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where a tool is missing, what needs it fails."""
    if item.get_closest_marker("all"):
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        assert not missing, (
            f"make test-all needs {', '.join(missing)}: install it (Debian: apt-get install trace-cmd linux-perf)"
        )
