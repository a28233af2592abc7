"""What a terminal gets: no line wider than it is, colours when asked, completion, and a man page of the same texts."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest

from lockscope.cli import _shell
from lockscope.cli._commands import commands
from lockscope.cli._manual import manual
from lockscope.cli._run import run

ROOT = Path(__file__).parents[2]
BUG = str(ROOT / "sample_traces" / "bug_slots_lock_then_kvm_lock.dat")
MEMSLOT = str(ROOT / "sample_traces" / "memslot_stress.dat")


def on_terminal(width: int, *words: str) -> list[str]:
    """The lines that a command prints on a terminal so wide, without colours."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")} | {"TERM": "xterm"}
    command = [sys.executable, "-m", "lockscope", *words]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, cwd=ROOT, env=env) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        process.wait()
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*[mK]", "", shown.decode()).splitlines()


@pytest.mark.parametrize(
    "words",
    [["analyze", "--coverage", BUG], ["locks", "-n", "8", MEMSLOT],
     ["locks", "--by", "class,caller", "-n", "5", MEMSLOT],
     ["info", BUG], ["rules", "6.12"], ["explain"], ["explain", "table:holds"]],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("width", [80, 132])
def test_no_line_is_wider_than_the_terminal(words: list[str], width: int) -> None:
    lines = on_terminal(width, *words)
    assert len(lines) > 8
    wide = [line for line in lines if len(line) > width and " " in line.strip()[: width - 30]]
    assert [line for line in wide if "trace-cmd report" not in line] == []  # a command to paste stays one line


def test_what_a_narrow_table_leaves_out_is_said() -> None:
    lines = on_terminal(80, "locks", "-n", "3", MEMSLOT)
    assert "not shown on so narrow a terminal: wait p99, wait avg, hold p99, hold avg" in "\n".join(lines)
    assert "acquired" in lines[0]


def test_a_file_has_no_width(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["locks", "-n", "3", MEMSLOT]) == 0
    assert "hold p99" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "environment", "terminal", "wanted"),
    [
        ("auto", {}, True, True), ("auto", {}, False, False), ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True), ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False), ("auto", {"TERM": "dumb"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True), ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)  # fmt: skip
def test_when_there_are_colours(
    asked: str, environment: dict[str, str], terminal: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_shell.sys.stdout, "isatty", lambda: terminal)
    assert _shell.wants_color(asked) is wanted


def test_colours_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", "--color", "always", BUG]) == 1
    assert "\x1b[1;31mWARNING" in capsys.readouterr().out
    assert run(["analyze", "--color", "sometimes", BUG]) == 2
    assert "--color sometimes: unknown value" in capsys.readouterr().err


def test_the_man_page_has_every_command_and_option() -> None:
    page = manual().replace(r"\-", "-").replace(r"\(aq", "'")
    for command in commands():
        assert f'.SS "lockscope {command.name}"' in page
        for option in command.options:
            assert all(f"\\fB{name}\\fR" in page for name in option.names)
            assert option.help in page
    assert page.startswith(".TH LOCKSCOPE 1 ")


def test_the_man_page_is_well_formed() -> None:
    for line in manual().splitlines():
        assert not line.startswith(".") or re.fullmatch(r"\.(TH|SH|SS|TP|PP|br|B)( .*)?", line)
        assert line.strip()
        assert not line.startswith("'")
        assert set(re.findall(r"\\(.)", line)) <= set("-fe(&")


def completed(line: str) -> list[str]:
    """What bash offers for a command line that ends here."""
    script = subprocess.run(
        [sys.executable, "-m", "lockscope", "completion", "bash"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    words = line.split(" ")
    asked = f"{script}\nCOMP_WORDS=({' '.join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}; _lockscope\n"
    done = subprocess.run(
        ["bash", "-c", asked + "printf '%s\\n' \"${COMPREPLY[@]}\""], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lockscope gr", ["graph"]), ("lockscope analyze --fo", ["--format", "--force"]),
        ("lockscope graph --format ", ["dot", "json", "lockdep"]), ("lockscope plot t.dat hold", ["hold-times"]),
        ("lockscope explain LS20", ["LS201", "LS202", "LS203", "LS204", "LS205", "LS206"]),
        ("lockscope locks --format c", ["csv"]), ("lockscope completion z", ["zsh"]),
    ],
)  # fmt: skip
def test_bash_completes(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


def test_fish_and_zsh_have_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "fish"]) == 0
    assert "complete -c lockscope -n '__fish_seen_subcommand_from graph' -l format -x -a 'dot json lockdep'" in (
        capsys.readouterr().out
    )
    assert run(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("autoload -U +X bashcompinit")
    assert run(["completion", "tcsh"]) == 2
