"""Cases of ``tests.builders.structured``, one after another in a process with little memory and time.

    python -m tests.builders.fuzz_structured FORMAT FIRST LAST

Each must end in one line of error or in a result: no other exception, no more than 10 s of CPU, no more than 1 GiB.
Every fifth is judged as a whole, counted and exported. Prints what became of them, and the most time and memory.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import lockscope
from lockscope.errors import LockscopeError
from lockscope.exports._base import ExportOptions, export_formats
from tests.builders.fuzz import read_all
from tests.builders.structured import makers

_MEMORY, _SECONDS = 1 << 30, 10
WHOLE = 5  # every so many cases everything is done


def _too_long(signum: int, frame: FrameType | None) -> None:
    msg = f"more than {_SECONDS} s of CPU"
    raise AssertionError(msg)


def judged(path: str, folder: Path, case: int) -> str:
    """What became of all that can be asked of a file."""
    try:
        trace = lockscope.load(path)
        trace.analyze()
        trace.locks("class", "task", "instance")
        for name in ("csv", "parquet") if case % 2 else ("std", "text", "perfetto"):
            target = folder / "out"
            export_formats()[name].write(trace, target, ExportOptions(redact=bool(case % 4 == 1)))
            assert {p.name for p in folder.iterdir()} <= {"case", "out", "out.names.csv", "made.data"}, (
                "outside the target"
            )
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink()
    except LockscopeError as error:
        if "\n" in str(error):
            msg = f"more than a line: {error}"
            raise AssertionError(msg) from error
        return "judged: error"
    return "judged"


def main(form: str, first: int, last: int) -> None:
    """Run the cases."""
    signal.signal(signal.SIGPROF, _too_long)
    found: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make, target = makers(folder)[form], folder / "case"
        target.write_bytes(make(0))
        judged(str(target), folder, 0)  # loads everything
        judged(str(target), folder, 1)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
        for case in range(first, last):
            faulthandler.dump_traceback_later(300, exit=True)
            try:
                target.write_bytes(make(case))
            except (OverflowError, ValueError, AssertionError):  # a lie that the builder itself can't write
                found["not made"] += 1
                continue
            assert target.stat().st_size < 1 << 20
            signal.setitimer(signal.ITIMER_PROF, _SECONDS)
            began = time.process_time()
            try:
                found[judged(str(target), folder, case) if case % WHOLE == 0 else read_all(str(target), 1 << 10)] += 1
            except BaseException:
                print(f"{form}: case {case}", file=sys.stderr)
                raise
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            slowest = max(slowest, time.process_time() - began)
    faulthandler.cancel_dump_traceback_later()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"cases": found, "slowest_s": round(slowest, 2), "most_mib": most}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
