#!/usr/bin/env bash
# pyarrow: parquet.write_table() writes a table with two columns of one name without a word, and read_table() refuses the
# file it wrote (ArrowInvalid); so does pandas.read_parquet(), which uses it. Trace events have such fields: sched_wakeup's
# own comm and pid stand beside the common ones of every event.
#
# Seen with pyarrow 18.1.0 and pandas 2.2.3 on CPython 3.11: the lines in EXPECTED below.
# Usage: pyarrow-writes-names-it-does-not-read.sh; exit status 1 if the behaviour has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'pyarrow==18.1.0' 'pandas==2.2.3' 2>/dev/null

EXPECTED='pyarrow 18.1.0, pandas 2.2.3
write_table: written
read_table: ArrowInvalid
read_table of the one column: ArrowInvalid
pandas.read_parquet: ArrowInvalid'

seen=$(cd "$work" && venv/bin/python - <<'PY'
import pandas
import pyarrow
from pyarrow import parquet

print(f"pyarrow {pyarrow.__version__}, pandas {pandas.__version__}")
table = pyarrow.table([pyarrow.array([1, 2]), pyarrow.array([3, 4])], names=["pid", "pid"])
parquet.write_table(table, "two.parquet")
print("write_table: written")
for name, read in {
    "read_table": lambda: parquet.read_table("two.parquet"),
    "read_table of the one column": lambda: parquet.read_table("two.parquet", columns=["pid"]),
    "pandas.read_parquet": lambda: pandas.read_parquet("two.parquet"),
}.items():
    try:
        read()
        print(f"{name}: read")
    except pyarrow.ArrowInvalid as error:
        print(f"{name}: {type(error).__name__}")
PY
)
printf '%s\n' "$seen"
[ "$seen" = "$EXPECTED" ] || { echo "this is no longer what was seen" >&2; exit 1; }
