"""``lockscope simulate``: a real run each, of a few milliseconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockscope.cli._run import run
from lockscope.simulate.scenario import scenarios

Said = pytest.CaptureFixture[str]


def test_names_what_there_is(capsys: Said) -> None:
    assert run(["simulate", "--list"]) == 0
    out = capsys.readouterr().out
    assert "quiet-mixed " in out
    assert "near miss: the two are taken one after the other" in out
    explored = {line.split()[0] for line in out.splitlines() if line.endswith(" (--explore)")}
    assert explored == {name for name, scenario in scenarios().items() if scenario.explore is not None}
    assert {"race-lost-bit", "flush-notifier-unmap"} <= explored


def test_writes_a_trace_and_its_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", "order-slots-lock-then-kvm-lock", "--duration", "2"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "order-slots-lock-then-kvm-lock.dat: " in said.err
    truth = json.loads(Path("order-slots-lock-then-kvm-lock.dat.truth.json").read_text())
    assert truth["scenario"] == "order-slots-lock-then-kvm-lock"


def test_checks_itself(tmp_path: Path, capsys: Said) -> None:
    assert run(["simulate", "flush-clear-dirty-log", "--check", "-o", str(tmp_path / "t.dat")]) == 0
    assert capsys.readouterr().out == "as planted: 1 of 1 found where they are, nothing else\n"


def test_explores(capsys: Said) -> None:
    assert run(["simulate", "flush-clear-dirty-log", "--explore"]) == 1
    assert capsys.readouterr().out.startswith("flush-clear-dirty-log: 4 schedules, all there are; 2 break the rule\n")
    assert run(["simulate", "flush-clear-dirty-log", "--explore", "--near-miss"]) == 0
    assert "0 break the rule" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["quiet-mixd"], "quiet-mixd: no such scenario; did you mean quiet-mixed?"),
        (["quiet-mixed", "--format", "elf"], "--format elf"),
        (["quiet-mixed", "--skew", "5"], "only the clock 'local'"),
        (["quiet-mixed", "-o", "nowhere/t.dat"], "there is no directory nowhere"),
        (["quiet-mixed", "--explore"], "cannot be explored"),
    ],
)
def test_mistakes_are_one_line(
    args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", *args]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
