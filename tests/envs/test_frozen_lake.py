"""FrozenLake says and does what Gymnasium's lake does."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.toy_text import frozen_lake
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym.envs.frozen_lake import MOVES, FrozenLakeEnv
from turngym.envs.frozen_lake_maps import Lake, ice_distances, lake_of, transition_table
from turngym.envs.splits import Split

BAY = ("SFFH", "FHFF", "FFFG", "FFFF")


class FixedLake(FrozenLakeEnv):
    """A lake that is always the same."""

    def __init__(self, rows: tuple[str, ...] = BAY, *, turns: int | None = None, **kwargs: Any) -> None:
        super().__init__(size=len(rows), **kwargs)
        self._fixed = lake_of(rows)
        self.turn_limit = turns
        self.reset(seed=0)

    def _drawn_lake(self, split: Split, index: int) -> Lake:
        return self._fixed


def play(env: FrozenLakeEnv, *replies: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
    """Step through replies and return the last answer."""
    answers = [env.step(reply) for reply in replies]
    return answers[-1]


# What the player reads ----------------------------------------------------------------------------------------------


def test_grid_view() -> None:
    env = FixedLake()
    assert env.reset(seed=0)[0] == (
        "P _ _ O\n_ O _ _\n_ _ _ G\n_ _ _ _\nAround: left edge, down ice, right ice, up edge.\nMoves left: 10."
    )
    assert play(env, "right", "right", "down")[0] == (
        "Moved down.\n_ _ _ O\n_ O P _\n_ _ _ G\n_ _ _ _\n"
        "Around: left hole, down ice, right ice, up ice.\nMoves left: 7."
    )


def test_coordinates_view() -> None:
    env = FixedLake(view="coordinates", action_budget=None)
    assert play(env, "down")[0] == (
        "Moved down.\nYou: row 2 column 1. Goal: row 3 column 4. Holes: row 1 column 4; row 2 column 2.\n"
        "Around: left edge, down ice, right hole, up ice."
    )
    assert "Holes: none." in FixedLake(("SF", "FG"), view="coordinates").reset()[0]


@pytest.mark.parametrize(
    ("replies", "feedback", "cell"),
    [
        (["left"], "Blocked by the edge.", "P _ _ O"),
        (["right"], "Moved right.", "_ P _ O"),
        (["right", "right", "right"], "Moved right and fell into a hole.", "_ _ _ X"),
        (["down", "down", "right", "right", "right"], "Moved right and reached the goal.", "_ _ _ *"),
    ],
)
def test_feedback_and_marks(replies: list[str], feedback: str, cell: str) -> None:
    lines = play(FixedLake(), *replies)[0].split("\n")
    assert lines[0] == feedback
    assert cell in lines


def test_slips_are_told() -> None:
    env = FixedLake(success_rate=0.0)
    told = set()
    for seed in range(20):
        env.reset(seed=seed)
        told.add(env.step("down")[0].split("\n")[0])
    assert told == {"Slipped: moved right.", "Slipped: blocked by the edge."}


def test_instructions_follow_the_configuration() -> None:
    env = FixedLake(success_rate=1 / 3, turns=6, action_budget=12, actions_per_turn=3)
    for fact in (
        "4 rows and 4 columns",
        "where it points with probability 0.333, and to each of its two sides with probability 0.333",
        "You have 12 moves in all.",
        "An action is 1 to 3 moves, separated by spaces or commas.",
        "You have 6 turns.",
        "left, down, right, up",
    ):
        assert fact in env.instructions
    plain = FixedLake(("SF", "FG"), view="coordinates", action_budget=None).instructions
    assert "2 rows and 2 columns" in plain and "not slippery" in plain and "An action is one move." in plain
    assert "moves in all" not in plain and "turns" not in plain and "Row 1 is the top" in plain


# Actions ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", ["RIGHT", "  Right\n", "right,", "right"])
def test_case_and_separators_do_not_matter(reply: str) -> None:
    assert "Moved right." in FixedLake().step(reply)[0]


@pytest.mark.parametrize(
    "reply", ["", "r", "rights", "right right", "go right", "2", "right.", "<answer>right</answer>"]
)
def test_other_replies_are_invalid_and_move_nothing(reply: str) -> None:
    env = FixedLake()
    before = env.reset(seed=0)[0]
    observation, reward, terminated, _, info = env.step(reply)
    feedback, _, rest = observation.partition("\n")
    assert feedback.startswith("Invalid action: ") and rest == before
    assert (reward, terminated, info["valid"]) == (0.0, False, False)
    if reply:
        assert feedback == "Invalid action: write one of left, down, right, up."


def test_several_moves_in_a_reply() -> None:
    env = FixedLake(actions_per_turn=3)
    observation = env.step("right, LEFT down")[0]
    assert observation.startswith("Moved right. Moved left. Moved down.\n")
    assert "Moves left: 7." in observation
    assert "write 1 to 3 of left, down, right, up" in env.step("up up up up")[0]


def test_moves_after_the_end_are_ignored() -> None:
    observation, reward, terminated, _, info = FixedLake(("SF", "FG"), actions_per_turn=4).step("right down left up")
    assert observation.startswith("Moved right. Moved down and reached the goal.\n")
    assert "Moves left: 8." in observation
    assert (reward, terminated, info["success"]) == (1.0, True, True)


def test_reply_of_more_moves_than_are_left_is_invalid() -> None:
    env = FixedLake(actions_per_turn=3, action_budget=4)
    env.step("right left right")
    assert "write one of" in env.step("left right")[0]
    assert "Moved left." in env.step("left")[0]


@given(st.text(st.sampled_from("leftdownrigup ,LRUD"), max_size=30), st.integers(1, 4))
@settings(max_examples=200)
def test_a_reply_is_either_moves_or_refused(reply: str, most: int) -> None:
    env = FixedLake(actions_per_turn=most, action_budget=None)
    words = reply.replace(",", " ").lower().split()
    usable = 1 <= len(words) <= most and set(words) <= set(MOVES)
    assert env.step(reply)[4]["valid"] is usable


# Ends of an episode -------------------------------------------------------------------------------------------------


def test_a_reply_after_the_end_is_unusable() -> None:
    observation, reward, _, _, info = play(FixedLake(), "right", "right", "right", "left")
    assert "the game is over" in observation and reward == 0.0
    assert not info["valid"] and not info["success"] and info["potential"] == 0.0


def test_hole_ends_without_reward() -> None:
    _, reward, terminated, truncated, info = play(FixedLake(), "down", "right")
    assert (reward, terminated, truncated, info["success"], info["potential"]) == (0.0, True, False, False, 0.0)


@pytest.mark.parametrize(("turns", "terminates"), [(None, True), (4, True), (3, False)])
def test_spent_budget_terminates_unless_the_turns_are_spent_too(turns: int | None, terminates: bool) -> None:
    env = FixedLake(action_budget=3, turns=turns)
    answers = [env.step("up") for _ in range(3)]
    assert [answer[2] for answer in answers] == [False, False, terminates]
    assert "Moves left: 0." in answers[-1][0]


def test_time_limit_truncates_where_budget_and_turns_end_together() -> None:
    env = gym.make("turngym/FrozenLake-v0", action_budget=2, max_episode_steps=2)
    env.reset(seed=3)
    ends = [env.step("no move")[2:4], env.step("no move")[2:4]]
    assert ends == [(False, False), (False, True)]


def test_nothing_can_be_played_after_the_end() -> None:
    for env, replies in ((FixedLake(action_budget=1), ["up"]), (FixedLake(("SF", "FG")), ["down", "right"])):
        play(env, *replies)
        observation, reward, _, _, info = env.step("up")
        assert "Invalid action: the game is over." in observation
        assert reward == 0.0 and not info["valid"]


# The game is Gymnasium's --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("success_rate", [0.0, 1 / 3, 0.5, 0.8, 1.0])
def test_episode_is_gymnasiums(success_rate: float) -> None:
    """The same generator and the same moves lead Gymnasium's own environment through the same cells."""
    rng = np.random.default_rng(0)
    for seed in range(50):
        env = FixedLake(success_rate=success_rate, action_budget=None)
        env.reset(seed=seed)
        theirs: Any = frozen_lake.FrozenLakeEnv(desc=list(BAY))
        theirs.P = transition_table(BAY, success_rate)
        theirs.reset()
        theirs.np_random = deepcopy(env.np_random)
        ended = False
        for _ in range(30):
            if ended:
                break
            move = int(rng.integers(4))
            cell, their_reward, their_end, _, _ = theirs.step(move)
            _, reward, ended, _, info = env.step(MOVES[move])
            assert (info["state_key"].split("|")[1], reward, ended) == (f"{cell},None", their_reward, their_end)


@pytest.mark.parametrize("env_id", ["turngym/FrozenLake-v0", "turngym/FrozenLakeSlippery-v0"])
def test_a_copy_goes_on_alike_and_alone(env_id: str) -> None:
    env = gym.make(env_id)
    env.reset(seed=5)
    env.step("up")
    copied = deepcopy(env)
    ahead = [copied.step(move) for move in ("left", "down", "down")]
    assert [env.step(move) for move in ("left", "down", "down")] == ahead


# Instances ----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(2, 6), st.sampled_from([0.3, 0.6, 0.8]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_lake_has_a_way(index: int, size: int, frozen_probability: float, corners: bool) -> None:
    if corners and (size == 2 or frozen_probability < 0.6):
        corners = False  # so few lakes of this kind have a way that they cannot be split
    env = FrozenLakeEnv(size=size, frozen_probability=frozen_probability, corners=corners)
    env.reset(options={"index": index})
    letters = "".join(env.rows)
    assert letters.count("S") == letters.count("G") == 1 and len(letters) == size**2
    assert letters.index("S") in ice_distances(env.rows, letters.index("G"))
    if corners:
        assert letters[0] == "S" and letters[-1] == "G"


def test_random_starts_and_goals_cover_the_lake() -> None:
    env = FrozenLakeEnv()
    starts, goals = set(), set()
    for index in range(300):
        env.reset(options={"index": index})
        letters = "".join(env.rows)
        starts.add(letters.index("S"))
        goals.add(letters.index("G"))
    assert starts == goals == set(range(16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 1}, r"size must be in \[2, 16\], got 1"),
        ({"size": 17}, r"size must be in \[2, 16\]"),
        ({"size": 4.0}, "size must be a whole number, got 4.0"),
        ({"corners": "no"}, "corners must be true or false, got 'no'"),
        ({"corners": 0}, "corners must be true or false, got 0"),
        ({"success_rate": math.nan}, r"success_rate must be in \[0, 1\], got nan"),
        ({"success_rate": "1"}, "success_rate must be a number, got '1'"),
        ({"actions_per_turn": 2.5}, "actions_per_turn must be a whole number, got 2.5"),
        ({"frozen_probability": 0.0}, r"frozen_probability must be in \(0, 1\], got 0.0"),
        ({"success_rate": 1.5}, r"success_rate must be in \[0, 1\], got 1.5"),
        ({"actions_per_turn": 0}, "actions_per_turn must be at least 1, got 0"),
        ({"action_budget": 0}, "action_budget must be at least 1, got 0"),
        ({"view": "picture"}, "view must be one of 'grid', 'coordinates', got 'picture'"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenLakeEnv(**arguments)


def test_hopeless_family_is_refused() -> None:
    env = FrozenLakeEnv(size=12, frozen_probability=0.01, corners=True)
    with pytest.raises(ValueError, match=r"no lake with a way in .* draws; raise frozen_probability"):
        env.reset(seed=0)


# Players and potential ----------------------------------------------------------------------------------------------


def test_potential_is_the_way_covered() -> None:
    env = FixedLake(("SFH", "HFF", "GFF"))
    potentials = [env.reset(seed=0)[1]["potential"]]
    potentials += [env.step(move)[4]["potential"] for move in ("right", "down", "down", "left")]
    assert potentials == pytest.approx([0, 1 / 4, 2 / 4, 3 / 4, 0])


def test_oracle_takes_a_shortest_way_and_does_not_dawdle() -> None:
    env = FrozenLakeEnv(size=6, action_budget=20)
    for index in range(50):
        env.reset(options={"split": "test", "index": index})
        letters = "".join(env.rows)
        shortest = ice_distances(env.rows, letters.index("G"))[letters.index("S")]
        rewards = [env.step(env.oracle_action())[1] for _ in range(min(shortest, 20))]
        assert sum(rewards) == (1.0 if shortest <= 20 else 0.0)


def test_oracle_plans_a_whole_reply_where_nothing_is_uncertain() -> None:
    env = FixedLake(actions_per_turn=3, turns=5)
    assert len(env.oracle_action().split()) == 3
    assert env.step(env.oracle_action())[1] == 0.0
    assert len(env.oracle_action().split()) == 2, "the plan ends on the goal"
    assert env.step(env.oracle_action())[1] == 1.0


def test_oracle_looks_after_every_move_on_slippery_ice_while_turns_last() -> None:
    patient = FixedLake(success_rate=0.8, actions_per_turn=3, turns=10)
    assert len(patient.oracle_action().split()) == 1
    assert patient.optimal_success() is not None
    hurried = FixedLake(success_rate=0.8, actions_per_turn=3, turns=3)
    assert len(hurried.oracle_action().split()) == 3
    assert hurried.optimal_success() is None, "moves made unseen are no Markov decision process over cells"


def test_oracle_knows_the_moves_that_cannot_slip_into_a_hole() -> None:
    """Beside the goal and above a hole, moving up can slip to the goal and moving right can slip into the hole."""
    env = FixedLake(("SFG", "FHF", "FFF"), success_rate=1 / 3, action_budget=60)
    while env.reset()[1]["success"] or "Moved right." not in env.step("right")[0]:
        pass
    assert env.oracle_action() == "up"


def test_success_is_unknown_without_any_limit() -> None:
    env = FixedLake(action_budget=None)
    assert env.optimal_success() is None and env.random_success() is None
    assert env.oracle_action() in MOVES
    env.turn_limit = 6
    assert env.optimal_success() == 1.0 and 0 < (env.random_success() or 0) < 1


def test_random_replies_are_full_and_fit_the_budget() -> None:
    env = FixedLake(("SF", "FG"), actions_per_turn=3, action_budget=4)
    rng = np.random.default_rng(0)
    assert {len(env.sample_action(rng).split()) for _ in range(20)} == {3}
    env.step("up up up")
    assert {env.sample_action(rng) for _ in range(100)} == set(MOVES)
    assert {env.mistaken_action(rng) for _ in range(100)} == set(MOVES)
