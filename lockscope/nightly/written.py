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


@dataclass(frozen=True, slots=True)
class Report:
    """Where the files go: ``page``, the texts beside it, and ``figures`` for PNGs."""

    page: Path
    markdown: Path
    text: Path
    figures: Path

    @staticmethod
    def at(output: str) -> Report:
        """``FILE.html`` with its files beside it, or a directory. Raises ``UsageError`` where that cannot be."""
        place = Path(output)
        named = place.suffix.lower() in (".html", ".htm")
        folder = place.parent if named else place
        if folder.exists() and not folder.is_dir():
            msg = f"-o {output}: {folder} is a file; wanted a directory, or FILE.html in one"
            raise UsageError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        if named:
            stem = place.stem
            return Report(place, folder / f"{stem}.md", folder / f"{stem}.txt", folder / f"{stem}-figures")
        return Report(folder / "index.html", folder / "summary.md", folder / "summary.txt", folder / "figures")

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
