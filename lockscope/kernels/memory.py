"""Unaligned integer loads from a byte buffer, for compiled loops.

Every load gives an int64 (a 64-bit value keeps its bits, a smaller one is zero-extended): numba, like numpy, turns a
mix of uint64 and int64 into float64, which loses the low bits of an address.

The caller proves that ``pos + width`` lies inside the buffer; nothing here checks. Every loop of ``kernels`` does so
before it loads, whatever the file says.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _loader(bits: int) -> Any:
    @intrinsic
    def load(typingctx: Any, array: Any, pos: Any, big: Any) -> Any:  # noqa: ARG001 (numba's signature)
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            view = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
            place = builder.gep(view.data, [args[1]])
            value = builder.load(builder.bitcast(place, ir.IntType(bits).as_pointer()))
            value.align = 1
            if bits > 8:
                value = builder.select(args[2], builder.bswap(value), value)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(array, types.int64, types.boolean), codegen

    return load


u8, u16, u32, u64 = _loader(8), _loader(16), _loader(32), _loader(64)
