"""How functions are declared that only other compiled functions call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types

from lockscope.kernels.views import NAMES


def inner(signature: Any, *, always: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A function for other compiled ones, with one signature for all its callers. ``always``: inlined wherever called.

    It is compiled, or its compiled code loaded, when a caller is compiled and not before: callers' compiled code holds
    all that they call, and to load a hundred functions that nothing asks for cost a third of a second at every start.
    Without a signature numba would compile it again for each literal argument; wrappers for Python, which it has none
    of, cost more to compile than the function.
    """

    def declared(function: Callable[..., Any]) -> Any:
        made = njit(nogil=True, cache=True, forceinline=always, no_cpython_wrapper=True, no_cfunc_wrapper=True)(
            function
        )
        template = made.get_call_template

        def typed(arguments: Any, keywords: Any) -> Any:
            if not made.signatures:
                made.compile(eval(signature, vars(types) | NAMES) if isinstance(signature, str) else signature)
                made.disable_compile()
            return template(arguments, keywords)

        made.get_call_template = typed
        return made

    return declared
