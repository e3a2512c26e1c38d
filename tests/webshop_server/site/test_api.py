"""The interface for agents: it does what its document says, and keeps from shoppers what is hidden."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import product
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator

from turngym._version import __version__
from turngym.webshop_server.shop import LocalBackend

KEY = "the operator's key"
DOCUMENT = json.loads((files("turngym.webshop_server.site") / "openapi.json").read_text("utf-8"))
MISSING = object()


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference within the document."""
    if "$ref" not in node:
        return node
    found: Any = DOCUMENT
    for step in node["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({"components": DOCUMENT["components"], **schema})


def schema_of(name: str) -> Draft202012Validator:
    return validator({"$ref": f"#/components/schemas/{name}"})


class Agent:
    """Asks the site; every answer must be as the document describes it."""

    def __init__(self, client: FlaskClient, key: str | None = None) -> None:
        self._client = client
        self._key = key

    def ask(self, method: str, path: str, body: Any = MISSING, *, data: bytes | None = None) -> tuple[int, Any]:
        """Return status and JSON of an answer, None if it is empty."""
        given = {"json": body} if body is not MISSING else {"data": data}
        auth = None if self._key is None else ("operator", self._key)
        response = self._client.open(path, method=method, auth=auth, **given)
        (item,) = [
            item for template, item in DOCUMENT["paths"].items()
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path.partition("?")[0])
        ]  # fmt: skip
        operation = item.get(method.lower(), {"responses": {"405": {"$ref": "#/components/responses/Error"}}})
        told = operation["responses"].get(str(response.status_code)) or operation["responses"]["default"]
        content = resolved(told).get("content")
        if content is None:
            assert response.data == b""
            return response.status_code, None
        assert response.mimetype == "application/json"
        validator(content["application/json"]["schema"]).validate(response.json)
        return response.status_code, response.json

    def begin(self, **wish: Any) -> dict[str, Any]:
        status, state = self.ask("POST", "/api/sessions", wish)
        assert status == 201
        return state

    def act(self, state: dict[str, Any], action: str, **more: Any) -> dict[str, Any]:
        status, told = self.ask("POST", f"/api/sessions/{state['session']}/actions", {"action": action, **more})
        assert status == 200
        return told

    def error(self, status: int, method: str, path: str, body: Any = MISSING, *, data: bytes | None = None) -> str:
        answered, told = self.ask(method, path, body, data=data)
        assert answered == status
        return str(told["error"])


@pytest.fixture
def agent(client: FlaskClient) -> Agent:
    return Agent(client)


@pytest.fixture
def operator(client: FlaskClient) -> Agent:
    return Agent(client, KEY)


# The document -------------------------------------------------------------------------------------------------------


def test_the_document_lists_the_routes(app: Flask) -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method, rule.endpoint.removeprefix("api."))
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert routes == {
        (path, method.upper(), operation["operationId"])
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (node["$ref"] for _ in range("$ref" in node))
    if isinstance(node, dict | list):
        for below in node.values() if isinstance(node, dict) else node:
            yield from references(below)


def test_the_document_is_sound() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert f"#/components/schemas/{name}" in set(references(DOCUMENT))
    assert all(resolved({"$ref": reference}) for reference in references(DOCUMENT))
    for path, item in DOCUMENT["paths"].items():
        parameters = [resolved(one) for one in item.get("parameters", [])]
        for method, operation in item.items():
            if method != "parameters":
                named = [*parameters, *operation.get("parameters", [])]
                assert {one["name"] for one in named if one["in"] == "path"} == set(re.findall(r"\{(\w+)\}", path))
                assert operation["summary"].endswith(".")


def test_the_document_is_served(agent: Agent) -> None:
    assert agent.ask("GET", "/api/openapi.json") == (200, DOCUMENT)


# Sessions -----------------------------------------------------------------------------------------------------------


def test_the_shop_says_what_it_is(agent: Agent, backend: LocalBackend) -> None:
    _, told = agent.ask("GET", "/api/shop")
    goals = {"train": [3, 10], "validation": [1, 3], "test": [0, 1]}
    assert told == {"version": __version__, "mode": backend.mode, "num_products": 16, "goals": goals, "setup": ""}


def test_an_agent_shops(agent: Agent) -> None:
    state = agent.begin(goal=0)
    assert (state["number"], state["kind"], state["problem"], state["bought"]) == (0, "start", "", False)
    assert state["actions"] == ["search[words]"] and state["instruction"] in state["text"]
    state = agent.act(state, "search[shirt]")
    assert state["kind"] == "results" and "click[shirt00001]" in state["actions"]
    state = agent.act(state, "click[shirt00001]")
    state = agent.act(state, "click[navy blue]")
    assert state["kind"] == "item" and "click[buy now]" in state["actions"] and state["number"] == 3
    assert agent.ask("GET", f"/api/sessions/{state['session']}") == (200, state)
    state = agent.act(state, "click[buy now]")
    assert (state["kind"], state["bought"], state["reward"], state["number"]) == ("done", True, 1.0, 4)


def test_what_means_nothing_changes_nothing(agent: Agent) -> None:
    state = agent.begin(goal=0)
    for number, action in enumerate(("", "hello", "click[shirt00001]", "click[", "\ud800", "search[]", "x" * 2000)):
        told = agent.act(state, action)
        assert told["problem"] and told["text"] == state["text"] and told["number"] == number + 1


def test_halves_of_characters_are_searched_for_like_others(agent: Agent) -> None:
    for query in ("\ud800", "<r> \ud800", "<q> \udfff", "shirt \ud800"):
        assert agent.act(agent.begin(goal=0), f"search[{query}]")["kind"] == "results"


def test_the_purchase_is_the_last_action(agent: Agent) -> None:
    state = agent.begin(goal=0)
    for action in ("search[lamp]", "click[lamp000001]", "click[buy now]"):
        state = agent.act(state, action)
    assert state["reward"] < 1
    for action in ("search[shirt]", "click[back to search]", "click[shirt00001]", "click[buy now]"):
        told = agent.act(state, action)
        assert told["problem"] == "the purchase has ended the session"
        assert (told["kind"], told["reward"], told["text"]) == ("done", state["reward"], state["text"])


def test_goals_are_named_by_number_or_by_split(operator: Agent) -> None:
    assert operator.begin(goal=7)["hidden"]["goal"] == 7
    assert operator.begin(split="train")["hidden"]["goal"] == 3
    assert operator.begin(split="validation", index=1)["hidden"]["goal"] == 2
    assert operator.begin(split="validation", index=2)["hidden"]["goal"] == 1, "they begin again"
    assert len({operator.begin()["hidden"]["goal"] for _ in range(100)}) > 5
    assert operator.ask("POST", "/api/sessions")[0] == 201, "a body is not needed"


def fields(**values: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """Yield all bodies that have these values, or no value, in these fields."""
    for chosen in product(*((MISSING, *options) for options in values.values())):
        yield {name: value for name, value in zip(values, chosen, strict=True) if value is not MISSING}


WRONG: tuple[Any, ...] = (-1, True, 0.5, "1", [], {}, 2**63)


def test_a_wish_is_refused_if_the_document_has_no_such(agent: Agent) -> None:
    schema, statuses = schema_of("Wish"), set()
    for wish in fields(goal=(0, 9, 10, 2**63 - 1, *WRONG), split=("test", "all", *WRONG), index=(0, 99, *WRONG)):
        status, _ = agent.ask("POST", "/api/sessions", wish)
        assert status == (400 if not schema.is_valid(wish) else 404 if wish.get("goal", 0) > 9 else 201), wish
        statuses.add(status)
    assert statuses == {201, 400, 404}
    assert "takes split and index, or goal" in agent.error(400, "POST", "/api/sessions", {"gaol": 1})


def test_an_order_is_refused_if_the_document_has_no_such(agent: Agent) -> None:
    schema = schema_of("Order")
    for order in fields(action=("", "search[red]", "x" * 2000, "x" * 2001, *WRONG[1:-1]), number=(0, 7, *WRONG)):
        session = agent.begin(goal=0)["session"]
        status, _ = agent.ask("POST", f"/api/sessions/{session}/actions", order)
        assert status == (400 if not schema.is_valid(order) else 409 if order.get("number") else 200), order


DIGITS = b"1" * 5000
NO_OBJECTS = (b"{", b"[]", b"1", b"null", b'"{}"', b"\xff\xfe", b"\x00", b"{'goal': 1}", b'{"goal": NaN}',
              b'{"goal": ' + DIGITS, b'{"goal": ' + DIGITS + b"}", b"[" * 60_000, b'{"a":' * 12_000)  # fmt: skip


@pytest.mark.parametrize("data", NO_OBJECTS, ids=lambda data: ascii(data)[:20])
def test_a_body_that_is_no_object_is_refused(agent: Agent, data: bytes) -> None:
    assert agent.error(400, "POST", "/api/sessions", data=data)
    session = agent.begin()["session"]
    assert agent.error(400, "POST", f"/api/sessions/{session}/actions", data=data)


def test_a_body_that_is_too_large_is_refused(agent: Agent) -> None:
    session = agent.begin()["session"]
    for path in ("/api/sessions", f"/api/sessions/{session}/actions"):
        assert agent.error(413, "POST", path, data=b'{"action": "' + b"x" * 70_000 + b'"}')


def test_an_action_that_is_sent_twice_is_done_once(agent: Agent) -> None:
    state = agent.begin(goal=0)
    first = agent.act(state, "search[shirt]", number=0)
    assert first["number"] == 1 and agent.act(state, "search[shirt]", number=0) == first
    path = f"/api/sessions/{state['session']}/actions"
    assert agent.error(409, "POST", path, {"action": "search[lamp]", "number": 0}) == "This session has had 1 actions."
    assert agent.error(409, "POST", path, {"action": "search[shirt]", "number": 2})
    second = agent.act(state, "click[no such thing]", number=1)
    assert second["problem"] and agent.act(state, "click[no such thing]", number=1) == second
    assert agent.act(state, "click[no such thing]")["number"] == 3, "without a number it is done again"
    assert agent.error(409, "POST", path, {"action": "search[shirt]", "number": 0}), "the last action alone is known"


def test_a_session_that_has_ended_is_unknown(agent: Agent) -> None:
    path = f"/api/sessions/{agent.begin()['session']}"
    assert agent.ask("DELETE", path) == (204, None)
    for name in (path, "/api/sessions/nobody", "/api/sessions/%00", "/api/sessions/%ff", f"/api/sessions/{'x' * 9999}"):
        assert agent.error(404, "GET", name) == "There is no such session, or it has ended."
        assert agent.error(404, "DELETE", name)
        assert agent.error(404, "POST", f"{name}/actions", {"action": "search[x]"})


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/api/sessions"), ("POST", "/api/shop"), ("PATCH", "/api/sessions/x"), ("GET", "/api/sessions/x/actions")],
)
def test_other_methods_are_refused(agent: Agent, method: str, path: str) -> None:
    assert agent.error(405, method, path)


def test_an_unknown_path_is_answered_in_json(client: FlaskClient) -> None:
    for path in ("/api/", "/api/nothing", "/api/sessions/a/b/c", "/api//shop"):
        response = client.get(path)
        assert response.status_code == 404
        schema_of("Error").validate(response.json)


# What is hidden -----------------------------------------------------------------------------------------------------

EPISODE = ("search[lamp]", "click[lamp000001]", "click[description]", "click[< prev]", "click[< prev]",
         "click[back to search]", "search[wool silk]", "click[shirt00002]", "click[gold]")  # fmt: skip


@pytest.mark.parametrize("key", [None, "", "wrong", KEY[:-1], KEY + " ", KEY.upper(), "k\xe9y", "\u4e00" * 99])
def test_without_the_key_nothing_hidden_is_told(client: FlaskClient, backend: LocalBackend, key: str | None) -> None:
    agent, goal = Agent(client, key), backend.goals[0]
    states = [agent.begin(goal=0)]
    states += [agent.act(states[0], action) for action in EPISODE]
    states += [agent.ask("GET", f"/api/sessions/{states[0]['session']}?html=1")[1]]
    assert all(state["problem"] == "" for state in states) and states[-1]["kind"] == "item"
    for state in states:
        assert "hidden" not in state and state["reward"] is None
        assert goal.asin not in json.dumps(state).upper()
        assert "worth" not in json.dumps(state) and "long sleeve" not in json.dumps(state)
    assert "hidden" not in agent.act(states[0], "click[buy now]")
    assert agent.error(401, "GET", "/api/goals/0") == "The operator's key is needed."
    assert agent.error(401, "GET", "/api/goals/99999")
    assert agent.error(401, "GET", "/api/search?query=shirt")


def test_the_operator_is_told_what_is_hidden(operator: Agent, backend: LocalBackend) -> None:
    state = operator.begin(goal=0)
    assert (state["hidden"]["goal"], state["hidden"]["worth"], state["hidden"]["html"]) == (0, None, None)
    worth = []
    for action in ("search[shirt]", "click[shirt00001]", "click[red]", "click[navy blue]", "click[buy now]"):
        state = operator.act(state, action)
        worth.append((state["hidden"]["worth"] or {"total": 0})["total"])
    assert worth[0] == 0 < worth[1] == worth[2] < worth[3] == worth[4] == state["reward"] == 1
    page = state["hidden"]["page"]
    assert (page["asin"], page["chosen"], page["visited"]) == ("SHIRT00001", {"color": "navy blue"}, ["SHIRT00001"])
    _, told = operator.ask("GET", f"/api/sessions/{state['session']}?html")
    assert told["hidden"]["html"].startswith("<!DOCTYPE html>") and "SHIRT00001" in told["hidden"]["html"]


def test_the_operator_is_told_goals(operator: Agent, backend: LocalBackend) -> None:
    _, goal = operator.ask("GET", "/api/goals/0")
    assert goal["asin"] == "SHIRT00001" and goal["options"] == [{"name": "color", "value": "navy blue"}]
    for number in ("10", "-1", "x", "1.0", "9" * 10, "9" * 5000, "\u0663", "%20", "0x1"):
        assert operator.error(404, "GET", f"/api/goals/{number}") == "There are goals 0 to 9."


def test_the_operator_searches(operator: Agent, backend: LocalBackend) -> None:
    def found(query: str) -> list[str]:
        return list(operator.ask("GET", f"/api/search{query}")[1]["asins"])

    assert found("?query=lamp") == ["LAMP000001"] and found("") == []
    assert found("?query=shirt") == list(backend.search("shirt", 50)) and len(found("?query=shirt")) == 15
    assert [len(found(f"?query=shirt&limit={limit}")) for limit in (0, 3, 50, 10**9, -4, "x")] == [0, 3, 15, 15, 0, 15]


def test_addresses_name_the_server_that_was_asked(app: Flask) -> None:
    for host in ("http://127.0.0.1:8123", "http://localhost:3000"):
        answer = app.test_client().post("/api/sessions", json={}, base_url=host)
        assert answer.json is not None and answer.json["url"].startswith(f"{host}/")
