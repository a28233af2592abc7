"""Lines for a terminal: colours, and labels."""

from __future__ import annotations

_CODES = {"error": "1;31", "warning": "1;33", "info": "1;36", "bold": "1", "good": "1;32", "dim": "2"}


class Paint:
    """Puts colours round text, or not."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __call__(self, style: str, text: str) -> str:
        """The text in a style: error, warning, info, bold, good, dim."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.on and text else text


def labelled(label: str, lines: list[str], width: int = 13) -> list[str]:
    """Lines with a label before the first and the rest under it; none for no lines."""
    head = f"{label}:".ljust(width)
    return [f"{head if i == 0 else ' ' * width} {line}".rstrip() for i, line in enumerate(lines)]
