"""The extension modules of this package, for setuptools: one for each unit (``units.py``)."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_FLAGS = ("-O2", "-g0", "-fwrapv", "-fno-strict-aliasing")


def _units() -> Any:
    spec = importlib.util.spec_from_file_location("units", HERE / "units.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def extensions(limited: bool = True) -> list[Any]:
    """The units as extensions, translated to C."""
    from Cython.Build import cythonize
    from Cython.Compiler import Options
    from setuptools import Extension

    Options.buffer_max_dims = 3  # arrays are passed by value: 88 bytes in place of 208
    units = _units()
    folder = ROOT / "build" / "core"
    folder.mkdir(parents=True, exist_ok=True)
    macros = [("Py_LIMITED_API", "0x030B0000")] if limited else []
    shared = f"{units.PACKAGE}._shared"  # what Cython needs for arrays, once in place of once a unit

    def extension(name: str, source: Path) -> Extension:
        return Extension(
            name, [os.path.relpath(source, ROOT)], define_macros=macros, extra_compile_args=list(_FLAGS),
            py_limited_api=limited,
        )  # fmt: skip

    found = [extension(shared, folder / "_shared.c")]
    for name in units.units():
        unit = folder / f"{name}.py"
        text = units.written(name)
        if not unit.exists() or unit.read_text() != text:
            unit.write_text(text)
        found.append(extension(f"{units.PACKAGE}.{name}", unit))
    return list(
        cythonize(
            found,
            include_path=[str(ROOT)],
            compiler_directives=units.DIRECTIVES,
            quiet=True,
            shared_utility_qualified_name=shared,
        )  # fmt: skip
    )


def in_place() -> None:
    """Compile, and put what is made beside its sources: for who works on them."""
    from setuptools import Distribution

    os.chdir(ROOT)
    made = Distribution({"name": "lockscope", **arguments()})
    command = made.get_command_obj("build_ext")
    command.inplace, command.parallel = True, os.cpu_count()
    made.run_command("build_ext")


def arguments() -> dict[str, Any]:
    """What ``setup`` is called with."""
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))  # has no limited API (PEP 703)
    made = extensions(not free_threaded)
    given: dict[str, Any] = {"ext_modules": made}
    if not free_threaded:
        given["options"] = {"bdist_wheel": {"py_limited_api": "cp311"}}
    return given


if __name__ == "__main__":
    in_place()
