"""``analyze --suppressions`` and ``--ignore FINGERPRINT``, on a recorded trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockscope.cli._run import run

BUG = str(Path(__file__).parents[2] / "sample_traces" / "bug_slots_lock_then_kvm_lock.dat")
ENTRIES = """\
[[suppress]]
fingerprint = "b498feda1d303a66"
reason = "reported upstream"

[[suppress]]
code = "LS102"
classes = ["&kvm->slots_lock", "&kvm->l*"]
reason = "on purpose"

[[suppress]]
code = "LS301"
reason = "gone"
"""


def test_what_is_suppressed_is_counted_and_the_status_ignores_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = tmp_path / "known.toml"
    known.write_text(ENTRIES)
    assert run(("analyze", "--suppressions", str(known), "--format", "json", BUG)) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert [f["code"] for f in document["findings"] if f["code"] < "LS9"] == []
    assert [(s["code"], s["fingerprint"], s["reason"], s["count"]) for s in document["suppressed"]] == [
        ("LS101", "b498feda1d303a66", "reported upstream", 1),
        ("LS102", "5e0ba8b80fd5a5f6", "on purpose", 1),
    ]
    assert document["verdict"] == "violation"
    assert said.err == f"lockscope: {known}:10: suppresses nothing here (gone)\n"


def test_ignore_takes_a_fingerprint_beside_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("analyze", "--ignore", "LS102,b498feda1d303a66", BUG)) == 0
    said = capsys.readouterr()
    assert "1 LS101 b498feda1d303a66: ignored on the command line" in said.out
    assert said.err == ""
    assert run(("analyze", "--ignore", "0000000000000000", BUG)) == 1
    assert "--ignore 0000000000000000: suppresses nothing here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[suppress]]\ncode = "LS999"\nreason = "r"\n', ":1: code: no check is called LS999"),
        ('[[suppress]]\ncode = "LS101"\n', ":1: [[suppress]] needs reason"),
    ],
)
def test_mistakes_stop_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, complaint: str
) -> None:
    known = tmp_path / "known.toml"
    known.write_text(text)
    assert run(("analyze", "--suppressions", str(known), BUG)) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"lockscope: {known}{complaint}")
    assert (said.out, said.err.count("\n")) == ("", 1)
