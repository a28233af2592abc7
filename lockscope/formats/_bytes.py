"""A bounds-checked cursor over the head of a file: every read says what it wanted and where."""

from __future__ import annotations

from lockscope.errors import FormatError


class Cursor:
    """Reads numbers, strings and blocks from ``data``; ``base`` is the file offset of its first byte."""

    def __init__(self, data: bytes, path: str, *, big: bool = False, base: int = 0) -> None:
        self.data, self.path, self.big, self.base, self.pos = data, path, big, base, 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self.data) - self.pos

    def fail(self, wanted: str, hint: str = "") -> FormatError:
        """An error at the present place."""
        return FormatError(self.path, f"offset {self.base + self.pos:#x}", wanted, hint)

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
