"""One reply of a model behind a server: the request, and what is read from the answer.

Reference: OpenAI's API reference, "Chat Completions" and "Completions"; vLLM, SGLang, llama.cpp, Ollama and
`transformers serve` answer alike. Fields that only some servers know are sent where they were asked for, and parameters
that models have outgrown are named anew when a server says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from turngym.agents.api.conversation import STOP, Message, plain_prompt
from turngym.agents.api.ledger import Ledger, Usage
from turngym.agents.api.settings import KEY_VARIABLE, ApiSettings
from turngym.agents.serving import RefusedError, ServerConnection, ServerError, Terms
from turngym.envs.parsing import without_thoughts

PATHS = {"chat": "/chat/completions", "completions": "/completions"}
"""Where the two protocols are, behind the address."""
TERMS = Terms(
    key_variable=KEY_VARIABLE,
    repeats_late=True,
    late="raise --request-timeout or lower --parallel",
    gone="see that --base-url names it, and that --request-timeout is long enough for a reply",
    goes_on="with --out FILE --resume what was played stays, and the same command goes on",
)
FULL = ("context_length_exceeded", "context length", "context window", "context size", "maximum model length",
        "prompt is too long")  # fmt: skip
"""How servers say that a conversation is longer than what the model sees."""
UNFIT = (400, 413, 422)
"""Statuses of requests that the server understood and cannot serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiReply:
    """What a model answered."""

    text: str
    """What it says, without thoughts."""
    cut: bool
    """Whether the longest reply ended it."""
    tokens: int
    """Tokens of the reply, thoughts included; 0 where the server does not tell."""


class ConversationFullError(ServerError):
    """The conversation is longer than what the model sees."""


class ApiEndpoint:
    """Asks a model behind a server; may be used by several threads at once.

    Args:
        settings: Which model, and how.
        ledger: Counts what is spent, and says when to stop.
    """

    def __init__(self, settings: ApiSettings, ledger: Ledger | None = None) -> None:
        self.settings = settings
        self.ledger = Ledger() if ledger is None else ledger
        self.connection = ServerConnection(settings.origin, timeout=settings.request_timeout, retries=settings.retries,
                                           terms=TERMS, on_repeat=self.ledger.count_retry)  # fmt: skip
        self._path = settings.path + PATHS[settings.api]
        self._limit, self._seeds = "max_tokens", True
        """What the server calls the longest reply, and whether it takes seeds."""

    def reply(self, messages: Sequence[Message], seed: int) -> ApiReply:
        """Return the reply to a conversation.

        Args:
            messages: What the model sees.
            seed: Seeds the sampling, on servers that can do so.

        Raises:
            BudgetReachedError: As much was spent as may be; nothing is asked.
            ConversationFullError: The conversation is longer than what the model sees.
            ServerError: The server does not answer, or not with a reply.
        """
        self.ledger.check()
        told = self._ask(messages, seed)
        usage = Usage.of(told)
        self.ledger.count(usage)
        if usage is None and self.ledger.bounded:
            raise self.connection.error("does not tell the tokens of its answers (usage), so that max_dollars and "
                                        "max_tokens cannot be held: leave them out")  # fmt: skip
        choice = self._choice(told)
        text = without_thoughts(self._text(choice)).encode("utf-8", "replace").decode()
        return ApiReply(text=text, cut=choice.get("finish_reason") == "length", tokens=usage.completion if usage else 0)

    # The request ------------------------------------------------------------------------------------------------------

    def _ask(self, messages: Sequence[Message], seed: int) -> dict[str, Any]:
        while True:
            limit, seeds = self._limit, self._seeds
            try:
                return self.connection.ask(self._path, self._request(messages, seed, limit=limit, seeds=seeds),
                                           absent="see that --base-url is right up to /v1, and that the server "
                                                  f"serves --api {self.settings.api} and {self.settings.model!r}"
                                           )  # fmt: skip
            except RefusedError as refusal:
                if not self._adapt(refusal, limit=limit, seeds=seeds):
                    if refusal.status in UNFIT and any(words in refusal.answer.lower() for words in FULL):
                        raise ConversationFullError(str(refusal)) from refusal
                    raise
                self.ledger.count_retry()

    def _request(self, messages: Sequence[Message], seed: int, *, limit: str, seeds: bool) -> dict[str, Any]:
        settings = self.settings
        request: dict[str, Any] = {"model": settings.model, limit: settings.max_reply_tokens}
        if settings.api == "chat":
            request["messages"] = list(messages)
        else:
            request |= {"prompt": plain_prompt(messages), "stop": [STOP]}
        if settings.temperature is not None:
            request["temperature"] = settings.temperature
        if settings.chat_template_kwargs:
            request["chat_template_kwargs"] = dict(settings.chat_template_kwargs)
        return request | ({"seed": seed} if seeds else {})

    def _adapt(self, refusal: RefusedError, *, limit: str, seeds: bool) -> bool:
        """Take note of a parameter that the server does not take; return whether the request is worth repeating."""
        words = refusal.answer.lower()
        if refusal.status not in UNFIT:
            return False
        if limit == "max_tokens" and "max_completion_tokens" in words and "unsupported" in words:
            self._limit = "max_completion_tokens"
            return True
        if seeds and ('"seed"' in words or "'seed'" in words or "`seed`" in words):
            self._seeds = False
            return True
        return False

    # The answer -------------------------------------------------------------------------------------------------------

    def _choice(self, told: dict[str, Any]) -> dict[str, Any]:
        choices = told.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            return choices[0]
        problem = told.get("error")  # some relays answer so, with a status of success
        said = f": {problem.get('message')}" if isinstance(problem, dict) else ""
        raise self.connection.error(f"answers {self._path} without a choice{said}")

    def _text(self, choice: dict[str, Any]) -> str:
        """Return what a choice says, without `reasoning_content` and `reasoning`, which hold thoughts."""
        if self.settings.api == "completions":
            content = choice.get("text")
        else:
            message = choice.get("message")
            if not isinstance(message, dict):
                raise self.connection.error(f"answers {self._path} without a message")
            content = message.get("content") or message.get("refusal")
        if isinstance(content, list):  # parts of a message
            content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
        if content is not None and not isinstance(content, str):
            raise self.connection.error(f"answers {self._path} with a reply that is no text")
        return content or ""
