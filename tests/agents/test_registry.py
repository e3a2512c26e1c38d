"""Agents by name: those of the house, those that are added, and what is refused."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from turngym._errors import InputError
from turngym.agents.base import Agent
from turngym.agents.evaluation import instance_range
from turngym.agents.registry import AGENTS, NotAnAgentError, is_registered, make_agent, register_agent
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import OracleAgent, RandomAgent, ScriptedAgent, Seat


class AlwaysUp(ScriptedAgent):
    def choose(self, seat: Seat) -> str:
        return "up"


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_of_the_house_is_made_anew(name: str) -> None:
    assert make_agent(name) is not make_agent(name)


def test_a_registered_agent_plays(own_code: Path) -> None:
    assert register_agent("always-up")(AlwaysUp) is AlwaysUp
    (episode,) = collect_episodes(make_agent("always-up"), "turngym/FrozenLake-v0", instance_range("train", 1))
    assert {turn.action for turn in episode.turns} == {"up"}


def test_a_function_may_make_the_agent(own_code: Path) -> None:
    @register_agent("seeded")
    def seeded() -> Agent:
        return RandomAgent(seed=3)

    assert make_agent("seeded")._seed == 3  # type: ignore[attr-defined]


def test_an_unknown_agent_names_the_nearest(own_code: Path) -> None:
    register_agent("always-up")(AlwaysUp)
    with pytest.raises(ValueError, match="there is no agent 'always-dup'; did you mean 'always-up'"):
        make_agent("always-dup")


def test_a_name_has_one_owner(own_code: Path) -> None:
    with pytest.raises(ValueError, match=r"already, turngym\.agents\.scripted\.OracleAgent; register yours under an"):
        register_agent("oracle")(AlwaysUp)
    with pytest.raises(ValueError, match="there is an agent 'demonstration' already; register yours"):
        register_agent("demonstration")(lambda: RandomAgent())  # noqa: PLW0108 - unlike the class it has no name
    assert AGENTS["oracle"] is OracleAgent


def test_the_same_code_may_come_again(own_code: Path) -> None:
    register_agent("always-up")(AlwaysUp)
    register_agent("always-up")(AlwaysUp)
    reloaded = type("AlwaysUp", (AlwaysUp,), {"__module__": AlwaysUp.__module__})
    register_agent("always-up")(reloaded)
    assert AGENTS["always-up"] is reloaded


@pytest.mark.parametrize("name", ["", "a b", "-x", "a/b", "a.b", "é", "x\n", None, AlwaysUp])
def test_names_are_checked(name: Any) -> None:
    with pytest.raises(ValueError, match="the name of an agent is made of letters, digits, '-' and '_', such as"):
        register_agent(name)


@pytest.mark.parametrize("factory", ["up", partial(Seat, 1, 2, 3, 4, 5, 6), Seat])  # type: ignore[call-arg, arg-type]
def test_what_makes_no_agent_is_refused(factory: Any, own_code: Path) -> None:
    with pytest.raises(ValueError, match="the agent 'mine' must be a class or a function that makes one without"):
        register_agent("mine")(factory)
    assert "mine" not in AGENTS


def test_what_cannot_play_says_what_it_lacks(own_code: Path) -> None:
    register_agent("empty")(object)  # type: ignore[type-var]
    lacks = "the agent 'empty' is of type object, which has no start, act, observe, finish, policy_version; see"
    with pytest.raises(NotAnAgentError, match=re.escape(lacks)):
        make_agent("empty")


def test_an_argument_may_have_any_name() -> None:
    with pytest.raises(InputError, match="the agent 'shopper' has no argument 'name'"):
        make_agent("shopper", name="x")


def test_a_function_may_pass_arguments_on(own_code: Path) -> None:
    @register_agent("passing-on")
    def passing_on(**arguments: Any) -> Agent:
        return RandomAgent(**arguments)

    assert make_agent("passing-on", seed=3)._seed == 3  # type: ignore[attr-defined]
    with pytest.raises(InputError):
        make_agent("passing-on", seed=-1)


# In a module --------------------------------------------------------------------------------------------------------


UPWARDS = """
from turngym.agents import ScriptedAgent


class Upwards(ScriptedAgent):
    def __init__(self, word: str = "up") -> None:
        super().__init__()
        self.word = word

    def choose(self, seat):
        return self.word


class Needy(Upwards):
    def __init__(self, word: str) -> None:
        super().__init__(word)


number = 3
"""


def test_a_class_in_a_module_plays_by_its_place(own_code: Path) -> None:
    (own_code / "upwards.py").write_text(UPWARDS)
    assert is_registered("upwards:Upwards") and "upwards:Upwards" in AGENTS and is_registered("random")
    (episode,) = collect_episodes(
        make_agent("upwards:Upwards", word="left"), "turngym/FrozenLake-v0", instance_range("train", 1)
    )
    assert {turn.action for turn in episode.turns} == {"left"}


@pytest.mark.parametrize("name", ["nobody", "some/folder", "C:\\agents", "a:b:c", "upwards:", ":Upwards", "a-b:C"])
def test_other_names_are_no_places(name: str, own_code: Path) -> None:
    assert not is_registered(name)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("nowhere:Upwards", "there is no module 'nowhere': it is neither installed nor in"),
        ("upwards:Downwards", "the module upwards has no class or function 'Downwards' that makes an agent"),
        ("upwards:number", "the module upwards has no class or function 'number' that makes an agent"),
    ],
)
def test_a_place_with_no_agent_is_one_sentence(name: str, part: str, own_code: Path) -> None:
    (own_code / "upwards.py").write_text(UPWARDS)
    with pytest.raises(InputError, match=re.escape(part)):
        is_registered(name)
    assert name not in AGENTS


def test_what_an_agent_needs_has_to_be_given(own_code: Path) -> None:
    (own_code / "upwards.py").write_text(UPWARDS)
    assert is_registered("upwards:Needy")
    with pytest.raises(InputError, match="the agent 'upwards:Needy' cannot be made without arguments"):
        make_agent("upwards:Needy")
    assert vars(make_agent("upwards:Needy", word="down"))["word"] == "down"
