"""The build backend: setuptools', and a C compiler as a Python package where there is none (PEP 517)."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def has_compiler() -> bool:
    """Whether a C compiler is here; Windows' is found by setuptools alone."""
    named = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    return sys.platform == "win32" or any(shutil.which(name) for name in (named.split()[0], "cc", "gcc", "clang"))


def has_headers() -> bool:
    """Whether Python's own headers are here; a distribution has them in a package of their own."""
    return Path(sysconfig.get_path("include"), "Python.h").exists()


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What a build needs beside pyproject.toml's: 100 MB, where they are of use."""
    compiler = ["ziglang>=0.13"] if has_headers() and not has_compiler() else []
    return [*build_meta.get_requires_for_build_wheel(config_settings), *compiler]


get_requires_for_build_editable = get_requires_for_build_wheel


def _find_compiler() -> None:
    if not os.environ.get("CC") and has_headers() and not has_compiler():
        os.environ["CC"] = f"{sys.executable} -m ziglang cc"
        os.environ["LDSHARED"] = os.environ["CC"] + " -shared"  # a distribution's has flags that zig does not know


def build_wheel(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """See PEP 517."""
    _find_compiler()
    return str(build_meta.build_wheel(directory, config_settings, metadata_directory))


def build_editable(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """See PEP 660."""
    _find_compiler()
    return str(build_meta.build_editable(directory, config_settings, metadata_directory))
