"""One trace of attacks through every output: nothing of it acts, moves, hides or pretends to be ours."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import lockscope
from lockscope.cli._run import run
from lockscope.report.output import reporters
from lockscope.report.page._card import suppression
from tests.builders import evil

WINDOWS = ("--window-start", "begin (?P<name>.*)", "--window-end", "end ")
TEXTS = [
    *(("analyze", "--format", name) for name in reporters() if name != "html"),
    *(("analyze", "--format", name, *WINDOWS) for name in ("text", "markdown", "json", "jsonl")),
    ("info",), ("info", "--json"),
    *(("graph", "--format", name) for name in ("dot", "json", "lockdep")),
    *(("locks", "--format", name, "--by", "instance,task,owner") for name in ("text", "csv", "json")),
    *(("locks", "--chains", "9", "--format", name) for name in ("text", "csv", "json")),
    ("locks", "--perf-compat", "--by", "task"),
]  # fmt: skip


@pytest.fixture(scope="module")
def attacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evil.trace(tmp_path_factory.mktemp("evil"))


def output_of(capsys: pytest.CaptureFixture[str], trace: Path, *words: str) -> str:
    run([words[0], str(trace), *words[1:]])
    said = capsys.readouterr()
    assert "internal error" not in said.err
    assert_plain(said.err)
    return said.out


def assert_plain(text: str) -> None:
    """No control, no turned or hidden letter, and no line that a trace wrote."""
    assert [c for c in text if not c.isprintable() and c != "\n"] == []
    assert [line for line in text.splitlines() if re.match(rf"[\s#|-]*{evil.FORGED}", line)] == []


@pytest.mark.parametrize("words", TEXTS, ids=" ".join)
def test_a_terminal_sees_letters(capsys: pytest.CaptureFixture[str], attacks: Path, words: tuple[str, ...]) -> None:
    said = output_of(capsys, attacks, *words)
    assert "pwned" in said
    assert_plain(said)


class Tags(HTMLParser):
    """What a browser would make of a page: elements, and attributes that load or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.ids |= {value or "" for name, value in attrs if name == "id"}
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "action")}

    def assert_harmless(self) -> None:
        assert self.elements.isdisjoint({"iframe", "object", "embed", "base"})
        assert evil.MARK not in self.ids
        assert [a for a in self.attributes if a.startswith("on") or not re.fullmatch(r"[A-Za-z][\w:-]*", a)] == []
        assert [link for link in self.links if re.match(r"\s*(javascript|http|data:text|//)", link, re.I)] == []
        pictures = {link for link in self.links if link.startswith("data:image/")}
        assert ("img" in self.elements) <= bool(pictures)  # only a night's page has any
        assert "x" not in self.links


@pytest.mark.parametrize("windows", [(), WINDOWS], ids=["whole", "windows"])
def test_a_page_has_our_elements_alone(attacks: Path, tmp_path: Path, windows: tuple[str, ...]) -> None:
    run(["analyze", str(attacks), "--format", "html", "-o", str(tmp_path / "r.html"), *windows])
    text = (tmp_path / "r.html").read_text()
    page = Tags(text)
    page.assert_harmless()
    assert "script" in page.elements
    assert text.count("<script") == text.count("</script>")
    assert_plain(text.replace("\t", " "))
    for beside in (tmp_path / "r.data").glob("*"):
        assert_plain(beside.read_text())
        if beside.suffix == ".csv":
            assert_no_formula(beside.read_text())


def test_a_suppression_to_paste_is_one_entry(attacks: Path) -> None:
    """A class's name in the comment behind it cannot be a line of the file."""
    found = lockscope.load(attacks).analyze().findings
    for finding in found:
        (entry,) = tomllib.loads(suppression(finding))["suppress"]
        assert entry["fingerprint"] == finding.fingerprint
        assert suppression(finding).count("\n") == 3
    assert any("\n" in name for finding in found for name in finding.classes)


def test_markdown_has_no_element_or_link_of_theirs(capsys: pytest.CaptureFixture[str], attacks: Path) -> None:
    text = output_of(capsys, attacks, "analyze", "--format", "markdown")
    made = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    page = Tags(made)
    page.assert_harmless()
    assert "svg" not in page.elements
    assert "script" not in page.elements
    assert not re.search(rf"<h\d>\s*{evil.HEADING}", made)


def test_dot_has_our_statements_alone(capsys: pytest.CaptureFixture[str], attacks: Path) -> None:
    text = output_of(capsys, attacks, "graph", "--format", "dot")
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    assert evil.MARK in text
    assert evil.MARK not in bare
    assert '"' not in bare.replace('""', "")
    assert not re.search(r"(?<!\\)<\w", bare)  # an HTML-like label


def assert_no_formula(text: str) -> None:
    rows = list(csv.reader(io.StringIO(text)))
    assert {len(row) for row in rows} == {len(rows[0])}
    odd = [c for row in rows for c in row if c.lstrip()[:1] in "=+-@\t\r" and c.strip() and not _number(c)]
    assert odd == []


def _number(cell: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", cell) is not None


@pytest.mark.parametrize("by", ["class", "task", "owner", "instance,caller"])
def test_no_cell_of_statistics_is_a_formula(capsys: pytest.CaptureFixture[str], attacks: Path, by: str) -> None:
    assert_no_formula(output_of(capsys, attacks, "locks", "--format", "csv", "--by", by))


def test_no_cell_of_an_export_is_a_formula(attacks: Path, tmp_path: Path) -> None:
    assert run(["export", str(attacks), "--format", "csv", "-o", str(tmp_path / "out")]) == 0
    files = sorted((tmp_path / "out").rglob("*.csv"))
    assert len(files) > 12
    for file in files:
        assert_plain(file.read_text())
        assert_no_formula(file.read_text())


@pytest.mark.parametrize("kind", ["text", "std"])
def test_a_text_export_has_a_line_an_event(attacks: Path, tmp_path: Path, kind: str) -> None:
    assert run(["export", str(attacks), "--format", kind, "-o", str(tmp_path / "out")]) == 0
    assert_plain((tmp_path / "out").read_text().replace("\t", " "))
    for names in tmp_path.glob("out.*"):
        assert_plain(names.read_text())


@pytest.mark.parametrize("figure", ["hold-times", "wait-times", "contention", "order-graph", "gantt", "findings"])
def test_a_figure_is_well_formed(attacks: Path, tmp_path: Path, figure: str) -> None:
    assert run(["plot", str(attacks), figure, "-o", str(tmp_path / "f.svg")]) == 0
    text = (tmp_path / "f.svg").read_text()
    elements = {e.tag.rpartition("}")[2] for e in ET.fromstring(text).iter()}
    assert elements.isdisjoint({"script", "image", "foreignObject", "a", "img", "iframe", "b"})
    assert_plain(text)


def test_json_says_what_the_trace_says(capsys: pytest.CaptureFixture[str], attacks: Path) -> None:
    found = json.loads(output_of(capsys, attacks, "analyze", "--format", "json"))
    told = {name for finding in found["findings"] for name in finding["classes"]}
    assert len([a for a in evil.ATTACKS if any(a in name for name in told)]) > len(evil.ATTACKS) // 2


@pytest.mark.all
def test_a_night_of_attacks(capsys: pytest.CaptureFixture[str], attacks: Path, tmp_path: Path) -> None:
    report = tmp_path / "r"
    run(["nightly", str(attacks), "--history", str(tmp_path / "h"), "-o", str(report), "--night", "n"])
    assert_plain(capsys.readouterr().out)
    Tags((report / "index.html").read_text()).assert_harmless()
    for name in ("index.html", "summary.md", "summary.txt"):
        assert_plain((report / name).read_text().replace("\t", " "))
    made = MarkdownIt("commonmark", {"html": True}).enable("table").render((report / "summary.md").read_text())
    Tags(made).assert_harmless()
