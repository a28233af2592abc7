"""What reading a file costs: a process of its own says how much memory it took at most, and how much time.

    python -m tests.builders.limits COMMAND ARGUMENT...

Runs the command line, and prints its status, the most MiB beyond what it had when it began, and CPU seconds, as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cost:
    """What a command took, and what it said on stderr."""

    status: int
    mib: int
    cpu_s: float
    err: str


def cost_of(*arguments: str | Path, **environment: str) -> Cost:
    """Run ``lockscope`` with these arguments in a process of its own."""
    command = [sys.executable, "-m", "tests.builders.limits", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    status, mib, cpu_s = json.loads(done.stdout.splitlines()[-1])
    return Cost(status, mib, cpu_s, done.stderr)


def main(arguments: list[str]) -> None:
    """Run it here. What any trace needs (compiled loops, libraries) is loaded first, and does not count."""
    import lockscope.trace.trace
    from lockscope.cli._run import run
    from lockscope.pipeline import selected_checks

    selected_checks()
    began = resource.getrusage(resource.RUSAGE_SELF)
    status = run(arguments)
    ended = resource.getrusage(resource.RUSAGE_SELF)
    spent = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    print(json.dumps([status, (ended.ru_maxrss - began.ru_maxrss) >> 10, spent]))
    assert lockscope.trace.trace


if __name__ == "__main__":
    main(sys.argv[1:])
