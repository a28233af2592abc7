"""The compiled loops, all of them, and nothing else.

numba keeps compiled code beside the sources and checks only the file in which a function stands, not the files whose
functions it calls. When any source here is newer than a compiled file, all compiled files go.

Where nothing is compiled yet (the first run after an installation) it takes some thirteen seconds of one CPU. Functions
have their signatures written down, so that importing a module compiles it, and modules are imported side by side: some
by this process, the others by a child that does nothing else. A module that is left to the child begins with ``wait``.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import subprocess
import sys
from pathlib import Path

from lockscope.kernels.cache_place import place

_HERE = Path(__file__).parent
_CHILD = "LOCKSCOPE_COMPILES"  # set in a child, so that it starts none
_SHARE = ("kvm_vms", "kvm_srcu", "kvm_flush", "kvm_spte", "interner", "columns")  # half of the work
_PATIENCE_S = 120
_children: list[subprocess.Popen[bytes]] = []


def _drop_stale() -> None:
    with contextlib.suppress(OSError):  # an installation that cannot be written has no such files either
        compiled = [p for p in (_HERE / "__pycache__").iterdir() if p.suffix in (".nbi", ".nbc")]
        newest = max(p.stat().st_mtime_ns for p in _HERE.glob("*.py"))
        if any(p.stat().st_mtime_ns < newest for p in compiled):
            for p in compiled:
                p.unlink(missing_ok=True)


def _settle() -> None:
    """Where the installation cannot be written, compiled code goes to a directory of this user's."""
    cache = _HERE / "__pycache__"
    if os.environ.get("NUMBA_CACHE_DIR") or os.access(cache if cache.is_dir() else _HERE, os.W_OK):
        return
    with contextlib.suppress(OSError, RuntimeError):  # no temporary directory at all; no such user
        found = place(_HERE, os.environ)
        if found is not None:
            os.environ["NUMBA_CACHE_DIR"] = str(found)  # read when numba is imported, which only this package does


def _share_out() -> None:
    """Let a child compile, where nothing is compiled yet and what it makes would be found."""
    if os.environ.get(_CHILD) or os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("NUMBA_DISABLE_JIT"):
        return
    cache = _HERE / "__pycache__"
    if any(cache.glob("*.nbi")) or not os.access(cache if cache.is_dir() else _HERE, os.W_OK) or not sys.executable:
        return
    paths = os.pathsep.join([str(_HERE.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, _CHILD: "1", "PYTHONPATH": paths}
    names = ", ".join(f"lockscope.kernels.{name}" for name in _SHARE)
    code = f"import gc; gc.disable(); import {names}"
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return
    gc.disable()  # all that numba makes stays: to look through it again and again takes a fifteenth of the time
    from lockscope.kernels import records as records  # this process's share, before it waits for the child's
    from lockscope.kernels import walk as walk

    gc.enable()
    _children.append(child)


def wait() -> None:
    """Until the child is done: what it compiled is then loaded, not compiled again."""
    while _children:
        child = _children.pop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_PATIENCE_S)


def _leave() -> None:
    """At exit: a child still at work finishes alone, for the next run; nobody has to hear of it."""
    for child in _children:
        child.returncode = 0


atexit.register(_leave)
_drop_stale()
_settle()
_share_out()
