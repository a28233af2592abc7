"""Names made of a trace's words, and files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import lockscope
from lockscope.errors import LockscopeError
from lockscope.outfiles import Names, opened, whole, whole_directory, write_text
from tests.builders.script import Script


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("sched.sched_switch", "sched.sched_switch"),
        ("../../up.evil", "_._.._up.evil"),
        ("/etc/passwd", "_etc_passwd"),
        (".hidden", "_hidden"),
        ("-rf", "_rf"),
        ("", "_"),
        ("..", "_."),
        ("a\0b\nc\x1b[31m", "a_b_c__31m"),
        ("naïve", "na_ve"),
    ],
)
def test_a_name_is_one_visible_component(word: str, name: str) -> None:
    assert Names().of(word) == name


def test_words_that_become_equal_stay_two() -> None:
    names = Names()
    words = ["a/b", "a:b", "a_b", "A_B", "x" * 300, "x" * 301, "a/b"]
    made = [names.of(word) for word in words]
    assert made[0] == made[-1] == "a_b"
    assert len({name.casefold() for name in made[:-1]}) == 6
    assert all(len(name.encode()) <= 120 for name in made)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_export_stays_in_its_directory(tmp_path: Path, kind: str) -> None:
    """Whatever events and systems are called; two that become one name are two files."""
    absolute = str(tmp_path / "abs")
    systems = ["../../up", absolute, "a/b", "a_b", "..", "x" * 200]
    events = {f"{system}:evil": "x:u32" for system in systems} | {f"s:{'n' * 250}": "x:u32"}
    s = Script(events=events)
    for event in events:
        s.task("t", 1).event(event, x=1)
    home = tmp_path / "in" / "deep"
    home.mkdir(parents=True)
    trace = s.save(home / "t.dat")
    before = set(tmp_path.rglob("*"))
    written = lockscope.load(trace).export(home / "out", format=kind)
    assert all(path.is_file() for path in written)
    made = set(tmp_path.rglob("*")) - before
    assert made == {home / "out", home / "out" / "events", *written}
    assert len([p for p in written if p.parent.name == "events"]) == len(events)
    assert all(not p.name.startswith(".") for p in made)


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "report.txt"
    write_text(place, "old")

    def fails() -> None:
        with opened(place) as file:
            file.write(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(LockscopeError, match=r"report\.txt: cannot be written: No space left on device$"):
        fails()
    assert place.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.txt"]


def test_a_directory_that_fails_is_not_there(tmp_path: Path) -> None:
    place = tmp_path / "out"

    def fails() -> None:
        with whole_directory(place) as folder:
            (folder / "x").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert os.listdir(tmp_path) == []


def test_modes_links_and_devices(tmp_path: Path) -> None:
    """A new file is as any other program's; one that is there keeps its mode; a link stays one; a device is used."""
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "new", "x")
        with whole_directory(tmp_path / "dir"):
            pass
    finally:
        os.umask(old)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "dir").stat().st_mode & 0o777 == 0o750
    (tmp_path / "new").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "new")
    write_text(tmp_path / "link", "y")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new").read_text() == "y"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    with whole("/dev/null") as place:
        assert place == Path("/dev/null")
    with pytest.raises(LockscopeError, match="/dev/full: cannot be written: No space left on device"):
        write_text("/dev/full", "x" * 100_000)


def test_surrogates_do_not_stop_a_text(tmp_path: Path) -> None:
    write_text(tmp_path / "t", "a\udc80b")
    assert (tmp_path / "t").read_text() == "a\\udc80b"
