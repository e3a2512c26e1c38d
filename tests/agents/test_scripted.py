"""Scripted players: seeds, slots, mixed quality, hostile texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest

from turngym.agents.base import Agent
from turngym.agents.rollout import Instance, collect_episodes
from turngym.agents.scripted import (
    HOSTILE_TEXTS,
    DemonstrationAgent,
    HandoverAgent,
    HostileAgent,
    OracleAgent,
    RandomAgent,
    RuleAgent,
    ScriptedAgent,
    Seat,
)
from turngym.envs import make_env, text_env
from turngym.envs.capabilities import MissingCapability
from turngym.envs.core import TextEnv
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import Split


class DoorEnv(TextEnv):
    """Three of eight doors must be opened in order."""

    _rules = "Open door 0, then 1, then 2."
    instance_key = "doors"

    def _begin(self, split: Split, index: int) -> None:
        self.opened = 0

    def _observe(self, feedback: str) -> str:
        return f"{feedback} {self.opened} doors are open.".strip()

    def _play(self, action: str) -> tuple[float, bool, str]:
        if action not in set("01234567"):
            raise InvalidAction("name one door from 0 to 7")
        self.opened += action == str(self.opened)
        return float(self._success), self._success, ""

    @property
    def _state(self) -> str:
        return str(self.opened)

    @property
    def _success(self) -> bool:
        return self.opened == 3

    @property
    def _potential(self) -> float:
        return self.opened / 3

    def sample_action(self, rng: np.random.Generator) -> str:
        return str(rng.integers(8))

    def mistaken_action(self, rng: np.random.Generator) -> str:
        return f"door {self.opened}"

    def oracle_action(self) -> str:
        return str(self.opened)


class SilentDoorEnv(DoorEnv):
    """The doors for models alone: no oracle, no random actions."""

    sample_action = mistaken_action = oracle_action = None  # type: ignore[assignment]


AGENTS: list[Agent] = [RandomAgent(), OracleAgent(), DemonstrationAgent(0.1), HostileAgent()]
"""The scripted players keep the interface of all players, as the type checker sees here."""


def play(agent: ScriptedAgent, seed: int, turns: int = 12, slot: int = 0, *, reasoning: bool = False) -> list[str]:
    """Play one episode by hand and return its actions."""
    env = DoorEnv(reasoning=reasoning)
    observation, _ = env.reset(seed=seed)
    agent.start(slot, env, observation, seed)
    actions = []
    for _ in range(turns):
        (reply,) = agent.act([slot])
        actions.append(reply.text)
        assert reply.span == (0, 0) and reply.logprobs == [] and not reply.out_of_room
        observation, _, terminated, _, _ = env.step(reply.text)
        if terminated:
            break
        agent.observe(slot, observation)
    assert agent.finish(slot) == []
    return actions


def test_the_oracle_wins_in_as_few_turns_as_possible() -> None:
    assert play(OracleAgent(), seed=3) == ["0", "1", "2"]


def test_replies_are_framed_where_the_environment_asks_for_reasoning() -> None:
    assert play(OracleAgent(), seed=3, reasoning=True) == [f"<answer>{door}</answer>" for door in "012"]


@pytest.mark.parametrize("make", [RandomAgent, HostileAgent, lambda seed=0: DemonstrationAgent(0.9, seed)])
def test_an_episode_depends_on_its_seed_and_on_nothing_else(make: type[ScriptedAgent]) -> None:
    alone = play(make(), seed=11)
    agent = make()
    play(agent, seed=12, slot=5)
    assert play(agent, seed=11, slot=2) == alone
    others = [play(make(), seed=seed) for seed in range(12)]
    assert any(actions != alone for actions in others)
    assert any(play(make(seed), seed=11) != alone for seed in range(1, 12))


def test_slots_do_not_disturb_each_other() -> None:
    env_a, env_b = DoorEnv(), DoorEnv()
    agent = RandomAgent()
    for slot, env in ((0, env_a), (1, env_b)):
        observation, _ = env.reset(seed=slot)
        agent.start(slot, env, observation, seed=slot)
    together = [[reply.text for reply in agent.act([1, 0])] for _ in range(6)]
    single = RandomAgent()
    single.start(7, env_b, "", seed=1)
    assert [texts[0] for texts in together] == [single.act([7])[0].text for _ in range(6)]


def test_the_players_chance_is_not_the_environments() -> None:
    env = DoorEnv()
    env.reset(seed=5)
    agent = RandomAgent()
    agent.start(0, env, "", seed=5)
    drawn = [reply.text for _ in range(30) for reply in agent.act([0])]
    assert drawn != [str(number) for number in np.random.default_rng(5).integers(8, size=30)]


def test_playing_leaves_the_global_generator_alone() -> None:
    before = repr(np.random.get_state())
    play(RandomAgent(), seed=0)
    play(HostileAgent(), seed=0)
    assert repr(np.random.get_state()) == before


def test_demonstrations_hold_mistakes_and_recoveries() -> None:
    agent = DemonstrationAgent(0.5)
    episodes = [play(agent, seed=seed, turns=200) for seed in range(300)]
    slips = [sum(action.startswith("door") for action in actions) for actions in episodes]
    assert all(actions[-1] == "2" for actions in episodes), "every demonstration recovers in the end"
    assert min(slips) == 0 and max(slips) >= 3
    assert sum(slips) / sum(len(actions) for actions in episodes) == pytest.approx(0.5, abs=0.05)


def test_it_is_kept_which_turns_were_slips() -> None:
    agent = DemonstrationAgent(0.5)
    for seed in range(50):
        slips = [turn for turn, action in enumerate(play(agent, seed=seed, turns=200)) if action.startswith("door")]
        assert agent.slips.get(seed, []) == slips


def test_some_slips_lack_the_frame_of_a_reasoning_reply() -> None:
    agent = DemonstrationAgent(0.5)
    replies = {seed: play(agent, seed=seed, turns=200, reasoning=True) for seed in range(100)}
    unframed = {(seed, turn) for seed, said in replies.items() for turn, reply in enumerate(said) if reply[0] != "<"}
    slips = {(seed, turn) for seed, turns in agent.slips.items() for turn in turns}
    assert unframed <= slips and 0.03 < len(unframed) / len(slips) < 0.3


class Noting(ScriptedAgent):
    """Thinks before its first action, and before no other."""

    def choose(self, seat: Seat) -> str:
        if not seat.env.turns_taken:
            seat.thoughts = "hm"
        return str(seat.env.turns_taken)


def test_thoughts_stand_before_an_action_where_they_may() -> None:
    assert play(DemonstrationAgent(0.0, teacher=Noting()), seed=0, turns=2) == ["0", "1"]
    framed = play(DemonstrationAgent(0.0, teacher=Noting()), seed=0, turns=2, reasoning=True)
    assert framed == ["hm<answer>0</answer>", "<answer>1</answer>"]


class Counting(ScriptedAgent):
    """Counts the observations of an episode, from its start on."""

    def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
        super().start(slot, env, observation, seed)
        self.read = [observation]

    def observe(self, slot: int, observation: str) -> None:
        self.read.append(observation)

    def choose(self, seat: Seat) -> str:
        return str(len(self.read) - 1)


def test_a_teacher_that_remembers_reads_the_episode() -> None:
    assert play(DemonstrationAgent(0.0, teacher=Counting()), seed=3) == ["0", "1", "2"]
    handover = HandoverAgent({3: ["door 1"]}, Counting())
    assert play(handover, seed=3, turns=2) == ["door 1", "1"]


def test_a_rate_of_zero_is_the_oracle() -> None:
    assert all(play(DemonstrationAgent(0.0), seed=seed) == ["0", "1", "2"] for seed in range(20))


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_probability_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"mistake_rate must be in \[0, 1\]"):
        DemonstrationAgent(rate)


def test_hostile_texts_never_make_an_environment_raise() -> None:
    agent = HostileAgent()
    seen: set[str] = set()
    for seed in range(60):
        env = DoorEnv(reasoning=seed % 2 == 0)
        observation, _ = env.reset(seed=seed)
        agent.start(0, env, observation, seed)
        for _ in range(10):
            text = agent.act([0])[0].text
            seen.add(text)
            observation, reward, *_ = env.step(text)
            assert env.observation_space.contains(observation) and env.reward_range[0] <= reward <= env.reward_range[1]
    assert set(HOSTILE_TEXTS) <= seen
    assert max(map(len, seen)) >= 1_000_000


@pytest.mark.parametrize(
    ("agent", "sentence"),
    [
        (RandomAgent(), "sample_action, which RandomAgent needs: define it, or play with HostileAgent or with a model"),
        (OracleAgent(), "oracle_action, which OracleAgent needs: define it, or choose another agent"),
        (RuleAgent(), "rule_action, which RuleAgent needs: define it, or choose another agent"),
        (DemonstrationAgent(0.1), "oracle_action, which DemonstrationAgent needs: define it, or train without a warm"),
    ],
)
def test_what_an_environment_lacks_is_said_when_play_begins(agent: ScriptedAgent, sentence: str) -> None:
    env = SilentDoorEnv()
    observation, _ = env.reset(seed=0)
    with pytest.raises(MissingCapability, match=f"SilentDoorEnv defines no {sentence}"):
        agent.start(0, env, observation, 0)
    with pytest.raises(MissingCapability, match="SilentDoorEnv"):
        agent.check(SilentDoorEnv)


def test_a_rollout_of_a_player_that_cannot_play_stops_and_says_so(silent_doors: str) -> None:
    with pytest.raises(MissingCapability, match="SilentDoorEnv defines no oracle_action"):
        collect_episodes(OracleAgent(), silent_doors, [Instance(split="train", index=0, seed=0)])


def test_the_hostile_agent_plays_anything(silent_doors: str) -> None:
    instances = [Instance(split="train", index=index, seed=index) for index in range(20)]
    episodes = collect_episodes(HostileAgent(), silent_doors, instances, slots=4)
    assert all(not episode.error and len(episode.turns) == 6 for episode in episodes)
    assert len({turn.action for episode in episodes for turn in episode.turns}) > 15


@pytest.fixture
def silent_doors() -> Iterator[str]:
    """Register the doors for models alone, as other people register theirs."""
    gym.register("test/SilentDoors-v0", cast("Any", SilentDoorEnv), max_episode_steps=6)
    yield "test/SilentDoors-v0"
    del gym.registry["test/SilentDoors-v0"]


def test_slips_are_usable_actions_where_no_others_are_known() -> None:
    plain = type("PlainDoorEnv", (DoorEnv,), {"mistaken_action": None})
    env = plain()
    env.reset(seed=0)
    agent = DemonstrationAgent(1.0)
    agent.start(0, env, "", 0)
    slips = {agent.act([0])[0].text for _ in range(100)}
    assert slips == set("01234567")


def test_demonstrations_without_anything_to_slip_to() -> None:
    sure = type("SureDoorEnv", (SilentDoorEnv,), {"oracle_action": DoorEnv.oracle_action})
    with pytest.raises(
        MissingCapability, match=r"no mistaken_action, .* define sample_action, or set the mistake rate"
    ):
        DemonstrationAgent(0.1).check(sure)
    env = sure()
    env.reset(seed=0)
    agent = DemonstrationAgent(0.0)
    agent.start(0, env, "", 0)
    assert agent.act([0])[0].text == "0"


@pytest.mark.parametrize("reasoning", [False, True])
def test_an_action_that_is_no_text_is_told(reasoning: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FrozenLakeEnv, "oracle_action", lambda self: None)
    agent = OracleAgent()
    env = text_env(make_env("turngym/FrozenLake-v0", {"reasoning": reasoning}))
    observation, _ = env.reset(seed=0)
    agent.start(0, env, observation, 0)
    with pytest.raises(TypeError, match=r"^OracleAgent chose None in FrozenLakeEnv, which is not text$"):
        agent.act([0])


@pytest.mark.parametrize("name", ["Countdown", "CountdownSteps", "Multiplication"])
def test_the_oracle_thinks_before_it_acts_where_the_environment_knows_how(name: str) -> None:
    instances = [Instance(split="test", index=index, seed=index) for index in range(20)]
    thinking, mute = (
        collect_episodes(OracleAgent(), f"turngym/{name}-v0", instances, env_kwargs={"reasoning": reasoning})
        for reasoning in (True, False)
    )
    assert all(episode.success for episode in [*thinking, *mute])
    for episode in thinking:
        assert all(turn.action.endswith("</answer>") and "\n<answer>" in turn.action for turn in episode.turns)
    assert all("<answer>" not in turn.action for episode in mute for turn in episode.turns)
