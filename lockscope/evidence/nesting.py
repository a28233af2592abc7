"""Locks of one name that the kernel is known to nest; see ``nesting.toml``, which has the sources."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files


@cache
def _entries() -> list[dict[str, object]]:
    text = files("lockscope.evidence").joinpath("nesting.toml").read_text(encoding="utf-8")
    entries: list[dict[str, object]] = tomllib.loads(text)["nesting"]
    return entries


@cache
def known_nestings() -> dict[str, str]:
    """Class name -> the source that says in which order two of them are taken."""
    return {str(entry["name"]): str(entry["source"]) for entry in _entries()}


@cache
def annotated_names() -> frozenset[str]:
    """Names of locks that the kernel gives another class or subclass while it holds them (lock_set_class and kin)."""
    return frozenset(str(entry["name"]) for entry in _entries() if entry.get("annotated"))
