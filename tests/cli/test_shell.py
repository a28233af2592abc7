from __future__ import annotations

import io
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import lockscope as package
from lockscope.cli._run import run
from lockscope.cli._shell import Progress
from lockscope.errors import UsageError
from lockscope.results.findings import Report
from tests.builders import reports
from tests.builders.reports import Options
from tests.cli.conftest import Lockscope

ROOT = Path(__file__).parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def failing(error: BaseException) -> reports.Answer:
    def answer(paths: list[str], options: Options) -> Report:
        raise error

    return answer


def test_the_version_is_that_of_the_package(lockscope: Lockscope) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    done = lockscope("--version")
    assert (done.status, done.out) == (0, f"lockscope {declared}\n")


def test_help_names_every_command(lockscope: Lockscope) -> None:
    done = lockscope("--help")
    assert done.status == 0
    commands = {line.split()[0] for line in done.out.split("Commands:")[1].splitlines() if line.startswith("  ")}
    assert {"analyze", "info", "export", "explain"} <= commands


def test_without_a_command_there_is_help_and_no_verdict(lockscope: Lockscope) -> None:
    done = lockscope()
    assert done.status == 2
    assert done.out.startswith("Usage: lockscope")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["analyse", "t"], "lockscope: No such command 'analyse'"),
        (["analyze"], "lockscope: Missing argument 'TRACE...'"),
        (["--colour"], "lockscope: No such option: --colour"),
        (["export", "t"], "lockscope: Missing option '--output'"),
    ],
)
def test_usage_errors_are_one_line(lockscope: Lockscope, arguments: list[str], complaint: str) -> None:
    done = lockscope(*arguments)
    assert done.status == 2
    assert done.err.startswith(complaint)
    assert done.err.endswith("--help shows the usage)\n")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("a\nb\x1b[2J"),
         "internal error: ValueError: a b\\x1b[2J; please report it (lockscope -v shows the traceback)"),
        (MemoryError(), "internal error: out of memory; please report it (lockscope -v shows the traceback)"),
        (UsageError("--rules kvm-9: unknown value"), "--rules kvm-9: unknown value"),
    ],
)  # fmt: skip
def test_any_error_is_one_line(lockscope: Lockscope, error: Exception, line: str) -> None:
    done = lockscope("analyze", "t", answer=failing(error))
    assert (done.status, done.out, done.err) == (2, "", f"lockscope: {line}\n")


def test_verbose_shows_the_traceback(lockscope: Lockscope, monkeypatch: pytest.MonkeyPatch) -> None:
    done = lockscope("-v", "analyze", "t", answer=failing(KeyError("odd")))
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("lockscope: internal error: KeyError: 'odd'")
    assert "Traceback" not in lockscope("analyze", "t", answer=failing(KeyError("odd"))).err
    monkeypatch.setenv("LOCKSCOPE_DEBUG", "1")
    assert "Traceback" in lockscope("analyze", "t", answer=failing(KeyError("odd"))).err


def test_an_interrupt_is_130(lockscope: Lockscope) -> None:
    done = lockscope("analyze", "t", answer=failing(KeyboardInterrupt()))
    assert (done.status, done.out, done.err) == (130, "", "lockscope: interrupted\n")


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_on_a_terminal_unless_refused(
    lockscope: Lockscope, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert "\x1b" not in lockscope("analyze", "t", answer=lambda paths, options: reports.violated()).out
    monkeypatch.setattr(sys, "stdout", Terminal())
    run(["analyze", "t"])
    assert isinstance(sys.stdout, Terminal)
    assert ("\x1b[1;31mWARNING" in sys.stdout.getvalue()) is coloured


def test_a_file_is_never_coloured(lockscope: Lockscope, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    lockscope("analyze", "t", answer=lambda paths, options: reports.violated())
    monkeypatch.setattr(sys, "stdout", Terminal())
    run(["analyze", "t", "-o", str(tmp_path / "r.txt")])
    assert "WARNING" in (tmp_path / "r.txt").read_text()
    assert "\x1b" not in (tmp_path / "r.txt").read_text()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    times: Iterator[float] = iter(range(1, 100))
    monkeypatch.setattr("lockscope.cli._shell.time.monotonic", lambda: next(times))


@pytest.mark.usefixtures("clock")
def test_progress_is_drawn_on_a_terminal_and_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress("dir/t.dat") as progress:
        progress(1, 4)
        progress(1_500, None)
    assert isinstance(sys.stderr, Terminal)
    assert sys.stderr.getvalue() == "\r\x1b[Kt.dat:  25%\r\x1b[Kt.dat: 1,500\r\x1b[K"


@pytest.mark.usefixtures("clock")
def test_no_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("t.dat") as progress:
        progress(1, 4)
    assert capsys.readouterr().err == ""


_DRIVER = """
import sys
import lockscope.checks.check
from tests.builders import fakes, reports
lockscope.checks.check.all_checks = fakes.checks
sys.modules["lockscope.pipeline"] = reports.fake_pipeline(lambda paths, options: reports.many(400))
from lockscope.cli._run import run
sys.exit(run(sys.argv[1:]))
"""


def test_a_closed_pipe_is_quiet_and_keeps_the_status() -> None:
    command = [sys.executable, "-W", "error", "-c", _DRIVER, "analyze", "t"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"400 findings at 2 places, worst first:\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_output_is_utf8_whatever_the_locale() -> None:
    driver = _DRIVER.replace("reports.many(400)", "reports.Report([reports.trace('\\udcff\\u00e9.dat')], [], [])")
    command = [sys.executable, "-c", driver, "analyze", "t", "--format", "json"]
    env = {"PYTHONIOENCODING": "latin-1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, env=env)
    assert done.stderr == b"lockscope: \\udcff\xc3\xa9.dat: no verdict: no selected check had the events it needs\n"
    assert b'"path": "\\udcff\xc3\xa9.dat"' in done.stdout


_HEAVY = ("numpy", "Cython", "pyarrow", "pandas", "matplotlib", "rich", "backports.zstd", "compression.zstd")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["analyze", "--help"], ["analyze"]])
def test_the_light_commands_load_nothing_heavy(arguments: list[str]) -> None:
    loaded = f"print([m for m in {_HEAVY} if m in sys.modules])"
    driver = f"import sys; from lockscope.cli._run import run; run({arguments}); {loaded}"
    done = subprocess.run([sys.executable, "-c", driver], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_reading_arguments_loads_nothing_heavy() -> None:
    """typer 0.29 loads pydantic for it: 62 ms of each command."""
    loaded = "print([m for m in ('pydantic', 'rich', 'pandas', 'matplotlib') if m in sys.modules])"
    driver = f"import sys; from lockscope.cli._run import run; run(['explain', 'LS101']); {loaded}"
    done = subprocess.run([sys.executable, "-c", driver], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stdout.startswith("LS101 ")


def test_importing_the_package_loads_nothing_heavy() -> None:
    driver = f"import sys, lockscope; lockscope.Finding; print([m for m in {(*_HEAVY, 'typer')} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", driver], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_package_names_what_it_offers() -> None:
    assert {"load", "analyze", "Trace", "Report", "Finding"} <= set(dir(package))
    assert package.Report is Report
    with pytest.raises(AttributeError, match="no attribute 'anlyze'"):
        _ = package.anlyze


def test_python_m_lockscope_is_the_command() -> None:
    command = [sys.executable, "-m", "lockscope", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"lockscope {package.__version__}\n")
