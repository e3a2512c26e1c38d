"""Sessions: each on its own, found by a name that nobody guesses, and forgotten in time."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.webshop_server.pages import PageKind, address_of, target_of, usable_actions
from turngym.webshop_server.shop import LocalBackend
from turngym.webshop_server.site.sessions import MAX_LINKS, MAX_STEPS, SessionStore, SiteSession


class Clock:
    """Stands still unless it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def store_of(backend: LocalBackend, *, most: int = 3, clock: Clock | None = None) -> SessionStore:
    return SessionStore(backend, max_sessions=most, lifetime=60, clock=clock or Clock())


# The store ----------------------------------------------------------------------------------------------------------


def test_the_session_that_was_not_used_for_longest_makes_room(fixed: LocalBackend) -> None:
    store = store_of(fixed)
    first, second, third = (store.create().name for _ in range(3))
    assert store.get(first) is not None
    fourth = store.create().name
    assert store.get(second) is None
    assert [session.name for session in store.latest(9)] == [fourth, first, third] and len(store) == 3
    assert [session.name for session in store.latest(1)] == [fourth]


def test_a_session_lives_as_long_as_it_is_used(fixed: LocalBackend) -> None:
    clock = Clock()
    store = store_of(fixed, clock=clock)
    used, idle = store.create(), store.create()
    for _ in range(5):
        clock.now += 50
        assert store.get(used.name) is used
        store.latest(9)  # which is no use
    assert store.get(idle.name) is None and len(store) == 1
    clock.now += 61
    assert len(store) == 0 and store.get(used.name) is None


def test_a_session_that_has_ended_is_gone(fixed: LocalBackend) -> None:
    store = store_of(fixed)
    name = store.create().name
    assert store.end(name) and not store.end(name) and store.get(name) is None


@given(st.lists(st.tuples(st.sampled_from(["create", "get", "end", "wait"]), st.integers(0, 5)), max_size=40))
def test_the_store_is_a_list_of_names_by_last_use(fixed: LocalBackend, orders: list[tuple[str, int]]) -> None:
    clock = Clock()
    store = store_of(fixed, clock=clock)
    used: dict[str, float] = {}
    for order, number in orders:
        name = str(number)
        used = {one: at for one, at in used.items() if clock.now - at <= 60}
        if order == "create":
            store.create(name=name)
            if name not in used:
                used[name] = clock.now
        elif order == "get":
            assert (store.get(name) is not None) == (name in used)
            if name in used:
                used[name] = clock.now
                used[name] = used.pop(name)
        elif order == "end":
            assert store.end(name) == (used.pop(name, None) is not None)
        else:
            clock.now += 15 * number
            used = {one: at for one, at in used.items() if clock.now - at <= 60}
        used = dict(list(used.items())[-3:])
        assert [session.name for session in store.latest(9)] == [*reversed(used)]


def test_names_have_128_bits_that_nobody_guesses(fixed: LocalBackend) -> None:
    store = store_of(fixed, most=2000)
    names = [store.create().name for _ in range(2000)]
    assert len(set(names)) == 2000 and all(re.fullmatch(r"[A-Za-z0-9_-]{22}", name) for name in names)
    ones = [0] * 128
    for name in names:
        bits = int.from_bytes(urlsafe_b64decode(name + "=="), "big")
        for at in range(128):
            ones[at] += bits >> at & 1
    assert all(800 < number < 1200 for number in ones), "every bit is drawn"


def test_goals_are_drawn_with_equal_chance_or_named(fixed: LocalBackend) -> None:
    store = store_of(fixed)
    drawn = [store.create().goal_number for _ in range(500)]
    assert all(20 < drawn.count(number) < 90 for number in range(10))
    assert store.create(9).goal_number == 9
    for number in (-1, 10):
        with pytest.raises(ValueError, match=r"there are goals 0 to 9"):
            store.create(number)


def test_a_name_that_is_taken_is_the_same_session(fixed: LocalBackend) -> None:
    store = store_of(fixed)
    session = store.create(3, "mine")
    assert store.create(4, "mine") is session and store.create(4, "yours") is not session


def test_threads_that_name_a_session_share_one(fixed: LocalBackend) -> None:
    store, numbers = store_of(fixed, most=50), count()

    def use(_: int) -> int:
        session = store.create(0, f"name{next(numbers) % 40}")
        with session.lock:
            for action in ("search[shirt]", "click[back to search]"):
                assert session.act(action) == ""
        return id(session)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(use, range(800)))) == 40
    assert [session.num_actions for session in store.latest(50)] == [40] * 40


def test_threads_keep_within_the_bound(fixed: LocalBackend) -> None:
    store = store_of(fixed, most=7)

    def use(number: int) -> int:
        name = store.create().name
        if number % 3 == 0:
            store.end(name)
        store.get(name)
        return len(store)

    with ThreadPoolExecutor(8) as threads:
        assert max(threads.map(use, range(800))) <= 7


# A session ----------------------------------------------------------------------------------------------------------


def test_two_sessions_have_nothing_in_common(backend: LocalBackend) -> None:
    store = store_of(backend)
    one, other = store.create(0), store.create(1)
    for action in ("search[shirt]", "click[shirt00001]", "click[navy blue]"):
        one.act(action)
    assert other.page.kind is PageKind.START and other.num_actions == 0
    for action in ("search[linen]", "click[shirt00001]"):
        other.act(action)
    assert dict(one.page.chosen) == {"color": "navy blue"} and dict(other.page.chosen) == {}
    assert (one.page.goal.asin, other.page.goal.asin) == ("SHIRT00001", "LAMP000001")
    one.act("click[buy now]")
    other.act("click[red]")
    other.act("click[buy now]")
    assert one.bought and one.page.reward == 1 and (other.page.reward or 0) < 1


def test_sessions_of_one_goal_are_two(backend: LocalBackend) -> None:
    store = store_of(backend)
    one, other = store.create(0), store.create(0)
    one.act("search[shirt]")
    one.show()
    assert address_of(one.page) != address_of(other.page)
    assert one.knows(address_of(one.page)) and not other.knows(address_of(one.page))


def test_a_session_remembers_so_many_steps_and_links(fixed: LocalBackend) -> None:
    session = SiteSession(fixed, 0, "x")
    for number in range(MAX_STEPS):
        session.go_to(address_of(fixed.shop.open(session.page.goal, "0")))
        session.search(f"shirt {number}")
        session.show()
    assert session.num_actions == 2 * MAX_STEPS - 1
    assert len(session.steps) == MAX_STEPS and session.steps[-1].page is session.page
    assert len(session._shown) == MAX_STEPS and len(session._offered) == MAX_LINKS


def test_looking_at_all_that_is_offered_ends_in_what_agents_do(backend: LocalBackend) -> None:
    for_people, for_agents = SiteSession(backend, 0, "x"), SiteSession(backend, 0, "y")
    for query in ("shirt", "shirt plain"):
        for_people.search(query)
        for_agents.act(f"search[{query}]")
        for action in ("click[shirt00002]", "click[gold]", "click[features]", "click[< prev]", "click[< prev]",
                       "click[next >]", "click[< prev]", "click[back to search]"):  # fmt: skip
            page = for_people.show()
            parts = backend.shop.layout(page)
            assert action in usable_actions(page, parts)
            (part,) = {part.text: part for part in parts if part.text.lower() == action[6:-1]}.values()
            assert for_people.go_to(address_of(target_of(page, part)))
            for_agents.act(action)
            assert address_of(for_people.page) == address_of(for_agents.page), action
            assert for_people.page.found == for_agents.page.found
