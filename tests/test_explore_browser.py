"""The page in a real browser: it comes up without the network, and its image follows a slider."""

import json

import numpy as np
import pytest
from browser import browser, missing
from exploring import make_checkpoints, running
from PIL import Image

pytest.importorskip("gradio_client", reason="needs pip install -r requirements-explore.txt")
pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is there")

RIGHT = "\ue014"  # WebDriver's key
SHOWN = "const x = document.querySelector('.pixels img'); return x && x.complete && x.src"
PIXELS = """
const x = document.querySelector('.pixels img'), y = document.createElement('canvas');
y.width = x.naturalWidth; y.height = x.naturalHeight;
y.getContext('2d').drawImage(x, 0, 0);
return [...y.getContext('2d').getImageData(0, 0, y.width, y.height).data];
"""
COMMAND = "return document.querySelector('textarea').value"
CHOOSE = """
[...document.querySelectorAll('button[role=tab]')].find(x => x.textContent.trim() == arguments[0])
.click()
"""
VISIBLE = """
const images = [...document.querySelectorAll('.pixels img')];
return images.filter(x => x.offsetParent && x.complete).length
"""
PRESS = """
[...document.querySelectorAll('button')].find(x => x.offsetParent && x.textContent.trim() ==
arguments[0]).click()
"""
THUMBNAILS = "[...document.querySelectorAll('.thumbnail-item')].filter(x => x.offsetParent)"
PSI = "input[type=range][aria-label*='psi']"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore")
    make_checkpoints(folder)
    with running(folder) as program, browser(tmp_path_factory.mktemp("profile")) as page:
        page.open(program.address)
        yield page


def test_the_image_follows_a_slider(page):
    source = page.wait(SHOWN)
    before, command = page.run(PIXELS), page.run(COMMAND)
    assert len(before) == 4 * 16 * 16 and "--seed 0 --psi 0.7" in command
    page.type(PSI, 6 * RIGHT)
    page.wait("return document.querySelector('textarea').value.includes('--psi 1')")
    page.wait(f"const now = (() => {{ {SHOWN} }})(); return now && now != arguments[0]", source)
    assert page.run(PIXELS) != before


def test_a_neighbour_is_chosen(page):
    page.run(PRESS, "the next seeds")
    page.wait(f"return {THUMBNAILS}.length == 12")
    page.run(f"{THUMBNAILS}[2].click()")
    page.wait("return document.querySelector('textarea').value.includes('--seed 3 ')")


def test_another_checkpoint(page):
    """8 px, where there is nothing but coarse styles to mix."""
    rows = "return [...document.querySelectorAll('label')].filter(x => x.offsetParent && "
    rows += "/px\\): seed/.test(x.innerText)).length"
    page.run(CHOOSE, "Mix")
    assert page.wait(rows) == 2
    page.click("input[aria-label='checkpoint']")
    option = "[...document.querySelectorAll('li')].find(x => x.innerText.trim() == '000010.model')"
    page.wait(f"return !!{option}")
    page.run(f"{option}.dispatchEvent(new MouseEvent('mousedown', {{bubbles: true}}))")
    page.wait(f"return (() => {{ {rows} }})() == 1")
    command = "document.querySelector('textarea').value"
    page.wait(f"return {command}.includes('000010.model') && !{command}.includes('levels')")
    page.run(CHOOSE, "Sample")
    page.wait("return document.querySelector('.pixels img').naturalWidth == 8")
    toasts = "return [...document.querySelectorAll('.toast-body')].map(x => x.innerText)"
    assert page.run(toasts) == []


def test_what_is_projected_can_be_chosen(page, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype="uint8")
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    page.run(CHOOSE, "Picture")
    page.wait("return !!document.querySelector('input[type=file]')")
    page.type("input[type=file]", str(tmp_path / "mine.png"))
    page.wait("return !!document.querySelector('.file-preview')")
    page.run(PRESS, "project")
    page.wait("return [...document.querySelectorAll('textarea')].some(x => /PSNR/.test(x.value))")
    page.run(CHOOSE, "Sample")
    page.click("input[aria-label='or a picture']")
    page.wait("return [...document.querySelectorAll('li')].some(x => x.innerText.trim() == 'mine')")


def test_every_tab_shows_something(page):
    for name in ("Mix", "Directions", "Walk"):
        page.run(CHOOSE, name)
        page.wait(VISIBLE)
    for name, words in (("Picture", "iterations"), ("Checkpoints", "look through")):
        page.run(CHOOSE, name)
        page.wait("return document.body.innerText.includes(arguments[0])", words)


def test_nothing_is_asked_of_other_machines(page):
    asked = set()
    for entry in page.call("POST", "/se/log", {"type": "performance"}):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            asked.add(event["params"]["request"]["url"])
    assert len(asked) > 10
    ours = ("http://127.0.0.1:", "data:", "blob:", "chrome", "about:")
    assert [url for url in asked if not url.startswith(ours)] == []
