"""Pages whose every name is an attack, in a real browser: nothing of them runs, loads or becomes an element."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockscope.cli._run import run
from tests.builders import evil
from tests.builders.chromium import chromium

pytestmark = [pytest.mark.all, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("pages")
    trace = str(evil.trace(home))
    windows = ("--window-start", "begin (?P<name>.*)", "--window-end", "end ")
    for name, more in (("whole", ()), ("windows", windows), ("redacted", ("--redact",))):
        run(["analyze", trace, "--format", "html", "-o", str(home / f"{name}.html"), *more])
    run(["nightly", trace, "--history", str(home / "h"), "-o", str(home / "night"), "--night", "n"])
    return home


@pytest.mark.parametrize("page", ["whole.html", "windows.html", "redacted.html", "night/index.html"])
def test_nothing_of_a_trace_acts(browser: Any, home: Path, page: str) -> None:
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get((home / page).as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    for element in browser.find_elements("css selector", "button")[:12]:
        if element.is_displayed():
            element.click()
    assert browser.execute_script(f"return window.{evil.MARK} === undefined && !document.getElementById('{evil.MARK}')")
    theirs = browser.execute_script(
        "return [...document.querySelectorAll('*')]"
        ".filter(e => ['IFRAME', 'OBJECT', 'EMBED', 'BASE'].includes(e.tagName)"
        " || (e.tagName === 'IMG' && !e.src.startsWith('data:image/png') && !e.src.startsWith('file:'))"
        " || [...e.attributes].some(a => a.name.startsWith('on') || /^\\s*javascript:/i.test(a.value)))"
        ".map(e => e.outerHTML.slice(0, 200))"
    )
    assert theirs == []
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith(("data:", (home / page).parent.as_uri()))] == []
    assert browser.get_log("browser") == []
    assert evil.MARK in browser.page_source


def test_a_script_would_be_seen(browser: Any, tmp_path: Path) -> None:
    """The check itself: an attack that gets through is found."""
    (tmp_path / "p.html").write_text(f"<p>{evil.ATTACKS[1]}</p>")
    browser.get((tmp_path / "p.html").as_uri())
    assert browser.execute_script(f"return window.{evil.MARK}") == 1
