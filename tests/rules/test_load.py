from __future__ import annotations

from pathlib import Path

import pytest

from lockscope.errors import RuleError, UsageError
from lockscope.kvm import versions
from lockscope.rules import load
from lockscope.rules.book import Scope, SrcuKind

# one for each book, its edges, and how distributions spell
CHOICES = {
    "2.6.32-754.el6.x86_64": "kvm-4.14",
    "3.10.0-1160.el7.x86_64": "kvm-4.14",
    "4.14.355": "kvm-4.14",
    "4.18.0-553.el8.x86_64": "kvm-4.14",
    "5.10.198-android13-4-00001-gabc": "kvm-4.14",
    "5.13.0-52-generic": "kvm-4.14",
    "5.14.0-503.el9.x86_64": "kvm-5.15",
    "5.15.0-91-generic": "kvm-5.15",
    "6.0.19": "kvm-5.15",
    "6.1.0-56-amd64": "kvm-6.1",
    "6.1.192": "kvm-6.1",
    "6.2.16-20-pve": "kvm-6.2",
    "6.3.0-rc1": "kvm-6.3",
    "6.5.0-41-generic": "kvm-6.3",
    "6.6.54": "kvm-6.6",
    "6.8.0-45-generic": "kvm-6.6",
    "6.11.11": "kvm-6.6",
    "6.12.117": "kvm-6.12",
    "6.12.0-55.el10.x86_64": "kvm-6.12",
    "6.19.2": "kvm-6.12",
    "7.1.9": "kvm-6.12",
    "7.2.13": "kvm-7.2",
    "7.3.4+deb13-amd64": "kvm-7.3",
    "7.4.0": "kvm-7.3",
}


@pytest.mark.parametrize("release", CHOICES)
def test_the_kernel_chooses_its_book(release: str) -> None:
    book, how = load.choose(release)

    assert (book.name, how) == (CHOICES[release], "auto")


@pytest.mark.parametrize("release", [None, "", "FreeBSD"])
def test_a_trace_without_a_kernel_gets_the_newest(release: str | None) -> None:
    book, how = load.choose(release)

    assert (book.name, how) == ("kvm-6.12", "default")
    assert book.value("aging.holds_mmu_lock") is True  # as 6.12 itself, not as what came later


def test_a_person_chooses() -> None:
    for spec, name in {"kvm-4.14": "kvm-4.14", "5.10": "kvm-4.14", "6.7.3": "kvm-6.6", "v6.1": "kvm-6.1"}.items():
        book, how = load.choose("6.12.117", spec)
        assert (book.name, how) == (name, "user")


@pytest.mark.parametrize("spec", ["kvm-6.13", "nonsense", "", "kvm"])
def test_there_is_no_such_book(spec: str) -> None:
    with pytest.raises(UsageError, match=r"kvm-4\.14, .*kvm-6\.12"):
        load.choose("6.12.117", spec)


def test_the_books_are_sorted_and_leave_no_gap() -> None:
    names = load.names()
    books = [load.load(name) for name in names]

    assert names == ["kvm-4.14", "kvm-5.15", "kvm-6.1", "kvm-6.2", "kvm-6.3", "kvm-6.6", "kvm-6.12", "kvm-7.2",
                     "kvm-7.3"]  # fmt: skip
    assert [book.name for book in books] == names
    bounds = [book.kernels for book in books]
    assert bounds[0] == (None, (5, 13))
    assert bounds[-1] == ((7, 3), None)
    series = [(4, n) for n in range(21)] + [(5, n) for n in range(20)] + [(6, n) for n in range(20)]
    for kernel in series:
        covering = [b.name for b in books if (b.kernels[0] or (0, 0)) <= kernel <= (b.kernels[1] or (9, 9))]
        assert covering == [load.for_series(kernel).name]


def test_what_depends_on_a_stable_level_is_judged_only_where_that_is_known() -> None:
    ident = "cpus-read-lock/kvm_usage_lock"
    judged = {
        release: any(rule.id == ident for rule in load.choose(release)[0].orders)
        for release in ("6.6.54", "6.10.13", "6.11.2", "6.6.53", "6.7.12", "6.9.12", "6.6.60-1-pve", "6.8.0-45-generic")
    }

    assert [release for release, known in judged.items() if known] == ["6.6.54", "6.10.13", "6.11.2"]
    assert ident in {rule.id for rule in load.load("kvm-6.6").orders}
    assert ident not in {rule.id for rule in load.choose(None, "kvm-6.6")[0].orders}


def test_usage_lock_and_hotplug_turned_round_in_6_12() -> None:
    before, after = load.choose("6.6.60")[0], load.choose("6.12.1")[0]

    assert before.order_broken("kvm_usage_lock", "cpu_hotplug_lock") is not None
    assert before.order_broken("cpu_hotplug_lock", "kvm_usage_lock") is None
    assert after.order_broken("kvm_usage_lock", "cpu_hotplug_lock") is None
    assert after.order_broken("cpu_hotplug_lock", "kvm_usage_lock") is not None


MINE = """
name = "mine"
document = "house rules"
version = "3"

[[order]]
id = "foo before bar"
outer = "&foo->lock"
inner = "&bar->lock"
source = "page 7"

[[order]]
id = "one VM"
outer = "kvm->lock"
inner = "&kvm->arch.apic_map_lock"
source = "apic.c"
document = "code"

[[leaf]]
id = "foo is a leaf"
lock = "&foo->lock"
judge = "all"
inner = ["&baz->lock"]
source = "page 8"

[[srcu]]
id = "s"
srcu = "&foo->srcu"
lock = "&foo->lock"
kind = "not-inside"
source = "page 9"
"""


def write(path: Path, text: str | bytes) -> Path:
    file = path / "mine.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_a_users_own_rules(tmp_path: Path) -> None:
    book, how = load.choose("6.12.117", str(write(tmp_path, MINE)))

    assert (book.name, how) == ("mine", "user")
    order, per_vm = book.orders
    assert (order.outer, order.inner, order.scope) == ("&foo->lock", "&bar->lock", Scope.GLOBAL)
    assert order.source == "house rules (3), page 7"
    assert (per_vm.scope, per_vm.source) == (Scope.VM, "code, apic.c")
    assert book.order_broken("&bar->lock", "&foo->lock") is order
    assert book.order_broken("&foo->lock", "&bar->lock") is None
    assert book.order_broken("kvm->arch.apic_map_lock", "&kvm->lock") is per_vm
    leaf = book.leaves[0]
    assert book.leaf_broken("&foo->lock", "&other->lock") is leaf
    assert [t for t in ("&baz->lock", "rcu_read_lock", "&foo->lock") if book.leaf_broken("&foo->lock", t)] == []
    assert book.srcu_rule("&foo->srcu", "&foo->lock", SrcuKind.NOT_INSIDE) is book.srcu[0]
    assert book.srcu_rule("&foo->srcu", "&foo->lock", SrcuKind.INSIDE) is None


def test_a_users_rules_on_top_of_ours(tmp_path: Path) -> None:
    text = """
extends = "kvm-6.12"
drop = ["leaf/xen_lock"]

[[order]]
id = "kvm-lock/vcpu-mutex"
outer = "vcpu->mutex"
inner = "kvm->lock"
source = "mine"
"""
    ours, book = load.load("kvm-6.12"), load.load_file(write(tmp_path, text))

    assert len(book.orders) == len(ours.orders)
    assert len(book.leaves) == len(ours.leaves) - 1
    assert book.order_broken("kvm->lock", "vcpu->mutex") is not None
    assert book.order_broken("vcpu->mutex", "kvm->lock") is None
    assert book.orders[0].source == "mine"
    assert book.orders[1].source == ours.orders[1].source
    assert book.notifiers == ours.notifiers


ORDER = '[[order]]\nid = "a"\nouter = "x"\ninner = "y"\nsource = "s"\n'

# what is wrong, its line, and what the message says
MISTAKES = {
    "syntax": ('name = "x"\n\n[[order]\n', 3, "not TOML"),
    "end of file": ('name = "x"\ndrop = [\n', 2, "not TOML"),
    "same key twice": ('name = "x"\nname = "y"\n', 2, "not TOML"),
    "key of the file": ('name = "x"\ntitel = "y"\n', 2, "unknown key 'titel'; did you mean title?"),
    "kind of entry": ('name = "x"\n[[ordre]]\nid = "a"\n', 2, "did you mean order?"),
    "key of an entry": (ORDER + 'oter = "z"\n', 6, "[[order]] unknown key 'oter'; did you mean outer?"),
    "no source": (ORDER + '[[order]]\nid = "b"\nouter = "x"\ninner = "y"\n', 6, "[[order]] needs source"),
    "no id": ('\n[[leaf]]\nlock = "x"\nsource = "s"\n', 2, "[[leaf]] needs id"),
    "no lock": ('[[order]]\nid = "a"\nouter = "x"\nsource = "s"\n', 1, "[[order]] needs inner"),
    "empty source": ('[[order]]\nid = "a"\nouter = "x"\ninner = "y"\nsource = " "\n', 5, "source: must be text"),
    "a number for a text": ('[[order]]\nid = "a"\nouter = 3\ninner = "y"\nsource = "s"\n', 3, "must be text, not 3"),
    "a text for a list": ('[[leaf]]\nid = "a"\nlock = "x"\ninner = "y"\nsource = "s"\n', 4, "inner: must be a list"),
    "a list in many lines": (
        '[[leaf]]\nid = "a"\nlock = "x"\nsource = "s"\ninner = [\n  "y",\n  7,\n]\nsleeping = "no"\n',
        5, "must be text, not 7",
    ),
    "flag": ('[[leaf]]\nid = "a"\nlock = "x"\nsource = "s"\nsleeping = "no"\n', 5, "sleeping: must be true or false"),
    "scope": (ORDER + 'scope = "host"\n', 6, "scope: must be one of vm, global, not 'host'"),
    "arch": (ORDER + 'arch = "arm"\n', 6, "arch: must be one of any, x86"),
    "SRCU kind": ('[[srcu]]\nid = "a"\nsrcu = "x"\nlock = "y"\nkind = "outside"\nsource = "s"\n', 5, "not-inside"),
    "series": (ORDER + 'since = "5"\n', 6, "since: not a kernel series: '5'"),
    "series of the file": ('from = 5.15\n', 1, "from: must be text"),
    "stable": (ORDER + 'stable = ["6.6.54"]\n', 6, "stable: not a stable level"),
    "loss": ('[[flow]]\nid = "a"\nflow = "f"\nloss = ["Q"]\nwindow = "none"\nsource = "s"\n', 4, "must be one of W"),
    "window": ('[[flow]]\nid = "a"\nflow = "f"\nloss = []\nwindow = "x"\nsource = "s"\n', 5, "one of mmu_lock"),
    "float": ('[[fact]]\nid = "a"\nabout = "x"\nsource = "s"\nvalue = 1.5\n', 5, "value: must be a 64-bit integer"),
    "large integer": (f'[[fact]]\nid = "a"\nabout = "x"\nsource = "s"\nvalue = {1 << 70}\n', 5, "64-bit"),
    "endless integer": (f"[[fact]]\nvalue = {'9' * 9000}\n", 1, "not TOML of a kind that is read here"),
    "nesting": (f"name = {'[' * 5000}\n", 1, "not TOML of a kind that is read here"),
    "id twice": (ORDER + ORDER, 7, "id: 'a' is taken, line 1"),
    "id twice in two kinds": (ORDER + '[[leaf]]\nid = "a"\nlock = "x"\nsource = "s"\n', 7, "id: 'a' is taken, line 1"),
    "a table, not an array": ('name = "x"\n[order]\nid = "a"\n', 2, "order: write each as a table [[order]]"),
    "a value, not a table": ('order = 3\n', 1, "order: write each as a table [[order]]"),
    "extends": ('\nextends = "kvm-9.9"\n', 2, "extends: one of kvm-4.14"),
    "drop": ('extends = "kvm-6.12"\ndrop = ["nothing"]\n', 2, "kvm-6.12 has no rule 'nothing'"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_told_with_its_line(what: str, tmp_path: Path) -> None:
    text, line, said = MISTAKES[what]
    file = write(tmp_path, text)

    with pytest.raises(RuleError) as caught:
        load.load_file(file)

    assert caught.value.line == line
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"mine\.toml:3: not UTF-8 text"):
        load.load_file(write(tmp_path, b"a = 1\n\n\xff\n"))


def test_a_file_too_large(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="at most 1 MiB"):
        load.load_file(write(tmp_path, b"#" * ((1 << 20) + 1)))


@pytest.mark.parametrize("path", ["nowhere/at/all.toml", "a\0b.toml", "."])
def test_a_file_that_cannot_be_read(path: str) -> None:
    with pytest.raises(UsageError, match="cannot read the rules"):
        load.load_file(path)


def test_the_empty_file_is_a_book_without_rules(tmp_path: Path) -> None:
    book = load.load_file(write(tmp_path, ""))

    assert (book.name, list(book.rules())) == ("mine", [])


def test_conditions_need_the_kernel(tmp_path: Path) -> None:
    book = load.load_file(write(tmp_path, ORDER + 'since = "5.14"\nuntil = "6.1"\n'))

    kept = [
        bool(book.for_kernel(versions.parse(k)).orders) for k in ("5.13.9", "5.14.1", "6.1.0-56-amd64", "6.2", None)
    ]
    assert kept == [False, True, True, False, False]
