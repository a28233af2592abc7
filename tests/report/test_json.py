from __future__ import annotations

import io
import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import jsonschema
import numpy as np
import pytest

from lockscope.report.data import plain
from lockscope.report.findings import json as json_report
from lockscope.report.findings import jsonl
from lockscope.results.findings import Report
from tests.builders import reports

SHAPES = {
    "clean": reports.clean(),
    "violated": reports.violated(),
    "windowed": reports.windowed(),
    "undecided": reports.undecided(),
    "many": reports.many(),
    "lossy": Report([reports.trace(lost_events=None)], [], []),
}


def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("lockscope.report").joinpath("lockscope-1.schema.json").read_text("utf-8"))
    return found


def written(report: Report) -> Any:
    stream = io.StringIO()
    json_report.write(report, stream, color=True)
    return json.loads(stream.getvalue())


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.Draft202012Validator(schema()).validate(written(SHAPES[name]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("windows"),
        lambda d: d.update(schema="lockscope/2"),
        lambda d: d["findings"][0].pop("window"),
        lambda d: d["findings"][0].update(severity="fatal"),
        lambda d: d["findings"][0]["witnesses"][0].update(context="irq"),
        lambda d: d["findings"][0].update(count=0),
        lambda d: d["traces"][0].update(start_ns=1.5),
        lambda d: d["traces"][0]["rules"].update(chosen="guess"),
        lambda d: d["checks"][0].pop("reason"),
    ],
)
def test_the_schema_refuses_what_the_contract_does_not_allow(spoil: Any) -> None:
    document = written(reports.violated())
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(document)


def test_the_keys_are_the_contracts() -> None:
    document = written(reports.violated())
    assert document["schema"] == "lockscope/1"
    assert document["verdict"] == "violation"
    assert document["traces"][0] | {"coverage": None} == {
        "path": "traces/bug.dat", "format": "trace.dat v7 (zstd)", "kernel": "6.12.117", "clock": "local", "cpus": 2,
        "events": 312_345, "lost_events": 1_234, "start_ns": 9_150_753_951, "end_ns": 12_300_000_000,
        "rules": {"name": "kvm-6.12", "chosen": "auto"}, "coverage": None,
    }  # fmt: skip
    assert document["checks"][2] == {
        "trace": 0, "code": "LS106", "name": "held-on-exit", "status": "partial", "verdict": "unknown",
        "reason": "events lost on CPU 0",
    }  # fmt: skip
    finding = document["findings"][0]
    assert [finding[k] for k in ("code", "severity", "confidence", "count", "window")] == [
        "LS101",
        "error",
        "likely",
        12,
        None,
    ]
    assert finding["rule"] == {"id": "kvm.lock-order.2", "source": "Documentation/virt/kvm/locking.rst (v6.12)"}
    assert finding["classes"] == ["&kvm->slots_lock", "&kvm->lock"]
    assert finding["fingerprint"] == reports.circular().fingerprint
    assert finding["witnesses"][0] == {
        "ts_ns": 11_136_744_291, "cpu": 1, "pid": 4514, "comm": "CPU 0/KVM", "event": "lock_acquire", "context": "task",
        "location": "kvm_vm_ioctl+0x66", "note": "acquires &kvm->lock at 0xffffc900001b1408",
        "side": 0, "missing": "",
    }  # fmt: skip
    assert written(reports.windowed())["windows"][0] == {
        "trace": 0, "name": "ABBA_mutex", "start_ns": 10, "end_ns": 2_010, "findings": 1,
    }  # fmt: skip


def test_numpy_and_odd_values_become_plain_and_keep_every_bit() -> None:
    odd = {
        "spte": np.uint64(0x8600000123456B77),
        "set": {3, 1},
        "nan": float("nan"),
        ("a", 1): (np.int32(4),),
        "x": object,
    }
    assert plain(odd) == {"spte": 0x8600000123456B77, "set": [1, 3], "nan": None, "('a', 1)": [4], "x": str(object)}
    report = replace(reports.violated(), findings=[reports.circular(count=np.int64(7), details=odd)])
    assert written(report)["findings"][0]["count"] == 7


def test_json_lines_has_a_header_and_a_finding_a_line() -> None:
    stream = io.StringIO()
    jsonl.write(reports.many(3), stream)
    head, *rest = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (head["kind"], head["schema"], head["verdict"], head["findings"]) == (
        "report",
        "lockscope/1",
        "violation",
        3,
    )
    assert [r["kind"] for r in rest] == ["finding"] * 3
    assert [r["classes"][0] for r in rest] == ["&a2->lock", "&a0->lock", "&a1->lock"]
    document = written(reports.many(3))
    assert [{k: v for k, v in r.items() if k != "kind"} for r in rest] == document["findings"]


def test_the_order_of_findings_is_that_of_severity() -> None:
    codes = [(f["severity"], f["code"]) for f in written(reports.violated())["findings"]]
    assert codes == [("error", "LS101"), ("info", "LS901")]
