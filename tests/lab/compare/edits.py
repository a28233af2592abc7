"""One thing to do."""

from __future__ import annotations

from typing import NamedTuple


class Edit(NamedTuple):
    """Where lockscope has to change, and what the kernel has there."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"
