"""The build backend: setuptools', and a C compiler as a Python package where there is none (PEP 517)."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
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


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What a build needs beside pyproject.toml's."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *([] if has_compiler() else ["ziglang>=0.13"])]


get_requires_for_build_editable = get_requires_for_build_wheel


def _find_compiler() -> None:
    if not os.environ.get("CC") and not has_compiler():
        os.environ["CC"] = f"{sys.executable} -m ziglang cc"


def build_wheel(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """See PEP 517."""
    _find_compiler()
    return str(build_meta.build_wheel(directory, config_settings, metadata_directory))


def build_editable(directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """See PEP 660."""
    _find_compiler()
    return str(build_meta.build_editable(directory, config_settings, metadata_directory))
