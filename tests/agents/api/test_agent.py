"""Play by a model behind a server of OpenAI's protocol: the games of play in this process, and what goes wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from tests.agents.api.conftest import KEY, agent_of
from tests.agents.serving.model_server import CHAT, COMPLETIONS, Answer, ModelServer, always, at_first, with_choice

from turngym.agents.api import KEY_VARIABLE, ApiAgent, ApiSettings, BudgetReachedError, Ledger
from turngym.agents.episode import Episode, Status
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.rollout import Instance, collect_episodes
from turngym.agents.serving import ServerError

LAKE: dict[str, Any] = {"env_id": "turngym/FrozenLake-v0", "env_kwargs": {"size": 3}}


def play(agent: Any, count: int = 8, slots: int = 4, **game: Any) -> list[Episode]:
    instances = [Instance(split="train", index=index, seed=50 + index) for index in range(count)]
    return collect_episodes(agent, instances=instances, slots=slots, **(game or LAKE))


def bodies(server: ModelServer, path: str = CHAT) -> list[dict[str, Any]]:
    return [body for asked, body in server.requests if asked == path]


def said(text: Any, **message: Any) -> Any:
    """Change the message of every answer that is no refusal."""
    told = {"role": "assistant", "content": text, **message}
    return always(lambda answer: with_choice(answer, message=told) if answer.status == 200 else answer, CHAT)


# The same games -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("history", "turns"), [("all", 2), ("window", 1), ("turn", 2)])
def test_greedy_play_by_a_server_is_that_of_this_process(
    api: ModelServer, folder: Path, history: Any, turns: int
) -> None:
    own: Any = {"all": "served"}.get(history, history)  # chat completions show what the chat template renders
    decoding = Decoding(context_length=512, max_reply_tokens=4, history=own, history_turns=turns)
    here = play(LanguageModelAgent(LanguageModel.from_pretrained(folder, decoding=decoding), greedy=True, slots=4))
    with agent_of(api, history=history, history_turns=turns) as agent:
        there = play(agent)
    assert [episode.texts() for episode in there] == [episode.texts() for episode in here]
    assert [episode.task_return for episode in there] == [episode.task_return for episode in here]
    assert [[turn.cut for turn in one.turns] for one in there] == [[turn.cut for turn in one.turns] for one in here]
    assert sum(len(episode.turns) for episode in there) > 16, "games of several turns were played"
    tokens = [[(turn.num_tokens, turn.num_sampled) for turn in episode.turns] for episode in there]
    assert tokens == [[(turn.num_sampled, 0) for turn in episode.turns] for episode in here]


def test_sampled_play_is_seeded_and_the_same_however_many_at_once(api: ModelServer) -> None:
    runs = []
    for slots, parallel in [(1, 1), (8, 8), (5, 2)]:
        with agent_of(api, temperature=1.0, parallel=parallel) as agent:
            runs.append([episode.texts() for episode in play(agent, slots=slots)])
    assert runs[0] == runs[1] == runs[2]
    seeds = [body["seed"] for body in bodies(api)[: len(bodies(api)) // 3]]
    assert len({*seeds}) == len(seeds)


@pytest.mark.parametrize(("history", "turns", "seen"), [("all", 2, None), ("window", 2, 2), ("turn", 2, 0)])
def test_what_the_model_sees(api: ModelServer, history: Any, turns: int, seen: int | None) -> None:
    with agent_of(api, history=history, history_turns=turns) as agent:
        (episode,) = play(agent, 1)
    for number, body in enumerate(bodies(api)):
        first = 0 if seen is None else max(0, number - seen)
        expected = [{"role": "system", "content": episode.instructions}]
        for turn in episode.turns[first:number]:
            expected += [{"role": "user", "content": turn.observation}, {"role": "assistant", "content": turn.action}]
        assert body["messages"] == [*expected, {"role": "user", "content": episode.turns[number].observation}]
        assert body.keys() == {"model", "messages", "max_tokens", "temperature", "seed"}
    assert len(bodies(api)) == len(episode.turns) > 3


def test_plain_completions_continue_one_text(api: ModelServer) -> None:
    with agent_of(api, api="completions", max_reply_tokens=6) as agent:
        (episode,) = play(agent, 1)
    assert bodies(api) == [] and len(bodies(api, COMPLETIONS)) == len(episode.turns) > 1
    first, second = episode.turns[:2]
    start = f"{episode.instructions}\n\nUser: {first.observation}\nAssistant:"
    assert [body["prompt"] for body in bodies(api, COMPLETIONS)[:2]] == [
        start, f"{start} {first.action}\nUser: {second.observation}\nAssistant:"
    ]  # fmt: skip
    assert bodies(api, COMPLETIONS)[0]["stop"] == ["\nUser:"]
    assert agent.ledger.completion_tokens == sum(turn.tokens for turn in episode.turns) > 0


def test_values_for_the_template_and_no_temperature_go_along_as_asked(api: ModelServer) -> None:
    with agent_of(api, temperature=None, chat_template_kwargs={"enable_thinking": False}) as agent:
        play(agent, 1)
    assert all("temperature" not in body for body in bodies(api))
    assert bodies(api)[0]["chat_template_kwargs"] == {"enable_thinking": False}


# Many at once ---------------------------------------------------------------------------------------------------------


def test_as_many_requests_at_once_as_asked_for(api: ModelServer) -> None:
    meeting = Barrier(3, timeout=20)  # broken unless three requests are under way together

    def wait(path: str, body: dict[str, Any], answer: Answer) -> Answer:
        meeting.wait()
        return with_choice(answer, message={"content": "nowhere"})

    api.spoil = wait
    with agent_of(api, parallel=3) as agent:
        episodes = play(agent, 3, slots=3)
    assert api.at_once == 3 and all(episode.status is Status.TRUNCATED_TURNS for episode in episodes)


# Thoughts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        {"content": "up", "reasoning_content": "The goal is above, so down is wrong."},
        {"content": "up", "reasoning": "Above."},
        {"content": "<think>Not left.</think>\n\nup"},
        {"content": "Not left, I think.</think>up"},
        {"content": [{"type": "text", "text": "<think>hm</think>"}, {"type": "text", "text": "up"}]},
    ],
)
def test_thoughts_are_not_played_recorded_or_sent_again(api: ModelServer, message: dict[str, Any]) -> None:
    api.spoil = said(message.pop("content"), **message)
    with agent_of(api) as agent:
        (episode,) = play(agent, 1)
    assert {turn.action for turn in episode.turns} == {"up"} and all(turn.valid for turn in episode.turns)
    sent = json.dumps([body["messages"][1:] for body in bodies(api)])
    assert not any(word in sent + episode.to_json() for word in ("think", "hm", "Not left", "Above", "wrong"))


@pytest.mark.parametrize("content", [None, "", "<think>I have not", [{"type": "image"}]])
def test_a_reply_of_thoughts_alone_is_an_empty_one(api: ModelServer, content: Any) -> None:
    api.spoil = said(content)
    with agent_of(api) as agent:
        (episode,) = play(agent, 1)
    assert {turn.action for turn in episode.turns} == {""} and not any(turn.valid for turn in episode.turns)


def test_half_a_character_is_replaced(api: ModelServer) -> None:
    api.spoil = said("up\ud800")
    with agent_of(api) as agent:
        (episode,) = play(agent, 1)
    assert {turn.action for turn in episode.turns} == {"up?"}


# Faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [Answer(status=500), Answer(status=429), Answer(lost=True), Answer(delay=2.0), Answer(drip=0.5)]
)
def test_a_fault_that_passes_is_counted_once_and_changes_nothing(api: ModelServer, fault: Answer) -> None:
    with agent_of(api) as agent:
        undisturbed = play(agent, 3, slots=1)
        clean = agent.ledger
    api.spoil = at_first(2, replace(fault, content={"usage": {"prompt_tokens": 9, "completion_tokens": 9}}), CHAT)
    with agent_of(api, request_timeout=1.0 if fault.delay or fault.drip else 30.0) as agent:
        assert play(agent, 3, slots=1) == undisturbed
    turns = sum(len(episode.turns) for episode in undisturbed)
    assert (clean.replies, clean.retries) == (turns, 0) and (agent.ledger.replies, agent.ledger.retries) == (turns, 2)
    assert (agent.ledger.prompt_tokens, agent.ledger.completion_tokens) == (clean.prompt_tokens,
                                                                            clean.completion_tokens)  # fmt: skip
    assert clean.completion_tokens == sum(episode.num_tokens for episode in undisturbed)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Answer(status=503), r"with status 503: .*after 4 tries.*see that --base-url names it"),
        (
            Answer(delay=5.0),
            r"gave no answer to \S+ within 0.2 s \(after 4 tries\).*--request-timeout",
        ),
        (Answer(content={"choices": []}), "without a choice"),
        (Answer(content={"error": {"message": "no credits"}}), "without a choice: no credits"),
        (Answer(content={"choices": [{"message": "up"}]}), "without a message"),
        (Answer(content={"choices": [{"message": {"content": 7}}]}), "a reply that is no text"),
        (Answer(status=404), "see that --base-url is right up to /v1"),
        (Answer(status=400, content={"error": {"message": "temperature must be 1"}}), "status 400: temperature must"),
    ],
)
def test_a_fault_that_stays_ends_play_and_keeps_what_was_over(api: ModelServer, fault: Answer, sentence: str) -> None:
    kept: list[Episode] = []
    agent = agent_of(api, request_timeout=0.2 if fault.delay else 30.0)
    with agent, pytest.raises(ServerError, match=sentence):
        collect_episodes(agent, instances=[Instance(split="train", index=one, seed=one) for one in range(4)], slots=1,
                         on_episode=lambda episode: _spoil_after(api, kept, episode, fault), **LAKE)  # fmt: skip
    assert len(kept) == 1 and not kept[0].status.is_error(), "no failed game is made of a server that is gone"


def _spoil_after(api: ModelServer, kept: list[Episode], episode: Episode, fault: Answer) -> None:
    kept.append(episode)
    api.spoil = lambda path, body, answer: fault


def test_a_server_that_is_gone_is_named(api: ModelServer) -> None:
    with agent_of(api, retries=1) as agent:
        api.stop()
        with pytest.raises(
            ServerError, match=rf"^the server at {api.url} does not answer: .*refused.* \(after 2 tries"
        ):
            play(agent)


# Servers that differ --------------------------------------------------------------------------------------------------


def refuse(when: Any, message: str, status: int = 400) -> Any:
    """Refuse the requests of a kind with a message."""
    told = Answer(status=status, content={"error": {"message": message}})
    return lambda path, body, answer: told if when(body) else answer


def test_a_parameter_that_models_have_outgrown_is_named_anew(api: ModelServer) -> None:
    words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."

    with agent_of(api) as agent:
        expected = [episode.texts() for episode in play(agent, 2, slots=1)]

    def right(path: str, body: dict[str, Any], given: Answer) -> Answer:
        if "max_completion_tokens" not in body:
            return Answer(status=400, content={"error": {"message": words}})
        return answer(path, body | {"max_tokens": body["max_completion_tokens"]})

    answer = api.answer
    api.answer = lambda path, body: answer(path, {"max_tokens": 1, **body})  # type: ignore[method-assign]
    api.spoil = right
    with agent_of(api) as agent:
        assert [episode.texts() for episode in play(agent, 2, slots=1)] == expected
        assert agent.ledger.retries == 1, "it is learned once"


def test_a_server_without_seeds_is_asked_without(api: ModelServer) -> None:
    api.spoil = refuse(lambda body: "seed" in body, "Extra inputs are not permitted: 'seed'", status=422)
    with agent_of(api) as agent:
        play(agent, 2, slots=1)
        assert agent.ledger.retries == 1


def test_a_conversation_that_is_too_long_ends_its_episode_alone(api: ModelServer) -> None:
    api.spoil = refuse(lambda body: len(body["messages"]) > 4, "This model's maximum context length is 90 tokens.")
    with agent_of(api) as agent:
        episodes = play(agent, 4)
    long = [episode for episode in episodes if episode.status is Status.TRUNCATED_LENGTH]
    assert long and all(len(episode.turns) == 2 for episode in long)


def test_a_context_that_holds_no_first_turn_ends_play(api: ModelServer) -> None:
    words = "'max_tokens' or 'max_completion_tokens' is too large: 4. This model's maximum context length is 3 tokens."
    api.spoil = refuse(lambda body: True, words)
    with agent_of(api) as agent, pytest.raises(ServerError, match="maximum context length is 3"):
        play(agent)
    assert len(bodies(api)) <= 4, "nothing is asked again"


# Bounds ---------------------------------------------------------------------------------------------------------------


def test_play_stops_at_a_bound_and_all_that_was_answered_is_counted(api: ModelServer) -> None:
    kept: list[Episode] = []
    ledger = Ledger(price_in=1.0, price_out=10.0, max_tokens=3_000)
    with agent_of(api, ledger, parallel=2) as agent, pytest.raises(BudgetReachedError, match="max_tokens is 3,000"):
        collect_episodes(agent, instances=[Instance(split="train", index=one, seed=one) for one in range(60)],
                         slots=4, on_episode=kept.append, **LAKE)  # fmt: skip
    assert 0 < len(kept) < 60 and ledger.tokens >= 3_000 and ledger.replies == len(bodies(api))
    told = [api.answer(CHAT, body).content["usage"] for body in bodies(api)]
    assert ledger.prompt_tokens == sum(usage["prompt_tokens"] for usage in told)
    assert ledger.completion_tokens == sum(usage["completion_tokens"] for usage in told)
    assert ledger.dollars == pytest.approx((ledger.prompt_tokens + 10 * ledger.completion_tokens) / 1e6)
    before = ledger.tokens - max(usage["total_tokens"] for usage in told) * 2
    assert before < 3_000, "no more than what was under way goes beyond"


def test_a_bound_needs_a_server_that_tells_tokens(api: ModelServer) -> None:
    def untold(path: str, body: dict[str, Any], answer: Answer) -> Answer:
        return Answer(content={"choices": answer.content["choices"]})

    api.spoil = untold
    with agent_of(api) as agent:
        play(agent, 1)
        assert agent.ledger.untold == agent.ledger.replies > 0 == agent.ledger.tokens
    with agent_of(api, Ledger(max_tokens=10)) as agent, pytest.raises(ServerError, match="does not tell the tokens"):
        play(agent, 1)


# The key --------------------------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_stands_nowhere(api: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY + "\n")  # as a file gives it
    api.spoil = said(f"You sent {KEY}.")
    with agent_of(api) as agent:
        episodes = play(agent, 2)
        shown = [repr(agent), repr(agent.settings), repr(vars(agent.endpoint)), json.dumps(agent.settings.identity())]
        api.spoil = lambda path, body, answer: Answer(status=400, content={"error": {"message": f"no model for {KEY}"}})
        with pytest.raises(ServerError, match=r"no model for \*\*\*") as caught:
            play(agent)
    assert {*api.keys} == {f"Bearer {KEY}"}
    chain: list[BaseException] = [caught.value]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    told = [f"{error!s} {error!r} {vars(error)}" for error in chain]
    assert not any(KEY in text for text in [*shown, *told, *(episode.to_json() for episode in episodes)])
    assert {turn.action for turn in episodes[0].turns} == {"You sent ***."}


@pytest.mark.parametrize("key", ["sk-one\nX-Other: two-and-three", "sk-\u201cquoted\u201d-by-an-editor"])
def test_a_key_that_is_none_is_refused_and_not_told(
    api: ModelServer, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with agent_of(api) as agent, pytest.raises(ValueError, match="holds characters that no key has") as caught:
        play(agent, 1)
    assert "sk-" not in str(caught.value) and api.requests == []


def test_a_server_that_wants_a_key_says_where_it_belongs(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(key=KEY)
    with agent_of(server) as agent, pytest.raises(ServerError, match=r"environment variable OPENAI_API_KEY$"):
        play(agent, 1)
    monkeypatch.setenv(KEY_VARIABLE, "another-key-than-that-one")
    with (
        agent_of(server) as agent,
        pytest.raises(ServerError, match=r"KEY, which holds one that it refuses$"),
    ):
        play(agent, 1)


# Leaving --------------------------------------------------------------------------------------------------------------


def test_an_interrupt_ends_requests_under_way(api: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_of(api)
    monkeypatch.setattr(ApiAgent, "_await", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    api.spoil = lambda path, body, answer: replace(answer, delay=20.0)
    with pytest.raises(KeyboardInterrupt):
        play(agent, 2)
    assert agent.endpoint.connection._closed.is_set() and agent._pool._shutdown


def test_settings_make_an_agent_without_a_server() -> None:
    assert ApiAgent(ApiSettings(model="m")).settings.base_url == "https://api.openai.com/v1"
