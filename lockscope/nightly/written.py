"""The report's files: a page, its figures, and the summary as Markdown and plain text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lockscope.errors import UsageError
from lockscope.nightly.figures._base import drawn, figures
from lockscope.nightly.history import write_whole
from lockscope.nightly.night import Night
from lockscope.nightly.page import as_html
from lockscope.nightly.summary import as_markdown, as_text
from lockscope.outfiles import refuse_existing

_MARK = b'<meta name="generator" content="lockscope nightly">'


@dataclass(frozen=True, slots=True)
class Report:
    """Where the files go: ``page``, the texts beside it, and ``figures`` for PNGs."""

    page: Path
    markdown: Path
    text: Path
    figures: Path

    @staticmethod
    def at(output: str, *, force: bool = False) -> Report:
        """``FILE.html`` with its files beside it, or a directory. Raises ``UsageError`` where that cannot be.

        A report of ours is replaced by tonight's; what else is there is overwritten with ``force`` alone.
        """
        place = Path(output)
        named = place.suffix.lower() in (".html", ".htm")
        folder = place.parent if named else place
        if folder.exists() and not folder.is_dir():
            msg = f"-o {output}: {folder} is a file; wanted a directory, or FILE.html in one"
            raise UsageError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        if named:
            stem = place.stem
            found = Report(place, folder / f"{stem}.md", folder / f"{stem}.txt", folder / f"{stem}-figures")
        else:
            found = Report(folder / "index.html", folder / "summary.md", folder / "summary.txt", folder / "figures")
        if not _ours(found.page):
            for file in (found.page, found.markdown, found.text):
                refuse_existing(file, force=force, name=f"-o {output}: {file.name}")
        return found

    def write(self, night: Night) -> None:
        """Write all of them, each whole or not at all."""
        pictures = list(drawn(night))
        self.figures.mkdir(exist_ok=True)
        for name, _, png in pictures:
            write_whole(self.figures / f"{name}.png", png)
        for old in {p.stem for p in self.figures.glob("*.png")} & set(figures()) - {name for name, _, _ in pictures}:
            (self.figures / f"{old}.png").unlink()  # an earlier report's: nothing to show tonight
        write_whole(self.page, as_html(night, pictures).encode())
        write_whole(self.text, as_text(night).encode())
        write_whole(self.markdown, as_markdown(night).encode())


def _ours(page: Path) -> bool:
    """Whether a page is one that this command wrote, on another night."""
    if not page.is_file():
        return False
    with page.open("rb") as file:
        return _MARK in file.read(4096)
