"""Compiles the loops of ``lockscope/core``; everything else about the package is in pyproject.toml."""

import importlib.util
from pathlib import Path

from setuptools import setup

spec = importlib.util.spec_from_file_location("building", Path(__file__).parent / "lockscope/core/building.py")
building = importlib.util.module_from_spec(spec)
spec.loader.exec_module(building)
setup(**building.arguments())
