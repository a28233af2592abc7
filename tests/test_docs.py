"""What the documents show is what happens: their sessions run, their links and names are real.

A ``console`` block is a session: after ``$ `` a command, then what it prints; ``...`` stands for any text, or as a line
for any lines. A ``pycon`` block is a doctest. Both see ``sample_traces`` and write elsewhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lockscope
from lockscope.cli._app import build
from lockscope.tables.events import EventFormat, Field
from lockscope.tables.tape import source_of
from tests.test_architecture import RANKS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("sample_traces/*.md")])
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page_names() -> list[str]:
    return [str(p.relative_to(ROOT)) for p in PAGES]


def blocks(kind: str) -> list[tuple[str, str]]:
    return [(n, text) for n in page_names() for k, text in _BLOCK.findall((ROOT / n).read_text()) if k == kind]


def ids(cases: list[tuple[str, str]]) -> list[str]:
    return [f"{name}-{number}" for number, (name, _) in enumerate(cases)]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that looks like a clone and may be written to, with this checkout's lockscope as a command."""
    (tmp_path / "sample_traces").symlink_to(ROOT / "sample_traces")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "lockscope"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lockscope "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def session(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what it should print."""
    parts = re.split(r"^\$ (.+)\n", text, flags=re.MULTILINE)
    assert parts[0] == "", "a session begins with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def fits(shown: str, said: str) -> bool:
    """Whether what was said is what is shown, ``...`` aside."""
    lines = [r"(?:.*\n)*" if line == "..." else _line(line) for line in shown.splitlines()]
    return re.fullmatch("".join(lines), said) is not None


def _line(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("...")) + "\n"


@pytest.mark.parametrize(
    ("shown", "said", "fit"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nd\n", True),
        ("a ... c\n", "a b c\n", True),
        ("a ... c\n", "a b\nb c\n", False),
        ("a\n", "a\nb\n", False),
        ("", "a\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_a_session_is_compared_line_by_line(shown: str, said: str, fit: bool) -> None:
    assert fits(shown, said) is fit


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(("page", "text"), blocks("console"), ids=ids(blocks("console")))
def test_a_session_says_what_it_shows(page: str, text: str) -> None:
    status = 0
    for command, shown in session(text):
        done = subprocess.run(
            ["bash", "-c", f"(exit {status}); {command}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        status = done.returncode
        assert fits(shown, done.stdout), f"{page}: $ {command}\n{done.stdout}"


EXAMPLES = """
import doctest, sys
test = doctest.DocTestParser().get_doctest(sys.stdin.read(), {}, sys.argv[1], sys.argv[1], 0)
assert test.examples
sys.exit(bool(doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False).run(test).failed))
"""


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(("page", "text"), blocks("pycon"), ids=ids(blocks("pycon")))
def test_python_examples(page: str, text: str) -> None:
    """In an interpreter of its own, as a reader would."""
    command = [sys.executable, "-c", EXAMPLES, page]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("page", page_names())
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if not re.match(r"https?://", target):
            assert ((ROOT / page).parent / target.partition("#")[0]).exists(), target


def commands() -> set[str]:
    return {c.name or c.callback.__name__ for c in build().registered_commands if c.callback is not None}


@pytest.mark.parametrize("page", page_names())
def test_commands_and_targets_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    shell = "".join(code for kind, code in _BLOCK.findall(text) if kind in ("sh", "console"))
    named = re.findall(r"`lockscope ([a-z]+)", text) + re.findall(r"^(?:\$ )?lockscope ([a-z]+)", shell, re.MULTILINE)
    assert set(named) <= commands()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets


def test_every_target_says_what_it_is_for() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert phony is not None
    for target in phony[1].split():
        assert re.search(rf"^{target}:.*## \w", makefile, flags=re.MULTILINE), target


def test_the_plan_names_every_room_at_its_rank() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", (ROOT / "docs/architecture.md").read_text(), flags=re.MULTILINE)
    planned = {name: int(rank) for rank, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert planned == {name: rank for name, rank in RANKS.items() if not name.startswith("__")}


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert lockscope.__version__ == project["version"]
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[Unreleased\]$", changes, flags=re.MULTILINE)


def probes() -> list[tuple[str, str]]:
    return [(f.name, line) for f in sorted((ROOT / "docs/probes").iterdir()) for line in f.read_text().splitlines()]


@pytest.mark.parametrize(("file", "line"), probes(), ids=[line.split()[0] for _, line in probes()])
def test_what_a_probe_records_is_read(file: str, line: str) -> None:
    """The fields that the definition gives the event (Documentation/trace/kprobetrace.rst, fprobetrace.rst, 6.12)."""
    kind, _, name = line.split(maxsplit=1)[0].partition(":")
    system, _, name = name.partition("/")
    fields = [word.partition("=")[0] for word in line.split()[2:]]
    fields += ["__probe_func", "__probe_ret_ip"] if kind == "r" or "%return" in line else ["__probe_ip"]
    event = EventFormat(
        2, 1000, system, name, tuple(Field(f, "u64", 8 + 8 * i, 8, False) for i, f in enumerate(fields))
    )
    assert source_of(event) is not None


def test_no_document_names_a_machine() -> None:
    """Paths of somebody's home or scratch directory."""
    for page in page_names():
        assert not re.search(r"/(home|root|tmp|work)/", (ROOT / page).read_text()), page


def test_folders_of_the_recipes_are_walked() -> None:
    folders = set(re.findall(r"`lockscope/(\w+)/", (ROOT / "CONTRIBUTING.md").read_text()))
    assert {"checks", "formats", "report", "cli", "facts", "rules", "tables"} <= folders
    assert folders <= {p.name for p in (ROOT / "lockscope").iterdir()}
