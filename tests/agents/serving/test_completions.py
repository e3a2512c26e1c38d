"""What a server must answer, and the sentence for each thing that it lacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.agents.serving.conftest import Serve
from tests.agents.serving.model_server import COMPLETIONS, Answer, ModelServer, always, with_choice, with_logprobs

from turngym.agents.serving import Completion, CompletionServer, ServedModel, ServerConnection, ServerError

STOP = 1
"""The id of the end of a reply, in the tokenizer of the small model."""


def server_of(server: ModelServer, model: str = "") -> CompletionServer:
    return CompletionServer(ServerConnection(server.url, retries=0), model)


def complete(server: ModelServer, **changes: Any) -> Completion:
    asked: dict[str, Any] = {"seed": 3, "temperature": 1.0, "max_tokens": 4, "stop_ids": (STOP,), "vocabulary": 600}
    return server_of(server).complete([2, 5, 7], **(asked | changes))


def test_a_reply_is_ids_and_log_probabilities(serve: Serve) -> None:
    completion = complete(serve())
    assert 1 <= len(completion.ids) == len(completion.logprobs) <= 4
    assert all(logprob <= 0 for logprob in completion.logprobs)


def test_the_forms_of_servers_say_the_same(serve: Serve) -> None:
    first, *others = [complete(serve(form=form)) for form in ("vllm", "vllm-old", "sglang")]
    assert others == [first, first]


def test_the_same_seed_samples_the_same(serve: Serve) -> None:
    server = serve()
    assert complete(server) == complete(server) and len({tuple(complete(server, seed=s).ids) for s in range(20)}) > 5


# The model ------------------------------------------------------------------------------------------------------------


def test_a_model_is_found_by_its_name_or_as_the_first(serve: Serve) -> None:
    server = serve(context_length=300)
    assert server_of(server).served == ServedModel(name="tiny", context_length=300, owner="vllm")
    assert server_of(server, "tiny").model == "tiny"
    with pytest.raises(ServerError, match=r"has no model 'huge', but tiny: set rollout.model to one of them"):
        server_of(server, "huge")


@pytest.mark.parametrize("content", [{"data": []}, {}, {"data": 3}, {"data": ["tiny"]}])
def test_a_server_without_models_is_refused(serve: Serve, content: Any) -> None:
    server = serve()
    server.spoil = always(lambda _: Answer(content=content), "/v1/models")
    with pytest.raises(ServerError, match="lists no model at /v1/models"):
        server_of(server)


def test_a_server_is_tried_out_with_one_token(serve: Serve) -> None:
    server = serve()
    server_of(server).check()
    assert [body["max_tokens"] for path, body in server.requests if path == COMPLETIONS] == [1]
    server.spoil = always(lambda answer: with_choice(answer, logprobs=None))
    with pytest.raises(ServerError, match="gives no log-probability"):
        server_of(server).check()


# Answers that cannot be used ------------------------------------------------------------------------------------------

NO_IDS = "gives no token ids with its answers \\(token_ids, asked for by return_token_ids\\)"
NO_LOGPROBS = "gives no log-probability for every sampled token"
REPLY = {"token_ids": [5, 6, 7, 8], "finish_reason": "length"}


def reply(answer: Answer, **changes: Any) -> Answer:
    """Return an answer with four tokens that end at the limit, or with changes of that."""
    return with_logprobs(with_choice(answer, **{**REPLY, **changes}), changes.pop("logprobs", [-1.0] * 4))


SPOILED: dict[str, tuple[Callable[[Answer], Answer], str]] = {
    "no ids": (lambda a: with_choice(a, token_ids=..., logprobs={"token_logprobs": [-1.0], "tokens": ["a"]}), NO_IDS),
    "ids that are texts": (lambda a: with_choice(a, token_ids=["5"]), NO_IDS),
    "ids that are truths": (lambda a: with_choice(a, token_ids=[True]), NO_IDS),
    "odd spelling": (
        lambda a: with_choice(a, token_ids=None, logprobs={"token_logprobs": [-1.0], "tokens": ["token_id:5x"]}),
        NO_IDS,
    ),
    "no record of log-probabilities": (lambda a: with_choice(a, logprobs=None), NO_LOGPROBS),
    "no log-probabilities": (lambda a: with_choice(a, logprobs={"tokens": []}), NO_LOGPROBS),
    "too few log-probabilities": (lambda a: with_logprobs(reply(a), [-1.0] * 3), NO_LOGPROBS),
    "none for a token": (lambda a: with_logprobs(reply(a), [-1.0, None, -1.0, -1.0]), NO_LOGPROBS),
    "nan": (lambda a: with_logprobs(reply(a), [-1.0, float("nan"), -1.0, -1.0]), NO_LOGPROBS),
    "infinite": (lambda a: with_logprobs(reply(a), [-1.0, float("-inf"), -1.0, -1.0]), NO_LOGPROBS),
    "a probability": (lambda a: with_logprobs(reply(a), [0.5] * 4), NO_LOGPROBS),
    "no choice": (lambda a: replace(a, content={"choices": []}), "without a single choice"),
    "two choices": (lambda a: replace(a, content={"choices": [{}, {}]}), "without a single choice"),
    "choices of another kind": (lambda a: replace(a, content={"choices": "many"}), "without a single choice"),
    "another prompt": (lambda a: with_choice(a, prompt_token_ids=[0, 2, 5, 7]), "read other token ids than were sent"),
    "no token": (lambda a: with_logprobs(reply(a, token_ids=[]), []), "sampled 0 tokens where 1 to 4 were asked for"),
    "too many tokens": (
        lambda a: with_logprobs(reply(a, token_ids=[5] * 5), [-1.0] * 5), "sampled 5 tokens where 1 to 4 were"),
    "a strange id": (lambda a: reply(a, token_ids=[5, 6, 600, 8]), "sampled the token id 600, and .* ids 0 to 599: it"),
    "a negative id": (lambda a: reply(a, token_ids=[5, 6, -1, 8]), "sampled the token id -1"),
    "broken off": (lambda a: reply(a, finish_reason="abort"), r"broke a reply off \(finish_reason 'abort'\)"),
    "unfinished": (lambda a: reply(a, finish_reason=None), r"broke a reply off \(finish_reason None\)"),
    "not stopped": (lambda a: reply(a, token_ids=[5, STOP, 7, 8]), "went on behind a stop token"),
    "stop left out": (
        lambda a: with_logprobs(reply(a, token_ids=[5, 6], finish_reason="stop"), [-1.0] * 2),
        "ended a reply after 2 of 4 tokens without a stop token among its ids: it leaves the stop token out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILED)
def test_an_answer_that_cannot_be_used_is_refused_in_a_sentence(serve: Serve, case: str) -> None:
    change, sentence = SPOILED[case]
    server = serve()
    server.spoil = always(change)
    with pytest.raises(ServerError, match=f"^the server at {server.url} .*{sentence}"):
        complete(server)
    assert server.count(COMPLETIONS) == 1, "it is not asked again"


def test_a_server_may_end_a_reply_at_a_token_that_it_names(serve: Serve) -> None:
    server = serve(form="sglang")
    ended = {"token_ids": [5, 6], "finish_reason": "stop", "matched_stop": 6}
    server.spoil = always(lambda answer: with_logprobs(with_choice(answer, **ended), [-1.0, -2.0]))
    assert complete(server) == Completion(ids=[5, 6], logprobs=[-1.0, -2.0])


def test_rounding_above_zero_is_zero(serve: Serve) -> None:
    server = serve()
    server.spoil = always(lambda answer: with_logprobs(reply(answer), [1e-6, 0.0, -1.0, -2]))
    assert complete(server).logprobs == [0.0, 0.0, -1.0, -2.0]
