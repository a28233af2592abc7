"""Addresses for the functions that a simulated kernel's events name, as its kallsyms would give them."""

from __future__ import annotations

_BASE = 0xFFFFFFFF81000000
_SPACE = 0x1000


class Symbols(dict[str, int]):
    """Address by name, given out on first use in a fixed order; ``listed`` gets them the other way round."""

    def __init__(self, listed: dict[int, str]) -> None:
        super().__init__()
        self._listed = listed

    def __missing__(self, name: str) -> int:
        address = _BASE + _SPACE * (len(self) + 1)
        self[name] = address
        self._listed[address] = name
        return address
