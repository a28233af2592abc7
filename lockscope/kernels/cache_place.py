"""Where compiled code is kept when the installation cannot be written: a service account, a read-only image.

numba loads what it finds there with ``pickle``: a directory that others can write would let them run code as us. So it
is one of this user's own, and one that was already there is believed only if nobody else can write it.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path


def place(sources: Path, environment: Mapping[str, str]) -> Path | None:
    """A directory of our own for code compiled from these sources; None where there is nowhere to write.

    Its last part stands for the sources as they are now: numba looks only at the file in which a function stands, not
    at those whose functions it calls.
    """
    newest = max(p.stat().st_mtime_ns for p in sources.glob("*.py"))
    for home in _homes(environment):
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not private(home):
                continue
            made = home / f"{newest:x}"
            made.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=made):
                return made
        except OSError:
            continue
    return None


def private(folder: Path) -> bool:
    """Whether a directory is this user's, and nobody else can write it."""
    told = folder.lstat()
    return stat.S_ISDIR(told.st_mode) and told.st_uid == os.geteuid() and not told.st_mode & 0o022


def _homes(environment: Mapping[str, str]) -> Iterator[Path]:
    if environment.get("CACHE_DIRECTORY"):  # what systemd makes for CacheDirectory= (systemd.exec(5))
        yield Path(environment["CACHE_DIRECTORY"].split(":")[0]) / "lockscope"
    if environment.get("XDG_CACHE_HOME"):
        yield Path(environment["XDG_CACHE_HOME"]) / "lockscope"
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        yield Path(home) / ".cache" / "lockscope"
    yield Path(tempfile.gettempdir()) / f"lockscope-{os.geteuid()}"
