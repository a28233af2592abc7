from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import lockscope as package
from lockscope.cli._run import run
from tests.builders import fakes, reports


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


Lockscope = Callable[..., Outcome]


@pytest.fixture(scope="session")
def imported() -> None:
    """Every module is imported while nothing is faked: one imported later would keep the stand-ins for good."""
    for module in pkgutil.walk_packages(package.__path__, "lockscope."):
        if module.name not in ("lockscope.__main__", "lockscope.findings"):  # the latter is an alias, which warns
            importlib.import_module(module.name)


@pytest.fixture
def lockscope(imported: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lockscope:
    """Runs a command line in this process; ``answer`` is what the pipeline says to (paths, options)."""
    monkeypatch.setattr("lockscope.checks.check.all_checks", fakes.checks)
    monkeypatch.setitem(sys.modules, "lockscope.tables.schema", fakes.schema_module())
    monkeypatch.delenv("LOCKSCOPE_DEBUG", raising=False)

    def call(*arguments: str, answer: reports.Answer = lambda paths, options: reports.clean()) -> Outcome:
        monkeypatch.setitem(sys.modules, "lockscope.pipeline", reports.fake_pipeline(answer))
        status = run(arguments)
        said = capsys.readouterr()
        return Outcome(status, said.out, said.err)

    return call
