"""A trace for whoever explores it: its tables, its verdict, its figures, its locks' statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lockscope.trace.trace import Trace, load

__all__ = ["Trace", "load"]


def __getattr__(name: str) -> Any:
    """Imported when first used: a part of this package does without the rest."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from lockscope.trace import trace

    return getattr(trace, name)
