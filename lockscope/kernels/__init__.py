"""The compiled loops, all of them, and nothing else.

numba keeps compiled code beside the sources and checks only the file in which a function stands, not the files whose
functions it calls. When any source here is newer than a compiled file, all compiled files go.
"""

from __future__ import annotations

import contextlib
from pathlib import Path


def _drop_stale() -> None:
    here = Path(__file__).parent
    with contextlib.suppress(OSError):  # an installation that cannot be written has no such files either
        compiled = [p for p in (here / "__pycache__").iterdir() if p.suffix in (".nbi", ".nbc")]
        newest = max(p.stat().st_mtime_ns for p in here.glob("*.py"))
        if any(p.stat().st_mtime_ns < newest for p in compiled):
            for p in compiled:
                p.unlink(missing_ok=True)


_drop_stale()
