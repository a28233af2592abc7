from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Lockscope


def test_the_books_are_listed(lockscope: Lockscope) -> None:
    said = lockscope("rules")

    assert said.status == 0
    listed = [line.split()[0] for line in said.out.splitlines() if line.startswith("  kvm-")]
    assert listed == [
        "kvm-4.14",
        "kvm-5.15",
        "kvm-6.1",
        "kvm-6.2",
        "kvm-6.3",
        "kvm-6.6",
        "kvm-6.12",
        "kvm-7.2",
        "kvm-7.3",
    ]


@pytest.mark.parametrize("version", ["kvm-4.14", "4.14", "4.14.355-openela"])
def test_a_book_with_its_sources(lockscope: Lockscope, version: str) -> None:
    said = lockscope("rules", version)

    assert said.status == 0
    lines = said.out.splitlines()
    assert lines[0].startswith("kvm-4.14: ")
    at = lines.index("  kvm->lock > vcpu->mutex")
    assert lines[at + 1] == "      kvm-lock/vcpu-mutex [one VM's locks]"
    assert lines[at + 2].endswith("locking.txt (4.14), 1. Acquisition Orders: kvm->lock outside vcpu->mutex")


def test_a_version_shows_only_what_holds_there(lockscope: Lockscope) -> None:
    name = "cpu_hotplug_lock > kvm_usage_lock"

    assert name in lockscope("rules", "6.6.54").out
    assert name not in lockscope("rules", "6.6.53").out
    assert name in lockscope("rules", "kvm-6.6").out


def test_a_file_of_ones_own(lockscope: Lockscope, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[[leaf]]\nid = "l"\nlock = "&foo->lock"\nsource = "page 1"\n')
    said = lockscope("rules", str(file))
    assert said.status == 0
    assert "  &foo->lock\n      l\n      page 1\n" in said.out

    file.write_text('[[leaf]]\nid = "l"\nlock = "&foo->lock"\n')
    said = lockscope("rules", str(file))
    assert (said.status, said.out) == (2, "")
    assert f"{file}:1: [[leaf]] needs source" in said.err
    assert said.err.count("\n") == 1


def test_no_such_book(lockscope: Lockscope) -> None:
    said = lockscope("rules", "nonsense")

    assert (said.status, said.out) == (2, "")
    assert "no rulebook 'nonsense'" in said.err
