#!/usr/bin/env bash
# pyarrow to pandas: a uint64 column with one null becomes float64, so that kernel addresses and SPTEs lose their low bits
# and two addresses compare equal; without a null the same column stays uint64. The option types_mapper keeps it exact.
#
# Seen with pyarrow 18.1.0 and pandas 2.2.3 on CPython 3.11: the lines in EXPECTED below.
# Usage: pandas-uint64-with-a-null-is-rounded.sh; exit status 1 if the behaviour has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'pyarrow==18.1.0' 'pandas==2.2.3' 2>/dev/null

EXPECTED='pyarrow 18.1.0, pandas 2.2.3
without a null: uint64, distinct 2
with a null: float64, distinct 1
with a null and types_mapper: UInt64, distinct 2'

seen=$("$work/venv/bin/python" - <<'PY'
import pandas
import pyarrow

print(f"pyarrow {pyarrow.__version__}, pandas {pandas.__version__}")
locks = [0xFFFF888100000100, 0xFFFF888100000200]
for name, values, how in (
    ("without a null", locks, {}),
    ("with a null", [*locks, None], {}),
    ("with a null and types_mapper", [*locks, None], {"types_mapper": {pyarrow.uint64(): pandas.UInt64Dtype()}.get}),
):
    column = pyarrow.array(values, pyarrow.uint64()).to_pandas(**how)
    print(f"{name}: {column.dtype}, distinct {column.dropna().nunique()}")
PY
)
printf '%s\n' "$seen"
[ "$seen" = "$EXPECTED" ] || { echo "this is no longer what was seen" >&2; exit 1; }
