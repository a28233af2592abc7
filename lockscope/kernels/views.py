"""Arrays as compiled functions hand them to each other: where they lie and how large they are, and nothing else.

An array of numba's is seven to nine words at each call, counts references, makes another array of each row looked at,
and lets an index be negative. A loop's caller keeps the arrays; behind it they are ``vector`` and ``matrix``, and a row
of a matrix is a pointer. So the KVM loops compile in two thirds of the time, and run in four fifths.

In signatures of ``inner`` the types are called ``vector``, ``matrix`` and ``row``. No index is checked.
"""

from __future__ import annotations

import operator
from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

ROW = types.CPointer(types.int64)


class _VectorType(types.Type):
    def __init__(self) -> None:
        super().__init__("vector")


class _MatrixType(types.Type):
    def __init__(self) -> None:
        super().__init__("matrix")


VECTOR, MATRIX = _VectorType(), _MatrixType()
NAMES = {"vector": VECTOR, "matrix": MATRIX, "row": ROW}


@register_model(_VectorType)
class _VectorModel(models.StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("data", ROW), ("size", types.int64)])


@register_model(_MatrixType)
class _MatrixModel(models.StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("data", ROW), ("rows", types.int64), ("width", types.int64)])


@intrinsic
def vector(typingctx: Any, array: Any) -> Any:
    """A contiguous int64[:] without its owner."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        made = cgutils.create_struct_proxy(VECTOR)(context, builder)
        made.data, made.size = given.data, given.nitems
        return made._getvalue()

    return VECTOR(array), codegen


@intrinsic
def matrix(typingctx: Any, array: Any) -> Any:
    """A contiguous int64[:, :] without its owner."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        made = cgutils.create_struct_proxy(MATRIX)(context, builder)
        made.data = given.data
        made.rows, made.width = cgutils.unpack_tuple(builder, given.shape, 2)
        return made._getvalue()

    return MATRIX(array), codegen


@infer_global(len)
class _Len(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(types.int64, args[0]) if args[0] in (VECTOR, MATRIX) else None


@infer_global(operator.getitem)
class _Get(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        given, index = args
        if given == VECTOR and isinstance(index, types.Integer):
            return signature(types.int64, given, types.int64)
        if given == MATRIX and isinstance(index, types.Integer):
            return signature(ROW, given, types.int64)
        if given == MATRIX and isinstance(index, types.BaseTuple) and len(index) == 2:
            return signature(types.int64, given, types.UniTuple(types.int64, 2))
        return None


@infer_global(operator.setitem)
class _Set(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        given, index, value = args
        if not isinstance(value, (types.Integer, types.Boolean)):
            return None
        if given == VECTOR and isinstance(index, types.Integer):
            return signature(types.none, given, types.int64, types.int64)
        if given == MATRIX and isinstance(index, types.BaseTuple) and len(index) == 2:
            return signature(types.none, given, types.UniTuple(types.int64, 2), types.int64)
        return None


@lower_builtin(len, VECTOR)
def _vector_len(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return cgutils.create_struct_proxy(VECTOR)(context, builder, args[0]).size


@lower_builtin(len, MATRIX)
def _matrix_len(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return cgutils.create_struct_proxy(MATRIX)(context, builder, args[0]).rows


def _vector_place(context: Any, builder: Any, args: Any) -> Any:
    return builder.gep(cgutils.create_struct_proxy(VECTOR)(context, builder, args[0]).data, [args[1]])


def _row_place(context: Any, builder: Any, given: Any, row: Any) -> Any:
    view = cgutils.create_struct_proxy(MATRIX)(context, builder, given)
    return builder.gep(view.data, [builder.mul(row, view.width)])


def _cell_place(context: Any, builder: Any, args: Any) -> Any:
    row, column = cgutils.unpack_tuple(builder, args[1], 2)
    return builder.gep(_row_place(context, builder, args[0], row), [column])


@lower_builtin(operator.getitem, VECTOR, types.int64)
def _get_of_vector(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.load(_vector_place(context, builder, args))


@lower_builtin(operator.getitem, MATRIX, types.int64)
def _get_row(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return _row_place(context, builder, args[0], args[1])


@lower_builtin(operator.getitem, MATRIX, types.UniTuple(types.int64, 2))
def _get_cell(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.load(_cell_place(context, builder, args))


@lower_builtin(operator.setitem, VECTOR, types.int64, types.int64)
def _set_of_vector(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    builder.store(args[2], _vector_place(context, builder, args))
    return context.get_dummy_value()


@lower_builtin(operator.setitem, MATRIX, types.UniTuple(types.int64, 2), types.int64)
def _set_cell(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    builder.store(args[2], _cell_place(context, builder, args))
    return context.get_dummy_value()
