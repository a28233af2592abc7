"""Cases of ``tests.builders.structured``, one after another in a process with little memory and time.

    python -m tests.builders.fuzz_structured FORMAT FIRST LAST

Each must end in one line of error or in a result: no other exception, no more than 10 s of CPU, no more than 1 GiB.
Of every eighth a whole command is run as well, another one each time. Prints what became of them, and the most time and
memory; ends with status 1 if anything broke, once all cases are through.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType

from tests.builders.fuzz import read_all
from tests.builders.fuzz_commands import COMMANDS, commanded
from tests.builders.structured import makers

_MEMORY, _SECONDS, _STUCK = 1 << 30, 10, 300
WHOLE = 8  # every so many cases a command is run


def _too_long(signum: int, frame: FrameType | None) -> None:
    msg = f"more than {_SECONDS} s of CPU"
    raise AssertionError(msg)


def _command_of(case: int) -> int | None:
    return case // WHOLE % len(COMMANDS) if case % WHOLE == 0 else None


class Run:
    """The cases of one format in this process."""

    def __init__(self, form: str, folder: Path) -> None:
        self.form, self.folder, self.target = form, folder, folder / "case"
        (folder / "made").mkdir()
        self.make = makers(folder / "made")[form]
        self.found: Counter[str] = Counter()
        self.slowest = 0.0

    def limited(self, cases: range) -> None:
        """Load all that these cases need, then limit what they may add."""
        self.target.write_bytes(self.make(0))
        read_all(str(self.target), 1 << 10)
        for number in {_command_of(case) for case in cases} - {None}:
            commanded(number or 0, self.target, self.folder)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
        signal.signal(signal.SIGPROF, _too_long)

    def case(self, case: int) -> None:
        """One case; what breaks is told with its number."""
        faulthandler.dump_traceback_later(_STUCK, exit=True)
        try:
            self.target.write_bytes(self.make(case))
        except (OverflowError, ValueError, AssertionError):  # a lie that the builder itself can't write
            self.found["not made"] += 1
            return
        assert self.target.stat().st_size < 1 << 20
        command = _command_of(case)
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)
        began = time.process_time()
        try:
            self.found[read_all(str(self.target), 1 << 10)] += 1
            if command is not None:
                self.found[commanded(command, self.target, self.folder)] += 1
        except (Exception, SystemExit):
            words = "" if command is None else f" ({' '.join(COMMANDS[command])})"
            print(f"{self.form}: case {case}{words}", file=sys.stderr)
            traceback.print_exc()
            self.found["broken"] += 1
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.slowest = max(self.slowest, time.process_time() - began)


def main(form: str, first: int, last: int) -> int:
    """Run the cases."""
    with tempfile.TemporaryDirectory() as place:
        run = Run(form, Path(place))
        run.limited(range(first, last))
        for case in range(first, last):
            run.case(case)
    faulthandler.cancel_dump_traceback_later()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"cases": run.found, "slowest_s": round(run.slowest, 2), "most_mib": most}))
    return 1 if run.found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
