"""What the loops of this package are declared with; all of it is nothing to Python, which runs them as they stand.

``compiling/units.py`` turns it into Cython's types when the loops are compiled:

=============  =======================================================================================
``int``        64 bits, signed; ``bool``: a C truth value
``Bytes``      bytes that are only read; ``Buffer``: bytes that are written too
``Ints``       int64[:]; ``Halves``: int32[:]; ``Grid``, ``Cube``: int64 of two and three dimensions
``Row``        a class of int64 fields: a C struct. ``Rows[Task]`` is an array of them, ``Task`` a pointer
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
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

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
    def many(cls, number: int) -> NDArray[Any]:
        """That many rows of zeros; a field is a column: ``rows["name"]``."""
        return np.zeros(number, cls.dtype)


def loop(function: Callable[..., _T]) -> Callable[..., _T]:
    """A function that Python calls."""

    @wraps(function)
    def call(*given: Any) -> _T:
        return function(*(array_of(a) if isinstance(a, np.ndarray) else _plain(a) for a in given))

    return call


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


def array_of(values: NDArray[Any]) -> Any:
    """An array as loops take it."""
    return Rows(values) if values.dtype.names else Array(values)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, (np.integer, np.bool_, bool)) else value


class Array:
    """An array of numbers as C has it: an index lies inside, and what is stored is cut to the item's width."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values
        self.shape: tuple[int, ...] = values.shape
        self._bits = 8 * values.itemsize
        self._signed = values.dtype.kind == "i"

    def __len__(self) -> int:
        return len(self.values)

    def _inside(self, index: Any) -> Any:
        for i, size in zip(index if isinstance(index, tuple) else (index,), self.shape, strict=True):
            if not 0 <= i < size:
                msg = f"index {index} of an array of {self.shape}"
                raise IndexError(msg)
        return index

    def __getitem__(self, index: Any) -> int:
        return int(self.values[self._inside(index)])

    def __setitem__(self, index: Any, value: int) -> None:
        self.values[self._inside(index)] = _cut(value, self._bits, signed=self._signed)


Bytes: TypeAlias = Array
Buffer: TypeAlias = Array
Ints: TypeAlias = Array
Halves: TypeAlias = Array
Grid: TypeAlias = Array
Cube: TypeAlias = Array


class Rows(Generic[_T]):
    """An array of rows: ``rows[i].name`` is a field."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._columns = {name: values[name] for name in values.dtype.names or ()}
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: int) -> _T:
        if not 0 <= index < len(self._values):
            msg = f"row {index} of {len(self._values)}"
            raise IndexError(msg)
        return cast("_T", _Row(self._columns, int(index)))

    def __setitem__(self, index: int, row: _T) -> None:
        to = self[index]
        for name in self._columns:
            setattr(to, name, getattr(row, name))


class _Row:
    __slots__ = ("_columns", "_index")
    _columns: dict[str, NDArray[np.int64]]
    _index: int

    def __init__(self, columns: dict[str, NDArray[np.int64]], index: int) -> None:
        object.__setattr__(self, "_columns", columns)
        object.__setattr__(self, "_index", index)

    def __getattr__(self, name: str) -> int:
        return int(self._columns[name][self._index])

    def __setattr__(self, name: str, value: int) -> None:
        self._columns[name][self._index] = _cut(value, 64, signed=True)


def _cut(value: int, bits: int, *, signed: bool) -> int:
    low = int(value) & ((1 << bits) - 1)
    return low - (1 << bits) if signed and low >> (bits - 1) else low
