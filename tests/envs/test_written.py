"""Instances as text: read as they are written, numbered by content, in their own split, or refused with a reason."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym.envs import make_env, text_env
from turngym.envs.capabilities import Writing, capabilities_of
from turngym.envs.countdown_puzzles import PuzzleFamily
from turngym.envs.frozen_lake_maps import num_codes
from turngym.envs.splits import SPLITS, Split, split_of
from turngym.envs.written import MAX_CODES, WRITTEN_INSTANCES, InvalidInstance, UnsolvableInstance, code_of, index_of

WRITTEN: list[tuple[str, dict[str, Any]]] = [
    ("turngym/FrozenLake-v0", {}),
    ("turngym/FrozenLake-v0", {"corners": True, "size": 8}),
    ("turngym/FrozenLake-v0", {"size": 2, "frozen_probability": 1.0}),
    ("turngym/FrozenLakeWindy-v0", {}),
    ("turngym/Countdown-v0", {}),
    ("turngym/Countdown4-v0", {"reward_scheme": "graded"}),
    ("turngym/CountdownSteps-v0", {"number_range": (2, 9), "target_range": (10, 30)}),
    ("turngym/Multiplication-v0", {"digits": (1, 3)}),
    ("turngym/MultiplicationSteps-v0", {"digit_order": "least_first"}),
]


def written_game(env_id: str, kwargs: dict[str, Any]) -> tuple[gym.Env[str, str], Any]:
    env = make_env(env_id, kwargs)
    game = text_env(env)
    assert isinstance(game, Writing)
    return env, game


@pytest.mark.parametrize(("env_id", "kwargs"), WRITTEN)
@pytest.mark.parametrize("split", SPLITS)
def test_what_is_written_is_read_as_the_same_instance(env_id: str, kwargs: dict[str, Any], split: Split) -> None:
    env, game = written_game(env_id, kwargs)
    if kwargs.get("size") == 2:
        pytest.skip("four lakes of 2x2 are not shared out among three splits")
    for index in range(8):
        drawn, _ = env.reset(seed=3, options={"split": split, "index": index})
        text, key = game.written_instance(), game.instance_key
        place, number = game.read_instance(text)
        assert (place, number >= WRITTEN_INSTANCES, number < 2**63) == (split, True, True)
        for options in ({"split": split, "index": number}, {"instance": text}):
            again, _ = env.reset(seed=3, options=options)
            assert (again, game.instance_key) == (drawn, key)


@pytest.mark.parametrize(("env_id", "kwargs"), WRITTEN)
def test_an_index_of_content_is_refused_in_another_split_and_beyond_the_last(
    env_id: str, kwargs: dict[str, Any]
) -> None:
    env, game = written_game(env_id, kwargs)
    env.reset(seed=0, options={"split": "train", "index": 0})
    _, number = game.read_instance(game.written_instance())
    with pytest.raises(ValueError, match="belongs to the split 'train', not to 'test'"):
        env.reset(options={"split": "test", "index": number})
    with pytest.raises(ValueError, match=r"there is no instance|no way from start"):
        env.reset(options={"split": "train", "index": 2**63 - 1})


@pytest.mark.parametrize(
    ("env_id", "text", "kind", "reason"),
    [
        ("Countdown", "Target: 24. Numbers: 3 7.", InvalidInstance, "3 numbers, this one 2"),
        ("Countdown", "Numbers: 3 7 9. Target: 24.", InvalidInstance, "written such as"),
        ("Countdown", "Target: 24. Numbers: 3 7 90.", InvalidInstance, "from 1 to 20"),
        ("Countdown", "Target: 240. Numbers: 3 7 9.", InvalidInstance, "the target lies from 1 to 100"),
        ("Countdown", "Target: 99. Numbers: 1 1 1.", UnsolvableInstance, "99 cannot be made"),
        ("Countdown", "", InvalidInstance, "written such as"),
        ("FrozenLake", "P _ _ G", InvalidInstance, "4 rows of 4 cells"),
        ("FrozenLake", "P _ _ G\n_ _ P _\n_ _ _ _\n_ _ _ _", InvalidInstance, "one P"),
        ("FrozenLake", "P O _ G\nO O _ _\n_ _ _ _\n_ _ _ _", UnsolvableInstance, "no way"),
        ("FrozenLake", "P _ _ X\n_ _ _ _\n_ _ _ _\n_ _ _ G", InvalidInstance, "each P, _, O or G"),
        ("Multiplication", "2 * 47", InvalidInstance, "2 and 2 digits"),
        ("Multiplication", "02 * 47", InvalidInstance, "none of them first a 0"),
        ("MultiplicationSteps", "23*47", InvalidInstance, "such as: 23 \\* 47"),
    ],
)
def test_what_is_no_instance_is_refused_with_the_reason(
    env_id: str, text: str, kind: type[InvalidInstance], reason: str
) -> None:
    env, game = written_game(f"turngym/{env_id}-v0", {})
    with pytest.raises(kind, match=reason) as refused:
        game.read_instance(text)
    assert type(refused.value) is kind
    with pytest.raises(kind, match=reason):
        env.reset(options={"instance": text})


def test_the_form_shows_an_instance_that_can_be_read() -> None:
    for env_id, kwargs in WRITTEN:
        _, game = written_game(env_id, kwargs)
        example = game.instance_form.partition("such as:")[2].strip()
        split, index = game.read_instance(example)
        assert split in SPLITS, env_id
        assert index >= WRITTEN_INSTANCES


def test_numbers_in_any_order_are_one_puzzle() -> None:
    family = PuzzleFamily(3, (1, 20), (1, 100))
    assert family.read("Target: 42. Numbers: 9 3 7.") == family.read("Target: 42. Numbers: 3 7 9.")
    assert family.read("Target: 42. Numbers: 3 7 9.")[0] == split_of("3,7,9->42") == "validation"


def test_families_that_are_too_large_to_be_numbered_say_so() -> None:
    env, game = written_game("turngym/FrozenLake8x8-v0", {})
    assert num_codes(8, corners=False) > MAX_CODES >= num_codes(8, corners=True)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="cannot be written"):
        game.read_instance(game.written_instance())


def test_an_environment_that_reads_no_instances_says_so() -> None:
    env = gym.make("turngym-selfplay/Proposal-v0", game="turngym/Countdown-v0")
    assert "writing" not in capabilities_of(env)
    with pytest.raises(ValueError, match="reads no written instances"):
        env.reset(options={"instance": "Target: 24. Numbers: 3 7 9."})


def test_a_written_instance_leaves_no_room_for_split_and_index() -> None:
    env = make_env("turngym/Countdown-v0")
    with pytest.raises(ValueError, match="leave out 'split' and 'index'"):
        env.reset(options={"instance": "Target: 24. Numbers: 3 7 9.", "split": "test"})
    with pytest.raises(ValueError, match="instance must be"):
        env.reset(options={"instance": 7})


@given(code=st.integers(0, MAX_CODES - 1), codes=st.integers(1, 2**64))
def test_an_index_of_content_is_one_of_the_family_or_refused(code: int, codes: int) -> None:
    if codes > MAX_CODES or code >= codes:
        with pytest.raises(ValueError, match=r"cannot be written|there is no instance"):
            code_of(index_of(code), codes)
    else:
        assert code_of(index_of(code), codes) == code
    assert code_of(index_of(MAX_CODES + code), codes) is None  # drawn, as any index beyond is


@settings(max_examples=200)
@given(text=st.text(alphabet="PTargetNumbers: 0123456789.*_OG\n", max_size=60))
@pytest.mark.parametrize("env_id", ["FrozenLake", "Countdown", "Multiplication"])
def test_any_text_is_an_instance_or_refused(env_id: str, text: str) -> None:
    _, game = written_game(f"turngym/{env_id}-v0", {})
    try:
        split, index = game.read_instance(text)
    except InvalidInstance:
        return
    assert split in SPLITS
    assert WRITTEN_INSTANCES <= index < 2**63
