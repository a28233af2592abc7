"""The house plan of docs/architecture.md as a test: who may import whom, and what only some may import at all."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from lockscope.checks.check import all_checks
from lockscope.registry import modules

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "lockscope"
MAX_LINES = 450  # may only go down

RANKS = {
    "cli": 12, "__main__": 12,
    "nightly": 11, "simulate": 11, "recording": 11,
    "pipeline": 10, "trace": 10, "exports": 10,
    "checks": 9, "plots": 9, "report": 9,
    "statistics": 8,
    "lockgraph": 7,
    "evidence": 6,
    "facts": 5,
    "walk": 4,
    "formats": 3, "rules": 3,
    "drawing": 2, "tables": 2,
    "core": 1, "kvm": 1, "results": 1,
    "outfiles": 1, "harmless": 0, "renamed": 0, "patterns": 0, "errors": 0, "units": 0, "registry": 0, "heap": 0,
    "findings": 12,  # an alias of results.findings, for others than us
}  # fmt: skip
# Neighbours that are one thing in several files.
ONE_ROOM = [{"pipeline", "exports", "trace"}, {"cli", "__main__"}]

# Narrower than rank: the column "what they may know".
_GROUND = {"errors", "units", "registry", "outfiles", "harmless", "patterns", "heap"}
_READ = {"tables", "core", "kvm", "rules", "results"} | _GROUND
MAY_KNOW = {
    "recording": {"kvm"} | _GROUND,
    "checks": {"lockgraph", "evidence", "facts", "walk"} | _READ,
    "plots": {"drawing", "results", "kvm"} | _GROUND,
    "report": {"drawing", "results"} | _GROUND,
    "drawing": {"results", "kvm"} | _GROUND,
    "statistics": {"lockgraph", "evidence", "facts", "walk"} | _READ,
    "lockgraph": {"evidence", "walk"} | _READ,
    "evidence": {"facts", "walk"} | _READ,
    "facts": {"walk"} | _READ,
    "walk": {"tables", "core", "kvm"} | _GROUND,
    "formats": {"tables", "core"} | _GROUND,
    "rules": {"kvm", "results"} | _GROUND,
    "tables": {"core", "kvm"} | _GROUND,
    "results": {"errors", "units"},
    "kvm": {"errors", "units"},
    "core": {"errors", "units"},
    "outfiles": {"errors"}, "harmless": set(), "renamed": set(), "patterns": set(), "errors": set(), "units": set(),
    "registry": set(), "heap": set(),
}  # fmt: skip

PANDAS = {"tables", "notebook", "nightly"}
MATPLOTLIB = {"notebook", "nightly", "plots"}
TYPER = {"cli"}


class Import(NamedTuple):
    """One import: of what, in which file and line, and whether in a function or under TYPE_CHECKING."""

    target: str
    path: Path
    line: int
    late: bool


def room(path: Path) -> str:
    """The folder or module of the house that a file belongs to; "" is the package itself."""
    first = path.relative_to(HOUSE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def sources() -> list[Path]:
    return sorted(HOUSE.rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _targets(node: ast.AST, path: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        package = [] if node.level == 0 else ["lockscope", *path.relative_to(HOUSE).parts[: -node.level]]
        base = ".".join([*package, *([node.module] if node.module else [])])
        # `from lockscope import X`: X may be a folder; `from lockscope.tables import tape` says enough by its base.
        return [f"{base}.{alias.name}" for alias in node.names] if base == "lockscope" else [base]
    return []


def _is_late(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _walk(node: ast.AST, path: Path, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for target in _targets(child, path):
            yield Import(target, path, getattr(child, "lineno", 0), late)
        yield from _walk(child, path, late or _is_late(child))


def imports(paths: list[Path] | None = None) -> Iterator[Import]:
    for path in paths if paths is not None else sources():
        yield from _walk(parsed(path), path, False)


def _where(found: Import) -> str:
    return f"{found.path.relative_to(ROOT)}:{found.line}: {found.target}"


def direction_broken(found: Import) -> bool:
    """Whether an import goes up, or to a neighbour. The package's own file may see all: it does so lazily."""
    parts = found.target.split(".")
    here = room(found.path)
    if parts[0] != "lockscope" or here == "":
        return False
    there = parts[1] if len(parts) > 1 else ""
    if there in ("", "__version__"):  # the bare package: only the command line, for the version
        return RANKS[here] != RANKS["cli"]
    if here == there or any({here, there} <= pair for pair in ONE_ROOM):
        return False
    return RANKS[there] >= RANKS[here] or there not in MAY_KNOW.get(here, RANKS)


def quarantine_broken(found: Import) -> bool:
    """Whether a library is imported where it must not be, or too early."""
    here, library = room(found.path), found.target.split(".")[0]
    if library == "typer":
        return here not in TYPER
    if library == "pandas":
        return here not in PANDAS or not found.late
    if library == "matplotlib":
        return here not in MATPLOTLIB or not found.late
    return False


def test_every_file_has_a_place_in_the_plan() -> None:
    assert {room(p) for p in sources()} - {""} <= set(RANKS)
    assert {"cli", "report", "checks", "formats", "tables"} <= {room(p) for p in sources()}


def test_imports_only_point_down() -> None:
    assert [_where(i) for i in imports() if direction_broken(i)] == []


def private_of_another(found: Import) -> bool:
    """Whether a module of another folder is imported that its name says is its own."""
    parts = found.target.split(".")
    return room(found.path) not in ("", "__main__", parts[1]) and any(p.startswith("_") for p in parts[1:])


def test_no_folder_imports_a_private_module_of_another() -> None:
    ours = (i for i in imports() if i.target.startswith("lockscope."))
    assert [_where(i) for i in ours if private_of_another(i)] == []
    assert private_of_another(Import("lockscope.checks._anomaly", HOUSE / "cli/x.py", 1, False))


def test_libraries_stay_in_quarantine() -> None:
    assert [_where(i) for i in imports() if quarantine_broken(i)] == []


def test_light_modules_import_only_the_standard_library() -> None:
    light = [
        p for p in sources() if room(p) in ("errors", "units", "registry", "results", "drawing", "report", "rules", "")
    ]
    heavy = ("numpy", "Cython", "pyarrow", "backports", "compression")
    assert [_where(i) for i in imports(light) if i.target.split(".")[0] in heavy and not i.late] == []


def _to_pandas(path: Path) -> list[int]:
    calls = (n for n in ast.walk(parsed(path)) if isinstance(n, ast.Call))
    return [c.lineno for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "to_pandas"]


def test_pandas_is_reached_through_one_door() -> None:
    """Arrow's own to_pandas() makes float64 of a uint64 column with nulls: an SPTE's low bits are gone."""
    offences = [f"{p.relative_to(ROOT)}:{n}" for p in sources() if room(p) != "tables" for n in _to_pandas(p)]
    assert offences == []


def test_files_stay_small() -> None:
    sizes = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in sources()}
    assert {name: n for name, n in sizes.items() if n > MAX_LINES} == {}


def test_every_file_begins_with_what_it_is() -> None:
    bare = [p for p in sources() if parsed(p).body and not ast.get_docstring(parsed(p))]
    assert [str(p.relative_to(ROOT)) for p in bare] == []


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "core", "misc"])
def test_no_file_is_called_undecided(name: str) -> None:
    """A folder may: lockscope/core is the compiled one, and says so."""
    assert [p for p in HOUSE.rglob("*") if p.is_file() and p.stem.strip("_") == name] == []


HEADINGS = ("What it finds", "Why it is a bug", "What it looks like", "What it cannot see")


def test_every_check_is_one_module_with_a_code_and_a_page() -> None:
    checks = all_checks()
    files = [m.__name__.rpartition(".")[2] for m in modules("lockscope.checks")]
    files = [name for name in files if name.startswith("ls")]
    assert sorted(c.lower() for c in checks) == sorted(f.partition("_")[0] for f in files)
    assert len({c.name for c in checks.values()}) == len(checks) > 0
    for code, check in checks.items():
        assert re.fullmatch(r"LS\d{3}", code)
        places = [check.page.find(f"\n{heading}\n") for heading in HEADINGS]
        assert -1 not in places, f"{code}: page lacks {HEADINGS[places.index(-1)]!r}"
        assert places == sorted(places), code


def test_every_plug_in_folder_is_walked_not_listed() -> None:
    """A package that finds its modules by walking imports none of them itself."""
    for folder in ("checks", "formats", "report", "plots", "cli", "rules", "facts", "evidence", "exports"):
        own = importlib.import_module(f"lockscope.{folder}").__file__
        assert own is not None
        assert [i.target for i in imports([Path(own)]) if i.target.startswith(f"lockscope.{folder}.")] == []


@pytest.mark.parametrize(
    ("file", "code", "broken"),
    [
        ("report/x.py", "from lockscope.checks.check import Check", True),
        ("report/x.py", "from lockscope.tables.events import Field", True),
        ("report/x.py", "from lockscope.report.output import reporter", False),
        ("report/x.py", "from lockscope.results.findings import Report", False),
        ("checks/x.py", "from lockscope.report import text", True),
        ("checks/x.py", "from lockscope import pipeline", True),
        ("checks/x.py", "from ..pipeline import analyze", True),
        ("checks/x.py", "from . import _base", False),
        ("formats/x.py", "from lockscope.rules.book import Rulebook", True),
        ("formats/x.py", "from lockscope.tables.events import Field", False),
        ("formats/x.py", "from lockscope.kvm.locks import Role", True),
        ("checks/x.py", "from lockscope.formats import trace_dat", True),
        ("facts/x.py", "from lockscope.formats import trace_dat", True),
        ("tables/x.py", "def f():\n    from lockscope.formats import trace_dat", True),
        ("kvm/x.py", "if TYPE_CHECKING:\n    from lockscope.results.findings import Report", True),
        ("pipeline.py", "from lockscope.trace.trace import load", False),
        ("trace/trace.py", "from lockscope.pipeline import analyze", False),
        ("units.py", "from lockscope.errors import UsageError", True),
        ("cli/x.py", "import lockscope", False),
        ("report/x.py", "from lockscope import __version__", True),
        ("report/x.py", "import json", False),
        ("__init__.py", "from lockscope.pipeline import analyze", False),
    ],
)
def test_the_direction_test_sees(file: str, code: str, broken: bool) -> None:
    found = list(_walk(ast.parse(code), HOUSE / file, False))
    assert [direction_broken(i) for i in found] == [broken]


@pytest.mark.parametrize(
    ("file", "code", "broken"),
    [
        ("checks/x.py", "import typer", True),
        ("cli/x.py", "import typer", False),
        ("tables/x.py", "import pandas as pd", True),
        ("tables/x.py", "def to_pandas():\n    import pandas as pd", False),
        ("trace/trace.py", "def f():\n    import pandas as pd", True),
        ("nightly/x.py", "def draw():\n    from matplotlib import pyplot", False),
        ("cli/plot.py", "def draw():\n    from matplotlib import pyplot", True),
        ("nightly/x.py", "if TYPE_CHECKING:\n    import pandas as pd", False),
    ],
)
def test_the_quarantine_test_sees(file: str, code: str, broken: bool) -> None:
    found = list(_walk(ast.parse(code), HOUSE / file, False))
    assert [quarantine_broken(i) for i in found] == [broken]
