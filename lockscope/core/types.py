"""What the loops of this package are declared with; all of it is nothing to Python, which runs them as they stand.

``lockscope/core/units.py`` turns it into Cython's types when the loops are compiled:

=============  =======================================================================================
``int``        64 bits, signed; ``bool``: a C truth value
``Bytes``      bytes that are only read; ``Buffer``: bytes that are written too
``Ints``       int64[:]; ``Halves``: int32[:]; ``Grid``, ``Cube``: int64 of two and three dimensions
``Row``        a class of int64 fields: a C struct. ``Task[...]`` is an array of them, ``Task`` a pointer
``@state``     a class whose fields are C's: arrays, and numbers that Python sees too
``@loop``      a function that Python calls; without the interpreter's lock when compiled
``@step``      a function that only loops call; ``@inline``: a small one
``ref(x)``     a pointer to an array's row, which Python has as the row itself
=============  =======================================================================================

Every index of an array is checked, compiled or not: one that lies outside raises ``IndexError``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Buffer: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]
Halves: TypeAlias = NDArray[np.int32]
Grid: TypeAlias = NDArray[np.int64]
Cube: TypeAlias = NDArray[np.int64]

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")


class Row:
    """A row of int64 fields: the one description of it, for C and for NumPy."""

    dtype: ClassVar[np.dtype[Any]]

    def __init_subclass__(cls) -> None:
        cls.dtype = np.dtype([(name, np.int64) for name in cls.__annotations__])

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(cls.__annotations__)

    @classmethod
    def rows(cls, number: int) -> NDArray[Any]:
        """That many rows of zeros; a field is a column: ``rows["name"]``."""
        return np.zeros(number, cls.dtype)


def loop(function: _F) -> _F:
    """A function that Python calls. Numbers wrap as C's do."""

    @wraps(function)
    def call(*given: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*given)

    return call  # type: ignore[return-value]


def step(function: _F) -> _F:
    """A function that only loops call."""
    return function


inline = step


def state(cls: type[_T]) -> type[_T]:
    """A class whose fields are C's. Numbers begin with 0."""
    for name, kind in cls.__annotations__.items():
        if kind == "int":
            setattr(cls, name, 0)
    return cls


def ref(row: _T) -> _T:
    """A row of an array, to be read and written."""
    return row


def rows_of(array: NDArray[Any]) -> Any:
    """An array of rows as loops take it: ``rows[i].name`` is a field."""
    return array.view(np.recarray)
