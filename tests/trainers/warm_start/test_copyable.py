"""What of demonstrations can be copied token by token, for texts that were made for it and others."""

from __future__ import annotations

from typing import Any

import pytest

from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import OracleAgent, ShopperAgent
from turngym.trainers.warm_start.copyable import copyable_share


def model_of(episodes: list[Episode]) -> LanguageModel:
    tokenizer = train_tokenizer([text for episode in episodes for text in episode.texts()], vocabulary_size=1024)
    decoder = build_decoder(tokenizer, hidden_size=32, layers=2, heads=1, copying=False, context_length=8192)
    return LanguageModel(decoder, tokenizer)


def share_of(episodes: list[Episode]) -> float | None:
    model = model_of(episodes)
    return copyable_share(model, [model.encode_episode(episode) for episode in episodes])


def shopped(**kwargs: Any) -> list[Episode]:
    return collect_episodes(ShopperAgent(), "turngym/WebShop-v0", instance_range("train", 60), env_kwargs=kwargs)


def test_all_that_is_said_on_compact_pages_can_be_copied() -> None:
    assert share_of(shopped(observation_mode="compact")) == 1.0


def test_on_the_original_pages_little_can() -> None:
    share = share_of(shopped(observation_mode="text"))
    assert share is not None and share < 0.5


@pytest.mark.parametrize("env_id", ["turngym/FrozenLake-v0", "turngym/Countdown-v0"])
def test_games_without_arguments_have_no_share(env_id: str) -> None:
    assert share_of(collect_episodes(OracleAgent(), env_id, instance_range("train", 5))) is None
