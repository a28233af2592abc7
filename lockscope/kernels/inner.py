"""How functions are declared that only other compiled functions call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, _LowerResult
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.typed_passes import NativeLowering, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes

from lockscope.kernels.views import NAMES


class _Raw(JITCodeLibrary):
    """Code that only other code is made of: neither optimised nor turned into the machine's by itself."""

    def _optimize_final_module(self) -> None:
        """It is: with its callers."""

    def _finalize_final_module(self) -> None:
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):
    """numba's lowering, into a ``_Raw`` library and without an address to call."""

    _name = "lockscope_inner_lowering"

    def run_pass(self, state: Any) -> bool:
        state["library"] = _Raw(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        lowered = state["cr"]
        called: Any = [].append  # any builtin of its own: by it callers find the function, and nobody calls it
        state.targetctx.insert_user_function(called, lowered.fndesc, [state["library"]])
        state["cr"] = _LowerResult(lowered.fndesc, lowered.call_helper, cfunc=called, env=lowered.env)
        return True


_UNUSED = (InlineClosureLikes, NopythonRewrites)  # closures, and expressions of whole arrays: no inner function has any


class _Compiler(CompilerBase):
    def define_pipelines(self) -> list[PassManager]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [
            (_Lowering if step is NativeLowering else step, why) for step, why in passes.passes if step not in _UNUSED
        ]
        passes.finalize()
        return [passes]


def inner(signature: Any, *, always: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A function for other compiled ones, with one signature for all its callers. ``always``: inlined wherever called.

    It is compiled when a caller is compiled and not before. Left to itself numba optimises it and makes machine code
    of it, together with all that it calls, and again within each caller: two thirds of the time, for code that nothing
    calls. So it stays raw until a function that Python calls holds it. Without a signature numba would compile it again
    for each literal argument; wrappers for Python, which it has none of, cost more to compile than the function.
    """

    def declared(function: Callable[..., Any]) -> Any:
        made = njit(
            nogil=True, forceinline=always, no_cpython_wrapper=True, no_cfunc_wrapper=True, pipeline_class=_Compiler
        )(function)
        template = made.get_call_template

        def typed(arguments: Any, keywords: Any) -> Any:
            if not made.signatures:
                made.compile(eval(signature, vars(types) | NAMES) if isinstance(signature, str) else signature)
                made.disable_compile()
            return template(arguments, keywords)

        made.get_call_template = typed
        return made

    return declared
