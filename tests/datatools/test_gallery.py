"""The page, as a real browser shows it."""

from __future__ import annotations

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from small_reader import draw
from test_build import build

from datatools.catalog import open_catalog
from datatools.gallery import write_gallery

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    draw(folder / "in/apple.png", "an apple\na day")
    draw(folder / "in/pear.png", "pears")
    draw(folder / "in/none.png", "")
    (folder / "in/pear.txt").write_text(HOSTILE)
    (folder / "in/broken.png").touch()
    (folder / "in/captions.jsonl").write_text('{"key": "apple.png", "captions": ["<b>fruit</b>"]}\n')
    build(folder / "in", folder / "c.duckdb")
    with open_catalog(folder / "c.duckdb") as catalog:
        report = write_gallery(catalog, folder / "c.html")
    assert (report.n_pictures, report.n_usable, report.n_failures) == (3, 3, 1)
    return folder / "c.html"


class Elements(HTMLParser):
    """Tags of a page with their attributes, and the text inside elements of a class."""

    def __init__(self, main: str, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(main)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and data.strip():
            self.texts.append((self.tags[-1][1].get("class") or "", data))

    def of_class(self, name: str) -> list[str]:
        return [text for kind, text in self.texts if kind == name]


def shown(chromium: str, page: Path, address: str = "") -> Elements:
    """What stands in the document after the page's own program has run."""
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=2000",
        "--dump-dom",
    ]
    done = subprocess.run(
        [*command, f"{page.as_uri()}{address}"], capture_output=True, text=True, check=True, timeout=120
    )
    main = re.search(r"<main.*?</main>", done.stdout, re.DOTALL)
    assert main is not None
    assert "<title>c.duckdb</title>" in done.stdout
    return Elements(main[0], done.stdout)


def test_pictures_stand_with_their_boxes_texts_and_facts(chromium: str, page: Path) -> None:
    elements = shown(chromium, page)
    assert elements.of_class("text") == ["an apple\na day", HOSTILE]
    assert elements.of_class("caption") == ["<b>fruit</b>"]
    assert elements.of_class("name")[0] == "apple.png"
    assert elements.of_class("facts")[0] == "64×32 · small 0.90"
    assert ">3 of 3 pictures · 1 failed<" in elements.html
    assert sum(tag == "article" for tag, _ in elements.tags) == 3
    polygons = [attributes["points"] for tag, attributes in elements.tags if tag == "polygon"]
    assert polygons == ["0,0 40,0 40,8 0,8", "0,10 25,10 25,18 0,18", "0,0 25,0 25,8 0,8"]
    boxes = [attributes for tag, attributes in elements.tags if tag == "rect"]
    assert boxes[0].items() >= {"x": "0", "y": "0", "width": "40", "height": "18"}.items()
    assert {tag for tag, _ in elements.tags} <= {
        "main",
        "article",
        "button",
        "img",
        "svg",
        "polygon",
        "rect",
        "p",
    }


@pytest.mark.parametrize(
    ("address", "keys"),
    [
        ("#q=apple", ["apple.png"]),
        ("#q=FRUIT", ["apple.png"]),
        ("#show=empty", ["none.png"]),
        ("#show=given", ["pear.png"]),
        ("#max=0.5", ["none.png", "pear.png"]),
        ("#order=length&show=text", ["pear.png", "apple.png"]),
        ("#show=failures", ["broken.png"]),
    ],
)
def test_filters_stand_in_the_address(chromium: str, page: Path, address: str, keys: list[str]) -> None:
    assert shown(chromium, page, address).of_class("name") == keys


def test_the_file_needs_nothing_else_and_names_no_address(page: Path) -> None:
    html = page.read_text()
    assert not re.search(r"https?:|//[a-z]+\.|<link|<a\s|@import|url\(", html)
    assert "default-src 'none'" in html
    # The data element ends where we end it, whatever the texts say.
    assert html.count("</script>") == 2


def test_a_sample_is_even_and_repeatable(page: Path, tmp_path: Path) -> None:
    with open_catalog(page.with_suffix(".duckdb")) as catalog:
        for name in ("a.html", "b.html"):
            assert write_gallery(catalog, tmp_path / name, limit=2).n_pictures == 2
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
