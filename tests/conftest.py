"""What every test shares: how Hypothesis searches, and that nothing is skipped for want of a tool or a trace."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

TOOLS = ("trace-cmd", "perf")  # what `make test-all` needs beside Python packages

# A slow machine is no failure, and a failure must come back: no deadline, the same examples every time where CI runs.
settings.register_profile("lockscope", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("lockscope")


def pytest_configure() -> None:
    """A folder of traces without one would leave tests without cases."""
    folder = os.environ.get("LOCKSCOPE_TRACES")
    if folder is not None and not any(Path(folder).rglob("*.dat")):
        msg = f"LOCKSCOPE_TRACES: {folder!r} holds no trace (*.dat)"
        raise pytest.UsageError(msg)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where a tool is missing, what needs it fails."""
    if item.get_closest_marker("all"):
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        assert not missing, (
            f"make test-all needs {', '.join(missing)}: install it (Debian: apt-get install trace-cmd linux-perf)"
        )
