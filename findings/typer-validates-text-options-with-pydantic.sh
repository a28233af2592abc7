#!/usr/bin/env bash
# typer: from 0.29 on a command whose only option is a text imports all of pydantic to check it, the first time that the
# command is called; 0.28 does not. A command line that starts often pays for it at each start.
#
# Seen with typer 0.28.0 and 0.29.2 on CPython 3.11: the lines in EXPECTED below.
# Usage: typer-validates-text-options-with-pydantic.sh; exit status 1 if the behaviour has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

EXPECTED='typer 0.28.0: pydantic is not loaded
typer 0.29.2: pydantic is loaded'

cat >"$work/hello.py" <<'PY'
import sys
from importlib.metadata import version

import typer

app = typer.Typer()


@app.command()
def hello(name: str = typer.Option("you")) -> None:
    loaded = "is" if "pydantic" in sys.modules else "is not"
    print(f"typer {version('typer')}: pydantic {loaded} loaded")


app()
PY

seen=$(for version in 0.28.0 0.29.2; do
  python3 -m venv "$work/$version"
  "$work/$version/bin/python" -m pip install --quiet --disable-pip-version-check "typer==$version" 2>/dev/null
  "$work/$version/bin/python" "$work/hello.py" --name kvm
done)
printf '%s\n' "$seen"
[ "$seen" = "$EXPECTED" ] || { echo "this is no longer what was seen" >&2; exit 1; }
