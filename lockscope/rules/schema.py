"""Which keys an entry of a rules file has, and what their values must be."""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lockscope.kvm import versions
from lockscope.rules import book
from lockscope.rules.book import Rule, Scope, SrcuKind

LOSSES = ("W", "M", "zap", "A", "D", "RWX")
WINDOWS = ("mmu_lock", "slots_lock", "ioctl", "before", "around", "deferred", "none")

_COMMON = {
    "id": "text", "source": "text", "document": "text", "version": "text", "scope": "scope", "arch": "arch",
    "note": "text", "since": "series", "until": "series", "stable": "levels",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of entry: its record, the rulebook's field, the sort of each key's value, and what must be there."""

    record: type[Rule]
    field: str
    keys: dict[str, str]
    required: tuple[str, ...]


def _kind(record: type[Rule], field: str, required: dict[str, str], optional: dict[str, str] | None = None) -> Kind:
    return Kind(record, field, _COMMON | required | (optional or {}), ("id", *required, "source"))


KINDS: dict[str, Kind] = {
    "order": _kind(book.OrderRule, "orders", {"outer": "text", "inner": "text"}),
    "leaf": _kind(book.LeafRule, "leaves", {"lock": "text"},
                  {"inner": "texts", "sleeping": "flag", "judge": "judge", "notifiers": "flag"}),
    "srcu": _kind(book.SrcuRule, "srcu", {"srcu": "text", "lock": "text", "kind": "srcu"}),
    "must_hold": _kind(book.MustHoldRule, "must_hold", {"lock": "text", "held": "texts"}),
    "reference": _kind(book.Reference, "reference", {"lock": "text", "type": "text", "protects": "texts"},
                       {"comment": "text"}),
    "flow": _kind(book.Flow, "flows", {"flow": "text", "loss": "losses", "window": "window"},
                  {"ioctls": "numbers", "evidence": "texts"}),
    "fact": _kind(book.Fact, "facts", {"about": "text", "value": "value"}),
}  # fmt: skip


def need(key: str) -> str:
    """What to write where a key is missing."""
    return {
        "source": "source: where the rule is written down (document, version, section)",
        "id": "id: a name of its own, which findings are known by",
    }.get(key, key)


def unknown(key: str, known: Sequence[str], place: str = "") -> str:
    """The complaint about a key that is none of ``known``."""
    near = difflib.get_close_matches(key[:80], known, 1)
    meant = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"{place}unknown key {key[:80]!r}; {meant}"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        msg = f"must be text, not {_said(value)}"
        raise ValueError(msg)
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        msg = f"must be a list of texts, not {_said(value)}"
        raise ValueError(msg)
    return tuple(_text(item) for item in value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        msg = f"must be true or false, not {_said(value)}"
        raise ValueError(msg)
    return value


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 64:
        msg = f"must be a 64-bit integer, not {_said(value)}"
        raise ValueError(msg)
    return value


def _numbers(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        msg = f"must be a list of integers, not {_said(value)}"
        raise ValueError(msg)
    return tuple(_number(item) for item in value)


def _value(value: object) -> book.Value:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, list):
        return _texts(value) if value and isinstance(value[0], str) else _numbers(value)
    return _number(value)


def _one_of(*known: str) -> Callable[[object], str]:
    def read_one(value: object) -> str:
        if value not in known:
            msg = f"must be one of {', '.join(known)}, not {_said(value)}"
            raise ValueError(msg)
        return str(value)

    return read_one


def _date(value: object) -> datetime.date:
    if isinstance(value, datetime.datetime) or not isinstance(value, datetime.date):
        msg = f"must be a date like 2030-01-31, without quotes, not {_said(value)}"
        raise ValueError(msg)
    return value


def _shaped(shape: str, what: str) -> Callable[[object], str]:
    def read_shaped(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(shape, value):
            msg = f"must be {what}, not {_said(value)}"
            raise ValueError(msg)
        return value

    return read_shaped


def _said(value: object) -> str:
    return repr(value) if len(repr(value)) <= 60 else type(value).__name__


_READERS: dict[str, Callable[[object], Any]] = {
    "text": _text,
    "texts": _texts,
    "flag": _flag,
    "numbers": _numbers,
    "value": _value,
    "date": _date,
    "fingerprint": _shaped("[0-9a-f]{16}", "the 16 hex digits that a report prints"),
    "code": _shaped(r"LS\d{3}", "a check's code like LS101"),
    "series": lambda value: versions.series(_text(value)),
    "levels": lambda value: tuple(versions.level(item) for item in _texts(value)),
    "scope": lambda value: Scope(_one_of(*Scope)(value)),
    "srcu": lambda value: SrcuKind(_one_of(*SrcuKind)(value)),
    "arch": _one_of("any", "x86"),
    "judge": _one_of("kvm", "all"),
    "window": _one_of(*WINDOWS),
    "losses": lambda value: tuple(_one_of(*LOSSES)(item) for item in _texts(value)),
}


def read(sort: str, value: object) -> Any:
    """A value of this sort, as the records hold it. Raises ``ValueError`` that says what it must be."""
    return _READERS[sort](value)
