from __future__ import annotations

import random

from lockscope.rules.lines import places

TEXT = '''# a comment with key = 1
name = "x"
list = [
    "[[order]]",   # not a header
    "a = b",
]
text = """
[[order]]
id = "no"
"""
[[order]]
id = "one"
"outer" = 'it''s'
[[ order ]]  # another
id = "two"
inner = { a = [1,
2] }
[table]
key = 1
'''


def test_where_things_stand() -> None:
    found = places(TEXT)

    assert found == {
        ("name",): 2, ("list",): 3, ("text",): 7,
        ("order", 0): 11, ("order", 0, "id"): 12, ("order", 0, "outer"): 13,
        ("order", 1): 14, ("order", 1, "id"): 15, ("order", 1, "inner"): 16,
        ("table",): 18, ("table", "key"): 19,
    }  # fmt: skip


def test_what_is_no_toml_raises_nothing() -> None:
    rng = random.Random(20241002)
    for _ in range(300):
        text = "".join(rng.choice(TEXT) for _ in range(rng.randrange(200)))
        assert all(1 <= line <= text.count("\n") + 1 for line in places(text).values())
    assert places('a = """') == {("a",): 1}
    assert places("]]]\n[[[\nb=1") == {("b",): 3}
