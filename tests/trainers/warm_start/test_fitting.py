"""Demonstrations that do not fit: found, counted, and told with the limits that would do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from turngym._errors import InputWarning
from turngym.agents.episode import Episode
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.scripted import DemonstrationAgent
from turngym.trainers.config import TrainConfig
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.warm_start.cloning import scripted_play
from turngym.trainers.warm_start.fitting import Fitting, check_fit, fitting_of_file


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


# Of a file ----------------------------------------------------------------------------------------------------------


UNKNOWN = 10**6
"""The id of a token for unknown words that the model here does not have."""
MISSING = "WordLevel error: Missing [UNK] token from the vocabulary"


def numbered(episodes: list[Episode]) -> list[tuple[int, Episode]]:
    """Return episodes as of a file whose every second line is empty."""
    return [(2 * place + 1, episode) for place, episode in enumerate(episodes)]


def lengthened(episode: Episode) -> Episode:
    """Return an episode whose first observation alone is longer than any context here."""
    first, *rest = episode.turns
    return replace(episode, turns=[replace(first, observation="ice " * 600), *rest])


def test_some_of_a_file_that_do_not_fit_are_named_and_left_out(model: LanguageModel, episodes: list[Episode]) -> None:
    roomy = limited(model, max(len(episode.token_ids) for episode in episodes) + 64, 64)
    mixed = [lengthened(episode) if place in (4, 9, 20) else episode for place, episode in enumerate(episodes)]
    with pytest.warns(InputWarning) as told:
        kept = fitting_of_file(numbered(mixed), roomy, "play.jsonl")
    assert kept == [roomy.encode_episode(episode) for place, episode in enumerate(episodes) if place not in (4, 9, 20)]
    said = str(told[0].message)
    assert said.startswith("3 of 32 demonstrations do not fit: 3 too long, the first in line 9: raise model.context_le")
    assert said.endswith("(play.jsonl); left out") and len(told) == 1


def test_more_than_a_tenth_of_a_file_is_refused(model: LanguageModel, episodes: list[Episode]) -> None:
    roomy = limited(model, max(len(episode.token_ids) for episode in episodes) + 64, 64)
    mixed = [lengthened(episode) if place < 4 else episode for place, episode in enumerate(episodes)]
    said = r"^4 of 32 .* first in line 1: raise .* \(play.jsonl\); up to 10% of a file would be left out$"
    with pytest.raises(ValueError, match=said):
        fitting_of_file(numbered(mixed), roomy, "play.jsonl")
    assert len(fitting_of_file(numbered(episodes), roomy, "play.jsonl")) == 32


@pytest.mark.parametrize("unknown", [None, "[UNK]"])
def test_what_a_tokenizer_cannot_write_is_named(
    unknown: str | None, model: LanguageModel, episodes: list[Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer of whole words fails at another word, or has a token for all of them."""
    roomy = limited(model, 512, 64)
    strange = replace(episodes[7], turns=[replace(turn, action="sidle") for turn in episodes[7].turns])
    encode = roomy.encode_episode

    def of_words(episode: Episode) -> Episode:
        encoded = encode(episode)
        if episode is not strange:
            return encoded
        if unknown is None:
            raise Exception(MISSING)  # noqa: TRY002 - as it does
        start, _ = encoded.turns[0].span
        return replace(encoded, token_ids=[*encoded.token_ids[:start], UNKNOWN, *encoded.token_ids[start + 1 :]])

    monkeypatch.setattr(roomy, "encode_episode", of_words)
    monkeypatch.setattr(type(roomy.tokenizer), "unk_token_id", UNKNOWN if unknown else None, raising=False)
    with pytest.warns(InputWarning) as told:
        kept = fitting_of_file(numbered([*episodes[:7], strange, *episodes[8:]]), roomy, "play.jsonl")
    reason = "of whose replies it lacks a part" if unknown else MISSING
    assert len(kept) == 31 and str(told[0].message) == (
        "1 of 32 demonstrations do not fit: 1 that the tokenizer cannot write, the first in line 15, "
        f"{reason} (play.jsonl); left out"
    )
