"""A progress bar for long loads, in a notebook and nowhere else."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lockscope.units import count

_PATIENCE = 0.7  # seconds before it shows: most loads are over by then


@contextmanager
def showing(what: str, total: int | None = None) -> Iterator[Bar | None]:
    """A bar while the block runs, or None where no notebook is looking. ``total``: events, where known from before."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    bar = Bar(what, total) if shell is not None and getattr(shell, "kernel", None) is not None else None
    try:
        yield bar
    finally:
        if bar is not None:
            bar.close()


class Bar:
    """Called with how many events are done, and of how many where that is known; shows itself and goes away."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self.what, self.total = what, total
        self.began = time.monotonic()
        self._next = self.began + _PATIENCE
        self._handle: Any = None

    def __call__(self, done: int, total: int | None) -> None:
        """Show how far it is, at most five times a second."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 0.2
        self._show(self.html_of(done, total or self.total, now - self.began))

    def html_of(self, done: int, total: int | None, passed: float) -> str:
        """The bar as it is now."""
        value = f' value="{min(done / total, 1):.3f}"' if total else ""
        rate = f"{count(done)} events, {done / max(passed, 1e-9) / 1e6:.1f} million/s"
        bar = f'<progress{value} style="width:260px"></progress>'
        return f'<div style="font-size:12px">{bar} {html.escape(self.what)}: {rate}</div>'

    def _show(self, shown: str) -> None:
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(shown), display_id=True)
        else:
            self._handle.update(HTML(shown))

    def close(self) -> None:
        """Take it away."""
        if self._handle is not None:
            self._show("")
