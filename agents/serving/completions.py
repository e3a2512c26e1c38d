"""Replies of a model on a server: token ids in, token ids and log-probabilities out.

The protocol is that of OpenAI's completions with what vLLM adds to it, and SGLang likewise: a prompt of token ids, and
`return_token_ids`, by which `token_ids` and `prompt_token_ids` come with every choice. Older versions of vLLM write the
ids as tokens, "token_id:17" (`return_tokens_as_token_ids`), which is read too. Texts are never read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from turngym.agents.serving.connection import ServerConnection

COMPLETIONS, MODELS = "/v1/completions", "/v1/models"
SGLANG = "sglang"
"""The owner of models that SGLang lists."""
ID_PREFIX = "token_id:"
SLACK = 1e-3
"""So far above 0 may a log-probability lie by rounding, nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What was sampled after a prompt."""

    ids: list[int]  # [num_sampled]
    """The sampled ids, the stop token included where one ended it."""
    logprobs: list[float]  # [num_sampled]
    """The server's log-probability of each, nats, at the sampling temperature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that a server lists."""

    name: str
    """Its name in requests."""
    context_length: int | None
    """Most tokens that it sees at once, prompt and reply; None where the server does not tell."""
    owner: str
    """The kind of server: "vllm", "sglang" or another."""


class CompletionServer:
    """Samples replies from a model on a server; may be used by several threads at once.

    Args:
        connection: The connection to the server.
        model: The name of the model; empty for the first that the server lists.

    Raises:
        ServerError: The server does not answer, or lists no such model.
    """

    def __init__(self, connection: ServerConnection, model: str = "") -> None:
        self.connection = connection
        self.served = self._find(model)
        self.model = self.served.name
        """The name of what is asked to reply: the model, or an adapter beside it."""

    def _find(self, model: str) -> ServedModel:
        told = self.connection.ask(MODELS, absent="it must speak OpenAI's protocol, as vLLM and SGLang do")
        listed = told.get("data")
        cards = [card for card in listed if isinstance(card, dict)] if isinstance(listed, list) else []
        names = [str(card.get("id")) for card in cards]
        if not names:
            raise self.connection.error(f"lists no model at {MODELS}")
        if model and model not in names:
            raise self.connection.error(f"has no model {model!r}, but {', '.join(names)}: set rollout.model to one of "
                                        "them, or leave it out for the first")  # fmt: skip
        card = cards[names.index(model) if model else 0]
        longest = card.get("max_model_len")
        return ServedModel(name=str(card["id"]), context_length=longest if _is_count(longest) else None,
                           owner=str(card.get("owned_by", "")))  # fmt: skip

    def check(self) -> None:
        """Sample one token, to see that ids and log-probabilities come with it.

        Raises:
            ServerError: They do not.
        """
        self.complete([0], seed=0, temperature=1.0, max_tokens=1, stop_ids=(), vocabulary=None)

    def complete(
        self,
        prompt: Sequence[int],
        *,
        seed: int,
        temperature: float,
        max_tokens: int,
        stop_ids: Sequence[int],
        vocabulary: int | None,
    ) -> Completion:
        """Sample a reply by pure temperature: nothing is filtered, nothing is penalised.

        Args:
            prompt: The ids before the reply.
            seed: Seeds the sampling.
            temperature: Divides the logits; above 0.
            max_tokens: Longest reply, the stop token included.
            stop_ids: Ids that end a reply.
            vocabulary: How many ids there are; None not to look.

        Raises:
            ServerError: The server does not answer, or not with the ids and log-probabilities of such a reply.
        """
        request = {
            "model": self.model, "prompt": list(prompt), "max_tokens": max_tokens, "seed": seed, "n": 1,
            "temperature": temperature, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
            "presence_penalty": 0.0, "frequency_penalty": 0.0, "stop_token_ids": list(stop_ids), "logprobs": 1,
            "return_token_ids": True, "return_tokens_as_token_ids": True,
            # With vLLM the given ids alone end a reply, and not those of its generation_config.json; SGLang would
            # ignore the given ones too.
            "ignore_eos": self.served.owner != SGLANG,
        }  # fmt: skip
        told = self.connection.ask(COMPLETIONS, request, absent="it must serve completions, as vLLM and SGLang do")
        choice = self._choice(told)
        self._check_prompt(choice, request["prompt"])
        completion = self._read(choice)
        self._check_ids(completion.ids, max_tokens, vocabulary)
        self._check_end(choice, completion.ids, max_tokens, stop_ids)
        return completion

    # Reading an answer ------------------------------------------------------------------------------------------------

    def _choice(self, told: dict[str, Any]) -> dict[str, Any]:
        choices = told.get("choices")
        if not (isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict)):
            raise self.connection.error(f"answers {COMPLETIONS} without a single choice")
        return choices[0]

    def _check_prompt(self, choice: dict[str, Any], prompt: object) -> None:
        """Refuse an answer to another prompt, such as one with a token put in front."""
        read = choice.get("prompt_token_ids")
        if read is not None and read != prompt:
            raise self.connection.error("read other token ids than were sent, so that its log-probabilities are not "
                                        "those of the prompt; let it add and cut nothing")  # fmt: skip

    def _read(self, choice: dict[str, Any]) -> Completion:
        record = choice.get("logprobs")
        record = record if isinstance(record, dict) else {}
        ids, logprobs = choice.get("token_ids"), record.get("token_logprobs")
        if ids is None:
            ids = _spelled_ids(record.get("tokens"))
        if not (isinstance(ids, list) and all(type(one) is int for one in ids)):
            raise self.connection.error("gives no token ids with its answers (token_ids, asked for by "
                                        "return_token_ids): take vLLM from 0.10.2 on, or SGLang from July 2026 "
                                        "on")  # fmt: skip
        if not (isinstance(logprobs, list) and len(logprobs) == len(ids) and all(map(_is_logprob, logprobs))):
            raise self.connection.error("gives no log-probability for every sampled token "
                                        "(logprobs.token_logprobs, finite and at most 0, one for each of "
                                        "token_ids)")  # fmt: skip
        return Completion(ids=ids, logprobs=[min(float(one), 0.0) for one in logprobs])

    def _check_ids(self, ids: list[int], max_tokens: int, vocabulary: int | None) -> None:
        if not 1 <= len(ids) <= max_tokens:
            raise self.connection.error(f"sampled {len(ids)} tokens where 1 to {max_tokens} were asked for")
        if vocabulary is not None and not all(0 <= one < vocabulary for one in ids):
            stranger = next(one for one in ids if not 0 <= one < vocabulary)
            raise self.connection.error(f"sampled the token id {stranger}, and the policy has the ids 0 to "
                                        f"{vocabulary - 1}: it serves another model; start it with the one that "
                                        "learns")  # fmt: skip

    def _check_end(self, choice: dict[str, Any], ids: list[int], max_tokens: int, stop_ids: Sequence[int]) -> None:
        """Refuse a reply that ended where it should not have, or went on where it should have ended."""
        reason = choice.get("finish_reason")
        if reason not in ("stop", "length"):
            raise self.connection.error(f"broke a reply off (finish_reason {reason!r}); look into its log")
        if any(one in stop_ids for one in ids[:-1]):
            raise self.connection.error("went on behind a stop token: it does not read stop_token_ids")
        # SGLang ends replies at every end-of-sequence token of the model, and says which; such a reply counts as cut.
        named = [choice.get(name) for name in ("matched_stop", "stop_reason")]
        ended = ids[-1] in stop_ids or ids[-1] in [one for one in named if type(one) is int]
        if len(ids) < max_tokens and not ended:
            raise self.connection.error(f"ended a reply after {len(ids)} of {max_tokens} tokens without a stop token "
                                        "among its ids: it leaves the stop token out, or stops at others than those "
                                        "of stop_token_ids")  # fmt: skip


def _spelled_ids(tokens: object) -> list[int] | None:
    """Return ids that are written as tokens, "token_id:17"; None where one is not."""
    if not isinstance(tokens, list):
        return None
    written = [token.removeprefix(ID_PREFIX) if isinstance(token, str) else "" for token in tokens]
    spelled = all(one.isascii() and one.isdigit() and f"{ID_PREFIX}{one}" == token
                  for one, token in zip(written, tokens, strict=True))  # fmt: skip
    return [int(one) for one in written] if spelled else None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_logprob(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value <= SLACK  # type: ignore[arg-type,operator]
