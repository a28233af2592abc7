"""The compiled loops as plain Python, with every access checked.

numba checks no index, and the loads and stores of ``kernels.memory`` know nothing but addresses. Here an address
belongs to one array: whatever touches a byte outside it raises ``OutsideError``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lockscope.kernels import columns, interner, memory, records

MODULES = (interner, columns, records)
_SIGN = 1 << 63


class OutsideError(AssertionError):
    """An access outside an array."""


class Checked:
    """An array whose every index must be inside."""

    def __init__(self, values: np.ndarray, space: Space) -> None:
        assert values.flags.c_contiguous
        self.values, self.shape = values, values.shape
        self.base = space.place(values)

    def __len__(self) -> int:
        return len(self.values)

    def _inside(self, index: Any) -> Any:
        for i, size in zip(index if isinstance(index, tuple) else (index,), self.shape, strict=False):
            if not 0 <= i < size:
                msg = f"index {index} of an array of {self.shape}"
                raise OutsideError(msg)
        return index

    def __getitem__(self, index: Any) -> int:
        return int(self.values[self._inside(index)])

    def __setitem__(self, index: Any, value: int) -> None:
        bits = 8 * self.values.itemsize
        wrapped = int(value) & ((1 << bits) - 1)
        signed = self.values.dtype.kind == "i" and wrapped >> (bits - 1)
        self.values[self._inside(index)] = wrapped - (1 << bits) if signed else wrapped


class Space:
    """Addresses: each array gets four gigabytes of its own."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def place(self, values: np.ndarray) -> int:
        """The address of an array."""
        self._arrays.append(values.reshape(-1).view(np.uint8))
        return len(self._arrays) << 32

    def bytes_at(self, place: int, width: int) -> np.ndarray:
        """The bytes at an address. Raises ``OutsideError`` where not all of them are the array's."""
        which, at = (int(place) >> 32) - 1, int(place) & 0xFFFFFFFF
        if not 0 <= which < len(self._arrays) or at + width > len(self._arrays[which]):
            msg = f"{width} bytes at {place:#x}"
            raise OutsideError(msg)
        return self._arrays[which][at : at + width]

    def array(self, values: np.ndarray) -> Checked:
        """An array, checked."""
        return Checked(values, self)

    def loader(self, width: int) -> Any:
        """Stands in for ``memory.u8`` and so on."""

        def load(place: int, big: bool) -> int:
            value = int.from_bytes(self.bytes_at(place, width).tobytes(), "big" if big else "little")
            return value - (1 << 64) if width == 8 and value & _SIGN else value

        return load

    def storer(self, width: int) -> Any:
        """Stands in for ``memory.put8`` and so on."""

        def store(place: int, value: int) -> None:
            raw = (int(value) & ((1 << 8 * width) - 1)).to_bytes(width, "little")
            self.bytes_at(place, width)[:] = np.frombuffer(raw, np.uint8)

        return store


@contextmanager
def checked_loops() -> Iterator[tuple[Space, dict[str, Any]]]:
    """The loops by name, to be called with arrays of the ``Space``; everything they call is checked as well."""
    space = Space()
    stand_ins = {f"u{8 * w}": space.loader(w) for w in (1, 2, 4, 8)}
    stand_ins |= {f"put{8 * w}": space.storer(w) for w in (1, 2, 4, 8)}
    stand_ins |= {"address": lambda a: a.base, "prefetch": lambda _: None, "np": SimpleNamespace(int64=int)}
    assert set(stand_ins) - {"np"} == {n for n in vars(memory) if n[0] in "up" and n[-1].isdigit()} | {
        "address",
        "prefetch",
    }
    loops: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        for module in MODULES:
            for name, value in list(vars(module).items()):
                plain = getattr(value, "py_func", None)
                if name in stand_ins:
                    patch.setattr(module, name, stand_ins[name])
                elif plain is not None:
                    patch.setattr(module, name, plain)
                    loops[name] = plain
        assert all(_is_plain(module) for module in MODULES)
        yield space, loops


def _is_plain(module: ModuleType) -> bool:
    return not any(hasattr(value, "py_func") for value in vars(module).values())
