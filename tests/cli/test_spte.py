"""``lockscope spte``."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from lockscope.cli.spte import register
from lockscope.errors import UsageError


def run(*args: str) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    result = CliRunner().invoke(app, ["spte", *args], catch_exceptions=False)
    return result.output


def test_decodes_by_a_named_layout():
    out = run("0x104fb8e65", "--layout", "npt-6.12", "--level", "1")
    assert out.startswith("0x104fb8e65 [npt-6.10: ")
    assert "leaf, pfn 0x104fb8, P-X, host-writable, MMU-writable" in out


def test_without_a_layout_only_those_that_fit():
    out = run("860000025e000bf7")
    assert [line.split("[")[1].split(":")[0] for line in out.splitlines()] == ["ept-6.13", "ept-6.10", "ept-5.13"]


@pytest.mark.parametrize("args", [("zz",), ("0x1ffffffffffffffff",), ("0x1", "--layout", "mips-1.0")])
def test_mistakes_are_one_line(args):
    with pytest.raises(UsageError) as error:
        run(*args)
    assert "wanted" in str(error.value)
    assert "\n" not in str(error.value)
