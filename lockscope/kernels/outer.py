"""How functions are declared that Python calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.runtime import rtsys


def outer(signature: Any = None) -> Callable[[Callable[..., Any]], Any]:
    """A compiled function, kept beside its source. Without a signature it is compiled when it is first called.

    Before numba loads one it makes its compiler ready, for a quarter of a second. Nothing that is loaded needs that,
    and whatever has to be compiled makes it ready again (``CompilerBase.__init__``, numba 0.61 to 0.68).
    """

    def declared(function: Callable[..., Any]) -> Any:
        made = njit(nogil=True, cache=True, no_cfunc_wrapper=True)(function)
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
