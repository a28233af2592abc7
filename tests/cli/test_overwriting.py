"""No command overwrites a file unless it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest

import lockscope
from lockscope.cli._run import run
from lockscope.errors import UsageError

SAMPLES = Path(__file__).parents[2] / "sample_traces"
BUG = str(SAMPLES / "bug_slots_lock_then_kvm_lock.dat")

COMMANDS = [
    (["analyze", BUG, "--format", "json"], "r.json"),
    (["analyze", BUG, "--format", "html"], "r.html"),
    (["graph", BUG], "g.txt"),
    (["locks", BUG], "l.txt"),
    (["locks", BUG, "--perf-compat"], "p.txt"),
    (["plot", BUG, "hold-times"], "h.png"),
    (["export", BUG, "--format", "text"], "t.txt"),
    (["export", BUG, "--format", "std"], "t.std"),
    (["simulate", "quiet-lifecycle", "--duration", "1"], "s.dat"),
]


@pytest.mark.parametrize(("words", "name"), COMMANDS, ids=[" ".join((w[0], n)) for w, n in COMMANDS])
def test_what_exists_stays_without_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], name: str
) -> None:
    place = tmp_path / name
    place.write_text("precious")
    assert run([*words, "-o", str(place)]) == 2
    assert capsys.readouterr().err == f"lockscope: -o {place}: exists (--force overwrites it)\n"
    assert place.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert run([*words, "-o", str(place), "--force"]) in (0, 1)
    assert place.read_bytes() != b"precious"


def test_what_is_written_beside_a_page_stays_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.data").mkdir()
    assert run(["analyze", BUG, "--format", "html", "-o", str(tmp_path / "r.html")]) == 2
    assert capsys.readouterr().err.endswith("r.data exists (--force overwrites it)\n")
    assert not (tmp_path / "r.html").exists()


def test_what_an_output_is_called_by_default_stays_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, name in (
        (["plot", BUG, "hold-times"], "hold-times.png"),
        (["simulate", "quiet-mixed"], "quiet-mixed.dat"),
    ):
        Path(name).write_text("precious")
        assert run(words) == 2
        assert capsys.readouterr().err == f"lockscope: -o {name}: exists (--force overwrites it)\n"
        assert Path(name).read_text() == "precious"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["plot", BUG, "gantt"], "-o -: a figure goes into a file"),
        (["export", BUG], "-o -: parquet is a directory of files"),
        (["export", BUG, "--format", "csv"], "-o -: csv is a directory of files"),
        (["simulate", "quiet-mixed"], "-o -: a simulated trace goes into a file"),
    ],
)
def test_a_dash_is_standard_output_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([*words, "-o", "-"]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["analyze", BUG], ["graph", BUG], ["locks", BUG], ["export", BUG, "--format", "std"]]
)
def test_a_dash_is_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([*words, "-o", "-"]) in (0, 1)
    assert len(capsys.readouterr().out) > 100 or words[0] == "export"
    assert list(tmp_path.iterdir()) == []


def test_python_asks_for_force_too(tmp_path: Path) -> None:
    trace = lockscope.load(BUG)
    place = tmp_path / "holds.parquet"
    trace.table("holds").to_parquet(place)
    with pytest.raises(UsageError, match=r"holds.parquet: exists \(force=True overwrites it\)"):
        trace.table("holds").to_parquet(place)
    trace.table("holds").to_parquet(place, force=True)
    with pytest.raises(UsageError, match=r"the directory is not empty \(force=True writes into it\)"):
        trace.export(tmp_path)
    text = tmp_path / "t.txt"
    text.write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        trace.export(text, format="text")
    assert text.read_text() == "precious"
