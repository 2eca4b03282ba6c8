"""The report of a tiny run in a browser, made from its folder."""

import pytest

from gigp.lab.report.stored import report_of
from tests.lab.prediction.conftest import trained  # noqa: F401  # a fixture


def test_it_opens_without_complaints_and_fits(trained, browser, tmp_path):  # noqa: F811
    folder, record = trained("E3")
    path = tmp_path / "report.html"
    path.write_text(report_of(folder).html)
    page, complaints = browser.new_page(viewport={"width": 1280, "height": 800}), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    assert page.inner_text("h1") == f"{record.name}, seed {record.seed}"
    headings = page.locator("h2").all_inner_texts()
    assert {"Learning curves", "Predicted against true", "What the pool learned"} <= {*headings}
    for width in (320, 390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    cells = page.locator("section >> nth=0").locator("tbody tr")
    assert cells.count() == len(record.metrics) == 12
    shown = float(cells.nth(0).locator(".main").inner_text())
    assert shown == pytest.approx(record.metrics["mu"].test, rel=1e-3)
    colors = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        title = page.locator(".curves text").last
        colors.append(title.evaluate("e => getComputedStyle(e).fill"))
    assert colors == ["rgb(95, 107, 118)", "rgb(152, 164, 174)"]
    assert complaints == []
    page.close()
