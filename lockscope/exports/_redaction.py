"""Tables fit to be shared: task names, pids and addresses replaced by numbers."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_ADDRESS_NAMES = re.compile(r"lock|callchain|ip|ptr|addr|sptep|kvm|vcpu|ssp|key|func|caller|slot|args")


class Redaction:
    """Replaces task names, pids and addresses by numbers that stay the same over all files of one export."""

    def __init__(self) -> None:
        self._known: dict[str, dict[Any, int]] = {"pid": {0: 0}, "address": {0: 0}}
        self._comms: dict[str, str] = {"<idle>": "<idle>", "<...>": "<...>"}

    def table(self, table: pa.Table) -> pa.Table:
        """The table without them."""
        for i, field in enumerate(table.schema):
            name, column = field.name, table.column(i)
            if "comm" in name and not pa.types.is_integer(field.type):
                table = table.set_column(i, name, self._names(column))
            elif pa.types.is_integer(field.type) and (name == "pid" or name.endswith("_pid") or name == "tgid"):
                table = table.set_column(i, name, self._numbers(column, "pid"))
            elif field.type == pa.uint64() and _ADDRESS_NAMES.search(name):
                table = table.set_column(i, name, self._numbers(column, "address"))
            elif pa.types.is_list(field.type) and _ADDRESS_NAMES.search(name):
                table = table.remove_column(i).add_column(i, name, pa.nulls(table.num_rows, pa.string()))
        return table

    def _names(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        words = pc.unique(column.cast(pa.string())).to_pylist()
        for word in words:
            self._comms.setdefault(word, f"task{len(self._comms) - 1}")
        return self._mapped(column.cast(pa.string()), words, [self._comms[w] for w in words], pa.string())

    def _numbers(self, column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
        known = self._known[what]
        values = pc.unique(column).to_pylist()
        for value in values:
            known.setdefault(value, len(known))
        return self._mapped(column, values, [known[v] for v in values], column.type)

    @staticmethod
    def _mapped(column: pa.ChunkedArray, old: list[Any], new: list[Any], kind: pa.DataType) -> pa.ChunkedArray:
        places = pc.index_in(column, value_set=pa.array(old, column.type))
        return pa.chunked_array([pa.array(new, kind).take(chunk) for chunk in places.chunks], kind)
