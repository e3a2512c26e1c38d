"""Demonstrations with exchanged words: which words, a bijection that keeps all structure, the same bits on resume."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from turngym.agents.episode import Episode, Turn
from turngym.agents.models.chat import ChatFormat
from turngym.agents.models.history import encode_episode
from turngym.agents.models.small import train_tokenizer
from turngym.trainers.warm_start import permuting
from turngym.trainers.warm_start.permuting import exchangeable, permuted, with_permuted

PLAIN: dict[str, Any] = {"reward": 0.0, "task_reward": 0.0, "state_key": "", "potential": 0.0, "valid": True}
FRUIT = ("apple", "pear", "plum", "quince", "cherry", "grape")


def wish(first: str, second: str) -> Episode:
    """Return a demonstration that names what is wished, and what it says itself without having read it."""
    turns = [
        Turn(observation=f"wish : {first} and {second} , 3 of them", action=f"fetch[ {first} ]", **PLAIN),
        Turn(observation=f"basket : {first}", action=f"fetch[ {second} ]", **PLAIN),
    ]
    return Episode(env_id="Basket-v0", split="train", index=0, seed=0, turns=turns)


EPISODES = [wish(first, second) for first in FRUIT for second in FRUIT if first != second]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([text for episode in EPISODES for text in episode.texts()], vocabulary_size=600)


@pytest.fixture(scope="module")
def encoded(tokenizer: PreTrainedTokenizerFast) -> list[Episode]:
    return [encode_episode(ChatFormat(tokenizer), episode) for episode in EPISODES]


def words(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> set[str]:
    return {str(tokenizer.decode([i])) for i in ids}


def test_words_that_differ_between_instances_are_exchanged(
    tokenizer: PreTrainedTokenizerFast, encoded: list[Episode]
) -> None:
    (group,) = exchangeable(encoded, tokenizer)
    assert words(tokenizer, group) == {f" {fruit}" for fruit in FRUIT}


def test_a_word_that_is_said_before_it_is_read_stays(tokenizer: PreTrainedTokenizerFast) -> None:
    unread = Episode(
        env_id="Basket-v0", split="train", index=0, seed=0,
        turns=[Turn(observation="wish : pear", action="fetch[ plum ]", **PLAIN),
               Turn(observation="basket : plum", action="fetch[ pear ]", **PLAIN)],
    )  # fmt: skip
    episodes = [encode_episode(ChatFormat(tokenizer), episode) for episode in [*EPISODES, unread]]
    (group,) = exchangeable(episodes, tokenizer)
    assert words(tokenizer, group) == {f" {fruit}" for fruit in FRUIT if fruit != "plum"}


def test_a_word_stays_that_was_read_where_the_model_no_longer_sees_it(tokenizer: PreTrainedTokenizerFast) -> None:
    """The second reply of every episode has a word of the first observation."""
    chat = ChatFormat(tokenizer)
    (group,) = exchangeable([encode_episode(chat, one, 1) for one in EPISODES], tokenizer)
    assert words(tokenizer, group) == {f" {fruit}" for fruit in FRUIT}
    assert exchangeable([encode_episode(chat, one, 0) for one in EPISODES], tokenizer) == []


def test_tokens_change_places_with_tokens_of_the_same_form() -> None:
    texts = [f"{word}, {word} {word}" for word in FRUIT]
    tokenizer = train_tokenizer(texts * 3, vocabulary_size=600)
    turns = [[Turn(observation=text, action=text, **PLAIN)] for text in texts]
    episodes = [Episode(env_id="E-v0", split="train", index=0, seed=0, turns=turn) for turn in turns]
    groups = exchangeable([encode_episode(ChatFormat(tokenizer), episode) for episode in episodes], tokenizer)
    assert sorted(sorted(words(tokenizer, group)) for group in groups) == [
        sorted(f" {fruit}" for fruit in FRUIT), sorted(f"{fruit}," for fruit in FRUIT)
    ]  # fmt: skip


@given(
    groups=st.permutations(range(20)).map(lambda ids: [sorted(ids[:5]), sorted(ids[5:12])]),
    stream=st.lists(st.integers(0, 30), min_size=1),
    seed=st.integers(0, 2**32),
)
def test_a_permutation_is_a_bijection_within_the_groups(groups: list[list[int]], stream: list[int], seed: int) -> None:
    episode = Episode(env_id="E-v0", split="train", index=0, seed=0, token_ids=stream)
    renamed = permuted(episode, groups, np.random.default_rng(seed))
    pairs = set(zip(stream, renamed.token_ids, strict=True))
    assert len(pairs) == len(set(stream)) == len(set(renamed.token_ids)), "a token has one name, and a name one token"
    group_of = {token: number for number, group in enumerate(groups) for token in group}
    assert all(group_of.get(old, old + 100) == group_of.get(new, new + 100) for old, new in pairs)
    assert episode.token_ids == stream and renamed.turns == episode.turns


def test_a_permuted_demonstration_still_says_what_it_read(
    tokenizer: PreTrainedTokenizerFast, encoded: list[Episode]
) -> None:
    renamed = permuted(encoded[0], exchangeable(encoded, tokenizer), np.random.default_rng(3))
    text = str(tokenizer.decode(renamed.token_ids))
    first, second = re.findall(r"fetch\[ (\w+) \]", text)
    assert {first, second} <= set(FRUIT) and (first, second) != (FRUIT[0], FRUIT[1])
    assert text == tokenizer.decode(encode_episode(ChatFormat(tokenizer), wish(first, second)).token_ids), (
        "the words of the game, the marks and the digits stay"
    )


def test_a_share_of_the_demonstrations_is_permuted(
    tokenizer: PreTrainedTokenizerFast, encoded: list[Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permuting, "SAMPLE", 20)
    rates: list[float] = []

    def demonstrate(mistake_rate: float) -> list[Episode]:
        rates.append(mistake_rate)
        return encoded

    def batches(share: float, seed: int) -> list[list[int]]:
        play = with_permuted(demonstrate, share, tokenizer, np.random.default_rng(seed))
        return [episode.token_ids for _ in range(20) for episode in play(0.5)]

    plain = [episode.token_ids for episode in encoded] * 20
    for share in (0.0, 0.3, 1.0):
        rates.clear()
        found = batches(share, seed=0)
        assert rates == [0.0] * bool(share) + [0.5] * 20
        changed = np.mean([one != other for one, other in zip(found, plain, strict=True)])
        assert changed == pytest.approx(share, abs=0.1)
        assert found == batches(share, seed=0)
    assert batches(1.0, seed=1) != batches(1.0, seed=0)


def test_all_words_of_a_group_are_alike_to_the_permutation(
    tokenizer: PreTrainedTokenizerFast, encoded: list[Episode]
) -> None:
    groups, rng = exchangeable(encoded, tokenizer), np.random.default_rng(0)
    place = next(place for place, token in enumerate(encoded[0].token_ids) if token in groups[0])
    names = Counter(permuted(encoded[0], groups, rng).token_ids[place] for _ in range(600))
    assert set(names) == set(groups[0]) and min(names.values()) > 50
