"""Demonstrations that do not fit: found, counted, and told with the limits that would do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.scripted import DemonstrationAgent
from turngym.trainers.config import TrainConfig
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.warm_start.cloning import scripted_play
from turngym.trainers.warm_start.fitting import Fitting, check_fit


@pytest.fixture
def episodes(model: LanguageModel, tiny: TrainConfig) -> list[Episode]:
    return scripted_play(model, Rollouts.of(tiny), np.random.default_rng(0), 32, DemonstrationAgent(0.5))


def limited(model: LanguageModel, context: int, reply: int) -> LanguageModel:
    decoding = replace(model.decoding, context_length=context, max_reply_tokens=reply)
    return LanguageModel(model.model, model.tokenizer, decoding=decoding)


def test_the_limits_that_are_told_would_do(model: LanguageModel, episodes: list[Episode]) -> None:
    """Just these: with one token less something does not fit."""
    start = max(turn.span[0] for episode in episodes for turn in episode.turns)
    reply = max(turn.span[1] - turn.span[0] for episode in episodes for turn in episode.turns)
    check_fit(episodes, limited(model, start + reply, reply))
    said = rf"context_length to at least {start + reply} \(here {start + reply - 1}\), or let"
    with pytest.raises(ValueError, match=said):
        check_fit(episodes, limited(model, start + reply - 1, reply))
    with pytest.raises(ValueError, match=rf"32 of 32 .*max_reply_tokens to at least {reply} \(here {reply - 1}\)$"):
        check_fit(episodes, limited(model, start + reply, reply - 1))


def test_thoughts_that_an_agent_may_not_think_are_told(model: LanguageModel, tiny: TrainConfig) -> None:
    env = replace(tiny.env, kwargs={**tiny.env.kwargs, "reasoning": True})
    thoughtful = scripted_play(
        model, Rollouts.of(replace(tiny, env=env)), np.random.default_rng(0), 4, DemonstrationAgent(0.0)
    )
    chat = model.chat
    thoughtful = [
        model.encode_episode(
            replace(episode, turns=[replace(turn, action=f"one by one {turn.action}") for turn in episode.turns])
        )
        for episode in thoughtful
    ]
    assert all("<answer>" in turn.action for episode in thoughtful for turn in episode.turns)
    needed = len(chat.content("one by one <answer>"))
    roomy = limited(model, 512, 64)
    for thoughts in (needed, needed - 1):
        roomy.decoding = replace(roomy.decoding, max_thought_tokens=thoughts)
        if thoughts == needed:
            check_fit(thoughtful, roomy)
        else:
            with pytest.raises(ValueError, match=rf"max_thought_tokens to at least {needed} \(here {needed - 1}\)$"):
                check_fit(thoughtful, roomy)


def test_what_is_kept_can_be_played_to_its_end(model: LanguageModel, episodes: list[Episode]) -> None:
    lengths = sorted(episode.turns[-1].span[0] + 4 for episode in episodes)
    fitting = Fitting(limited(model, lengths[16], 4))
    kept = fitting.keep(episodes)
    assert kept == [episode for episode in episodes if episode.turns[-1].span[0] + 4 <= lengths[16]]
    assert (fitting.seen, fitting.left_out, fitting.share) == (32, 32 - len(kept), 1 - len(kept) / 32)
    other = Fitting(limited(model, lengths[16], 4))
    other.load_state_dict(fitting.state_dict())
    assert str(other) == str(fitting) and other.share == fitting.share > 0


def test_nothing_is_nothing(model: LanguageModel) -> None:
    check_fit([], model)
    assert Fitting(model).share == 0.0
