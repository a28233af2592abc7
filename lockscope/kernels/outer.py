"""How functions are declared that Python calls."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.runtime import rtsys

_told: list[bool] = []


def outer(signature: Any = None) -> Callable[[Callable[..., Any]], Any]:
    """A compiled function, kept beside its source. Without a signature it is compiled when it is first called.

    Before numba loads one it makes its compiler ready, for a quarter of a second. Nothing that is loaded needs that,
    and whatever has to be compiled makes it ready again (``CompilerBase.__init__``, numba 0.61 to 0.68).
    """

    def declared(function: Callable[..., Any]) -> Any:
        try:
            made = njit(nogil=True, cache=True, no_cfunc_wrapper=True)(function)
        except RuntimeError as nowhere:  # "cannot cache function": no directory can be written
            return _uncached(function, signature, nowhere)
        kept = made._cache

        def load(types: Any, context: Any) -> Any:
            rtsys.initialize(context)  # what arrays are counted and freed with: the one thing that is called
            with kept._guard_against_spurious_io_errors():
                return kept._load_overload(types, context)

        kept.load_overload = load
        if signature is not None:
            made.compile(signature)
            made.disable_compile()
        return made

    return declared


def _uncached(function: Callable[..., Any], signature: Any, why: RuntimeError) -> Any:
    """Compiled anew in each process: it takes half a minute, but it works."""
    if "cannot cache" not in str(why):
        raise why
    if not _told:
        _told.append(True)
        sys.stderr.write(
            "lockscope: no directory can be written for compiled code: it is compiled anew each time, for half a minute"
            " (set NUMBA_CACHE_DIR or XDG_CACHE_HOME to one that can)\n"
        )
    made = njit(nogil=True, no_cfunc_wrapper=True)(function)
    if signature is not None:
        made.compile(signature)
        made.disable_compile()
    return made
