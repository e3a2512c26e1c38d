"""A session of the site: on its own, within bounds, and walked through by addresses."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from turngym.webshop_server.pages import Address, PageKind, address_of, target_of, usable_actions
from turngym.webshop_server.shop import LocalBackend
from turngym.webshop_server.site.sessions import MAX_CHARS, MAX_STEPS, SiteSession


def test_two_sessions_have_nothing_in_common(backend: LocalBackend) -> None:
    one, other = SiteSession(backend, 0), SiteSession(backend, 1)
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
    one, other = SiteSession(backend, 0), SiteSession(backend, 0)
    one.act("search[shirt]")
    assert address_of(one.page) != address_of(other.page)
    assert one.knows(address_of(one.page)) and not other.knows(address_of(one.page))


def test_a_session_shows_so_many_steps_and_knows_all_of_its_pages(fixed: LocalBackend) -> None:
    session = SiteSession(fixed, 0)
    for number in range(MAX_STEPS):
        session.go_to(Address())
        session.search(f"shirt {number}")
    assert session.num_actions == 2 * MAX_STEPS - 1, "the first way to the beginning was none"
    assert len(session.steps) == MAX_STEPS and session.steps[-1].place == address_of(session.page)
    assert session.knows(Address(PageKind.RESULTS, "shirt 50"))
    assert not session.knows(Address(PageKind.RESULTS, f"shirt {MAX_STEPS}"))


def test_a_tree_of_actions_is_searched_beyond_the_steps_that_are_kept(backend: LocalBackend) -> None:
    session = SiteSession(backend, 0)
    session.search("shirt")
    item = Address(PageKind.ITEM, "shirt", asin="SHIRT00002")
    assert session.go_to(item)
    for number in range(MAX_STEPS):
        session.go_to(Address())
        session.search(f"linen {number}")
    chosen = replace(item, chosen=(("color", "navy blue"),))
    assert not session.go_to(chosen), "it has no such value"
    value = next(iter(backend.shop.catalogue["SHIRT00002"].options["color"]))
    chosen = replace(item, chosen=(("color", value),))
    bought = Address(PageKind.DONE, asin=item.asin, chosen=chosen.chosen)
    assert not session.go_to(bought), "nobody has looked at it"
    for address in (replace(item, asin="SHIRT00001"), chosen, bought):
        assert session.go_to(address) and address_of(session.page) == address
    assert session.steps[-1].action == "click[Buy Now]"


def test_a_session_remembers_fewer_long_steps(fixed: LocalBackend) -> None:
    session = SiteSession(fixed, 0)
    for number in range(100):
        session.search("x" * 3_000 + f" shirt {number}")
        session.act("y" * 2_000)
    assert sum(step.num_chars for step in session.steps) <= MAX_CHARS and 5 < len(session.steps) < 20


def test_a_page_is_made_again_as_it_was(backend: LocalBackend) -> None:
    session = SiteSession(backend, 0)
    for action in ("search[shirt]", "click[shirt00001]", "click[navy blue]", "click[features]", "click[< prev]",
                   "click[< prev]", "click[next >]", "click[< prev]", "click[shirt00002]"):  # fmt: skip
        session.act(action)
        again = session.page_at(address_of(session.page))
        assert again == replace(session.page, visited=again.visited), action
        assert backend.shop.layout(again) == session.parts
    session.act("click[buy now]")
    assert backend.shop.layout(session.page_at(address_of(session.page))) == session.parts


def test_a_visit_of_60_pages_of_results_takes_little_memory(fixed: LocalBackend) -> None:
    def visit(number: int) -> SiteSession:
        session = SiteSession(fixed, 0)
        for turn in range(30):
            session.search(f"plain shirt number {number} {turn}")
            session.go_to(replace(address_of(session.page), number=2))
            session.act("click[back to search]")
        return session

    kept = [visit(0)]
    tracemalloc.start()
    kept += [visit(number) for number in range(1, 21)]
    bytes_per_visit = tracemalloc.get_traced_memory()[0] / 20
    tracemalloc.stop()
    assert len(kept[-1].steps) == 91 and bytes_per_visit < 60_000


@pytest.mark.parametrize("number", [0, 3])
def test_addresses_lead_to_what_any_page_offered(fixed: LocalBackend, number: int) -> None:
    session = SiteSession(fixed, 0)
    session.search("shirt")
    item = Address(PageKind.ITEM, "shirt", 1, "SHIRT00001")
    assert not session.knows(Address(PageKind.ITEM, "lamp", 1, "LAMP000001"))
    session.search("lamp")
    for _ in range(number):
        session.act("nothing")
    assert session.go_to(item) and session.page.asin == "SHIRT00001" and session.steps[-1].action == "click[SHIRT00001]"
    assert not session.go_to(Address(PageKind.DONE, asin="SHIRT00001", chosen=(("color", "red"),)))
    assert session.go_to(Address(PageKind.DONE, asin="SHIRT00001")) and session.bought


def test_looking_at_all_that_is_offered_ends_in_what_agents_do(backend: LocalBackend) -> None:
    for_people, for_agents = SiteSession(backend, 0, "x"), SiteSession(backend, 0, "y")
    for query in ("shirt", "shirt plain"):
        for_people.search(query)
        for_agents.act(f"search[{query}]")
        for action in ("click[shirt00002]", "click[gold]", "click[features]", "click[< prev]", "click[< prev]",
                       "click[next >]", "click[< prev]", "click[back to search]"):  # fmt: skip
            page = for_people.page
            parts = backend.shop.layout(page)
            assert action in usable_actions(page, parts)
            (part,) = {part.text: part for part in parts if part.text.lower() == action[6:-1]}.values()
            assert for_people.go_to(address_of(target_of(page, part)))
            for_agents.act(action)
            assert address_of(for_people.page) == address_of(for_agents.page), action
            assert for_people.page.found == for_agents.page.found
