"""Loads and stores of a machine's words, and what else C does in one instruction; ``machine.pxd`` has the same in C.

Every load gives an int64 (a 64-bit value keeps its bits, a smaller one is zero-extended). What does not lie within the
bytes raises ``IndexError``.
"""

from __future__ import annotations

from typing import Any

from lockscope.core.c_types import Buffer, Bytes

_SIGN = 1 << 63


def _load(data: Any, at: int, width: int, big: bool) -> int:
    data = getattr(data, "values", data)
    if at < 0 or at + width > len(data):
        msg = f"{width} bytes at {at} of {len(data)}"
        raise IndexError(msg)
    return int.from_bytes(data[at : at + width].tobytes(), "big" if big else "little")


def _store(data: Any, at: int, width: int, value: int) -> None:
    data = getattr(data, "values", data)
    if at < 0 or at + width > len(data):
        msg = f"{width} bytes at {at} of {len(data)}"
        raise IndexError(msg)
    raw = (int(value) & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    data[at : at + width] = memoryview(raw)


def signed(value: int) -> int:
    """The low 64 bits as a signed number."""
    value &= 2 * _SIGN - 1
    return value - 2 * _SIGN if value >= _SIGN else value


def u8(data: Bytes, at: int, big: bool) -> int:  # noqa: ARG001 (as the others)
    """One byte."""
    return _load(data, at, 1, False)


def u16(data: Bytes, at: int, big: bool) -> int:
    """Two bytes."""
    return _load(data, at, 2, big)


def u32(data: Bytes, at: int, big: bool) -> int:
    """Four bytes."""
    return _load(data, at, 4, big)


def u64(data: Bytes, at: int, big: bool) -> int:
    """Eight bytes, signed."""
    return signed(_load(data, at, 8, big))


def put8(data: Buffer, at: int, value: int) -> None:
    """Store the low byte."""
    _store(data, at, 1, value)


def put16(data: Buffer, at: int, value: int) -> None:
    """Store the low two bytes, in the machine's order."""
    _store(data, at, 2, value)


def put32(data: Buffer, at: int, value: int) -> None:
    """Store the low four bytes, in the machine's order."""
    _store(data, at, 4, value)


def put64(data: Buffer, at: int, value: int) -> None:
    """Store eight bytes, in the machine's order."""
    _store(data, at, 8, value)


def times(one: int, other: int) -> int:
    """The low 64 bits of a product."""
    return signed(int(one) * int(other))


def plus(one: int, other: int) -> int:
    """The low 64 bits of a sum."""
    return signed(int(one) + int(other))


def mix(h: int, v: int) -> int:
    """Fold a value into a hash."""
    folded = signed((int(h) ^ int(v)) * -7046029254386353131)
    return folded ^ (folded >> 29)


def prefetch(data: Bytes, at: int) -> None:
    """Ask for the bytes there to be brought nearer."""


def full() -> int:
    """A table has no room for what is to be added: whoever calls a loop makes room before."""
    msg = "a table of the compiled loops is full"
    raise IndexError(msg)
