"""Bounds-checked cursors over the head of a file: every read says what it wanted and where."""

from __future__ import annotations

import os

from lockscope.errors import FormatError

_WINDOW = 1 << 20


class Cursor:
    """Reads numbers, strings and blocks from ``data``; ``base`` is the file offset of its first byte."""

    def __init__(self, data: bytes, path: str, *, big: bool = False, base: int = 0) -> None:
        self.data, self.path, self.big, self.base, self.pos = data, path, big, base, 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self.data) - self.pos

    @property
    def offset(self) -> int:
        """The present place in the file."""
        return self.base + self.pos

    def fail(self, wanted: str, hint: str = "") -> FormatError:
        """An error at the present place."""
        return FormatError(self.path, f"offset {self.offset:#x}", wanted, hint)

    def take(self, size: int, what: str) -> bytes:
        """``size`` bytes. Raises ``FormatError`` where they are not there."""
        if size < 0 or size > self.left:
            raise self.fail(f"wanted {size} bytes of {what}, {self.left} are left", "the file is truncated or damaged")
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def number(self, width: int, what: str) -> int:
        """An unsigned integer of ``width`` bytes in the file's byte order."""
        return int.from_bytes(self.take(width, what), "big" if self.big else "little")

    def text(self, what: str, most: int = 4096) -> str:
        """A NUL-terminated string."""
        end = self.data.find(b"\0", self.pos, self.pos + most + 1)
        if end < 0:
            raise self.fail(f"wanted the end of {what}", "the file is truncated or damaged")
        raw = self.data[self.pos : end]
        self.pos = end + 1
        return raw.decode("utf-8", "replace")


class FileCursor(Cursor):
    """The same over an open file, a window of it in memory at a time."""

    def __init__(self, fd: int, path: str, length: int, *, big: bool = False, base: int = 0) -> None:
        super().__init__(b"", path, big=big, base=base)
        self.fd, self.length = fd, length

    @property
    def left(self) -> int:
        """Bytes to the end of the file."""
        return max(self.length - self.offset, 0)

    def _window(self, size: int) -> None:
        if len(self.data) - self.pos < size:
            self.base, self.pos = self.offset, 0
            self.data = os.pread(self.fd, max(size, _WINDOW), self.base)

    def take(self, size: int, what: str) -> bytes:
        """``size`` bytes. Raises ``FormatError`` where the file ends before."""
        if 0 <= size <= self.left:
            self._window(size)
            if size <= len(self.data) - self.pos:
                return super().take(size, what)
        raise self.fail(f"wanted {size} bytes of {what}, {self.left} are left", "the file is truncated or damaged")

    def text(self, what: str, most: int = 4096) -> str:
        """A NUL-terminated string."""
        self._window(min(most + 1, self.left))
        return super().text(what, most)
