"""--redact: no output says who, where, or at which address."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import lockscope
from lockscope.cli._run import run
from lockscope.exports.redaction import of_schema
from lockscope.report.output import reporters
from lockscope.tables.meaning import Meaning
from lockscope.tables.schema import all_schemas
from tests.builders import canaries
from tests.builders.script import Script


def leaks(values: list[Any]) -> list[str]:
    """What is left of the canaries in values of any kind."""
    found = []
    for value in values:
        if isinstance(value, list):
            found += leaks(value)
        elif isinstance(value, str):
            found += [t for t in canaries.TEXTS if t in value]
            found += [str(n) for n in canaries.NUMBERS if str(n) in value or f"{n:x}" in value.lower()]
            found += leaks([int(value)]) if value.isdigit() else []
        elif isinstance(value, int) and not isinstance(value, bool):
            bits = value & (1 << 64) - 1
            found += [str(value)] if bits in canaries.NUMBERS or bits >> 12 & 0xFFFFFF == canaries.FRAME else []
    return found


def _columns_of_parquet(path: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pq.read_table(path).to_pydict()
    return found


def _columns_of_csv(path: Path) -> dict[str, list[Any]]:
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    return {name: [row[i] for row in rows] for i, name in enumerate(head)}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_no_canary_is_in_any_column_of_an_export(tmp_path: Path, kind: str) -> None:
    trace = lockscope.load(canaries.trace(tmp_path))
    plain, red = tmp_path / "plain", tmp_path / "red"
    read = _columns_of_parquet if kind == "parquet" else _columns_of_csv
    trace.export(plain, format=kind)
    trace.export(red, format=kind, redact=True)
    files = sorted(p.relative_to(red) for p in red.rglob("*.*"))
    assert files == sorted(p.relative_to(plain) for p in plain.rglob("*.*"))
    assert len(files) > len(all_schemas()) + 8
    shown: list[str] = []
    for file in files:
        before, after = read(plain / file), read(red / file)
        assert {name: len(values) for name, values in after.items()} == {n: len(v) for n, v in before.items()}
        for name, values in after.items():
            shown += leaks(before[name])
            assert leaks(values) == [], (str(file), name)
    assert {str(n) for n in (*canaries.PIDS, canaries.LOCK, canaries.CODE, canaries.SPTE)} <= set(shown)
    assert {t for t in canaries.TEXTS if t != "canaryhost"} <= set(shown)


def test_what_stays_is_still_of_use(tmp_path: Path) -> None:
    """A pseudonym is the same in all files; the kernel's own numbers and words stay; an SPTE keeps its bits."""
    lockscope.load(canaries.trace(tmp_path)).export(tmp_path / "red", redact=True)

    def table(name: str) -> dict[str, list[Any]]:
        return pq.read_table(tmp_path / "red" / f"{name}.parquet").to_pydict()

    woken = table("events/sched.sched_wakeup")
    assert (woken["prio"], woken["target_cpu"]) == ([120], [1])
    holds, changes = table("holds"), table("spte_changes")
    assert woken["pid_"][0] in holds["pid"]
    assert woken["comm"][0].startswith("task")
    assert set(holds["name"]) == {"&kvm->lock", "&kvm->slots_lock"}
    locks = table("events/lock.lock_acquire")
    assert set(locks["lockdep_addr"]) == set(holds["lock"]) == {1, 2}
    assert changes["old_spte"] == [canaries.SPTE & ~(canaries.FRAME << 12)]
    assert (changes["gfn"], changes["level"]) == ([0x180], [1])
    opened = table("events/probes.open")
    assert [opened[n] for n in ("path", "words", "owner", "number")] == [[None]] * 4
    assert opened["buf"] != [None]


def test_every_text_of_a_declared_table_says_what_it_is_about() -> None:
    for schema in all_schemas().values():
        assert Meaning.UNKNOWN not in of_schema(schema).values(), schema.name


def everything_in(folder: Path) -> str:
    """All that lies in a folder, as one text; pictures but SVG say nothing."""
    texts = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix not in (".png", ".dat"))
    return "".join(p.read_text(errors="replace") for p in texts)


def shown(output: str) -> list[str]:
    """The canaries that an output shows."""
    found = [t for t in canaries.TEXTS if t in output]
    found += [str(pid) for pid in canaries.PIDS if str(pid) in output]
    wide = [n for n in canaries.NUMBERS if n > 1 << 32]
    return found + [f"{n:x}" for n in wide if any(f in output for f in (f"{n:x}", str(n), str(n - (1 << 64))))]


WINDOWS = ("--window-start", "canarymarker.*", "--window-end", "never")
FORMATS = ("text", "csv", "json")
COMMANDS = [
    *(("analyze", "--format", name) for name in reporters()),
    *(("analyze", "--format", name, *WINDOWS) for name in reporters() if name != "sarif"),  # which tells findings alone
    ("info",),
    *(("graph", "--format", name) for name in ("dot", "json", "lockdep")),
    *(("locks", "--format", name, "--by", "task,caller") for name in FORMATS),
    *(("locks", "--format", name, "--by", "instance,owner") for name in FORMATS),
    ("locks", "--chains", "5", "--format", "json"),
    ("locks", "--perf-compat", "--format", "csv", "--by", "task"),
    ("locks", "--perf-compat", "--format", "csv", "--by", "instance"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_canary_is_in_an_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    trace = str(canaries.trace(tmp_path))
    name, *options = command
    out = tmp_path / "out"
    out.mkdir()
    to = ("-o", str(out / "file.html"), "--force") if "html" in options else ()
    for more, private in (((), True), (("--redact",), False)):
        run([name, trace, *options, *more, *to])
        said = capsys.readouterr()
        output = said.out + everything_in(out)
        assert len(output) > 100
        if not private:
            assert shown(output) == []
        elif name != "graph":  # which has no more than the path
            assert shown(output) != []


@pytest.mark.parametrize("figure", ["hold-times", "wait-times", "contention", "order-graph", "gantt", "findings"])
def test_no_canary_is_in_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str], figure: str) -> None:
    trace = str(canaries.trace(tmp_path))
    status = run(["plot", trace, figure, "-o", str(tmp_path / "f.svg"), "--redact"])
    said = capsys.readouterr()
    if status:  # nothing to show
        assert not (tmp_path / "f.svg").exists()
        assert "internal" not in said.err
        return
    assert shown((tmp_path / "f.svg").read_text()) == []


def test_no_canary_is_in_a_night(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "canaryhost"
    home.mkdir()
    canaries.trace(home)
    (home / "broken.dat").write_bytes(b"\x17\x08Dtracing9")
    for more in ((), ("--redact",)):
        run(["nightly", str(home), "--history", str(tmp_path / "h"), "-o", str(tmp_path / "r"), "--night", "n", *more])
        said = capsys.readouterr().out + everything_in(tmp_path / "r")
        assert "LS101" in said
        assert "broken.dat" in said
        assert (shown(said) == []) == bool(more)
        assert (str(home) in said) == (not more)


ODD_NAMES = (
    "a canary", "canary/7 is", "[canary]", "canary:", "x.canary@y", "canary is", "held by canary", "(canary)",
    "canary ", "&canary->lock", "canary/", "//canary", "-canary", "canary, CPU 1", "task1/canary", "canary\x1b[2J",
    "canary/9]",
)  # fmt: skip


@pytest.fixture(scope="module")
def oddly_named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks whose names read like parts of a sentence; each returns to user space with a lock, and waits for one."""
    s = Script()
    for i, name in enumerate(ODD_NAMES):
        task, other = s.task(name, 7 + i), s.task(ODD_NAMES[i - 1], 307 + i, 1)
        task.take(f"&odd{i}->lock", 0x100 + i)
        other.acquire(f"&odd{i}->lock", 0x100 + i).contended(f"&odd{i}->lock", 0x100 + i)
        task.sys_exit().release(f"&odd{i}->lock", 0x100 + i)
        other.acquired(f"&odd{i}->lock", 0x100 + i).release(f"&odd{i}->lock", 0x100 + i)
        s.comms[7 + i], s.comms[307 + i] = name, ODD_NAMES[i - 1]
    return s.save(tmp_path_factory.mktemp("anomaly") / "trace.dat")


NAMED = [c for c in COMMANDS if c[0] in ("analyze", "info", "locks") and "--window-start" not in c]


@pytest.mark.parametrize("command", NAMED, ids=" ".join)
def test_a_name_that_reads_like_a_sentence_is_a_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], oddly_named: Path, command: tuple[str, ...]
) -> None:
    name, *options = command
    to = ("-o", str(tmp_path / "file.html"), "--force") if "html" in options else ()
    for more in ((), ("--redact",)):
        run([name, str(oddly_named), *options, *more, *to])
        output = capsys.readouterr().out + everything_in(tmp_path)
        assert len(output) > 100
        if more:
            assert "canary" not in output
        elif name == "analyze":
            assert output.count("canary") > len(ODD_NAMES)


@pytest.mark.all
def test_a_name_that_reads_like_a_sentence_in_a_night(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], oddly_named: Path
) -> None:
    words = ["nightly", str(oddly_named), "--history", str(tmp_path / "h"), "-o", str(tmp_path / "r"), "--night", "n"]
    for more in ((), ("--redact",)):
        run([*words, *more])
        output = capsys.readouterr().out + everything_in(tmp_path / "r")
        assert "LS106" in output
        assert ("canary" in output) == (not more)
