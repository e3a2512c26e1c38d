"""The pages, under the original's addresses: what its clients and people with browsers do with them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, unquote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from turngym.webshop_server.pages import SEPARATOR
from turngym.webshop_server.shop import LocalBackend
from turngym.webshop_server.site.app import MAX_BODY_BYTES, create_app
from turngym.webshop_server.site.headers import HEADERS
from turngym.webshop_server.site.state import SiteSettings

KEY = "the operator's key"
OPERATOR = ("operator", KEY)


class Reader(HTMLParser):
    """Reads a page: its texts, and what leads where."""

    def __init__(self, response: TestResponse) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.paths: dict[str, str] = {}
        self.title = ""
        self._path = ""
        self._within: list[str] = []
        assert response.content_type == "text/html; charset=utf-8"
        self.feed(response.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag not in {"meta", "link", "input", "br"}:
            self._within.append(tag)
        self._path = values.get("data-url") or values.get("action") or values.get("href") or self._path

    def handle_endtag(self, tag: str) -> None:
        assert self._within.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._within[-1] == "title":
            self.title = data
        elif "body" in self._within:
            self.texts.append(data)
            if self._within[-1] in {"button", "a", "label"}:
                self.paths[data] = self._path

    @property
    def text(self) -> str:
        return SEPARATOR.join(text.strip() for text in self.texts)

    @property
    def score(self) -> float:
        return float(self.texts[self.texts.index("Your score (min 0.0, max 1.0)") + 1])


class OriginalClient:
    """Asks as clients of the original do: GETs alone, the query as it is, options as Python writes them."""

    def __init__(self, client: FlaskClient, session: str) -> None:
        self._client = client
        self._session = session

    def get(self, kind: str, *parts: object) -> Reader:
        path = "/".join(map(str, (f"/{kind}" if kind else "", self._session, *parts)))
        response = self._client.get(path)
        assert response.status_code == 200, response.text
        return Reader(response)


def read(client: FlaskClient, path: str) -> Reader:
    response = client.get(path)
    assert response.status_code == 200, response.text
    return Reader(response)


def status(client: FlaskClient, path: str, **more: Any) -> int:
    return client.get(path, **more).status_code


# Clients of the original --------------------------------------------------------------------------------------------


def test_a_client_of_the_original_shops(client: FlaskClient, backend: LocalBackend) -> None:
    shopper = OriginalClient(client, "fixed_0")
    start = shopper.get("")
    assert backend.goals[0].instruction in start.texts and "Search" in start.texts
    results = shopper.get("search_results", "linen shirt", 1)
    assert "SHIRT00001" in results.texts and "Linen Shirt" in results.texts
    shopper.get("search_results", "linen shirt", 2)
    shopper.get("search_results", "linen shirt", 1)
    options: dict[str, str] = {}
    shopper.get("item_page", "SHIRT00001", "linen shirt", 1, options)
    about = shopper.get("item_sub_page", "SHIRT00001", "linen shirt", 1, "Description", options)
    assert "All about Linen Shirt." in about.texts
    item = shopper.get("item_page", "SHIRT00001", "linen shirt", 1, options)
    assert {"navy blue", "red", "small", "description"} <= {text.removeprefix("size: ") for text in item.texts}
    for name, value in (("size", "small"), ("color", "navy blue")):
        options[name] = value
        shopper.get("item_page", "SHIRT00001", "linen shirt", 1, options)
    done = shopper.get("done", "SHIRT00001", options)
    assert "Thank you for shopping with us!" in done.texts and done.score == 1.0


@pytest.mark.parametrize("query", ["Linen SHIRT", "linen  shirt ", "8x10/12 linen", "linen/1/2", "men's \"linen\" 5'",
                                   "[new] linen shirt", "linen & silk? 50%25", "linen+shirt", "['linen', 'shirt']",
                                   "linen {a} é😀", "linen " + "x" * 2494, "linen item_page done"])  # fmt: skip
def test_a_client_of_the_original_writes_its_query_everywhere(client: FlaskClient, query: str) -> None:
    shopper, options = OriginalClient(client, "fixed_0"), {"color": "navy blue"}
    shopper.get("")
    results = shopper.get("search_results", query, 1)
    if "SHIRT00001" not in results.texts:  # the search of these tests takes words apart at spaces alone
        assert any(character in query for character in '+/"[')
        return
    for _ in range(2):
        shopper.get("item_page", "SHIRT00001", query, 1, {})
        shopper.get("item_sub_page", "SHIRT00001", query, 1, "Features", {})
        shopper.get("search_results", query, 1)
    shopper.get("item_page", "SHIRT00001", query, 1, options)
    assert shopper.get("done", "SHIRT00001", options).score == 1.0


def test_a_name_names_the_goal(client: FlaskClient, backend: LocalBackend) -> None:
    for name, number in (("fixed_3", 3), ("fixed_09", 9), ("run-2_fixed_1", 1), ("my_fixed_agent_5", 5)):
        assert backend.goals[number].instruction in read(client, f"/{name}").texts
    for name in ("fixed_10", "fixed_999999999"):
        assert status(client, f"/{name}") == 404
    for name in ("a b", "a.b", "\u00e9", "x" * 65, "%00", "a%2Fb", "fixed_1'"):
        assert status(client, f"/{name}") == 404


def test_names_of_clients_are_refused_where_others_could_guess_them(fixed: LocalBackend) -> None:
    client = create_app(fixed, SiteSettings(client_names=False)).test_client()
    for name in ("fixed_3", "me", "A" * 22):
        assert (
            status(client, f"/{name}") == 404 and client.post(f"/{name}", data={"search_query": "x"}).status_code == 404
        )
    begun = client.get("/")
    assert begun.status_code == 303 and status(client, begun.location) == 200


def test_a_session_must_have_begun(client: FlaskClient) -> None:
    for path in ("/search_results/fixed_0/shirt/1", "/item_page/fixed_0/SHIRT00001/shirt/1/{}",
                 "/item_sub_page/fixed_0/SHIRT00001/shirt/1/Features/{}", "/done/fixed_0/SHIRT00001/{}"):  # fmt: skip
        response = client.get(path)
        assert response.status_code == 404 and "There is no such session" in response.text


# People with browsers -----------------------------------------------------------------------------------------------


@pytest.fixture
def start(client: FlaskClient) -> str:
    """The path of a session that has begun, for the first goal."""
    client.get("/fixed_0")
    return "/fixed_0"


def search(client: FlaskClient, start: str, query: str) -> Reader:
    response = client.post(start, data={"search_query": query})
    assert response.status_code == 303
    return read(client, response.location)


def test_a_visit_begins_with_a_name_of_its_own(client: FlaskClient) -> None:
    places = {client.get("/").location for _ in range(5)}
    assert len(places) == 5 and all(len(place) == 23 and status(client, place) == 200 for place in places)


def test_a_search_leads_to_an_address_that_can_be_loaded_again(client: FlaskClient, start: str) -> None:
    response = client.post(start, data={"search_query": "Wool SHIRT"})
    assert response.status_code == 303 and unquote(response.location) == '/search_results/fixed_0/["wool","shirt"]/1'
    assert read(client, response.location).texts == read(client, response.location).texts
    for query in ("", " ", "x" * 4001):
        refused = client.post(start, data={"search_query": query})
        assert refused.status_code in {400, 303} and (query in {"", " "} or refused.status_code == 400)
    assert client.post(start, data={}).location == start, "without a query it is the page itself"


def test_every_link_and_button_leads_on(client: FlaskClient, start: str) -> None:
    seen: set[str] = set()
    waiting = [*search(client, start, "linen shirt").paths.values(), start]
    while waiting:
        path = waiting.pop()
        if path in seen or "/done/" in path or len(seen) > 150:
            continue
        seen.add(path)
        waiting += [to for to in read(client, path).paths.values() if to.startswith("/")]
    assert len(seen) > 50 and any("/item_sub_page/" in path for path in seen)


def test_people_are_told_what_a_product_costs_when_all_is_chosen(
    client: FlaskClient, start: str, backend: LocalBackend
) -> None:
    def label(path: str) -> str:
        text = client.get(path).text
        assert "Price: $9.99 to $30.5<" in text, "what agents read stays"
        return unescape(text.partition('class="price" aria-label="')[2].partition('"')[0])

    silk = search(client, start, "shirt").paths["SHIRT00002"]
    assert label(silk) == "Price: $9.99 to $30.50"
    red = silk.replace(quote("{}"), quote('{"color":"red"}'))
    assert label(red) == "Price: $9.99 to $30.50"
    gold = read(client, red).paths["gold"]
    price = backend.shop.draws.price(backend.shop.catalogue["SHIRT00002"])
    paid = f"${math.ceil(100 * price) / 100:.2f}"
    assert label(gold) == f"Price: {paid} (range $9.99 to $30.50)"
    receipt = read(client, read(client, gold).paths["Buy Now"]).texts
    if backend.mode == "fixed":
        verdict = "within the bound" if price <= backend.goals[0].price_bound else "too high"
        assert f"{paid}, {verdict}" in receipt
    else:
        assert not any("$" in text for text in receipt), "the original's receipt stays as it is"
    replayed = client.get("/operator/fixed_0?step=4", auth=OPERATOR).text
    assert f'aria-label="Price: {paid} (range' in replayed and f"<dd>{paid}, " in replayed


def test_loading_again_is_no_action(client: FlaskClient, start: str) -> None:
    item = search(client, start, "shirt").paths["SHIRT00001"]
    for _ in range(3):
        assert read(client, item).texts == read(client, item).texts
    assert "search[shirt]" in client.get("/operator/fixed_0", auth=OPERATOR).text
    assert "Step 0 of 2" in read_as_operator(client, "/operator/fixed_0").text


def test_back_leads_to_pages_shown_before(client: FlaskClient, start: str) -> None:
    first = search(client, start, "linen")
    read(client, first.paths["SHIRT00001"])
    assert read(client, start).paths.keys() == {"Search"}
    second = search(client, start, "lamp")
    lamp = read(client, second.paths["LAMP000001"])
    assert read(client, "/search_results/fixed_0/linen/1").paths["SHIRT00001"] == first.paths["SHIRT00001"]
    assert "Linen Shirt" in read(client, first.paths["SHIRT00001"]).texts
    assert "Brass Lamp" in read(client, second.paths["LAMP000001"]).texts
    done = read(client, lamp.paths["Buy Now"])
    assert "LAMP000001" in done.texts and done.score < 1


def test_tabs_go_on_from_what_each_of_them_shows(client: FlaskClient, start: str) -> None:
    results = search(client, start, "shirt")
    linen, silk = read(client, results.paths["SHIRT00001"]), read(client, results.paths["SHIRT00002"])
    blue = read(client, linen.paths["navy blue"])
    read(client, silk.paths["gold"])
    small = read(client, blue.paths["small"])
    read(client, results.paths.get("Back to Search", start))
    done = read(client, small.paths["Buy Now"])
    assert "SHIRT00001" in done.texts and done.score == 1.0


def test_choices_replace_each_other_and_are_in_the_address(client: FlaskClient, start: str) -> None:
    item = read(client, search(client, start, "shirt").paths["SHIRT00001"])
    red = read(client, read(client, item.paths["navy blue"]).paths["red"])
    assert unquote(red.paths["Buy Now"]).endswith('/SHIRT00001/{"color":"red"}')
    assert read(client, red.paths["Buy Now"]).score < 1


# Only what was offered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/done/fixed_0/SHIRT00001/{}",  # not looked at
        "/done/fixed_0/SHIRT00002/{'color': 'navy blue'}",  # it has no such value
        "/done/fixed_0/SHIRT00002/{'color': 'red'}",  # not chosen
        "/done/fixed_0/SHIRT00002/{'weight': 'none'}",
        "/done/fixed_0/LAMP000001/{}",
        "/done/fixed_0/NOTHING/{}",
        "/item_page/fixed_0/LAMP000001/shirt/1/{}",  # not listed
        "/item_page/fixed_0/SHIRT00001/linen/1/{}",  # another search
        "/item_page/fixed_0/SHIRT00001/shirt/2/{}",  # on another page
        "/item_page/fixed_0/SHIRT00001/shirt/1/{'color': 'red'}",
        "/item_page/fixed_0/SHIRT00002/shirt/1/{'color': 'red', 'trim': 'red'}",  # two at once
        "/item_sub_page/fixed_0/SHIRT00001/shirt/1/Features/{}",
        "/search_results/fixed_0/shirt/3",
        "/search_results/fixed_0/shirt/0",
        "/search_results/fixed_0/lamp/2",
    ],
)
def test_an_address_leads_only_to_what_was_offered(client: FlaskClient, start: str, path: str) -> None:
    read(client, search(client, start, "shirt").paths["SHIRT00002"])
    before = client.get("/operator/fixed_0", auth=OPERATOR).text
    for response in (client.get(path), client.post(path)):
        assert response.status_code == 404 and Reader(response).title == "Not Found"
    assert client.get("/operator/fixed_0", auth=OPERATOR).text == before, "nothing has happened"


@pytest.mark.parametrize(
    "path",
    [
        r"/search_results/fixed_0/['\UFFFFFFFF']/1",
        "/search_results/fixed_0/shirt/one",
        "/search_results/fixed_0/shirt/-1",
        "/search_results/fixed_0/shirt/1234567",
        "/item_page/fixed_0/SHIRT00002/shirt/1/[]",
        "/item_sub_page/fixed_0/SHIRT00002/shirt/1/Price/{}",
        "/item_page/fixed_0/SHIRT00002/shirt/1/{'color': print()}",
        "/done/fixed_0/SHIRT00002/{{}}",
        r"/done/fixed_0/SHIRT00002/{'a': '\UFFFFFFFF'}",
        f"/search_results/fixed_0/{'x' * 4001}/1",
    ],
)
def test_an_address_that_no_page_has_is_explained(client: FlaskClient, start: str, path: str) -> None:
    read(client, search(client, start, "shirt").paths["SHIRT00002"])
    response = client.get(path)
    assert response.status_code == 400 and Reader(response).title == "Bad Request"


def test_two_visits_do_not_open_each_others_pages(client: FlaskClient, start: str) -> None:
    item = search(client, start, "shirt").paths["SHIRT00001"]
    client.get("/fixed_1")
    assert status(client, item) == 200 and status(client, item.replace("fixed_0", "fixed_1")) == 404


def buy(client: FlaskClient, start: str) -> tuple[Reader, Reader, str]:
    """Buy the silk shirt; return the results, the page of the linen shirt, and the path of the receipt."""
    results = search(client, start, "shirt")
    linen, silk = read(client, results.paths["SHIRT00001"]), read(client, results.paths["SHIRT00002"])
    path = silk.paths["Buy Now"]
    assert "SHIRT00002" in read(client, path).texts
    return results, linen, path


def test_nothing_is_bought_after_the_purchase(client: FlaskClient) -> None:
    start = client.get("/").location
    results, linen, path = buy(client, start)
    receipt = read(client, path)
    for other in (linen.paths["Buy Now"], path, f"/done{start}/LAMP000001/{{}}"):
        assert read(client, other).texts == receipt.texts
    for other in (start, results.paths["SHIRT00001"], linen.paths["navy blue"], f"/search_results{start}/shirt/1"):
        response = client.get(other)
        assert (response.status_code, response.location) == (303, path)
    for refused in (client.post(start, data={"search_query": "lamp"}), client.get(f"/search_results{start}/lamp/1")):
        assert refused.status_code == 400 and "The purchase has ended the session." in refused.text


def test_the_receipt_leads_to_a_new_session(client: FlaskClient) -> None:
    _, _, path = buy(client, client.get("/").location)
    receipt = read(client, path)
    assert receipt.texts[-1] == "Begin a new session" and receipt.paths["Begin a new session"] == "/"
    assert client.get("/").location not in (None, path)


def test_a_session_that_its_client_named_begins_anew(open_shirts: Callable[[str], LocalBackend]) -> None:
    fixed = open_shirts("fixed")
    client = create_app(fixed, SiteSettings(operator_key=KEY)).test_client()
    path = ""
    for _ in range(3):
        page = read(client, "/fixed_0")
        assert "Search" in page.texts and fixed.goals[0].instruction in page.texts
        _, _, path = buy(client, "/fixed_0")
        assert "Step 0 of 4" in read_as_operator(client, "/operator/fixed_0").text
    assert read(client, path).score < 1
    read(client, "/fixed_0")
    assert status(client, path) == 404, "what the last run looked at is not offered to this one"


def test_in_a_faithful_shop_a_tree_of_actions_can_be_searched(open_shirts: Callable[[str], LocalBackend]) -> None:
    client = create_app(open_shirts("faithful")).test_client()
    read(client, "/fixed_0")
    _, linen, path = buy(client, "/fixed_0")
    blue = read(client, linen.paths["navy blue"])
    assert read(client, blue.paths["Buy Now"]).score == 1.0 > read(client, path).score
    assert "LAMP000001" in read(client, "/search_results/fixed_0/Brass LAMP/1").texts
    read(client, blue.paths["Buy Now"])
    assert "Search" in read(client, "/fixed_0").texts
    assert read(client, linen.paths["navy blue"]).paths == blue.paths, "other branches of the tree are still there"
    assert read(client, blue.paths["Buy Now"]).score == 1.0


def test_shoppers_are_shown_no_score_before_the_purchase(client: FlaskClient, start: str) -> None:
    results = search(client, start, "shirt")
    item = read(client, results.paths["SHIRT00001"])
    blue = read(client, item.paths["navy blue"])
    for page in (results, item, blue):
        assert "score" not in page.text and "long sleeve" not in page.text
    done = read(client, blue.paths["Buy Now"])
    assert done.score == 1.0 and done.text.count("Your score") == 1


# The operator -------------------------------------------------------------------------------------------------------


def read_as_operator(client: FlaskClient, path: str) -> Reader:
    response = client.get(path, auth=OPERATOR)
    assert response.status_code == 200
    return Reader(response)


@pytest.mark.parametrize("auth", [None, ("operator", "wrong"), ("operator", ""), (KEY, "operator")])
def test_the_operators_pages_need_the_key(client: FlaskClient, start: str, auth: tuple[str, str] | None) -> None:
    for path in ("/operator/", "/operator/fixed_0", "/operator/fixed_0?step=0", "/operator/nobody"):
        response = client.get(path, auth=auth)
        assert response.status_code == 401 and response.headers["WWW-Authenticate"].lower().startswith("basic ")
        assert Reader(response).title == "Unauthorized" and "fixed_0" not in response.text


def test_the_operator_sees_each_step_with_what_it_would_earn(client: FlaskClient, start: str) -> None:
    item = read(client, search(client, start, "shirt").paths["SHIRT00001"])
    read(client, read(client, item.paths["navy blue"]).paths["Buy Now"])
    listed = read_as_operator(client, "/operator/")
    assert listed.paths["fixed_0"] == "/operator/fixed_0" and "1 in all" in listed.text and "1.000" in listed.texts
    steps = [read_as_operator(client, f"/operator/fixed_0?step={number}") for number in range(5)]
    actions = ["arrived", "search[shirt]", "click[SHIRT00001]", "click[navy blue]", "click[Buy Now]"]
    assert all(step.texts[step.texts.index("arrived") :][:5] == actions for step in steps)
    totals = [step.texts[step.texts.index("Total") + 1] if "Total" in step.texts else None for step in steps]
    assert totals[:2] == [None, None] and totals[2] != "1.000" and totals[3:] == ["1.000", "1.000"]
    for step in steps[2:]:
        assert {"Factor of the kind", "$25.00, within the bound", "long sleeve"} <= set(step.texts)
        assert any(text.startswith("Attributes (weight") for text in step.texts)
    assert "Reward" in steps[4].texts and "Buying this would earn" in steps[3].texts
    assert steps[0].title == "Session, step 0" and read_as_operator(client, "/operator/fixed_0").texts == steps[0].texts
    for number in (-1, 5, 10**30):
        assert status(client, f"/operator/fixed_0?step={number}", auth=OPERATOR) == 404
    assert status(client, "/operator/nobody", auth=OPERATOR) == 404


def test_an_action_that_meant_nothing_is_shown_with_its_reason(fixed: LocalBackend) -> None:
    client = create_app(fixed, SiteSettings(operator_key=KEY)).test_client()
    session = client.post("/api/sessions").json["session"]  # type: ignore[index]
    client.post(f"/api/sessions/{session}/actions", json={"action": "click[<b>nothing</b>]"})
    page = read_as_operator(client, f"/operator/{session}?step=1")
    assert "click[<b>nothing</b>]" in page.texts and "nothing on this page is clicked by that text" in page.texts


def test_an_empty_shop_says_so(client: FlaskClient) -> None:
    assert "Nobody is in the shop." in read_as_operator(client, "/operator/").texts


# All answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code"),
    [("/", 303), ("/health", 200), ("/favicon.ico", 204), ("/robots.txt", 204), ("/fixed_0", 200), ("/a b", 404),
     ("/static/shop.css", 200), ("/static/nothing", 404), ("/static/..%2Fapp.py", 404), ("/operator/", 401),
     ("/api/shop", 200), ("/api/goals/0", 401), ("/api/nothing", 404), ("/a/b/c", 404)],
)  # fmt: skip
def test_every_answer_has_the_headers(client: FlaskClient, path: str, code: int) -> None:
    with client.get(path) as response:
        assert response.status_code == code and HEADERS.items() <= dict(response.headers).items()
    assert path.startswith("/static/") or response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers and "Access-Control-Allow-Origin" not in response.headers
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy


def test_errors_are_pages_to_people_and_json_to_agents(client: FlaskClient) -> None:
    for path, title in (("/a/b/c", "Not Found"), ("/a b", "Not Found"), ("/operator/", "Unauthorized")):
        page = Reader(client.get(path))
        assert page.title == title and page.texts[0] == title and page.paths["Begin a new session"] == "/"
    refused = client.delete("/fixed_0")
    assert refused.status_code == 405 and "POST" in refused.headers["Allow"]
    assert Reader(refused).title == "Method Not Allowed"
    large = client.post("/fixed_0", data={"search_query": "x" * MAX_BODY_BYTES})
    assert large.status_code == 413 and Reader(large).texts
    for path in ("/api/nothing", "/api/goals/0", "/api/sessions/nobody"):
        answer = client.get(path).json
        assert isinstance(answer, dict) and answer.keys() == {"error"}


def test_a_mistake_of_the_program_is_logged_and_not_shown(
    fixed: LocalBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = create_app(fixed).test_client()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("turngym.webshop_server.site.storefront.page_html", fail)
    monkeypatch.setattr("turngym.webshop_server.site.api.plain_text", fail)
    for response in (client.get("/me"), client.post("/api/sessions")):
        assert response.status_code == 500 and "secret" not in response.text and "Traceback" not in response.text
        assert HEADERS.items() <= dict(response.headers).items()
    assert caplog.text.count("RuntimeError: a secret") == 2


@pytest.mark.parametrize(
    ("host", "code"),
    [("localhost", 200), ("localhost:3000", 200), ("127.0.0.1:8", 200), ("[::1]:3000", 200), ("evil.example", 400),
     ("localhost.evil.example", 400), ("evil.example:3000", 400), ("127.0.0.1@evil.example", 400), ("a b", 400)],
)  # fmt: skip
def test_only_trusted_hosts_are_served(fixed: LocalBackend, host: str, code: int) -> None:
    client = create_app(fixed, SiteSettings(hosts=("localhost", "127.0.0.1", "[::1]"))).test_client()
    for path in ("/health", "/fixed_0", "/api/shop"):
        response = client.get(path, headers={"Host": host})
        assert response.status_code == code and HEADERS.items() <= dict(response.headers).items()


def test_the_log_names_routes_and_no_session(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture, backend: LocalBackend
) -> None:
    with caplog.at_level(logging.INFO, "turngym.webshop_server.site"):
        place = client.get("/").location
        search(client, place, "lamp")
        client.get("/a/b/c?key=secret", auth=OPERATOR)
    lines = [json.loads(record.message) for record in caplog.records]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("GET", "/", 303), ("POST", "/<name>", 303), ("GET", "/search_results/<name>/<any_text:rest>", 200),
        ("GET", None, 404),
    ]  # fmt: skip
    assert lines[1]["session"] == lines[2]["session"] and all(line["ms"] >= 0 for line in lines)
    assert place[1:] not in caplog.text and "lamp" not in caplog.text and "secret" not in caplog.text


def test_sites_in_one_process_share_nothing(open_shirts: Callable[[str], LocalBackend]) -> None:
    one, other = (create_app(open_shirts("fixed"), SiteSettings(client_names=False)).test_client() for _ in range(2))
    place = one.get("/").location
    assert status(one, place) == 200 and status(other, place) == 404
