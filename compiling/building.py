"""The extension modules of ``lockscope/core``, for setuptools: one for each unit (``units.py``)."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

from compiling import units

ROOT = Path(__file__).parents[1]
# -fwrapv: numbers wrap. -fno-strict-aliasing: as Python's own extensions. What a developer wants to add: CFLAGS.
_FLAGS = [] if sys.platform == "win32" else ["-O2", "-g0", "-fwrapv", "-fno-strict-aliasing", "-Wno-unused-function"]


def extensions(*, limited: bool) -> list[Any]:
    """The units as extensions, translated to C. ``limited``: for every Python from 3.11 on (PEP 384)."""
    from Cython.Build import cythonize
    from Cython.Compiler import Options

    Options.buffer_max_dims = 3  # arrays are passed by value: 88 bytes in place of 208
    folder = ROOT / "build" / "core"
    folder.mkdir(parents=True, exist_ok=True)
    macros = [("Py_LIMITED_API", "0x030B0000")] if limited else []
    shared = f"{units.PACKAGE}._shared"  # what Cython needs for arrays, once in place of once a unit

    def extension(name: str, source: Path) -> Extension:
        path = os.path.relpath(source, ROOT)
        return Extension(name, [path], define_macros=macros, extra_compile_args=_FLAGS, py_limited_api=limited)

    found = [extension(shared, folder / "_shared.c")]
    for name in units.units():
        unit, text = folder / f"{name}.py", units.written(name)
        if not unit.exists() or unit.read_text() != text:
            unit.write_text(text)
        found.append(extension(f"{units.PACKAGE}.{name}", unit))
    options = {"compiler_directives": units.DIRECTIVES, "shared_utility_qualified_name": shared, "quiet": True}
    return list(cythonize(found, include_path=[str(ROOT)], **options))


class Build(build_ext):
    """Compiles all or nothing: without a compiler, or without Python's headers, the loops run as Python."""

    def run(self) -> None:
        """See ``setuptools``."""
        self.parallel = self.parallel or os.cpu_count()
        try:
            super().run()
        except Exception as error:
            if os.environ.get("LOCKSCOPE_MUST_COMPILE"):
                raise
            for path in map(self.get_ext_fullpath, [e.name for e in self.extensions]):
                Path(path).unlink(missing_ok=True)
            self.extensions = []
            sys.stderr.write(
                f"lockscope: its loops could not be compiled and will run as Python, slowly: {error}\n"
                "           (it takes a C compiler and Python's headers; Debian: apt-get install gcc python3-dev)\n"
            )


def arguments() -> dict[str, Any]:
    """What ``setup`` is called with."""
    limited = not sysconfig.get_config_var("Py_GIL_DISABLED")  # free-threaded Python has no limited API (PEP 703)
    given: dict[str, Any] = {"ext_modules": extensions(limited=limited), "cmdclass": {"build_ext": Build}}
    if limited:
        given["options"] = {"bdist_wheel": {"py_limited_api": "cp311"}}
    return given


def in_place() -> None:
    """Compile, and put what is made beside its sources: for who works on them."""
    os.chdir(ROOT)
    made = Distribution({"name": "lockscope", **arguments()})
    made.get_command_obj("build_ext").inplace = True
    os.environ["LOCKSCOPE_MUST_COMPILE"] = "1"
    made.run_command("build_ext")


if __name__ == "__main__":
    in_place()
