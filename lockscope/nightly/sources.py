"""Which files to look at, wherever they are: folders, globs, and URLs of any file system that fsspec knows."""

from __future__ import annotations

import glob
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockscope.errors import UsageError
from lockscope.formats.open import knows

_SUFFIXES = (".dat", ".data", ".trace")  # a damaged file is known by these where its content says nothing
_PACKED = (".gz", ".xz", ".zst")
_TEXT = (".txt", ".ftrace", ".log")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A file. ``stamp``: size and time of change, or the store's ETag; "" where nothing tells a change."""

    path: str
    stamp: str = ""

    @property
    def remote(self) -> bool:
        """Whether fsspec reads it."""
        return is_url(self.path)


def is_url(path: str) -> bool:
    """Whether a path is a URL: ``s3://bucket/night/*.dat``. ``file://`` is one too."""
    scheme, found, _ = path.partition("://")
    return bool(found) and scheme.replace("+", "").replace(":", "").isalnum()


def find(places: Iterable[str]) -> list[Source]:
    """The files that directories, globs and names stand for, sorted, each once. Raises ``UsageError`` for nothing.

    Of a directory, with all below it, only what looks like a trace is taken; what is named or matched is taken as it
    is.
    """
    found: dict[str, Source] = {}
    for place in places:
        here = list(_remote(place) if is_url(place) else _local(place))
        if not here:
            msg = f"{place}: no trace there" if _exists(place) else f"{place}: there is no such file or directory"
            raise UsageError(msg)
        found.update((s.path, s) for s in here)
    return [found[path] for path in sorted(found)]


def _exists(place: str) -> bool:
    return is_url(place) or os.path.exists(place) or glob.has_magic(place)


def _local(place: str) -> Iterator[Source]:
    named = [place] if os.path.exists(place) else sorted(glob.glob(place, recursive=True))
    for path in named:
        if os.path.isdir(path):
            yield from (s for s in _below(path) if _is_trace(s.path))
        else:
            yield Source(path, _stamp(os.stat(path)))


def _below(folder: str) -> Iterator[Source]:
    for directory, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(files):
            path = os.path.join(directory, name)
            if not name.startswith(".") and os.path.isfile(path):
                yield Source(path, _stamp(os.stat(path)))


def _stamp(of: os.stat_result) -> str:
    return f"{of.st_size}:{of.st_mtime_ns}"


def _is_trace(path: str) -> bool:
    return _suffix(path) in _SUFFIXES or knows(path)


def _suffix(path: str) -> str:
    name = Path(path)
    return Path(name.stem).suffix if name.suffix in _PACKED else name.suffix


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it. Raises ``UsageError`` where fsspec or its driver lacks."""
    try:
        import fsspec
    except ImportError as missing:
        msg = f"{url}: reading URLs needs fsspec: pip install fsspec"
        raise UsageError(msg) from missing
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as missing:
        msg = f"{url}: {missing}"
        raise UsageError(msg) from missing
    return found


def _remote(url: str) -> Iterator[Source]:
    system, path = filesystem(url)
    if glob.has_magic(path):
        files = system.glob(path, detail=True)
    elif system.isdir(path):
        below = system.find(path, detail=True)
        files = {p: i for p, i in below.items() if _suffix(p) in (*_SUFFIXES, *_TEXT)}
    else:
        files = {path: system.info(path)}
    for name, info in sorted(files.items()):
        if info.get("type", "file") == "file":
            yield Source(system.unstrip_protocol(name), _remote_stamp(info))


def _remote_stamp(info: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "mtime", "LastModified", "last_modified", "created"):
        if info.get(key) is not None:
            return f"{info.get('size')}:{info[key]}"
    return ""


def digest_of(source: Source) -> str | None:
    """The SHA-256 of a local file; None for a remote one, which the worker that copies it finds out, or unreadable."""
    if source.remote:
        return None
    try:
        with open(source.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


@contextmanager
def at_hand(source: Source) -> Iterator[tuple[str, str, int]]:
    """A path to read the file from, the SHA-256 of its content, its size. What is remote is copied for the while."""
    if not source.remote:
        with open(source.path, "rb") as file:
            known = hashlib.file_digest(file, "sha256").hexdigest()
        yield source.path, known, os.path.getsize(source.path)
        return
    system, path = filesystem(source.path)
    with tempfile.TemporaryDirectory(prefix="lockscope-") as folder:
        copy = os.path.join(folder, os.path.basename(path) or "trace")
        digest, size = hashlib.sha256(), 0
        with system.open(path, "rb") as remote, open(copy, "wb") as local:
            while chunk := remote.read(_CHUNK):
                digest.update(chunk)
                local.write(chunk)
                size += len(chunk)
        yield copy, digest.hexdigest(), size
