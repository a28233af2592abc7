"""The loops of ``lockscope.core`` as the Python they are, beside the compiled ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import lockscope.core

_PREFIX = "lockscope.core."


@contextmanager
def uncompiled() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of the package as Python, with all that it imports; whoever has the compiled one keeps it."""
    compiled = {name: module for name, module in sys.modules.items() if name.startswith(_PREFIX)}
    finder = lockscope.core.Sources()

    def load(name: str) -> ModuleType:
        for other in [n for n in sys.modules if n.startswith(_PREFIX)]:
            del sys.modules[other]
        sys.modules.update(plain)
        sys.meta_path.insert(0, finder)
        try:
            return import_module(_PREFIX + name)
        finally:
            sys.meta_path.remove(finder)
            plain.update({n: m for n, m in sys.modules.items() if n.startswith(_PREFIX)})
            for other in plain:
                del sys.modules[other]
            sys.modules.update(compiled)
            for other, module in compiled.items():
                setattr(lockscope.core, other.removeprefix(_PREFIX), module)

    plain: dict[str, ModuleType] = {}
    yield load
