from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from lockscope.errors import RuleError, UsageError
from lockscope.results.findings import Suppression
from lockscope.rules.suppressions import load_suppressions

GOOD = """\
# what we know
[[suppress]]
fingerprint = "b498feda1d303a66"
reason = "reported"
until = 2027-06-30

[[suppress]]
code = "LS102"
classes = ["&kvm->slots_lock", "*"]
reason = "on purpose"
"""


def written(tmp_path: Path, text: str) -> Path:
    place = tmp_path / "known.toml"
    place.write_text(text)
    return place


def test_entries_in_order(tmp_path: Path) -> None:
    place = written(tmp_path, GOOD)
    assert load_suppressions(place) == (
        Suppression("reported", f"{place}:2", "b498feda1d303a66", until=datetime.date(2027, 6, 30)),
        Suppression("on purpose", f"{place}:7", code="LS102", classes=("&kvm->slots_lock", "*")),
    )


def test_an_empty_file_has_none(tmp_path: Path) -> None:
    assert load_suppressions(written(tmp_path, "")) == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[[suppress]]\ncode = "LS101"\n', "1: [[suppress]] needs reason: why"),
        ('[[suppress]]\nreason = "r"\n', "1: [[suppress]] needs one of fingerprint, code, classes: else"),
        ('\n[[suppress]]\ncode = "LS101"\nreason = " "\n', "4: reason: must be text, not ' '"),
        ('[[suppress]]\nreason = "r"\ncode = "LS1"\n', "3: code: must be a check's code like LS101, not 'LS1'"),
        ('[[suppress]]\nreason = "r"\nfingerprint = "B4"\n', "3: fingerprint: must be the 16 hex digits that a report"),
        ('[[suppress]]\nreason = "r"\nclasses = "a"\n', "3: classes: must be a list of texts"),
        ('[[suppress]]\nreason = "r"\ncode = "LS101"\nuntil = "2027-01-01"\n', "4: until: must be a date like 2030-01"),
        ('[[suppress]]\nreason = "r"\ncode = "LS101"\nuntil = 2027-01-01T00:00:00\n', "4: until: must be a date like"),
        ('[[suppress]]\nreason = "r"\nclass = ["a"]\n', "3: [[suppress]] unknown key 'class'; did you mean classes?"),
        ('[[supress]]\nreason = "r"\n', "1: unknown key 'supress'; did you mean [[suppress]]?"),
        ("suppress = 3\n", "1: suppress: write each as a table [[suppress]]"),
        ("[[suppress]]\nreason = \n", "2: not TOML: "),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, complaint: str) -> None:
    place = written(tmp_path, text)
    with pytest.raises(RuleError) as caught:
        load_suppressions(place)
    assert str(caught.value).startswith(f"{place}:{complaint}")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot read the suppressions: No such file"):
        load_suppressions(tmp_path / "none.toml")
