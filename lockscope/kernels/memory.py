"""Unaligned integer loads and stores by address, for compiled loops.

A loop asks once for the ``address`` of each array that its caller handed it and works on plain numbers from there: an
array passed to another compiled function is reference-counted at every call, which costs more than these loops do.

Every load gives an int64 (a 64-bit value keeps its bits, a smaller one is zero-extended): numba, like numpy, turns a
mix of uint64 and int64 into float64, which loses the low bits of an address. Stores write the low bits in the
machine's byte order.

The caller proves that what is read or written lies inside the array, and keeps the array; nothing here checks. Every
loop of ``kernels`` does so before it loads, whatever the file says.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

INT, BOOL = types.int64, types.boolean


@intrinsic
def address(typingctx: Any, array: Any) -> Any:  # noqa: ARG001 (numba's signature)
    """Where a contiguous array's first element lies."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        return builder.ptrtoint(view.data, ir.IntType(64))

    return types.int64(array), codegen


def _loader(bits: int) -> Any:
    @intrinsic
    def load(typingctx: Any, place: Any, big: Any) -> Any:  # noqa: ARG001 (numba's signature)
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            value = builder.load(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()))
            value.align = 1
            if bits > 8:
                value = builder.select(args[1], builder.bswap(value), value)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(types.int64, types.boolean), codegen

    return load


def _storer(bits: int) -> Any:
    @intrinsic
    def store(typingctx: Any, place: Any, value: Any) -> Any:  # noqa: ARG001 (numba's signature)
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            low = args[1] if bits == 64 else builder.trunc(args[1], ir.IntType(bits))
            builder.store(low, builder.inttoptr(args[0], ir.IntType(bits).as_pointer())).align = 1
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return store


@intrinsic
def prefetch(typingctx: Any, place: Any) -> Any:  # noqa: ARG001 (numba's signature)
    """Ask for the bytes at an address to be brought nearer. No access: any address is allowed."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        word, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(ask, [builder.inttoptr(args[0], pointer), word(0), word(2), word(1)])  # read, second level, data
        return context.get_dummy_value()

    return types.void(types.int64), codegen


u8, u16, u32, u64 = _loader(8), _loader(16), _loader(32), _loader(64)
put8, put16, put32, put64 = _storer(8), _storer(16), _storer(32), _storer(64)
