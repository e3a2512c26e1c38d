"""Who asks: programs do as clients of the original do, browsers as the site's own pages lead, other sites nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from turngym.webshop_server.shop import LocalBackend
from turngym.webshop_server.site.app import create_app
from turngym.webshop_server.site.headers import HEADERS
from turngym.webshop_server.site.state import SiteSettings

KEY = "the operator's key"
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
OWN = {"User-Agent": AGENT, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "iframe"},
    {"Sec-Fetch-Site": "nonsense"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://["},
    {"Origin": "http://localhost", "Referer": "http://evil.example/"},
    {"Referer": "http://evil.example/page?localhost"},
    {"Referer": "http://localhost:8080/"},
    {"Referer": "nonsense"},
]
DONE = "/done/fixed_0/SHIRT00001/{'color': 'navy blue'}"


@pytest.fixture
def fixed_client(open_shirts: Callable[[str], LocalBackend]) -> FlaskClient:
    """A client that has looked at the linen shirt in navy blue, in the session `fixed_0`."""
    client = create_app(open_shirts("fixed"), SiteSettings(operator_key=KEY)).test_client()
    for path in ("/fixed_0", "/search_results/fixed_0/linen/1", "/item_page/fixed_0/SHIRT00001/linen/1/{}",
                 "/item_page/fixed_0/SHIRT00001/linen/1/{'color': 'navy blue'}"):  # fmt: skip
        assert client.get(path).status_code == 200
    return client


def state(client: FlaskClient) -> object:
    return client.get("/api/sessions/fixed_0", auth=("operator", KEY)).json


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_pages_of_other_sites_change_nothing(fixed_client: FlaskClient, headers: dict[str, str]) -> None:
    before, listed = state(fixed_client), fixed_client.get("/operator/", auth=("operator", KEY)).text
    session = "/api/sessions/fixed_0"
    for method, path in (("GET", DONE), ("POST", DONE), ("GET", "/"), ("GET", "/fixed_1"), ("POST", "/fixed_0"),
                         ("GET", "/search_results/fixed_0/lamp/1"), ("POST", f"{session}/actions"), ("DELETE", session),
                         ("POST", "/api/sessions"), ("GET", "/operator/"), ("GET", "/api/shop")):  # fmt: skip
        answered = fixed_client.open(path, method=method, headers=headers, data='{"action": "search[x]"}',
                                     auth=("operator", KEY))  # fmt: skip
        assert answered.status_code == 403 and "another site" in answered.text, (method, path)
        assert HEADERS.items() <= dict(answered.headers).items()
    assert state(fixed_client) == before and fixed_client.get("/operator/", auth=("operator", KEY)).text == listed
    assert 'href="/"' in fixed_client.get("/", headers=headers).text, "one click leads in"
    for path in ("/health", "/favicon.ico", "/static/shop.css"):
        with fixed_client.get(path, headers=headers) as told:
            assert told.status_code in {200, 204}


@pytest.mark.parametrize(
    "headers", [OWN, {**OWN, "Sec-Fetch-Site": "none"}, {"User-Agent": AGENT}, {"Origin": "http://localhost"}], ids=str
)
def test_no_address_buys_in_a_browser(fixed_client: FlaskClient, headers: dict[str, str]) -> None:
    before = state(fixed_client)
    refused = fixed_client.get(DONE, headers=headers)
    assert refused.status_code == 403 and "button" in refused.text and state(fixed_client) == before
    if headers in ({**OWN, "Sec-Fetch-Site": "none"}, {"User-Agent": AGENT}):
        assert fixed_client.post(DONE, headers=headers).status_code == 403 and state(fixed_client) == before
    else:
        assert fixed_client.post(DONE, headers=headers).status_code == 303


@pytest.mark.parametrize("headers", [{}, {"User-Agent": AGENT}, OWN, {"Origin": "http://localhost"}], ids=str)
def test_the_button_sends_the_token_of_the_session(fixed_client: FlaskClient, headers: dict[str, str]) -> None:
    page = fixed_client.get("/item_page/fixed_0/SHIRT00001/linen/1/{'color': 'navy blue'}", headers=headers).text
    (token,) = re.findall(r'name="token" value="([^"]{22})"', page)
    before = state(fixed_client)
    for wrong in ("", token[:-1], token + "x", "é", "\ud800".encode("utf-8", "replace").decode()):
        assert fixed_client.post(DONE, headers=headers, data={"token": wrong}).status_code == 403
    assert state(fixed_client) == before
    bought = fixed_client.post(DONE, headers=headers, data={"token": token})
    assert bought.status_code == 303 and fixed_client.get(bought.location, headers=headers).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("headers", [{}, {"User-Agent": "python-requests/2.32"}, {"Sec-Fetch-Mode": "cors"}], ids=str)
def test_programs_buy_as_in_the_original(fixed_client: FlaskClient, method: str, headers: dict[str, str]) -> None:
    bought = fixed_client.open(DONE, method=method, headers=headers, follow_redirects=True)
    assert bought.status_code == 200 and "Thank you for shopping with us!" in bought.text


def test_asking_for_the_headers_alone_buys_nothing(fixed_client: FlaskClient) -> None:
    before = state(fixed_client)
    assert fixed_client.head(DONE).status_code == 403 and state(fixed_client) == before


def test_a_browser_walks_through_the_pages(fixed_client: FlaskClient) -> None:
    begun = fixed_client.get("/", headers={**OWN, "Sec-Fetch-Site": "none"})
    assert begun.status_code == 303 and fixed_client.get(begun.location, headers=OWN).status_code == 200
    origin = {**OWN, "Origin": "http://localhost", "Referer": f"http://localhost{begun.location}"}
    found = fixed_client.post(begun.location, headers=origin, data={"search_query": "linen"})
    assert found.status_code == 303 and fixed_client.get(found.location, headers=OWN).status_code == 200
    behind_a_proxy = {**origin, "Origin": "https://shop.example"}
    assert fixed_client.post(begun.location, headers=behind_a_proxy, data={}).status_code == 303


def test_one_client_cannot_fill_the_shop(open_shirts: Callable[[str], LocalBackend]) -> None:
    client = create_app(open_shirts("fixed"), SiteSettings(operator_key=KEY, max_sessions=40)).test_client()
    agent = client.post("/api/sessions", auth=("operator", KEY)).json
    other = client.get("/", environ_base={"REMOTE_ADDR": "192.0.2.7"}).location
    statuses = [client.post("/api/sessions").status_code for _ in range(200)]
    assert statuses == [201] * 10 + [429] * 190
    refused = client.get("/")
    assert refused.status_code == 429 and 0 < int(refused.headers["Retry-After"]) <= 600
    assert "as many sessions as one may have" in refused.text
    assert client.get(other, environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 200
    assert client.get(f"/api/sessions/{(agent or {})['session']}").status_code == 200
    assert client.post("/api/sessions", auth=("operator", KEY)).status_code == 201
    networks = [f"2001:db8:0:{number}::" for number in range(2)]
    taken = [client.get("/", environ_base={"REMOTE_ADDR": f"{network}{host:x}"}).status_code
             for network in networks for host in range(1, 12)]  # fmt: skip
    assert taken == [*[303] * 10, 429, *[303] * 9, 503, 503], "an IPv6 network is one client; then the shop is full"
