"""Event formats: what each spelling of a field means."""

from __future__ import annotations

import pytest

from lockscope.formats.event_format import parse_format
from lockscope.tables.events import Field
from tests.builders.trace_dat import format_text


def _field(decl: str, size: int, signed: int = 0, long_size: int = 8, offset: int = 8) -> Field:
    parsed = parse_format(format_text("x", 7, [(decl, offset, size, signed)]).decode(), long_size)
    assert parsed is not None
    (found,) = parsed.fields
    return found


@pytest.mark.parametrize(
    ("decl", "size", "signed", "expected"),
    [
        ("unsigned int flags", 4, 0, Field("flags", "unsigned int", 8, 4, False, "int", 4)),
        ("pid_t prev_pid", 4, 1, Field("prev_pid", "pid_t", 8, 4, True, "int", 4)),
        ("void * lockdep_addr", 8, 0, Field("lockdep_addr", "void *", 8, 8, False, "int", 8)),
        ("const char *name", 8, 0, Field("name", "const char *", 8, 8, False, "int", 8)),
        ("void ** p", 8, 0, Field("p", "void **", 8, 8, False, "int", 8)),
        ("enum hrtimer_mode mode", 4, 0, Field("mode", "enum hrtimer_mode", 8, 4, False, "int", 4)),
        ("char c", 1, 1, Field("c", "char", 8, 1, True, "int", 1)),
        ("__data_loc char[] name", 4, 1, Field("name", "__data_loc char[]", 8, 4, True, "data_loc", 1, 0, True)),
        ("__rel_loc char[] name", 4, 0, Field("name", "__rel_loc char[]", 8, 4, False, "rel_loc", 1, 0, True)),
        ("__data_loc u8[] raw", 4, 0, Field("raw", "__data_loc u8[]", 8, 4, False, "data_loc", 1, 0)),
        ("__data_loc unsigned int[] v", 4, 0, Field("v", "__data_loc unsigned int[]", 8, 4, False, "data_loc", 4, 0)),
        ("__data_loc unsigned long[] v", 4, 0, Field("v", "__data_loc unsigned long[]", 8, 4, False, "data_loc", 8, 0)),
        ("__data_loc cpumask_t mask", 4, 0, Field("mask", "__data_loc cpumask_t[]", 8, 4, False, "data_loc", 8, 0)),
        ("char comm[16]", 16, 1, Field("comm", "char[16]", 8, 16, True, "string", 1, 16, True)),
        ("char name[TASK_COMM_LEN]", 16, 0, Field("name", "char[16]", 8, 16, False, "string", 1, 16, True)),
        ("char id[20+1]", 21, 0, Field("id", "char[21]", 8, 21, False, "string", 1, 21, True)),
        ("unsigned long args[6]", 48, 0, Field("args", "unsigned long[6]", 8, 48, False, "array", 8, 6)),
        ("long delta[3]", 24, 1, Field("delta", "long[3]", 8, 24, True, "array", 8, 3)),
        ("__u8 addr[28]", 28, 0, Field("addr", "__u8[28]", 8, 28, False, "array", 1, 28)),
        ("u32 words[N]", 12, 0, Field("words", "u32[3]", 8, 12, False, "array", 4, 3)),
        ("struct timespec64 ts", 16, 0, Field("ts", "struct timespec64[16]", 8, 16, False, "array", 1, 16)),
        ("char buf[]", 0, 0, Field("buf", "char[]", 8, 0, False, "tail", 1, 0, True)),
        ("char buf", 0, 0, Field("buf", "char[]", 8, 0, False, "tail", 1, 0, True)),  # so before 4.x
        ("u32 buf[]", 0, 0, Field("buf", "u32[]", 8, 0, False, "tail", 4, 0)),
        ("unsigned long caller[]", 0, 0, Field("caller", "unsigned long[]", 8, 0, False, "tail", 8, 0)),
    ],
)
def test_fields(decl: str, size: int, signed: int, expected: Field) -> None:
    assert _field(decl, size, signed) == expected


def test_longs_of_a_32_bit_kernel() -> None:
    assert _field("unsigned long args[6]", 24, long_size=4).item == 4
    assert _field("__data_loc unsigned long[] v", 4, long_size=4).item == 4
    assert _field("long v", 4, 1, long_size=4) == Field("v", "long", 8, 4, True, "int", 4)


def test_name_id_common_fields_and_print_format() -> None:
    text = format_text("lock_acquire", 410, [("u64 a", 8, 8, 0)], '"%p; field:x;", REC->a').decode()
    parsed = parse_format(text)
    assert parsed is not None
    assert (parsed.name, parsed.raw_id, parsed.print_fmt) == ("lock_acquire", 410, '"%p; field:x;", REC->a')
    assert [f.name for f in parsed.common] == ["common_type", "common_flags", "common_preempt_count", "common_pid"]
    assert [f.name for f in parsed.fields] == ["a"]
    event = parsed.as_event(3, "lock")
    assert (event.full_name, event.index, event.raw_id) == ("lock:lock_acquire", 3, 410)
    layout = parsed.layout(big=True, long_size=4)
    assert (layout.big, layout.long_size, layout.type_at, layout.flags_at, layout.preempt_at, layout.pid_at) == (
        True,
        4,
        0,
        2,
        3,
        4,
    )


@pytest.mark.parametrize(
    "text", ["", "name: x\n", "ID: 4\n", "name: x\nID: 65536\n", "name: x\nID: 99999999999999999999\n", "name:\nID:\n"]
)
def test_what_has_no_name_or_id_is_no_format(text: str) -> None:
    assert parse_format(text) is None


@pytest.mark.parametrize(
    "line",
    [
        "\tfield:int a;\toffset:99999999999;\tsize:4;\tsigned:1;",
        "\tfield:int a;\toffset:70000;\tsize:4;\tsigned:1;",
        "\tfield:int a;\toffset:8;\tsize:70000;\tsigned:1;",
        "\tfield:" + "x" * 300 + ";\toffset:8;\tsize:4;\tsigned:1;",
        "\tfield:!!;\toffset:8;\tsize:4;\tsigned:1;",
        "\tfield:int a",
    ],
)
def test_lines_that_are_no_field_are_left_out(line: str) -> None:
    parsed = parse_format(f"name: x\nID: 1\nformat:\n{line}\n\tfield:int b;\toffset:8;\tsize:4;\n")
    assert parsed is not None
    assert [f.name for f in parsed.fields] == ["b"]


@pytest.mark.parametrize("text", ["field:" * 40_000, "\tfield:" + "a " * 100_000, "\n \t" * 80_000, "[" * 200_000])
def test_absurd_texts_are_looked_through_once(text: str) -> None:
    # A pattern that tries every place for every length would not come back from these within a night.
    parsed = parse_format("name: x\nID: 1\n" + text)
    assert parsed is not None
    assert parsed.fields == ()


def test_a_format_has_no_more_fields_than_any_event() -> None:
    many = "".join(f"\tfield:int f{i};\toffset:8;\tsize:4;\tsigned:1;\n" for i in range(5_000))
    parsed = parse_format("name: x\nID: 1\n" + many)
    assert parsed is not None
    assert len(parsed.fields) == 256
