"""The extension modules of ``lockscope/core``, for setuptools: one for each unit (``units.py``)."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

from compiling import units

ROOT = Path(__file__).parents[1]
# -fwrapv: numbers wrap. -fno-strict-aliasing: as Python's own extensions. What a developer wants to add: CFLAGS.
_FLAGS = [] if sys.platform == "win32" else ["-O2", "-g0", "-fwrapv", "-fno-strict-aliasing", "-Wno-unused-function"]
_SCRIPTS = [str(path) for path in Path(__file__).parent.glob("*.py")]  # what is compiled anew if one of them changed
_STRIPPED = ["-Wl,-s"] if sys.platform == "linux" else []  # an eighth of the modules' size


def extensions(*, limited: bool, compiler: Sequence[str] = _FLAGS, linker: Sequence[str] = ()) -> list[Any]:
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
        flags = {"extra_compile_args": [*compiler], "extra_link_args": [*linker]}
        return Extension(name, [path], define_macros=macros, depends=_SCRIPTS, py_limited_api=limited, **flags)

    found = [extension(shared, folder / "_shared.c")]
    for name in units.units():
        unit, text = folder / f"{name}.py", units.written(name)
        if not unit.exists() or unit.read_text() != text:
            unit.write_text(text)
        found.append(extension(f"{units.PACKAGE}.{name}", unit))
    options = {"compiler_directives": units.DIRECTIVES, "shared_utility_qualified_name": shared, "quiet": True}
    made = cythonize(found, include_path=[str(ROOT)], **options)
    return sorted(made, key=lambda e: -(ROOT / e.sources[0]).stat().st_size)  # so that none is waited for at the end


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


def arguments(**flags: Sequence[str]) -> dict[str, Any]:
    """What ``setup`` is called with; ``flags``: the compiler's and the linker's, if others than an installation's."""
    limited = not sysconfig.get_config_var("Py_GIL_DISABLED")  # free-threaded Python has no limited API (PEP 703)
    made = extensions(limited=limited, **(flags or {"linker": _STRIPPED}))
    given: dict[str, Any] = {"ext_modules": made, "cmdclass": {"build_ext": Build}}
    if limited:
        given["options"] = {"bdist_wheel": {"py_limited_api": "cp311"}}
    return given


def compiled(folder: Path | None, **flags: Sequence[str]) -> list[Path]:
    """Compile what changed, under ``folder`` or beside the sources; returns the modules."""
    os.chdir(ROOT)
    made = Distribution({"name": "lockscope", **arguments(**flags)})
    command = made.get_command_obj("build_ext")
    command.inplace = folder is None
    if folder is not None:
        command.build_lib, command.build_temp = str(folder), str(folder / "objects")
    os.environ["LOCKSCOPE_MUST_COMPILE"] = "1"
    made.run_command("build_ext")
    paths = [Path(command.get_ext_fullpath(e.name)) for e in command.extensions]
    for path in paths:  # it is what its sources make, also where nothing had to be done for that
        os.utime(path)
    return paths


if __name__ == "__main__":
    compiled(None, linker=())  # with the names of functions, for who looks at profiles
