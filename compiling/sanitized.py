"""Runs a command with the loops built so that a bad access to memory, or what C leaves undefined, ends the process.

    python -m compiling.sanitized COMMAND...

They are built by gcc with AddressSanitizer and UndefinedBehaviorSanitizer into ``build/sanitized``, beside the ordinary
build, and take its place in all processes that the command starts. A process in which something is found ends with
status 66. What AddressSanitizer found is printed at the end as well, and the status is then 1.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from compiling import building

FOLDER = building.ROOT / "build" / "sanitized"
_REPORTS = FOLDER / f"reports.{os.getpid()}"
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
# -fwrapv as always: numbers of a file may be anything, and wrap, which is defined then and no finding.
COMPILER = ("-O1", "-g", "-fno-omit-frame-pointer", "-fno-strict-aliasing", "-fwrapv", "-w", *_SANITIZERS)
_OPTIONS = {
    "ASAN_OPTIONS": {
        "detect_leaks": 0,  # Python itself leaves thousands at its end; ours own no memory but NumPy's
        "allocator_may_return_null": 1,  # too large a size is a MemoryError, as it is without
        "quarantine_size_mb": 64,  # of the fuzzers' 1 GiB
        "exitcode": 66,  # no status that lockscope or pytest ends with
        "log_path": _REPORTS / "asan",
    },
    "UBSAN_OPTIONS": {"print_stacktrace": 1, "exitcode": 66},  # on stderr: libasan takes its log_path away
}
# What is allocated must go through malloc, one by one, to be watched.
_ALLOCATORS = {"PYTHONMALLOC": "malloc", "ARROW_DEFAULT_MEMORY_POOL": "system"}
# Python imports it at its start. Whatever asks for lockscope.core's modules as Python is asked before.
_SITE = '''"""Written by compiling/sanitized.py: lockscope's loops are those beside this file."""
import sys
from importlib.util import spec_from_file_location
from pathlib import Path

_PACKAGE = "lockscope.core"
_MADE = {f"{_PACKAGE}.{p.name.partition('.')[0]}": p for p in (Path(__file__).parent / "lockscope/core").glob("*.so")}


class _Sanitized:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return spec_from_file_location(name, _MADE[name]) if name in _MADE else None


sys.meta_path.insert(0, _Sanitized)
'''


def _libraries() -> list[str]:
    """What stands before Python's own libraries: the sanitizer, and what it looks for the exceptions of C++ in."""
    names = ("libasan.so", "libstdc++.so.6")
    asked = [["gcc", f"-print-file-name={name}"] for name in names]  # answers with the bare name where there is none
    found = [Path(subprocess.check_output(ask, text=True).strip()) for ask in asked if shutil.which("gcc")]
    if not found or not found[0].is_absolute():
        raise SystemExit("no gcc with AddressSanitizer is here (Debian: apt-get install gcc, which brings libasan)")
    return [str(path.resolve()) for path in found if path.is_absolute()]


def built() -> dict[str, str]:
    """Build what changed; returns the environment that makes use of it."""
    preloaded = os.pathsep.join(_libraries())
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests ask for it in several processes
        os.environ["CC"] = "gcc"
        building.compiled(FOLDER, compiler=COMPILER, linker=_SANITIZERS)
        (FOLDER / "sitecustomize.py").write_text(_SITE)
    options = {name: ":".join(f"{k}={v}" for k, v in given.items()) for name, given in _OPTIONS.items()}
    paths = [str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = {"LD_PRELOAD": preloaded, "PYTHONPATH": os.pathsep.join(paths), "LOCKSCOPE_SANITIZED": "1"}
    return found | options | _ALLOCATORS


def main(command: list[str]) -> int:
    """Run it; its status, or 1 where a sanitizer reported something."""
    environment = os.environ | built()
    _REPORTS.mkdir()
    status = subprocess.run(command, env=environment, check=False).returncode
    reports = sorted(_REPORTS.iterdir())
    for report in reports:
        print(report.read_text(errors="replace")[:5000], file=sys.stderr)
    shutil.rmtree(_REPORTS)
    return 1 if reports else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
