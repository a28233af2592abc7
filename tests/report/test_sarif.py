from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import lockscope
from lockscope.report.findings import sarif
from lockscope.results.findings import Report, Witness
from tests.builders import reports

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "data" / "sarif-2.1.0.schema.json").read_text("utf-8"))
SHAPES = {
    "clean": reports.clean(),
    "violated": reports.violated(),
    "windowed": reports.windowed(),
    "undecided": reports.undecided(),
    "many": reports.many(),
    "no trace": Report([], [], []),
}


def written(report: Report) -> Any:
    stream = io.StringIO()
    sarif.write(report, stream, color=True)
    return json.loads(stream.getvalue())


def validate(log: Any) -> None:
    jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(log)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_valid(name: str) -> None:
    validate(written(SHAPES[name]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(version="2.0.0"),
        lambda d: d["runs"][0]["results"][0].update(level="fatal"),
        lambda d: d["runs"][0]["results"][0].pop("message"),
        lambda d: d["runs"][0]["results"][0]["codeFlows"][0].update(threadFlows=[]),
    ],
)
def test_the_schema_sees_mistakes(spoil: Any) -> None:
    log = written(reports.violated())
    spoil(log)
    with pytest.raises(jsonschema.ValidationError):
        validate(log)


def test_a_finding_is_a_result_with_its_fingerprint_and_rule() -> None:
    run = written(reports.violated())["runs"][0]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"], result["occurrenceCount"]) == ("LS101", "error", 12)
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["name"] == "circular-lock-dependency"
    assert result["partialFingerprints"] == {"lockscope/v1": reports.circular().fingerprint}
    assert result["properties"]["confidence"] == "likely"
    assert result["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "traces/bug.dat", "index": 0}
    assert [place["name"] for place in result["locations"][0]["logicalLocations"]] == ["&kvm->slots_lock", "&kvm->lock"]
    assert " *** DEADLOCK ***" in result["message"]["markdown"]


def test_both_sides_are_thread_flows_in_one_order_of_time() -> None:
    witnesses = (
        Witness(30, 1, 7, "a", "lock_acquire", note="takes A", side=0),
        Witness(40, 1, 7, "a", "lock_acquire", note="takes B under A", side=0, location="f+0x1"),
        Witness(10, 0, 7, "a", "lock_acquire", note="takes B", side=1),
        Witness(20, 0, 7, "a", "lock_acquire", note="takes A under B", side=1),
    )
    report = replace(reports.violated(), findings=[reports.circular(witnesses=witnesses)])
    (flow,) = written(report)["runs"][0]["results"][0]["codeFlows"]
    assert [thread["id"] for thread in flow["threadFlows"]] == ["side 1: a/7", "side 2: a/7"]
    steps = [[(s["executionOrder"], s["location"]["message"]["text"]) for s in t["locations"]]
             for t in flow["threadFlows"]]  # fmt: skip
    assert steps == [
        [(3, "[0.000000030] CPU 1: takes A"), (4, "[0.000000040] CPU 1: takes B under A")],
        [(1, "[0.000000010] CPU 0: takes B"), (2, "[0.000000020] CPU 0: takes A under B")],
    ]
    assert flow["threadFlows"][0]["locations"][1]["location"]["logicalLocations"] == [
        {"name": "f", "fullyQualifiedName": "f+0x1", "kind": "function"}
    ]


def test_what_could_not_be_judged_is_a_notification() -> None:
    run = written(reports.violated())["runs"][0]
    notes = run["invocations"][0]["toolExecutionNotifications"]
    assert [(n["associatedRule"]["id"], n["message"]["text"]) for n in notes] == [
        ("LS106", "LS106 held-on-exit partial: events lost on CPU 0"),
        ("LS202", "LS202 srcu-index-mismatch skipped: needs lockscope:srcu_read_lock; trace-cmd record -e lockscope"),
        ("LS203", "LS203 srcu-unbalanced skipped: needs lockscope:srcu_read_lock; trace-cmd record -e lockscope"),
        ("LS901", "1,234 events lost on CPU 0: LS106 and LS301 are weaker for it."),
    ]
    assert written(reports.clean())["runs"][0]["invocations"][0]["toolExecutionNotifications"] == []
    assert run["properties"]["verdict"] == "violation"


@pytest.mark.parametrize(
    ("path", "uri"),
    [("a b.dat", "a%20b.dat"), ("/x/y#.dat", "file:///x/y%23.dat"), ("-", "stdin:"), ("\udcff.dat", "%FF.dat")],
)
def test_paths_become_uris(path: str, uri: str) -> None:
    log = written(replace(reports.clean(), traces=[reports.trace(path)]))
    validate(log)
    assert log["runs"][0]["artifacts"][0]["location"]["uri"] == uri


def test_a_recorded_deadlock_is_valid_and_has_two_sides() -> None:
    path = str(ROOT / "sample_traces" / "bug_slots_lock_then_kvm_lock.dat")
    log = written(lockscope.load(path).analyze(select=("LS101",)))
    validate(log)
    (result,) = log["runs"][0]["results"]
    texts = [[s["location"]["message"]["text"].partition(": ")[2] for s in t["locations"]]
             for t in result["codeFlows"][0]["threadFlows"]]  # fmt: skip
    assert [[t.partition(" at ")[0] for t in side] for side in texts] == [
        ["takes &kvm->slots_lock", "takes &kvm->lock"],
        ["takes &kvm->lock", "takes &kvm->slots_lock"],
    ]
