"""The page of orbits in a browser: drag, choose, keys, and the numbers that predict.py gives."""

import pytest

import gigp
from gigp.lab.data.entries import read_entries
from gigp.lab.prediction.explain import explain
from gigp.lab.prediction.explain import page as explain_page
from tests.conftest import ROOT

DOZEN = ROOT / "docs/examples/dozen.xyz"


@pytest.fixture(scope="module")
def predicted():
    """Predictions of the first molecules, (3, 12), by a predictor of its own."""
    predictor = gigp.load("qm9")
    return predictor([e.content for e in read_entries(DOZEN, predictor.readers)[:3]])


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """The page of three molecules, open; what it complains of is in `page.complaints`."""
    path = tmp_path_factory.mktemp("explain") / "page.html"
    path.write_text(explain("qm9", DOZEN, limit=3)[0])
    page = browser.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.complaints.append(request.url))
    page.goto(path.as_uri())
    page.complaints.remove(path.as_uri())
    yield page
    assert page.complaints == []


def shown(page, selector: str) -> float:
    """A number as it is written on the page."""
    return float(page.inner_text(selector).split()[-1].replace("\u2212", "-").replace(",", ""))


def view(page) -> list[float]:
    """The matrix that the molecule is turned by."""
    return page.evaluate("scene.view")


def pixels(page) -> str:
    return page.evaluate("document.querySelector('canvas').toDataURL()")


def test_numbers_are_those_of_predictions(page, predicted):
    """Every molecule and target, as they are written, and the sums of the orbits with them."""
    for i, row in enumerate(predicted.tolist()):
        page.select_option("#item", str(i))
        for t, value in enumerate(row):
            page.select_option("#target", str(t))
            assert shown(page, "#value") == pytest.approx(value, rel=1e-4)
            cells = "[...document.querySelectorAll('#rows td:last-child, #sums td:last-child')]"
            *parts, total = page.evaluate(f"{cells}.map((cell) => +cell.dataset.value)")
            orbits = page.evaluate("document.querySelectorAll('#rows tr').length")
            assert total == pytest.approx(value, rel=1e-9)
            assert sum(parts[orbits:]) == pytest.approx(value, rel=1e-6)
            assert parts[orbits] == pytest.approx(sum(parts[:orbits]), abs=1e-6 * abs(value))


def test_a_drag_and_arrow_keys_turn_the_molecule(page, predicted):
    page.select_option("#item", "0")
    page.select_option("#target", "2")
    box, value = page.locator("canvas").bounding_box(), shown(page, "#value")
    before, seen = view(page), pixels(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y + 40, steps=3)
    page.mouse.up()
    dragged = view(page)
    page.mouse.move(x, y)  # no longer held
    assert before != dragged == view(page)
    assert pixels(page) != seen
    page.focus("canvas")
    page.keyboard.press("ArrowLeft")
    assert view(page) != dragged
    page.keyboard.press("Home")
    assert view(page) == before
    assert shown(page, "#value") == value


def test_the_slider_by_keys_chooses_an_orbit(page):
    page.focus("#orbit")
    page.keyboard.press("Home")
    first = page.inner_text("#chosen")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#chosen") != first
    assert page.locator("#rows tr.chosen").get_attribute("data-orbit") == "1"
    assert page.locator("#chart .chosen").get_attribute("data-orbit") == "1"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.click("#rows tr >> nth=3")
    assert page.input_value("#orbit") == "3"
    assert page.get_attribute("canvas", "aria-label").startswith("benzene; orbit at ")


def test_turned_copies_have_the_same_number(page, predicted):
    page.select_option("#item", "1")
    page.select_option("#target", "2")
    for place in range(1, explain_page.ORIENTATIONS + 1):
        text, before = page.inner_text("#turned"), pixels(page)
        assert text.startswith(f"orientation {place} of {explain_page.ORIENTATIONS}: ")
        value = float(page.get_attribute("#turned", "data-value"))
        assert value == pytest.approx(predicted[1, 2].item(), rel=1e-6)
        page.click("#turn")
        assert pixels(page) != before


@pytest.mark.parametrize("width", [320, 390])
def test_narrow_and_dark_screens(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark")
    try:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(20, 24, 28)"
        assert page.locator("canvas").bounding_box()["width"] > 0.85 * width
    finally:
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1280, "height": 900})
