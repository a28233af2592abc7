"""Plug-ins are files: importing a package's modules is what registers them.

A format, fact, check, report, plot or command is one new module in its folder. Nothing lists them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType


def module(package: str, name: str) -> ModuleType | None:
    """The module of that name, imported; None where ``modules`` would have none."""
    home = importlib.import_module(package)
    known = not name.startswith("_") and any(found.name == name for found in pkgutil.iter_modules(home.__path__))
    return importlib.import_module(f"{package}.{name}") if known else None


def modules(package: str) -> Iterator[ModuleType]:
    """Every module of ``package`` whose name does not start with ``_``, imported, in name order."""
    home = importlib.import_module(package)
    for found in sorted(pkgutil.iter_modules(home.__path__), key=lambda m: m.name):
        if not found.name.startswith("_"):
            yield importlib.import_module(f"{package}.{found.name}")


def names(package: str) -> list[str]:
    """The names of those modules that are one file, sorted; none is imported, which takes a while for each."""
    home = importlib.import_module(package)
    return sorted(f.name for f in pkgutil.iter_modules(home.__path__) if not f.ispkg and not f.name.startswith("_"))
