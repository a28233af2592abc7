"""Lines for a terminal: colours, and labels."""

from __future__ import annotations

import re
import textwrap

_CODES = {"error": "1;31", "warning": "1;33", "info": "1;36", "bold": "1", "good": "1;32", "dim": "2"}


class Paint:
    """Puts colours round text, or not."""

    def __init__(self, on: bool, width: int = 110) -> None:
        self.on, self.width = on, width  # width: columns of prose

    def __call__(self, style: str, text: str) -> str:
        """The text in a style: error, warning, info, bold, good, dim."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.on and text else text


_LABEL = re.compile(r"\s*(?:[\w-]+(?: [\w-]+){0,2}:\s+|\d+\.\d+  )")


def fit(line: str, width: int | None) -> list[str]:
    """A line in as many as it needs to be no wider than a terminal, folded at blanks under its own beginning."""
    if width is None or len(line) <= width:
        return [line]
    label = _LABEL.match(line)
    indent = label.end() if label else len(line) - len(line.lstrip()) + 4
    return textwrap.wrap(
        line, width, subsequent_indent=" " * min(indent, width // 3), replace_whitespace=False, break_on_hyphens=False,
        break_long_words=False,
    ) or [line]  # fmt: skip


def labelled(label: str, lines: list[str], width: int = 13) -> list[str]:
    """Lines with a label before the first and the rest under it; none for no lines."""
    head = f"{label}:".ljust(width)
    return [f"{head if i == 0 else ' ' * width} {line}".rstrip() for i, line in enumerate(lines)]
