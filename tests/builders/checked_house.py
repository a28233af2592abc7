"""All compiled loops as plain Python with every index checked, under the code that calls them.

    with checked_house():
        lockscope.load(path).analyze()

Each array that is handed to a loop becomes a ``Checked`` one, addresses belong to one array each, and numbers wrap
where the compiled ones do. Slow: some hundred rows a second.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import lockscope.kernels
from lockscope.reconstruct import walk_regions
from tests.builders.checked import OutsideError

_BITS = 1 << 64
_NAMES = tuple(m.name for m in iter_modules(lockscope.kernels.__path__))
MACHINERY = {"inner", "outer", "views", "memory", "cache_place", "tape_rows"}


def modules() -> dict[str, ModuleType]:
    """The modules that hold loops, by name."""
    return {name: import_module(f"lockscope.kernels.{name}") for name in _NAMES if name not in MACHINERY}


_inside = threading.local()  # how deep this thread is in loops


def _signed(value: int) -> int:
    value &= _BITS - 1
    return value - _BITS if value >> 63 else value


class Space:
    """Addresses of arrays, four gigabytes each; an array's is its own until the call that it came with is over."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.arrays: dict[int, np.ndarray] = {}

    def place(self, values: np.ndarray) -> int:
        """An address for an array."""
        number = next(self._numbers)
        self.arrays[number] = values.reshape(-1).view(np.uint8)
        return number << 32

    def at(self, place: int, width: int) -> np.ndarray:
        """The bytes there."""
        number, at = int(place) >> 32, int(place) & 0xFFFFFFFF
        found = self.arrays.get(number)
        if found is None or at + width > len(found):
            msg = f"{width} bytes at {place:#x}, of an array of {0 if found is None else len(found)} bytes"
            raise OutsideError(msg)
        return found[at : at + width]

    def load(self, width: int) -> Any:
        """For ``memory.u8`` ... ``u64``."""

        def load(place: int, big: bool) -> int:
            value = int.from_bytes(self.at(place, width).tobytes(), "big" if big else "little")
            return _signed(value) if width == 8 else value

        return load

    def store(self, width: int) -> Any:
        """For ``memory.put8`` ... ``put64``."""

        def store(place: int, value: int) -> None:
            raw = (int(value) & (1 << 8 * width) - 1).to_bytes(width, "little")
            self.at(place, width)[:] = np.frombuffer(raw, np.uint8)

        return store


class Checked:
    """An array of which every index must be inside, and of the walk's array none between two regions."""

    def __init__(self, values: np.ndarray, space: Space) -> None:
        self.values, self.shape, self._space = values, values.shape, space
        self._flat = values.ndim == 1
        self._wraps = values.dtype.kind == "i"
        self._mask = (1 << 8 * values.itemsize) - 1
        self._base = 0

    @property
    def base(self) -> int:
        """Its address."""
        if not self._base:
            assert self.values.flags.c_contiguous
            self._base = self._space.place(self.values)
        return self._base

    def __len__(self) -> int:
        return len(self.values)

    def _inside(self, index: Any) -> Any:
        if isinstance(index, slice):
            begin, stop, step = index.indices(len(self.values))
            given = [v for v in (index.start, index.stop) if v is not None]
            if step != 1 or any((v < 0 and v != -1) or v > len(self.values) for v in given) or begin > stop:
                msg = f"slice {index} of an array of {self.shape}"
                raise OutsideError(msg)
            return index
        for i, size in zip(index if isinstance(index, tuple) else (index,), self.shape, strict=False):
            if not 0 <= i < size:
                msg = f"index {index} of an array of {self.shape}"
                raise OutsideError(msg)
        return index

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, Checked):
            return Checked(np.array([self[int(i)] for i in index.values], self.values.dtype), self._space)
        found = self.values[self._inside(index)]
        if isinstance(found, np.ndarray):
            return Checked(found, self._space)
        value = int(found)
        if value == walk_regions._GUARD_WORD:
            msg = f"index {index} is between two regions"
            raise OutsideError(msg)
        return value

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, Checked):
            for i in index.values:
                self[int(i)] = value
            return
        if isinstance(value, Checked):
            value = value.values
        if isinstance(index, slice):
            self.values[self._inside(index)] = value
            return
        wrapped = int(value) & self._mask
        high = self._wraps and wrapped >> (self._mask.bit_length() - 1)
        self.values[self._inside(index)] = wrapped - self._mask - 1 if high else wrapped

    def copy(self) -> Checked:
        """Another one."""
        return Checked(self.values.copy(), self._space)


class _Numbers:
    """``np`` as loops see it: its integers are Python's, its arrays are checked. Outside of loops it is itself."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def __getattr__(self, name: str) -> Any:
        plain = getattr(np, name)
        if not getattr(_inside, "loops", 0):
            return plain
        if name in ("int64", "int32"):
            return int
        if name in ("zeros", "empty", "full"):
            return lambda *given: Checked(plain(*given), self._space)
        return plain


def _mix(h: int, v: int) -> int:
    folded = _signed((h ^ v) * -7046029254386353131)
    return folded ^ (folded >> 29)


def _called_from_python(plain: Any, space: Space) -> Any:
    def call(*arguments: Any) -> Any:
        before = set(space.arrays)
        _inside.loops = getattr(_inside, "loops", 0) + 1
        given = [Checked(a, space) if isinstance(a, np.ndarray) else _plain(a) for a in arguments]
        try:
            return _given_back(plain(*given))
        finally:
            _inside.loops -= 1
            for number in set(space.arrays) - before:
                del space.arrays[number]

    return call


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, (np.integer, np.bool_, bool)) else value


def _given_back(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_given_back, value))
    return value.values if isinstance(value, Checked) else value


@contextmanager
def checked_house() -> Iterator[None]:
    """Everything that runs in here runs its loops checked."""
    space = Space()
    stand_ins: dict[str, Any] = {f"u{8 * w}": space.load(w) for w in (1, 2, 4, 8)}
    stand_ins |= {f"put{8 * w}": space.store(w) for w in (1, 2, 4, 8)}
    stand_ins |= {name: lambda a: a for name in ("vector", "matrix")}
    stand_ins["pointer"] = lambda a: a if len(a.shape) == 1 else Checked(a.values.reshape(-1), space)
    stand_ins |= {"address": lambda a: a.base, "prefetch": lambda _: None, "mix": _mix, "np": _Numbers(space)}
    loops = modules()
    entries: dict[int, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        for module in loops.values():
            for name, value in list(vars(module).items()):
                if name in stand_ins:
                    patch.setattr(module, name, stand_ins[name])
                elif hasattr(value, "py_func"):
                    if id(value) not in entries:
                        inner = value.targetoptions.get("no_cpython_wrapper")
                        entries[id(value)] = value.py_func if inner else _called_from_python(value.py_func, space)
                    patch.setattr(module, name, entries[id(value)])
        for name, module in list(sys.modules.items()):  # callers that took a loop by its name
            if name.startswith("lockscope.") and not name.startswith("lockscope.kernels"):
                for key, value in list(vars(module).items()):
                    if id(value) in entries and hasattr(value, "py_func"):
                        patch.setattr(module, key, entries[id(value)])
        yield
