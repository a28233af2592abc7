"""Rulebooks from TOML: the ones that come with lockscope, and a user's own (``lockscope/rules/drafts.py``: the form).

Which book a kernel gets is said by the books' own ``from`` and ``to``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from lockscope.errors import RuleError, UsageError
from lockscope.kvm import locks, versions
from lockscope.kvm.versions import KernelVersion
from lockscope.rules import schema
from lockscope.rules.book import LeafRule, Rule, Rulebook, Scope, When
from lockscope.rules.drafts import Draft, Entry, draft

DEFAULT = "kvm-6.12"  # for traces that name no kernel: what holds for it holds for later kernels, not the other way
_LARGEST = 1 << 20  # bytes of a rules file; ours have some 20 KiB


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    found = [p.name.removesuffix(".toml") for p in resources.files(__package__).iterdir() if p.name.endswith(".toml")]
    return tuple(sorted(found, key=_named_after))


def names() -> list[str]:
    """The books that come with lockscope, oldest kernels first."""
    return list(_names())


@lru_cache(maxsize=32)
def load(name: str) -> Rulebook:
    """A book of ours, with all its rules, also those that hold for some of its kernels only.

    Raises ``UsageError`` for a name that is not one of ``names()``.
    """
    return _book(_ours(name))


def load_file(path: str | Path) -> Rulebook:
    """A user's book. Raises ``RuleError`` with file and line of a mistake in it, ``UsageError`` if it can't be read."""
    own = draft(path, user_file(path, "rules"), default_name=Path(path).stem)
    declared = {Rulebook.canonical(r.values["lock"]) for r in own.entries["reference"].values()}
    spoken = [pair for pair in _locks_in(own) if Rulebook.canonical(pair[1]) not in declared]
    return replace(_book(_extended(own)), speaks_of=tuple(spoken))


@lru_cache(maxsize=1)
def known_locks() -> frozenset[str]:
    """The locks that KVM has in any version, or that our books speak of, by their canonical names."""
    spoken = {name for book in names() for _, name in _locks_in(_ours(book))}
    return frozenset(lock.canonical for lock in locks.KVM_LOCKS) | {Rulebook.canonical(name) for name in spoken}


def _locks_in(of: Draft) -> Iterator[tuple[str, str]]:
    """Ids of rules, each with a lock that it names."""
    for kind in ("order", "leaf", "srcu", "must_hold", "reference"):
        for id_, entry in of.entries[kind].items():
            for key in ("outer", "inner", "lock", "srcu", "held"):
                value = entry.values.get(key, ())
                for name in (value,) if isinstance(value, str) else value:
                    yield id_, name


def user_file(path: str | Path, what: str) -> bytes:
    """A user's TOML file, unread. ``what`` it is: "rules". Raises ``UsageError``, and ``RuleError`` if it is huge."""
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        msg = f"{path}: cannot read the {what}: {reason}"
        raise UsageError(msg) from None
    if len(data) > _LARGEST:
        raise RuleError(path, 1, f"a {what} file has at most 1 MiB")
    return data


def choose(kernel: str | None, spec: str = "auto") -> tuple[Rulebook, str]:
    """The rules for a trace whose kernel's release is ``kernel``, and how they were found.

    ``spec``: "auto", a book's name, a kernel version, or a TOML file. How: "auto" by the trace's kernel; "default"
    where that is not known (``DEFAULT`` is taken); "user" by ``spec``. Rules that depend on a stable level which the
    release does not show are left out. Raises ``UsageError`` and ``RuleError``.
    """
    version = versions.parse(kernel)
    if spec == "auto":
        book = for_series(version.series) if version else load(DEFAULT)
        return book.for_kernel(version or _first(book)), "auto" if version else "default"
    book, named = find(spec)
    return book.for_kernel(named or version or _first(book)), "user"


def find(spec: str) -> tuple[Rulebook, KernelVersion | None]:
    """The whole book that a person means by its name, a kernel version or a file; and that version, if it was one.

    Raises ``UsageError`` and ``RuleError``.
    """
    if spec in _names():
        return load(spec), None
    is_file = spec.endswith(".toml") or "/" in spec
    named = versions.parse(spec) if not is_file and re.match(r"v?\d+\.\d", spec) else None
    if named:
        return for_series(named.series), named
    if is_file:
        return load_file(spec), None
    msg = f"no rulebook {spec!r}: there are {', '.join(_names())}; or give a kernel version or a .toml file"
    raise UsageError(msg)


def for_series(series: tuple[int, int]) -> Rulebook:
    """The book for a kernel series; the newest for later kernels, the oldest for earlier ones."""
    later = sum(_named_after(name) <= series for name in _names())
    near = [load(name) for name in _names()[max(later - 1, 0) : later + 1]]  # the others need not be read
    return next((book for book in reversed(near) if (book.kernels[0] or (0, 0)) <= series), near[0])


def _named_after(name: str) -> tuple[int, ...]:
    """The kernel that a book is named after; it may begin a little before, after the one before it."""
    return tuple(int(part) for part in re.findall(r"\d+", name))


def _first(book: Rulebook) -> KernelVersion | None:
    """A kernel of which only the series is known: the first (or only known) one of the book."""
    series = book.kernels[0] or book.kernels[1]
    return KernelVersion(*series) if series else None


@lru_cache(maxsize=32)
def _ours(name: str) -> Draft:
    if name not in _names():
        msg = f"no rulebook {name!r}: there are {', '.join(_names())}"
        raise UsageError(msg)
    file = resources.files(__package__).joinpath(f"{name}.toml")
    return _extended(draft(f"{name}.toml", file.read_bytes(), default_name=name))


def _extended(own: Draft) -> Draft:
    parent = own.header.get("extends")
    if parent is None:
        return own
    if parent not in _names():
        raise RuleError(own.path, own.lines["extends"], f"extends: one of {', '.join(_names())}, not {parent!r}")
    return own.over(_ours(parent))


def _book(of: Draft) -> Rulebook:
    made: dict[str, Any] = {
        kind.field: tuple(_rule(kind, entry) for entry in of.entries[name].values())
        for name, kind in schema.KINDS.items()
    }
    head = {key: of.header.get(key, "") for key in ("name", "title", "document", "version")}
    kernels = of.header.get("from"), of.header.get("to")
    notifiers, preempted = (tuple(of.header.get(key, ())) for key in ("notifiers", "preempted"))
    return Rulebook(**head, kernels=kernels, notifiers=notifiers, preempted=preempted, **made)


def _rule(kind: schema.Kind, entry: Entry) -> Rule:
    values = dict(entry.values)
    # A document of an entry's own (code, a header) is read at the first version that has the rule.
    origin = entry.document + (f" ({'since ' if entry.own else ''}{entry.version})" if entry.version else "")
    values["source"] = f"{origin}, {values['source']}" if origin else values["source"]
    values["when"] = When(**{key: values.pop(key) for key in ("since", "until", "stable") if key in values})
    if kind.record is LeafRule:
        values.setdefault("scope", Scope.GLOBAL)  # nothing inside, whosever it is
        values.setdefault("notifiers", locks.sleeps(locks.kind_of(values["lock"])))
    named = [values[key] for key in ("outer", "inner", "lock", "srcu") if isinstance(values.get(key), str)]
    values.setdefault("scope", Scope.VM if all(locks.per_vm(name) for name in named) else Scope.GLOBAL)
    return kind.record(**values)
