"""The page of a review: one safe file, looked at with a real browser as different readers meet it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from git_lepton.report.html import HISTOGRAMS, page
from git_lepton.report.review import ReviewReport
from tests.report.browser import PROGRAM, Browser, browser
from tests.report.samples import HOSTILE, changed, fine_tune, hostile, review
from tests.report.test_review_md import Outline

REPORTS = {"fine-tune": fine_tune, "hostile": hostile}

CONTRAST = """
(() => {
  const parse = color => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = [r, g, b].map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const e of document.body.querySelectorAll('*')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(e.outerHTML.slice(0, 120));
  }
  return bad;
})()
"""
"""Elements with text whose contrast is below what WCAG 2.2 asks for (1.4.3, level AA)."""

STRUCTURE = """
(() => {
  const all = selector => [...document.querySelectorAll(selector)];
  const levels = all('h1,h2,h3,h4,h5,h6').map(e => Number(e.tagName[1]));
  const ids = all('[id]').map(e => e.id);
  return {
    skipped: levels.filter((level, n) => n ? level > levels[n - 1] + 1 : level !== 1).length,
    titles: levels.filter(level => level === 1).length,
    noScope: all('th:not([scope])').length,
    noCaption: all('table:not(:has(> caption))').length,
    noLabel: all('[role=img]:not([aria-label]),[role=region]:not([aria-label]),nav:not([aria-label])').length,
    unreachable: all('.scroll:not([tabindex="0"])').length,
    twice: ids.length - new Set(ids).size,
    nowhere: all('a[href^="#"]').filter(a => !document.getElementById(a.getAttribute('href').slice(1))).length,
    language: document.documentElement.lang,
  };
})()
"""


def test_the_page_is_one_file_and_its_policy_holds_for_its_style() -> None:
    text = page(fine_tune())
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in text
    outline = Outline(text)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(outline.tags)
    assert all(link.startswith("#") for link in outline.links)
    assert "style=" not in text
    assert "url(" not in text


def test_hostile_names_add_no_element() -> None:
    harmless = review([changed(f"layer.{n}", 0.5, nans=1) for n in range(len(HOSTILE))])
    assert set(Outline(page(hostile())).tags) == set(Outline(page(fine_tune())).tags) | set(
        Outline(page(harmless)).tags
    )


def test_large_models_stay_a_page() -> None:
    text = page(review([changed(f"model.layers.{n}.mlp.weight", 1 / (n + 1)) for n in range(20_000)]))
    assert "18,000 of 20,000 tensors are left out here." in text
    assert "19,600 layers that changed less are not shown." in text
    assert text.count("<figure>") == HISTOGRAMS
    assert len(text) < 3_000_000


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("there is no Chromium on PATH to look at the page with (Debian: apt-get install chromium)")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("name", REPORTS)
def test_a_reader_sees_it(
    chromium: Browser, tmp_path: Path, name: str, width: int, theme: Literal["light", "dark"]
) -> None:
    file = write(tmp_path, REPORTS[name]())
    chromium.open(file, width=width, theme=theme)
    assert chromium.messages == []
    assert chromium.requests == [file.as_uri()], "the page asked for something else"
    assert chromium.evaluate("innerWidth") == width
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    assert chromium.evaluate("getComputedStyle(document.body).maxWidth") != "none", "the style sheet was refused"
    assert chromium.evaluate(CONTRAST) == []


def test_a_screen_reader_and_a_keyboard_find_their_way(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(write(tmp_path, fine_tune()))
    assert chromium.evaluate(STRUCTURE) == {
        "skipped": 0, "titles": 1, "noScope": 0, "noCaption": 0, "noLabel": 0, "unreachable": 0, "twice": 0,
        "nowhere": 0, "language": "en",
    }  # fmt: skip
    roles = chromium.roles()
    assert [role for role in roles if role in {"banner", "navigation", "main", "contentinfo"}] == [
        "banner", "main", "contentinfo", "navigation",
    ]  # fmt: skip
    assert roles.count("table") == 4
    chromium.press("Tab")
    assert chromium.evaluate("document.activeElement.className") == "skip"
    assert chromium.evaluate("document.activeElement.getBoundingClientRect().left") >= 0, "the skip link is not shown"
    chromium.press("Tab")
    assert chromium.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def write(folder: Path, report: ReviewReport) -> Path:
    file = folder / "report.html"
    file.write_text(page(report), encoding="utf-8")
    return file
