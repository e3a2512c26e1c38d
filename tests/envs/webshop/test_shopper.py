"""The scripted shopper: what it understands of a wish, and what it buys by visible text alone."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from tests.envs.webshop.conftest import ShopMaker

from turngym.agents.evaluation import instance_range, score_episodes
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import ShopperAgent
from turngym.envs.webshop import WebShopEnv
from turngym.envs.webshop.shopper import Wish
from turngym.webshop_server.pages import Choice


def test_a_wish_is_taken_apart() -> None:
    wish = Wish.read("Find me hand wash men's pants with relaxed fit with color: 157- green, and size: 40w x 34l, "
                     "and price lower than 50.00 dollars")  # fmt: skip
    assert wish.options == (("color", "157- green"), ("size", "40w x 34l")) and wish.bound == 50.0
    assert wish.query == "Find me hand wash men's pants with relaxed fit with color: 157- green, and size: 40w x 34l"
    assert wish.terms == {"hand", "wash", "men", "pant", "relax", "fit"}
    assert wish.allows("$49.99 to $70.0") and wish.allows("$50.0") and not wish.allows("$50.01")


def test_a_bound_that_is_no_number_bounds_nothing() -> None:
    assert Wish.read("A red dress, and price lower than 1.2.3 dollars").bound == float("inf")
    assert Wish.read("A red dress, and price lower than 40 dollars.").bound == 40.0


def test_a_wish_in_a_persons_words_names_values_alone() -> None:
    wish = Wish.read("I need a dark blue jacket in large, with a hood.")
    values = [("color", "blue"), ("color", "dark blue"), ("size", "x-large"), ("size", "large"), ("fit", "slim")]
    named = wish.named([Choice(value, option=option, value=value, chosen=False) for option, value in values])
    assert wish.options == () and [choice.value for choice in named] == ["dark blue", "large"]
    assert wish.bound == float("inf")


def shopped(env_id: str, episodes: int, kwargs: dict[str, Any], **arguments: Any) -> tuple[float, float]:
    """Return success and mean return of the shopper on test goals."""
    agent = ShopperAgent(**arguments)
    played = collect_episodes(agent, env_id, instance_range("test", episodes), env_kwargs=kwargs, slots=8)
    score = score_episodes(played, 0.0)
    assert score.errors == 0
    return score.rate, score.mean_return


@pytest.mark.parametrize("mode", ["text", "compact"])
def test_it_has_five_wishes_in_six(mode: str) -> None:
    rate, score = shopped("turngym/WebShop-v0", 385, {"observation_mode": mode})
    assert (round(rate, 3), round(score, 3)) == (0.849, 0.948)


def test_details_and_prices_are_worth_reading() -> None:
    compact = {"observation_mode": "compact"}
    careless = shopped("turngym/WebShop-v0", 385, compact, looks=1)[0]
    careful = shopped("turngym/WebShop-v0", 385, compact, details=True, prices=True)[0]
    patient = shopped("turngym/WebShop-v0", 385, {**compact, "max_episode_steps": 30}, looks=10, details=True)[0]
    assert careless < 0.76 and careful > 0.87 and patient > 0.92


@pytest.mark.parametrize(("env_id", "least"), [("WebShopGiGPO", 0.8), ("WebShopOriginal", 0.3)])
def test_it_plays_every_protocol(env_id: str, least: float) -> None:
    rate, _ = shopped(f"turngym/{env_id}-v0", 60, {})
    assert rate >= least


def test_it_notes_what_a_product_has_before_it_chooses() -> None:
    """In a reasoning reply: the wished options in their order, each there or not, and the one that is chosen next."""
    said, plain = (
        collect_episodes(ShopperAgent(), "turngym/WebShop-v0", instance_range("test", 60), env_kwargs=kwargs)
        for kwargs in ({"observation_mode": "compact", "reasoning": True}, {"observation_mode": "compact"})
    )
    notes = []
    for episode, silent in zip(said, plain, strict=True):
        wish = episode.turns[0].observation.removeprefix("wish : ").split(" with ")[-1]
        wished = [value.split(" , and ")[0] for value in wish.split(" : ")[1:]]
        for turn, unsaid in zip(episode.turns, silent.turns, strict=True):
            thoughts, _, answer = turn.action.partition("<answer>")
            assert turn.valid and answer == f"{unsaid.action}</answer>"
            next_one = re.fullmatch(r"click\[ (.*) \]</answer>", answer)
            if next_one and next_one[1] in wished:
                assert thoughts.endswith(f" : {next_one[1]}")
            if turn.observation.startswith("price "):
                lines = turn.observation.split(" ; ")[1:]
                page = {value for line in lines for value in line.split(" : ", 1)[1].split(" / ")}
                found = re.findall(r" : ([^:]+?) (yes|no)(?= , |$)", thoughts)
                assert found == [(value, "yes" if value in page else "no") for value in wished]
                notes += [there for _, there in found]
            if turn.observation.startswith("chosen ") and thoughts:
                assert thoughts.startswith(f"{turn.observation.removeprefix('chosen : ')} yes , and ")
    assert notes.count("yes") > 60 and notes.count("no") > 10


def test_it_notes_which_prices_fit_where_it_minds_them(shop: ShopMaker) -> None:
    kwargs = {"observation_mode": "compact", "reasoning": True}
    played = collect_episodes(ShopperAgent(prices=True), "turngym/WebShop-v0", instance_range("validation", 60),
                              env_kwargs=kwargs)  # fmt: skip
    skipped = 0
    for episode in played:
        bound = int(re.findall(r"price lower than (\d+)", episode.turns[0].observation)[0])
        page, looked = "", 0
        for turn in episode.turns:
            page = turn.observation if " results ; " in turn.observation else page
            thoughts, _, answer = turn.action.partition("<answer>")
            if not turn.observation.split(" ; ")[0].endswith(("results", "results again")) or not thoughts:
                continue
            prices = {
                int(piece.split()[0]): int(re.findall(r"\$ (\d+)", piece)[0]) for piece in page.split(" ; ")[1:-1]
            }
            said, *scanned = thoughts.split(" , ")
            assert said == f"price lower than {bound}"
            notes = [(int(piece.split()[0]), piece.endswith("yes")) for piece in scanned]
            assert notes == [(number, prices[number] <= bound) for number in range(looked + 1, notes[-1][0] + 1)]
            assert [fits for _, fits in notes].index(True) == len(notes) - 1
            assert answer == f"click[ {notes[-1][0]} ]</answer>"
            looked, skipped = notes[-1][0], skipped + len(notes) - 1
    assert skipped > 3


def test_it_reads_no_hidden_state(shop: ShopMaker) -> None:
    """Goals that read alike are shopped for alike, whatever product they are of."""
    env, other = shop(3), shop(3)
    object.__setattr__(other.goal, "asin", "HIDDEN0000")
    object.__setattr__(other.goal, "title", "hidden")
    for _ in range(14):
        action = env.shopper_action()
        assert action == other.shopper_action()
        assert env.step(action)[0] == other.step(action)[0]


def test_it_labels_states_that_others_lead_to(shop: ShopMaker) -> None:
    """What it does is a function of what the episode has shown, whoever has acted."""
    rng = np.random.default_rng(0)
    for index in range(10):
        env: WebShopEnv = shop(index)
        for _ in range(4):
            assert env.step(env.sample_action(rng))[4]["valid"]
        if env.session is not None and env.session.page.reward is None:
            env.turns_taken = 0
            for _ in range(15):
                if env.step(env.shopper_action())[2]:
                    break
            assert env.session.page.reward is not None
