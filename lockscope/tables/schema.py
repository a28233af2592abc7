"""Declared tables: each column's type, unit and meaning, stated once and printed by ``lockscope explain
table:NAME``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from lockscope.registry import modules

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Column:
    """A column. ``type`` as Arrow spells it; ``unit`` "" where there is none.

    ``about`` (``meaning.Meaning``): what a text is about, and a number where that is more than a number. ``unknown``:
    the value that those who fill it have for what is not known; the table has null there.
    """

    name: str
    type: str
    unit: str
    doc: str
    about: str = ""
    unknown: int | None = None


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table: what one row is, and its columns."""

    name: str
    doc: str
    columns: tuple[Column, ...]

    def arrow(self) -> pa.Schema:
        """The Arrow schema; texts are dictionary-encoded."""
        import pyarrow as pa

        text = pa.dictionary(pa.int32(), pa.string())
        return pa.schema([(c.name, text if c.type == "text" else pa.type_for_alias(c.type)) for c in self.columns])

    def build(self, columns: dict[str, Any]) -> pa.Table:
        """A table of this schema from arrays, by column name. Raises ``KeyError`` where one is missing."""
        import numpy as np
        import pyarrow as pa

        schema = self.arrow()
        arrays = []
        for column, place in zip(self.columns, schema, strict=True):
            values = columns[column.name]
            if column.type == "uint64" and isinstance(values, np.ndarray) and values.dtype == np.int64:
                values = (
                    values.view(np.uint64)
                    if values.flags.c_contiguous
                    else np.ascontiguousarray(values).view(np.uint64)
                )
            array = (
                values
                if isinstance(values, pa.Array)
                else pa.array(np.ma.getdata(values), mask=_unknown(values, column))
            )
            arrays.append(array if array.type == place.type else array.cast(place.type))
        return pa.Table.from_arrays(arrays, schema=schema)


def _unknown(values: Any, column: Column) -> Any:
    """Which values are not known: those that stand for it, and those that a masked array hides."""
    import numpy as np

    hidden = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    if column.unknown is None:
        return hidden
    found = np.asarray(values) == column.unknown
    return found if hidden is None else found | hidden


@cache
def all_schemas() -> dict[str, TableSchema]:
    """Every declared table by name: the ``TABLES`` of this folder's modules."""
    found = [t for module in modules("lockscope.tables") for t in getattr(module, "TABLES", ())]
    return {t.name: t for t in sorted(found, key=lambda t: t.name)}


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """A frame that keeps every integer whole.

    pandas turns a nullable uint64 into float64, which loses the low bits of an SPTE or an address; columns with missing
    values therefore keep Arrow's own type, the others become plain NumPy integers.
    """
    import pandas as pd
    import pyarrow as pa

    def whole(kind: pa.DataType) -> Any:
        return pd.ArrowDtype(kind) if pa.types.is_integer(kind) or pa.types.is_nested(kind) else None

    nullable = [f.name for f in table.schema if table.column(f.name).null_count or pa.types.is_nested(f.type)]
    frame = table.drop_columns(nullable).to_pandas()
    if not nullable:
        return frame
    others = table.select(nullable).to_pandas(types_mapper=whole)
    return pd.concat([frame, others], axis=1)[table.column_names]
