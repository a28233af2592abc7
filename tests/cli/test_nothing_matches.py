"""An option's value that nothing in the trace is: status 2, one line with the value and the nearest that is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockscope.cli._run import run
from lockscope.errors import MatchError, nearest
from lockscope.plots.figure import figures
from lockscope.rules.load import known_locks, load_file
from lockscope.trace.trace import load

SAMPLES = Path(__file__).parents[2] / "sample_traces"
BUG = str(SAMPLES / "bug_slots_lock_then_kvm_lock.dat")
DIRTY = str(SAMPLES / "dirty_log.dat")
TRAIN = str(SAMPLES / "selftest_train.dat")

MISTAKES = [
    (["analyze", TRAIN, "--window-start", "ABBA_mutx", "--window-end", "."],
     ["--window-start ABBA_mutx: no marker of", "the nearest is "]),
    (["analyze", BUG, "--window-start", "nope", "--window-end", "x"], ["--window-start nope:", "has no marker"]),
    (["analyze", TRAIN, "--window-start", "begin", "--window-end", "nope"], ["--window-end nope: no marker of"]),
    (["graph", BUG, "--window-start", "nope", "--window-end", "x"], ["--window-start nope:", "has no marker"]),
    (["analyze", BUG, "--events", "lokc:*"], ["--event lokc:*: no event of", "; the nearest is lock:lock_"]),
    (["analyze", BUG, "--events", "lock:*,sched:sched_swich"], ["sched:sched_swich:", "nearest is sched:sched_switch"]),
    (["analyze", BUG, "--exclude-events", "lock_aquired"], ["--exclude-event lock_aquired:",
                                                           "the nearest is lock_acquired"]),
    (["graph", BUG, "--events", "nope:*"], ["--event nope:*: no event of"]),
    (["graph", BUG, "--classes", "&kvm->lokc"], ["--lock &kvm->lokc: no lock class of", "nearest is &kvm->lock"]),
    (["graph", BUG, "--classes", "&kvm->lock,nope*"], ["--lock nope*: no lock class of"]),
    (["locks", BUG, "--classes", "&kvm->slot_lock"], ["--lock &kvm->slot_lock:", "nearest is &kvm->slots_lock"]),
    (["locks", BUG, "--classes", "*kvm*,nope"], ["--lock nope: no lock class of"]),
    (["locks", BUG, "--tasks", "nobody"], ["--task nobody: no task of"]),
    (["locks", BUG, "--vms", "9"], ["--vm 9: no VM of", "the nearest is 1"]),
    (["locks", BUG, "--cpus", "63"], ["--cpu 63:", "has nothing of such a CPU"]),
    (["locks", BUG, "--locks", "0xabc"], ["--lock 0xabc: no lock of", "lies there; the nearest is 0xff"]),
    (["locks", BUG, "--callers", "kwm_*"], ["--caller kwm_*: no caller of"]),
    (["locks", BUG, "--start", "99999"], ["--from 99999.000000000:", "is from "]),
    (["locks", BUG, "--chains", "3", "--classes", "nope"], ["--lock nope: no lock class of"]),
    (["locks", BUG, "--by", "owner", "--classes", "nope"], ["--lock nope: no lock class of"]),
    (["plot", DIRTY, "hold-times", "--vm", "9"], ["--vm 9:", "has no VM of this number; the nearest is 1"]),
    (["plot", DIRTY, "gantt", "--task", "999999"], ["--task 999999: no task of"]),
    (["plot", DIRTY, "contention", "--lock", "&kvm->srku"], ["--lock &kvm->srku:", "the nearest is &kvm->srcu"]),
    (["plot", DIRTY, "wait-times", "--from", "99999s"], ["--from 99999.000000000:", "is from "]),
    (["export", BUG, "--event", "sched_swich", "-o", "x"], ["no event 'sched_swich'; the nearest is sched_switch"]),
    (["export", BUG, "--format", "text", "--event", "sched_swich", "-o", "x"], ["--event sched_swich: no event of",
                                                                                "the nearest is sched_switch"]),
]  # fmt: skip


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=lambda v: " ".join(v[2:6]) if v[0][0] != "-" else "")
def test_nothing_that_is_asked_for(
    words: list[str],
    says: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert all(part in said.err for part in says), said.err
    assert list(tmp_path.iterdir()) == []  # nothing was written


def test_other_traces_are_judged_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    status = run(["analyze", TRAIN, BUG, "--select", "LS101", "--format", "json", "--fail-on", "never",
                  "--window-start", "selftest begin (?P<name>ABBA_rsem)", "--window-end", "selftest end"])  # fmt: skip
    said = capsys.readouterr()
    assert status == 2
    assert [Path(t["path"]).name for t in json.loads(said.out)["traces"]] == ["selftest_train.dat"]
    assert "lockscope: no verdict on 1 of 2 traces: an option matches nothing\n" in said.err


@pytest.mark.parametrize("name", ["hold-times", "gantt", "flush-latency", "sptes"])
def test_a_figure_of_one_vm_is_not_that_of_all(name: str, tmp_path: Path) -> None:
    place = tmp_path / "two_vms.dat"
    assert run(["simulate", "quiet-mixed", "--vms", "2", "--duration", "5", "-o", str(place)]) == 0
    trace, module = load(place), figures()[name.replace("-", "_")]
    assert trace.vms() == (1, 2)
    one, two = (str(module.data(part, part.view)) for part in (trace.vm(1), trace.vm(2)))
    assert one != two


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["order-graph", "--vm", "1"], "--vm: order-graph cannot be drawn of that alone; it is of the whole trace"),
        (["order-graph", "--from", "+1ms"], "--from: order-graph cannot be drawn of that alone"),
        (["findings", "--lock", "&kvm->lock"],
         "--lock: findings cannot be drawn of that alone; it goes by --from, --to, --task"),
        (["gantt", "--gfn", "1..2"], "--gfn: gantt cannot be drawn of that alone"),
    ],
)  # fmt: skip
def test_what_a_figure_cannot_go_by_is_refused(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plot", DIRTY, *words, "-o", str(tmp_path / "a.png")]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def _book(folder: Path, outer: str, inner: str, more: str = "") -> str:
    place = folder / "site.toml"
    order = f'[[order]]\nid = "site/one"\nsource = "here"\nouter = "{outer}"\ninner = "{inner}"\n'
    place.write_text(order + more)
    return str(place)


def test_a_rule_about_a_lock_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", BUG, "--select", "LS102", "--rules", _book(tmp_path, "kvm->slot_lock", "kvm->lock")]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    for part in ("site.toml: kvm->slot_lock: rule site/one: no lock of KVM's", "; the nearest is kvm->slots_lock"):
        assert part in said.err


@pytest.mark.parametrize(
    ("outer", "inner", "more"),
    [
        ("kvm->slots_lock", "kvm->lock", ""),
        ("&(kvm)->mmu_lock", "kvm_count_lock", ""),  # another version's
        ("&rq->__lock", "&p->pi_lock", ""),  # the trace has both
        ("&mydev->lock", "kvm->lock", '[[reference]]\nid = "site/dev"\nsource = "here"\nlock = "&mydev->lock"\n'
         'type = "mutex"\nprotects = ["the device"]\n'),  # declared, and not in this trace
    ],
)  # fmt: skip
def test_rules_about_locks_that_are_known_or_declared(outer: str, inner: str, more: str, tmp_path: Path) -> None:
    assert (
        run(["analyze", BUG, "--select", "LS102", "--fail-on", "never", "--rules", _book(tmp_path, outer, inner, more)])
        == 0
    )


def test_an_undeclared_lock_of_a_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", BUG, "--select", "LS102", "--rules", _book(tmp_path, "&mydev->lock", "kvm->lock")]) == 2
    assert "[[reference]]" in capsys.readouterr().err


def test_what_our_own_books_speak_of_is_known() -> None:
    assert {"kvm->slots_lock", "kvm->srcu", "kvm_usage_lock", "kvm_count_lock"} <= known_locks()
    assert load_file(SAMPLES / "planted_order.toml").speaks_of == (
        ("order/planted", "kvm->slots_lock"), ("order/planted", "kvm->lock"),
    )  # fmt: skip


def test_the_nearest_of_many() -> None:
    assert nearest("ab", (f"{i}" for i in range(10**9))).startswith("; the nearest is ")
    assert nearest("ab", []) == ""
    assert str(MatchError("--x", 5, "no y", ["55", "7"])) == "--x 5: no y; the nearest is 55"
