"""The site: examples of the API run, navigation and troubleshooting name what exists, it builds."""

import doctest
import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import unquote

import pytest
import torch
import yaml
from markdown import Markdown

import gigp
from tests.conftest import ROOT


def public_objects() -> dict[str, object]:
    """Public classes and functions of `gigp` and of the modules among its names."""
    objects = {}
    for name in set(dir(gigp)) - {"__version__"}:
        thing = getattr(gigp, name)
        if isinstance(thing, ModuleType):
            names = getattr(thing, "__all__", None) or [
                n for n, x in vars(thing).items() if getattr(x, "__module__", 0) == thing.__name__
            ]
            objects |= {f"gigp.{name}.{each}": getattr(thing, each) for each in names}
        else:
            objects[f"gigp.{name}"] = thing
    return {name: objects[name] for name in sorted(objects)}


PUBLIC = public_objects()


@pytest.mark.parametrize("name", PUBLIC)
def test_an_example_of_every_public_name_runs(name):
    thing = PUBLIC[name]
    torch.manual_seed(0)
    names = dict(vars(inspect.getmodule(thing)))
    found = doctest.DocTestFinder(recurse=False).find(thing, name, globs=names)
    runner = doctest.DocTestRunner()
    said: list[str] = []
    for test in found:
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
    assert any(test.examples for test in found), "its docstring has no example"


TROUBLES = (ROOT / "docs" / "troubleshooting.md").read_text()
SENTENCES = re.findall(r"^> (.*)$", TROUBLES, re.MULTILINE)


def test_sentences_of_troubleshooting_are_those_of_the_program():
    """`...` stands for what the program puts in."""
    paths = [ROOT / "Makefile", *ROOT.glob("gigp/**/*.py"), *ROOT.glob("scripts/*.py")]
    text = "".join(path.read_text() for path in paths)
    text = re.sub(r"""["']\n\s*f?["']""", "", text)  # strings in several lines

    def printed(sentence: str) -> bool:
        parts = sentence.replace("\\", "").strip(". ").split("...")
        assert max(len(part.split()) for part in parts) >= 3, "too little to find it by"
        return bool(re.search(".{0,200}?".join(map(re.escape, parts)), text, re.DOTALL))

    assert len(SENTENCES) > 30
    assert [sentence for sentence in SENTENCES if not printed(sentence)] == []
    assert not printed("the orbit centers are not there: ... the first forward pass.")


def test_navigation_names_every_page_once():
    class Loader(yaml.SafeLoader):
        """Tags of MkDocs are of no interest here."""

    Loader.add_multi_constructor("!", lambda *ignored: None)
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"]
    named = [path for entry in nav for value in entry.values() for path in [value]]
    paths = [path for value in named for path in ([value] if isinstance(value, str) else value)]
    assert len(paths) == len(set(paths))
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    pages = {str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")}
    assert pages - set(paths) == {"docs/README.md"}, "pages that the navigation lacks"


@pytest.mark.parametrize(
    ("repository", "elsewhere"),
    [("https://a.b", '<a href="https://a.b/blob/main/configs">b</a>'), ("", "<span>b</span>")],
)
def test_links_to_what_is_no_page(repository, elsewhere):
    spec = spec_from_file_location("hooks", ROOT / "docs" / "site" / "hooks.py")
    spec.loader.exec_module(hooks := module_from_spec(spec))
    links, pages = hooks.LINKS, {"docs/training.md", "results/models/README.md"}
    links.page = SimpleNamespace(file=SimpleNamespace(src_uri="docs/page.md"))
    links.files, links.repository = SimpleNamespace(src_uris=pages), repository
    text = "[a](training.md#x) [b](../configs) [c](../results/models) [d](https://x.y) [e](gone.md)"
    assert Markdown(extensions=[links]).convert(text) == (
        f'<p><a href="training.md#x">a</a> {elsewhere} '
        '<a href="../results/models/README.md">c</a> '
        '<a href="https://x.y">d</a> <a href="gone.md">e</a></p>'
    )


class Links(HTMLParser):
    """What a page loads, where it leads, and the places that can be led to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads: set[str] = set()
        self.leads: set[str] = set()
        self.places: set[str] = {"", "__search"}
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.places.add(found.get("id") or found.get("name") or "")
        if target := found.get("href" if tag in ("a", "link") else "src"):
            (self.leads if tag == "a" else self.loads).add(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` does, and without a word."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "error::DeprecationWarning", "-m", "mkdocs", "build", "-q"]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, "-d", str(folder)], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


def pages_of(site: Path) -> list[Path]:
    """All but the page of a server for what is not there, whose links begin at its root."""
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


@pytest.mark.slow
def test_the_site_is_whole_and_loads_nothing_from_elsewhere(site):
    pages = {path: Links(path) for path in pages_of(site)}
    assert len(pages) > 30
    notebook = (site / "docs" / "quickstart.html").read_text()
    assert "in the last" in notebook
    assert "Warning" not in notebook
    assert "molecules.html" in pages[site / "index.html"].loads
    wrong = {
        target
        for page in pages.values()
        for target in page.loads
        if re.match("(https?:)?//", target)
    }
    for path, page in pages.items():
        for target in {t for t in page.loads | page.leads if not re.match(r"\w+:|//", t)}:
            name, _, place = unquote(target).partition("#")
            led = (path.parent / name).resolve() if name else path
            if not led.is_file() or (led in pages and place not in pages[led].places):
                wrong.add(f"{path.name}: {target}")
    assert wrong == set()


@pytest.mark.slow
def test_the_site_in_a_browser(site, browser):
    """Nothing is wider than a narrow screen, and the search works without a server."""
    page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: r.url.startswith("http") and wrong.append(r.url))
    for path in pages_of(site):
        page.goto(path.as_uri())
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wrong.append(f"{path.name} is too wide")
    page.goto((site / "index.html").as_uri())
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"
    page.set_viewport_size({"width": 1280, "height": 800})
    page.fill("[data-md-component=search-query]", "blurred orbits")
    page.wait_for_selector(".md-search-result__item")
    assert "troubleshooting" in page.inner_text(".md-search-result__list")
    assert wrong == []
