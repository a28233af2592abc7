"""Files that we write: named safely after what a trace says, and there whole or not at all.

Every file of ours goes through here. What is not finished (a full disk, an error, Ctrl-C) never lies under its final
name; what was there before stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lockscope.errors import LockscopeError, UsageError

_ODD = re.compile(r"[^A-Za-z0-9._+-]")
_LONGEST = 120  # of 255 bytes that file systems allow (NAME_MAX), for what callers add
TEMPORARY = ".lockscope-"  # how a file that is being written begins; whoever is killed leaves it


class Names:
    """File names after words of a trace. Different words get different names, also where case does not count."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, word: str) -> str:
        """A name for a word: one component of a path, never hidden, at most 120 ASCII letters."""
        if word not in self._words:
            name = _ODD.sub("_", word)
            if name.startswith((".", "-")) or not name:
                name = "_" + name[1:]
            if len(name) > _LONGEST or name.casefold() in self._taken:
                digest = hashlib.sha256(word.encode("utf-8", "surrogatepass")).hexdigest()[:12]
                name = f"{name[: _LONGEST - 13]}~{digest}"
            self._taken.add(name.casefold())
            self._words[word] = name
        return self._words[word]


def refuse_existing(target: str | Path, *, force: bool, name: str = "") -> None:
    """Raise ``UsageError`` for a file that is there, unless it may be overwritten. What is no file (a pipe, /dev/null)
    is written to. ``name``: what the user called it by, "-o FILE".
    """
    if not force and os.path.isfile(target):
        how = "--force overwrites it" if name else "force=True overwrites it"
        msg = f"{name or target}: exists ({how})"
        raise UsageError(msg)


@contextmanager
def told(place: object) -> Iterator[None]:
    """What fails in here is one line that names the file that could not be written."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        msg = f"{place}: cannot be written: {error.strerror or error}"
        raise LockscopeError(msg) from error


@contextmanager
def whole(target: str | Path) -> Iterator[Path]:
    """A file to write; it gets its name when the block ends without an error. Raises ``LockscopeError``.

    Its directory is made. A pipe or device that is there already is written to as it is.
    """
    place = Path(target)
    with told(place):
        if place.exists() and not place.is_file():
            yield place
            return
        place = Path(os.path.realpath(place))
        alone = not place.parent.exists()
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=TEMPORARY, suffix=place.suffix[-20:])
        os.close(handle)
        beside = Path(name)
        try:
            yield beside
            beside.chmod(place.stat().st_mode if place.exists() else 0o666 & ~umask())
            beside.replace(place)
        except BaseException:
            beside.unlink(missing_ok=True)
            if alone:
                with contextlib.suppress(OSError):
                    place.parent.rmdir()
            raise


@contextmanager
def opened(target: str | Path) -> Iterator[BinaryIO]:
    """As ``whole``, opened for writing."""
    with whole(target) as place, place.open("wb") as file:
        yield file
        file.flush()


def write_text(target: str | Path, text: str) -> None:
    """Write a text whole, as UTF-8; what is no text is spelled out."""
    with opened(target) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


@contextmanager
def whole_directory(target: str | Path) -> Iterator[Path]:
    """A directory to fill; it gets its name when the block ends without an error. Raises ``LockscopeError``.

    Where one with files in it is there already, it is filled as it is.
    """
    place = Path(target)
    with told(place):
        if place.is_dir() and any(place.iterdir()):
            yield place
            return
        place = Path(os.path.realpath(place))
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=place.parent, prefix=TEMPORARY))
        try:
            yield beside
            beside.chmod(0o777 & ~umask())
            with contextlib.suppress(FileNotFoundError):
                place.rmdir()
            beside.rename(place)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


def umask() -> int:
    """What new files do not allow. Reading it means setting it; Linux also tells it in ``status`` (since 4.7)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("\nUmask:")[2].split(maxsplit=1)[0], 8)
    except (OSError, ValueError, IndexError):
        return 0o077
