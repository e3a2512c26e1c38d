"""The proposer's role: what a text is called, what it earns, and the generator that writes flawless ones."""

from __future__ import annotations

from typing import Any

import pytest

from turngym.envs import check_text_env, make_env, text_env
from turngym.envs.capabilities import MissingCapability
from turngym.envs.proposing import ProposalEnv, Verifier
from turngym.envs.registry import PROPOSAL

COUNTDOWN = "turngym/CountdownSteps-v0"


@pytest.mark.parametrize(
    ("text", "kind", "known"),
    [
        ("Target: 20. Numbers: 3 7 9.", "accepted", True),
        ("Target: 20, Numbers: 3 7 9.", "malformed", False),
        ("Target: 99. Numbers: 1 1 1.", "unsolvable", False),
        ("Target: 42. Numbers: 3 7 9.", "held_out", False),
    ],
)
def test_a_text_is_called_what_it_is(text: str, kind: str, known: bool) -> None:
    verdict = Verifier(COUNTDOWN).judge(text)
    assert (verdict.kind, verdict.index is not None, bool(verdict.reason)) == (kind, known, kind != "accepted")


def test_an_instance_that_random_play_solves_is_trivial() -> None:
    lake = "P G _ _\n_ _ _ _\n_ _ _ _\n_ _ _ _"
    trivial = Verifier("turngym/FrozenLake-v0", trivial=0.2).judge(lake)
    assert (trivial.kind, trivial.reason) == ("trivial", "random play solves it in 70% of its tries")
    assert Verifier("turngym/FrozenLake-v0", trivial=1.0).judge(lake).kind == "accepted"


def test_an_environment_without_written_instances_is_refused() -> None:
    with pytest.raises(MissingCapability, match="read_instance"):
        Verifier(PROPOSAL, {"game": COUNTDOWN})


def test_the_proposer_is_an_environment_that_keeps_the_contract() -> None:
    # Gymnasium's own checks want more than one step before an episode is cut off.
    lacking = check_text_env(make_env(PROPOSAL, {"game": COUNTDOWN, "max_episode_steps": 2}))
    assert not [note for note in lacking if note.startswith("no oracle")]


def played(env: Any, action: str) -> tuple[Any, ...]:
    env.reset(seed=0)
    return env.step(action)


def test_a_proposal_earns_1_if_it_can_be_played_and_ends_the_episode_if_it_can_be_read() -> None:
    env = make_env(PROPOSAL, {"game": COUNTDOWN})
    observation, reward, terminated, _, info = played(env, "Target: 20. Numbers: 3 7 9.")
    assert (observation, reward, terminated) == ("Accepted.", 1.0, True)
    assert (info["success"], info["proposal"]) == (True, "accepted")
    observation, reward, terminated, _, info = played(env, "Target: 99. Numbers: 1 1 1.")
    assert (observation, reward, terminated) == ("99 cannot be made of these numbers", 0.0, True)
    observation, reward, terminated, truncated, info = played(env, "24")
    assert (reward, terminated, truncated, info["valid"], info["proposal"]) == (0.0, False, True, False, "malformed")


def test_the_oracle_writes_drawn_training_instances() -> None:
    env = make_env(PROPOSAL, {"game": COUNTDOWN})
    game, other = text_env(env), make_env(COUNTDOWN)
    assert isinstance(game, ProposalEnv)
    texts = set()
    for index in range(20):
        env.reset(seed=0, options={"split": "train", "index": index})
        texts.add(text := game.oracle_action())
        other.reset(seed=0, options={"split": "train", "index": index})
        written: Any = text_env(other)
        assert text == written.written_instance()
        assert env.step(text)[1] == 1.0
    assert len(texts) > 15


def test_the_instructions_say_what_is_to_be_written() -> None:
    game = text_env(
        make_env(PROPOSAL, {"game": "turngym/FrozenLake-v0", "reasoning": True, "game_kwargs": {"size": 3}})
    )
    assert "3 rows of 3 cells" in game.instructions
    assert "<answer>" in game.instructions
