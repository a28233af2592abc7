"""The page in a real browser: it opens without a word on the console, and search, filters, links and keys work."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockscope.cli._judging import joined
from lockscope.pipeline import AnalyzeOptions, analyze
from lockscope.report.findings import html
from lockscope.report.page._card import anchor
from tests.builders.chromium import chromium

pytestmark = [pytest.mark.all, pytest.mark.filterwarnings("ignore::ResourceWarning")]
SAMPLES = Path(__file__).parents[3] / "sample_traces"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A page of the locking self-tests: many findings."""
    options = AnalyzeOptions(
        window_start=r"selftest begin (?P<name>\S+)", window_end="selftest end", assume=("selftest-softirq",),
        page_data=True,
    )  # fmt: skip
    bug = AnalyzeOptions(page_data=True)
    report = joined(
        [analyze([str(SAMPLES / "selftest_train.dat")], options),
         analyze([str(SAMPLES / "bug_clear_log_without_flush.dat")], bug)]
    )  # fmt: skip
    place = tmp_path_factory.mktemp("page") / "report.html"
    text = io.StringIO()
    files = html.write_beside(report, text, "report.data")
    place.write_text(text.getvalue())
    (place.parent / "report.data").mkdir()
    for name, content in files.items():
        (place.parent / "report.data" / name).write_text(content)
    return place, report


@pytest.fixture
def opened(browser: Any, made: tuple[Path, Any]) -> Any:
    browser.get("about:blank")
    browser.get(made[0].as_uri())
    return browser


def shown(browser: Any) -> list[Any]:
    return [card for card in browser.find_elements("css selector", "details.card") if card.is_displayed()]


def keys(browser: Any, text: str) -> None:
    browser.find_element("tag name", "body").send_keys(text)


def test_it_opens_without_a_word(opened: Any) -> None:
    assert opened.get_log("browser") == []
    assert opened.title.endswith("2 traces")
    assert len(shown(opened)) > 30
    assert opened.find_element("css selector", ".verdict strong").text == "Violation"


def test_search_leaves_what_fits(opened: Any) -> None:
    every = len(shown(opened))
    keys(opened, "/")
    box = opened.switch_to.active_element
    assert box.get_attribute("id") == "search"
    box.send_keys("LS301 unflushed")
    assert len(shown(opened)) == 1
    assert opened.find_element("id", "shown").text == f"1 of {every} shown"
    box.clear()
    box.send_keys("no such thing anywhere")
    assert shown(opened) == []
    assert opened.find_element("id", "none").is_displayed()


def test_filters_by_severity(opened: Any) -> None:
    every = len(shown(opened))
    buttons = opened.find_elements("css selector", "button[data-severity]")
    errors = next(b for b in buttons if b.get_attribute("data-severity") == "error")
    errors.click()
    assert errors.get_attribute("aria-pressed") == "true"
    left = shown(opened)
    assert {c.get_attribute("data-severity") for c in left} == {"error"}
    errors.click()
    assert len(shown(opened)) == every


def test_a_link_opens_its_card(opened: Any, made: tuple[Path, Any]) -> None:
    last = next(f for f in reversed(made[1].findings) if f.code == "LS108")
    opened.get(f"{made[0].as_uri()}#{anchor(last)}")
    card = opened.find_element("id", anchor(last))
    assert card.get_attribute("open") == "true"
    assert abs(card.rect["y"] - opened.execute_script("return scrollY")) < 400


def test_every_link_on_the_page_leads_somewhere(opened: Any, made: tuple[Path, Any]) -> None:
    dead = opened.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href').slice(1))"
        ".filter(id => !document.getElementById(decodeURIComponent(id)))"
    )
    assert dead == []
    beside = opened.execute_script(
        "return [...document.querySelectorAll('a')].map(a => a.getAttribute('href')).filter(h => h[0] !== '#')"
    )
    assert beside
    assert all((made[0].parent / link).is_file() for link in beside)


def test_keys_walk_the_cards_and_open_them(opened: Any) -> None:
    keys(opened, "jjj")
    third = opened.switch_to.active_element
    assert third.tag_name == "summary"
    card = opened.execute_script("return arguments[0].parentElement", third)
    before = card.get_attribute("open")
    third.send_keys("\n")
    assert card.get_attribute("open") != before
    keys(opened, "o")
    assert all(c.get_attribute("open") for c in shown(opened))
    keys(opened, "c")
    assert not any(c.get_attribute("open") for c in shown(opened))
    keys(opened, "?")
    assert opened.find_element("id", "keys").is_displayed()


def test_dark_and_light(opened: Any) -> None:
    def background() -> str:
        color: str = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
        return color

    assert background() == "rgb(255, 255, 255)"
    opened.find_element("id", "theme").click()
    assert background() == "rgb(14, 18, 23)"
    opened.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    opened.refresh()
    assert background() == "rgb(14, 18, 23)"
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_tables_sort(opened: Any) -> None:
    table = opened.find_element("css selector", "#locks table.wide")
    heads = table.find_elements("css selector", "th button")
    taken = next(h for h in heads if h.text == "taken")
    taken.click()
    values = [int(c.get_attribute("data-value")) for c in table.find_elements("css selector", "tbody td:nth-child(2)")]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 5


def test_it_prints_with_every_card_open(opened: Any) -> None:
    pdf = opened.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"]
    assert len(pdf) > 100_000
    assert opened.get_log("browser") == []


def test_it_fits_a_narrow_window(opened: Any) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    assert opened.execute_script("return document.documentElement.scrollWidth") <= 400
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
