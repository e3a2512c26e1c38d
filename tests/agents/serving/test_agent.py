"""Play by a server: the streams and log-probabilities of play in this process, whatever is asked for at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.agents.serving.conftest import Serve
from tests.agents.serving.model_server import COMPLETIONS, Answer, ModelServer, always, at_first, with_choice

from turngym.agents.episode import Episode, Status
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.agents.rollout import Instance, collect_episodes
from turngym.agents.serving import CompletionServer, ServerConnection, ServerError
from turngym.agents.serving.agent import ServedAgent

LAKE: dict[str, Any] = {"env_id": "turngym/FrozenLake-v0", "env_kwargs": {"size": 3}}
MAX_REPLY = 4


def agent_of(
    model: LanguageModel, server: ModelServer, *, retries: int = 2, max_reply: int = MAX_REPLY, **options: Any
) -> ServedAgent:
    connection = ServerConnection(server.url, timeout=20.0, retries=retries)
    return ServedAgent(model, CompletionServer(connection), max_reply_tokens=max_reply, **options)


def play(agent: LanguageModelAgent, count: int = 12, slots: int = 6, **game: Any) -> list[Episode]:
    instances = [Instance(split="train", index=index, seed=50 + index) for index in range(count)]
    return collect_episodes(agent, instances=instances, slots=slots, **(game or LAKE))


def served(model: LanguageModel, server: ModelServer, *, count: int = 12, slots: int = 6, **options: Any) -> Any:
    with agent_of(model, server, slots=slots, **options) as agent:
        return play(agent, count, slots)


def scores(model: LanguageModel, episode: Episode, temperature: float) -> torch.Tensor:
    """Return the log-probabilities that training computes."""
    (batch,) = token_batches([episode], 10**6, torch.device("cpu"))
    return sampled_logprobs(model, batch, temperature).detach()


# The same streams -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "temperature"), [("vllm", 1.0), ("vllm", 0.7), ("vllm-old", 1.0), ("sglang", 1.3)])
def test_what_a_server_samples_has_the_log_probabilities_of_training(
    player: LanguageModel, serve: Serve, form: str, temperature: float
) -> None:
    episodes = served(player, serve(form=form), temperature=temperature)
    assert sum(len(episode.turns) for episode in episodes) > 24 and not any(one.error for one in episodes)
    for episode in episodes:
        told = [logprob for turn in episode.turns for logprob in turn.logprobs]
        torch.testing.assert_close(torch.tensor(told), scores(player, episode, temperature), atol=1e-5, rtol=0.0)


def test_a_stream_is_what_the_chat_format_writes_and_the_ids_that_were_sampled(
    player: LanguageModel, serve: Serve
) -> None:
    chat = player.chat
    for episode in served(player, serve()):
        stream = chat.opening(episode.instructions, episode.turns[0].observation)
        for number, turn in enumerate(episode.turns):
            reply = episode.token_ids[slice(*turn.span)]
            assert turn.span[0] == len(stream) and chat.text(reply) == turn.action
            assert turn.cut == (reply[-1] not in chat.stop_ids) and len(turn.logprobs) == len(reply) <= MAX_REPLY
            stream += reply
            if number + 1 < len(episode.turns):
                stream += chat.continuation(episode.turns[number + 1].observation, closed=not turn.cut)
        assert episode.token_ids == stream


def test_a_thought_at_its_limit_is_followed_by_the_opening_of_an_answer(player: LanguageModel, serve: Serve) -> None:
    opening = len(player.chat.answer(player.chat.content("<think>")))
    player.decoding = replace(player.decoding, max_thought_tokens=2)
    with agent_of(player, serve(), max_reply=2 + opening + 3) as agent:
        episodes = play(agent, **{**LAKE, "env_kwargs": {"size": 3, "reasoning": True}})
    kinds = set()
    for episode in episodes:
        told = [logprob for turn in episode.turns for logprob in turn.logprobs]
        torch.testing.assert_close(torch.tensor(told), scores(player, episode, 1.0), atol=1e-5, rtol=0.0)
        for turn in episode.turns:
            start, stop = turn.forced
            kinds.add(start < stop)
            if start < stop:
                assert start == turn.span[0] + 2 and turn.span[1] - turn.span[0] <= 2 + opening + 3
                thought = episode.token_ids[turn.span[0] : start]
                assert episode.token_ids[start:stop] == player.chat.answer(thought)
            else:
                assert turn.num_sampled <= 2
    assert kinds == {True, False}, "replies of both kinds were seen"


@pytest.mark.parametrize(("history", "turns"), [("window", 1), ("turn", 2), ("served", 2)])
def test_every_history_is_served(player: LanguageModel, serve: Serve, folder: Path, history: Any, turns: int) -> None:
    decoding = Decoding(context_length=512, max_reply_tokens=MAX_REPLY, history=history, history_turns=turns)
    model = LanguageModel.from_pretrained(folder, decoding=decoding)
    episodes = served(model, serve())
    assert any(len(episode.rows()) > 1 for episode in episodes)
    for episode in episodes:
        told = [logprob for turn in episode.turns for logprob in turn.logprobs]
        torch.testing.assert_close(torch.tensor(told), scores(model, episode, 1.0), atol=1e-5, rtol=0.0)


def test_prompts_are_ids_and_sampling_is_pure_temperature(player: LanguageModel, serve: Serve) -> None:
    server = serve()
    episodes = served(player, server, count=3, slots=1, temperature=0.8)
    bodies = [body for path, body in server.requests if path == COMPLETIONS]
    prompts = [episode.token_ids[: turn.span[0]] for episode in episodes for turn in episode.turns]
    assert [body["prompt"] for body in bodies] == prompts
    assert len({body["seed"] for body in bodies}) == len(bodies) > 3
    pure = {"temperature": 0.8, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "n": 1}
    for body in bodies:
        assert body.items() >= pure.items() and body["max_tokens"] == MAX_REPLY and body["ignore_eos"]
        assert body["stop_token_ids"] == list(player.chat.stop_ids) and body["model"] == "tiny"


def test_what_sglang_is_not_asked(player: LanguageModel, serve: Serve) -> None:
    server = serve(form="sglang")
    served(player, server, count=1)
    assert not any(body["ignore_eos"] for path, body in server.requests if path == COMPLETIONS)


def test_the_same_seeds_play_the_same_episodes_however_many_at_once(player: LanguageModel, serve: Serve) -> None:
    server = serve()
    server.spoil = lambda path, body, answer: Answer(content=answer.content, delay=(body.get("seed", 0) % 7) / 500)
    runs = [served(player, server, slots=slots, parallel=parallel) for slots, parallel in [(1, 1), (12, 12), (5, 2)]]
    assert server.at_once > 4
    first, *others = [[asdict(episode) for episode in episodes] for episodes in runs]
    assert others == [first, first]


def test_no_more_requests_at_once_than_asked_for(player: LanguageModel, serve: Serve) -> None:
    server = serve()
    server.spoil = lambda path, body, answer: Answer(content=answer.content, delay=0.01)
    served(player, server, slots=12, parallel=3)
    assert server.at_once == 3


def test_a_full_context_ends_an_episode(player: LanguageModel, serve: Serve, folder: Path) -> None:
    model = LanguageModel.from_pretrained(folder, decoding=Decoding(context_length=90, max_reply_tokens=MAX_REPLY))
    episodes = served(model, serve())
    assert any(episode.status is Status.TRUNCATED_LENGTH for episode in episodes)
    assert all(len(episode.token_ids) <= 90 for episode in episodes)


def test_a_server_that_sees_too_little_is_refused(player: LanguageModel, serve: Serve) -> None:
    with pytest.raises(
        ServerError, match=r"sees 100 tokens at once, and the policy plays with 512: start it with --max"
    ):
        agent_of(player, serve(context_length=100))
    agent_of(player, serve(context_length=512)).close()


# What goes wrong ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Answer(status=500), Answer(status=429), Answer(lost=True), Answer(status=503)])
def test_a_fault_that_passes_changes_nothing(player: LanguageModel, serve: Serve, fault: Answer) -> None:
    undisturbed = served(player, serve())
    server = serve()
    server.spoil = at_first(2, fault)
    assert served(player, server) == undisturbed
    turns = sum(len(episode.turns) for episode in undisturbed)
    assert server.count(COMPLETIONS) == turns + 2, "every reply was asked for and counted once"


def test_a_fault_that_stays_ends_play_and_writes_nothing(player: LanguageModel, serve: Serve) -> None:
    server = serve()
    server.spoil = lambda path, body, answer: Answer(status=500) if body.get("seed", 0) % 2 else answer
    with agent_of(player, server, slots=8) as agent:
        rules: Any = type("Rules", (), {"instructions": "Go.", "reasoning": False})
        for slot in range(8):
            agent.start(slot, rules, "You are here.", slot)
        with pytest.raises(
            ServerError, match=r"the server at http://127.0.0.1:\d+ answers /v1/completions with status"
        ):
            agent.act(range(8))
        assert len({tuple(agent.finish(slot)) for slot in range(8)}) == 1, "openings alone"


def test_a_server_that_is_gone_is_named(player: LanguageModel, serve: Serve) -> None:
    server = serve()
    with agent_of(player, server) as agent:
        server.stop()
        with pytest.raises(
            ServerError, match=rf"^the server at {server.url} does not answer: .*refused.* \(after 3 tries"
        ):
            play(agent)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda answer: with_choice(answer, token_ids=[10**6] * len(answer.content["choices"][0]["token_ids"])),
         r"sampled the token id 1000000, and the policy has the ids 0 to \d+: it serves another model"),
        (lambda answer: with_choice(answer, prompt_token_ids=[1, 2]), "read other token ids than were sent"),
    ],
)  # fmt: skip
def test_a_server_of_another_model_is_refused(
    player: LanguageModel, serve: Serve, change: Callable[[Answer], Answer], sentence: str
) -> None:
    server = serve()
    server.spoil = always(change)
    with pytest.raises(ServerError, match=sentence):
        served(player, server)
