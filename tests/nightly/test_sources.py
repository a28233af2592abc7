"""Which files a directory, a glob and a URL stand for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from lockscope.errors import UsageError
from lockscope.nightly.sources import Source, at_hand, digest_of, find

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample_traces" / "stacks.dat"


@pytest.fixture
def store() -> Iterator[str]:
    """A file system that is nowhere but in memory."""
    files = fsspec.filesystem("memory")
    files.pipe({"/night/a/x.dat": SAMPLE.read_bytes(), "/night/b/y.txt": b"no trace", "/night/b/notes.md": b"x"})
    yield "memory://night"
    files.rm("/night", recursive=True)


def test_a_directory_is_searched_for_what_looks_like_a_trace(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(SAMPLE.read_bytes())
    (tmp_path / "broken.dat").write_bytes(b"")
    (tmp_path / "notes.md").write_text("nothing")
    (tmp_path / ".hidden.dat").write_bytes(b"")
    assert [s.path for s in find([str(tmp_path)])] == [str(tmp_path / "b" / "x"), str(tmp_path / "broken.dat")]


def test_what_is_named_is_taken_as_it_is(tmp_path: Path) -> None:
    for name in ("1.md", "2.md", "3.txt"):
        (tmp_path / name).write_text("")
    found = find([str(tmp_path / "*.md"), str(tmp_path / "2.md"), str(tmp_path / "3.txt")])
    assert [Path(s.path).name for s in found] == ["1.md", "2.md", "3.txt"]
    assert all(s.stamp.startswith("0:") for s in found)


@pytest.mark.parametrize("place", ["nowhere", "no*where.dat", "."])
def test_nothing_there(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no such file|no trace there"):
        find([place])


def test_a_local_file_is_read_where_it_is() -> None:
    source = Source(str(SAMPLE))
    with at_hand(source) as (path, digest, size):
        assert (path, size) == (str(SAMPLE), SAMPLE.stat().st_size)
        assert digest == digest_of(source) == hashlib.sha256(SAMPLE.read_bytes()).hexdigest()


def test_urls(store: str) -> None:
    found = find([store])
    assert [s.path for s in found] == ["memory:///night/a/x.dat", "memory:///night/b/y.txt"]
    assert all(s.stamp for s in found)
    assert [s.path for s in find([f"{store}/*/*.dat"])] == ["memory:///night/a/x.dat"]
    with at_hand(found[0]) as (path, digest, _):
        assert Path(path).read_bytes() == SAMPLE.read_bytes()
        assert digest == hashlib.sha256(SAMPLE.read_bytes()).hexdigest()
    assert not Path(path).exists()
    assert digest_of(found[0]) is None


def test_an_unknown_scheme_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match=r"nonsense://x: .*nonsense"):
        find(["nonsense://x"])
