"""Locks of one name that the kernel is known to nest; see ``nesting.toml``, which has the sources."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files


@cache
def known_nestings() -> dict[str, str]:
    """Class name -> the source that says in which order two of them are taken."""
    text = files("lockscope.reconstruct").joinpath("nesting.toml").read_text(encoding="utf-8")
    return {str(entry["name"]): str(entry["source"]) for entry in tomllib.loads(text)["nesting"]}
