"""``lockscope graph`` on recorded traces."""

from __future__ import annotations

import json
import lzma
import re
from pathlib import Path
from typing import Any

import pytest

from lockscope.cli._run import run

SAMPLES = Path(__file__).parents[2] / "sample_traces"
BUG = str(SAMPLES / "bug_slots_lock_then_kvm_lock.dat")


def out_of(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert run(("graph", *arguments)) == status
    return capsys.readouterr().out


@pytest.fixture
def bug(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out_of(capsys, BUG, "--format", "json"))
    return found


def test_json_has_the_whole_graph(bug: dict[str, Any]) -> None:
    assert bug["schema"] == "lockscope-graph/1"
    assert (bug["kernel"], bug["keyed"]) == ("6.12.117", True)
    assert (len(bug["classes"]), len(bug["edges"])) == (105, 155)
    assert [c["id"] for c in bug["classes"]] == list(range(105))
    slots = next(c for c in bug["classes"] if c["name"] == "&kvm->slots_lock")
    assert {k: slots[k] for k in ("key", "kvm", "usage", "subclass", "count")} == {
        "key": "0xffffffff82843750", "kvm": True, "usage": "+.+.", "subclass": 0, "count": 6,
    }  # fmt: skip
    assert slots["backward"] == 2  # &kvm->lock, and itself


def test_redacted_keys_are_numbers(capsys: pytest.CaptureFixture[str], bug: dict[str, Any]) -> None:
    hidden: dict[str, Any] = json.loads(out_of(capsys, BUG, "--format", "json", "--redact"))
    assert hidden["path"] == "bug_slots_lock_then_kvm_lock.dat"
    keys = [int(c["key"], 16) for c in hidden["classes"]]
    assert sorted(set(keys)) == list(range(1, len(set(keys)) + 1))
    groups = ([c["key"] for c in of["classes"]] for of in (bug, hidden))
    before, after = ([keys.index(key) for key in keys] for keys in groups)
    assert before == after  # what had one key has one
    assert hidden["edges"] == bug["edges"]


def test_edges_on_the_reported_ring_are_marked(bug: dict[str, Any]) -> None:
    label = {c["id"]: c["label"] for c in bug["classes"]}
    assert [[label[c] for c in ring] for ring in bug["rings"]] == [["&kvm->slots_lock", "&kvm->lock"]]
    marked = [(label[e["held"]], label[e["taken"]], e["kinds"], e["direct"]) for e in bug["edges"] if e["rings"]]
    assert marked == [
        ("&kvm->slots_lock", "&kvm->lock", {"EN": 4}, True),
        ("&kvm->lock", "&kvm->slots_lock", {"EN": 2}, True),
    ]


def test_dot_is_narrowed_and_begins_with_kvms_classes(capsys: pytest.CaptureFixture[str]) -> None:
    dot = out_of(capsys, BUG, "--format", "dot", "--classes", "&kvm->slots_lock,&kvm->lock")
    nodes = re.findall(r'^  c\d+ \[label="(.*?)\\n\{....\}"(, style=filled)?', dot, re.MULTILINE)
    filled = [bool(style) for _, style in nodes]
    assert filled == sorted(filled, reverse=True)
    assert {"&kvm->slots_lock", "&kvm->lock", "&kvm->slots_arch_lock"} <= {name for name, style in nodes if style}
    assert "tk_core.seq.seqcount" not in dot
    assert len(re.findall(r'label="EN \d+, LS101 ring 1", color=red', dot)) == 2


def listing(text: str) -> dict[str, list[tuple[int, int, str]]]:
    """Class name without its number: forward, backward, usage of each class of that name."""
    found: dict[str, list[tuple[int, int, str]]] = {}
    for line in text.splitlines():
        if of := re.match(r"[0-9a-f]{16} FD: *(\d+) BD: *(\d+) ([-.+?]{4}): (.*)", line):
            found.setdefault(re.sub(r"#\d+", "", of[4]), []).append((int(of[1]), int(of[2]), of[3]))
        else:
            assert line in ("", "all lock classes:") or re.match(r" -> \[[0-9a-f]{16}\] .", line)
    return found


def test_the_listing_says_no_more_than_the_kernels_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Same boot: no class depends on, or is depended on by, more; no usage that lockdep did not see."""
    kernel = listing(lzma.decompress((SAMPLES / "proc_lockdep.txt.xz").read_bytes()).decode())
    ours = listing(out_of(capsys, str(SAMPLES / "lossy.dat")))
    assert set(ours) - set(kernel) == set()
    compared = 0
    for name, (mine, *others) in ours.items():
        if others or len(kernel[name]) > 1:
            continue
        theirs = kernel[name][0]
        assert 1 <= mine[0] <= theirs[0], name
        assert 1 <= mine[1] <= theirs[1], name
        assert all(a in (".", b) or b == "?" for a, b in zip(mine[2], theirs[2], strict=True)), name
        compared += 1
    assert compared > 60


def test_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "graph.txt"
    assert out_of(capsys, BUG, "--classes", "kvm_lock", "-o", str(place)) == ""
    assert re.fullmatch(r"all lock classes:\n[0-9a-f]{16} FD: {4}1 BD: {4}1 \+\.\+\.: kvm_lock\n\n", place.read_text())


def test_a_trace_without_locks_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("graph", str(SAMPLES / "arm_32bit.dat"))) == 2
    said = capsys.readouterr()
    assert said.out == "all lock classes:\n"
    assert "no lock was seen being taken; record -e lock" in said.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            (BUG, "--format", "doot"),
            "--format doot: unknown value (did you mean dot?); choose from dot, json, lockdep",
        ),
        ((BUG, "-o", BUG), "would overwrite the input"),
        (("none.dat",), "none.dat"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("graph", *arguments)) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_no_class_matches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("graph", BUG, "--classes", "no_such_lock")) == 2
    assert "--lock no_such_lock: no lock class of " in capsys.readouterr().err


def test_windows(capsys: pytest.CaptureFixture[str]) -> None:
    """What is between the markers of one self-test, and nothing else."""
    case = r"selftest begin (?P<name>ABBCCA_wlock)\b"
    text = out_of(capsys, str(SAMPLES / "selftest_train.dat"), "--window-start", case, "--window-end", "selftest end")
    assert {name for name in listing(text) if name.startswith("&rwlock_")} == {
        "&rwlock_A", "&rwlock_B", "&rwlock_C"}  # fmt: skip
    assert " -> [" in text
