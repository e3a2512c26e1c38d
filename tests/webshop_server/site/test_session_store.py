"""The sessions of a site: found by names that nobody guesses, forgotten in time, and shared out among clients."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.webshop_server.shop import LocalBackend
from turngym.webshop_server.site.session_store import OPERATOR, SPARE_SECONDS, SessionStore, TooManySessionsError


class Clock:
    """Stands still unless it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def store_of(backend: LocalBackend, *, most: int = 3, clock: Clock | None = None, lifetime: float = 60) -> SessionStore:
    return SessionStore(backend, max_sessions=most, lifetime=lifetime, clock=clock or Clock())


def buy(store: SessionStore, name: str) -> None:
    session = store.get(name)
    assert session is not None
    for action in ("search[lamp]", "click[lamp000001]", "click[buy now]"):
        assert session.act(action) == ""


def refusal(store: SessionStore, client: str) -> TooManySessionsError:
    with pytest.raises(TooManySessionsError) as refused:
        store.create(client=client)
    return refused.value


def test_a_client_takes_nothing_from_others(fixed: LocalBackend) -> None:
    store = store_of(fixed, most=40)
    agent = store.create(client="agent")
    taken = [store.create(client="flood") for _ in range(10)]
    for _ in range(4096):
        assert refusal(store, "flood").by_one
    assert store.get(agent.name) is agent and all(store.get(one.name) is one for one in taken)
    others = [store.create(client=f"flood {number}") for number in range(19)]
    wait = refusal(store, "one more")
    assert not wait.by_one and wait.seconds == 60
    assert len([store.create(client=OPERATOR) for _ in range(10)]) == 10, "a quarter is the operator's"
    assert refusal(store, OPERATOR).by_one
    assert store.get(agent.name) is agent and all(store.get(one.name) is one for one in others)


def test_a_client_with_its_share_gives_up_what_it_has_bought_with_first(fixed: LocalBackend) -> None:
    store = store_of(fixed, most=16)
    other = store.create(client="other")
    first, second, third, fourth = (store.create(client="one").name for _ in range(4))
    for name in (other.name, third, second):
        buy(store, name)
    store.create(client="one")
    assert store.get(third) is None and store.get(second) is not None
    store.create(client="one")
    assert store.get(second) is None
    assert refusal(store, "one").by_one
    assert None not in (store.get(first), store.get(fourth), store.get(other.name))


def test_a_client_with_its_share_gives_up_what_it_has_left(fixed: LocalBackend) -> None:
    clock = Clock()
    store = store_of(fixed, most=8, clock=clock, lifetime=3600)
    left, used = store.create(client="one").name, store.create(client="one").name
    clock.now += SPARE_SECONDS - 7.5
    store.get(used)
    assert refusal(store, "one").seconds == 8
    clock.now += 8
    store.create(client="one")
    assert store.get(left) is None and store.get(used) is not None
    assert refusal(store, "one").seconds == SPARE_SECONDS


def test_a_named_session_begins_anew_in_its_own_place(fixed: LocalBackend) -> None:
    store = store_of(fixed, most=4)
    session = store.create(0, "mine", client="one")
    assert store.create(1, "mine", client="one") is session
    again = store.create(0, "mine", client="one", anew=True)
    assert again is not session and store.get("mine") is again and len(store) == 1
    store.create(client="two")
    assert refusal(store, "one").by_one, "nothing was counted twice"


def test_a_session_lives_as_long_as_it_is_used(fixed: LocalBackend) -> None:
    clock = Clock()
    store = store_of(fixed, most=16, clock=clock)
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
    store = store_of(fixed, most=16, clock=clock)
    used: dict[str, float] = {}
    for order, number in orders:
        name = str(number)
        used = {one: at for one, at in used.items() if clock.now - at <= 60}
        if order == "create" and (name in used or len(used) < 4):
            store.create(name=name)
            used.setdefault(name, clock.now)
        elif order == "create":
            assert refusal(store, "").by_one
        elif order == "get":
            assert (store.get(name) is not None) == (name in used)
            if name in used:
                del used[name]
                used[name] = clock.now
        elif order == "end":
            assert store.end(name) == (used.pop(name, None) is not None)
        else:
            clock.now += 15 * number
            used = {one: at for one, at in used.items() if clock.now - at <= 60}
        assert [session.name for session in store.latest(9)] == [*reversed(used)]


def test_names_have_128_bits_that_nobody_guesses(fixed: LocalBackend) -> None:
    store = store_of(fixed, most=8000)
    names = [store.create().name for _ in range(2000)]
    assert len(set(names)) == 2000 and all(re.fullmatch(r"[A-Za-z0-9_-]{22}", name) for name in names)
    ones = [0] * 128
    for name in names:
        bits = int.from_bytes(urlsafe_b64decode(name + "=="), "big")
        for at in range(128):
            ones[at] += bits >> at & 1
    assert all(800 < number < 1200 for number in ones), "every bit is drawn"


def test_goals_are_drawn_with_equal_chance_or_named(fixed: LocalBackend) -> None:
    store = store_of(fixed, most=4000)
    drawn = [store.create().goal_number for _ in range(500)]
    assert all(20 < drawn.count(number) < 90 for number in range(10))
    assert store.create(9).goal_number == 9
    for number in (-1, 10):
        with pytest.raises(ValueError, match=r"there are goals 0 to 9"):
            store.create(number)


def test_a_name_that_is_taken_is_the_same_session(fixed: LocalBackend) -> None:
    store = store_of(fixed, most=16)
    session = store.create(3, "mine")
    assert store.create(4, "mine") is session and store.create(4, "yours") is not session


def test_threads_that_name_a_session_share_one(fixed: LocalBackend) -> None:
    store, numbers = store_of(fixed, most=200), count()

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
    store = store_of(fixed, most=28)

    def use(number: int) -> int:
        try:
            name = store.create(client=f"client {number % 5}").name
        except TooManySessionsError:
            return len(store)
        if number % 3 == 0:
            store.end(name)
        store.get(name)
        return len(store)

    with ThreadPoolExecutor(8) as threads:
        sizes = list(threads.map(use, range(800)))
    assert max(sizes) == 21, "three quarters, which five clients with seven each would pass"
