"""The site in a browser: a person shops by mouse and keyboard, and an operator looks on."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from turngym.webshop_server.settings import ShopSettings
from turngym.webshop_server.shop import open_shop
from turngym.webshop_server.site.app import create_app
from turngym.webshop_server.site.serving import make_server
from turngym.webshop_server.site.state import SiteSettings

KEY = "key"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a site."""
    app = create_app(open_shop(ShopSettings(num_products=300)), SiteSettings(operator_key=KEY))
    server = make_server(app, host="127.0.0.1", port=0, threads=2)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.stop()
    thread.join(30)
    server.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A window; what its console says fails the test."""
    window = browser.new_page(viewport={"width": 900, "height": 600})
    window.set_default_timeout(10_000)
    said: list[str] = []
    window.on("console", lambda message: said.append(message.text))
    window.on("pageerror", lambda error: said.append(str(error)))
    yield window
    window.close()
    # A test that is faster than the first frame puts the keyboard into the search bar before `autofocus` does.
    assert [message for message in said if not message.startswith("Autofocus processing was blocked")] == []


def shown(price: Any) -> str:
    """Return what the style sheet shows in the place of a price, whose own text has no size."""
    size, content = price.evaluate("e => [getComputedStyle(e).fontSize, getComputedStyle(e, '::after').content]")
    assert size == "0px"
    return str(json.loads(content))


def look_at_options(page: Any, address: str) -> None:
    """Search, and open the first product that has options."""
    page.goto(address)
    page.fill("#search_input", "shirt")
    page.click("text=Search")
    page.wait_for_selector(".product-link")
    for number in range(page.locator(".product-link").count()):
        page.locator(".product-link").nth(number).click()
        page.wait_for_selector(".purchase")
        if page.locator("input[type=radio]").count() > 1:
            return
        page.go_back()
    pytest.fail("no shirt has options")


def test_a_person_buys_by_mouse(page: Any, address: str) -> None:
    look_at_options(page, address)
    label = page.locator(".radio-toolbar label").nth(1)
    value = label.inner_text()
    label.click()
    page.wait_for_url(lambda url: "%22:" in url or "%22%3A" in url)
    assert page.locator("input[type=radio]:checked").get_attribute("value") == value
    page.click("text=Features")
    page.wait_for_selector(".product-info")
    page.click("text=< Prev")
    assert page.locator("input[type=radio]:checked").get_attribute("value") == value
    page.click("text=Buy Now")
    page.wait_for_selector("#reward")
    assert 0.0 <= float(page.inner_text("#reward pre")) <= 1.0
    page.go_back()
    page.wait_for_selector("#reward")  # the receipt is all there is after the purchase


def test_a_person_buys_by_keyboard(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#search_input:focus")  # comes with the first frame, which a busy machine may draw late
    page.keyboard.type("shirt")
    page.keyboard.press("Enter")
    page.wait_for_selector(".product-link")
    page.locator(".product-link").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".purchase")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className").endswith("purchase"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#reward")


def test_arrow_keys_choose_and_keep_the_focus(page: Any, address: str) -> None:
    look_at_options(page, address)
    page.locator("input[type=radio]").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("input[type=radio]:checked:focus", state="attached")
    assert page.evaluate("document.activeElement.id").endswith("1")


@pytest.mark.parametrize("width", [360, 900])
def test_the_instruction_stays_in_view_and_nothing_overflows(page: Any, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 400})
    page.goto(address)
    page.fill("#search_input", "shirt")
    page.keyboard.press("Enter")
    page.wait_for_selector(".product-link")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.evaluate("scrollY") > 0
    # What sticks is moved with the next frame, which a busy machine may be slow to draw.
    page.wait_for_function("document.querySelector('#instruction-text').getBoundingClientRect().y === 0")
    assert page.locator("#instruction-text").bounding_box()["y"] == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_prices_are_shown_to_the_cent(page: Any, address: str) -> None:
    page.goto(address)
    page.fill("#search_input", "shirt")
    page.keyboard.press("Enter")
    page.wait_for_selector(".product-link")
    read = page.locator(".product-price").all_text_contents()
    number = next(number for number, text in enumerate(read) if re.fullmatch(r"\$\d+\.\d", text))
    assert shown(page.locator(".product-price").nth(number)) == f"{read[number]}0"
    page.locator(".product-link").nth(number).click()
    page.wait_for_selector(".purchase")
    price = page.locator(".price")
    assert price.text_content() == f"Price: {read[number]}" and shown(price) == f"Price: {read[number]}0"
    assert price.bounding_box()["height"] > 15, "it has a line of its own"


def test_the_operators_list_fits_a_telephone(browser: Any, address: str) -> None:
    context = browser.new_context(
        http_credentials={"username": "operator", "password": KEY}, viewport={"width": 390, "height": 844}
    )
    office = context.new_page()
    office.set_default_timeout(10_000)
    office.goto(f"{address}/fixed_0")
    office.goto(f"{address}/{'long-name_' * 6}")
    for path in ("/operator/", "/operator/fixed_0"):
        office.goto(address + path)
        assert office.evaluate("document.documentElement.scrollWidth") <= 390
    office.goto(f"{address}/operator/")
    row, wish = (office.locator(f".sessions tbody {place}").first.bounding_box() for place in ("tr", "td:nth-child(2)"))
    assert wish["width"] > 300 and wish["y"] > row["y"], "the wish has the width of the row, below the other cells"
    assert office.locator(".sessions [data-name=Actions]").first.is_visible()
    context.close()


def test_an_operator_replays_a_visit(page: Any, browser: Any, address: str) -> None:
    look_at_options(page, address)
    page.click("text=Buy Now")
    page.wait_for_selector("#reward")
    name = page.url.split("/")[4]
    context = browser.new_context(http_credentials={"username": "operator", "password": KEY})
    office = context.new_page()
    office.set_default_timeout(10_000)
    office.goto(f"{address}/operator/")
    office.click(f"a[href='/operator/{name}']")
    office.wait_for_url(f"**/operator/{name}*")
    steps = office.locator(".steps li").all_inner_texts()
    assert steps[:2] == ["arrived", "search[shirt]"] and steps[-1] == "click[Buy Now]"
    for number in range(1, len(steps)):
        office.keyboard.press("ArrowRight")
        office.wait_for_url(f"**?step={number}")
    assert office.inner_text("#worth dd") == f"{float(page.inner_text('#reward pre')):.3f}"
    context.close()


def test_no_page_asks_another_host(page: Any, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    look_at_options(page, address)
    assert len(asked) > 3 and all(url.startswith((address, "data:")) for url in asked)


ATTACK = """<!DOCTYPE html><title>attack</title>
<img src="{shop}/"><img src="{shop}/fixed_0"><img src="{shop}{done}"><img src="{shop}/search_results/fixed_0/x/1">
<img referrerpolicy="no-referrer" src="{shop}{done}">
<link rel="stylesheet" href="{shop}{done}"><script src="{shop}{done}"></script><iframe src="{shop}{done}"></iframe>
<iframe sandbox="allow-scripts" srcdoc="<script>fetch('{shop}{done}', {{mode: 'no-cors'}})</script>"></iframe>
<form id="buy" method="post" action="{shop}{done}" target="there"></form><iframe name="there"></iframe>
<a id="way" href="{shop}/">to the shop</a>
<script>
fetch("{shop}{done}", {{mode: "no-cors", credentials: "include"}}).catch(() => 0);
fetch("{shop}{done}", {{mode: "no-cors", method: "POST"}}).catch(() => 0);
fetch("{shop}/api/sessions", {{mode: "no-cors", method: "POST", body: "{{}}"}}).catch(() => 0);
navigator.sendBeacon("{shop}/api/sessions/fixed_0/actions", '{{"action": "click[buy now]"}}');
document.getElementById("buy").submit();
</script>"""


@pytest.fixture
def attack(address: str) -> Iterator[tuple[str, str]]:
    """The address of a page of another site that tries to buy in the session `fixed_0`, and what it tries to ask."""
    shop = address.replace("127.0.0.1", "localhost")
    with closing(HTTPConnection(address.removeprefix("http://"))) as visitor:

        def read(path: str) -> str:
            visitor.request("GET", path)
            return visitor.getresponse().read().decode()

        read("/fixed_0")
        item = re.findall(r'href="(/item_page/[^"]+)"', read("/search_results/fixed_0/shirt/1"))[0]
        done = re.findall(r'action="(/done/[^"]+)"', read(unescape(item)))[0]

    class Attacker(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = ATTACK.format(shop=shop, done=done).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Attacker)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}/", done
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("from_elsewhere", [False, True])
def test_a_page_of_another_site_buys_nothing(
    browser: Any, address: str, attack: tuple[str, str], from_elsewhere: bool, caplog: pytest.LogCaptureFixture
) -> None:
    page_address, done = attack
    if from_elsewhere:  # another site altogether, and not another port of the same
        page_address = page_address.replace("localhost", "127.0.0.1")
    window = browser.new_page()
    window.set_default_timeout(10_000)
    with caplog.at_level(logging.INFO, "turngym.webshop_server.site"):
        window.goto(page_address)
        window.wait_for_load_state("networkidle")
        tried = [json.loads(record.message)["status"] for record in caplog.records]
    assert len(tried) >= 12 and set(tried) == {403}
    window.click("#way")
    window.wait_for_selector("main.error a")
    window.click("main.error a")
    window.wait_for_selector("#search_input")
    window.goto(f"{address}{done}")
    assert "button" in window.inner_text("main.error"), "an address buys nothing either"
    window.close()
    with closing(HTTPConnection(address.removeprefix("http://"))) as visitor:
        visitor.request("GET", "/api/sessions/fixed_0")
        state = json.loads(visitor.getresponse().read())
    assert (state["kind"], state["bought"]) == ("item", False)
