"""Run the notebooks again and keep what they show: ``python -m tests.builders.notebooks`` (``make notebooks``)."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def run(path: Path) -> NotebookNode:
    """The notebook with what its cells show now. Raises ``CellExecutionError`` where one fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":  # a progress bar leaves an empty place where a load was slow
            cell.outputs = [o for o in cell.outputs if o.get("data", {}).get("text/html") != ""]
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main(words: list[str]) -> None:
    """Run those whose names begin with one of the words, or all."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if words and not path.name.startswith(tuple(words)):
            continue
        nbformat.write(run(path), path)
        print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
