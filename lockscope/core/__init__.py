"""The loops over events, all of them, and nothing else: Python with the types of ``c_types.py``, compiled by Cython.

They are compiled when lockscope is installed (the folder ``compiling``). Where there was no compiler the same
files run as they stand, slowly, and one line says so. ``LOCKSCOPE_UNCOMPILED=1`` asks for that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

_HERE = Path(__file__).parent


class Sources(MetaPathFinder):
    """Finds this package's modules as Python, whether they are compiled or not."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 (as importlib calls it)
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """See ``importlib.abc.MetaPathFinder``."""
        package, _, name = fullname.rpartition(".")
        return spec_from_file_location(fullname, _HERE / f"{name}.py") if package == __name__ else None


if os.environ.get("LOCKSCOPE_UNCOMPILED"):
    sys.meta_path.insert(0, Sources())
elif PathFinder.find_spec(f"{__name__}._shared", __path__) is None:
    sys.stderr.write(
        "lockscope: its loops are not compiled in this installation: they run as Python, which is slow"
        " (install it again where a C compiler and Python's headers are)\n"
    )
