"""Compiles the loops of ``lockscope/core``; everything else about the package is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).parent))

from compiling.building import arguments

setup(**arguments())
