"""A model behind a server as an agent: many conversations, several requests at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from turngym.agents.api.conversation import ApiConversation
from turngym.agents.api.endpoint import ApiEndpoint, ApiReply, ConversationFullError
from turngym.agents.api.ledger import BudgetReachedError, Ledger
from turngym.agents.api.settings import ApiSettings
from turngym.agents.base import Reply
from turngym.agents.serving.asking import SEEDS, AskingAgent
from turngym.envs.core import TextEnv
from turngym.seeds import Stream, generator


class ApiAgent(AskingAgent):
    """Plays many episodes at once with a model behind a server that speaks OpenAI's protocol; implements `Agent`.

    The rules of the environment are the system prompt, observations are messages of the user, replies those of the
    assistant. Thoughts, in fields of their own or in `<think>` blocks, count as tokens of the reply; they are neither
    played nor recorded nor sent again.

    Every request is seeded by the seed of its episode and the turn, so that on a server whose sampling is determined by
    the seed an episode does not depend on the others. Such servers are few, and most of them only nearly so.

    Where a request fails for good, or a bound is reached, `act` raises, and no reply of that call is written into any
    episode. Requests under way are ended in the first case; in the second they are waited for and counted.

    The key is read from the environment variable `OPENAI_API_KEY` when a request is made, and kept nowhere.

    Args:
        settings: Which model, and how it is asked.
        ledger: Counts what is spent, and says when to stop; one of its own unless given. Agents may share one.

    Example:
        >>> from turngym.agents.api import ApiAgent, ApiSettings
        >>> agent = ApiAgent(ApiSettings(model="tiny", base_url="http://127.0.0.1:8000/v1", temperature=0))
        >>> agent.ledger.describe()
        'Spent: 0 replies, 0 retries, 0 prompt tokens and 0 completion tokens.'
    """

    policy_version = 0

    def __init__(self, settings: ApiSettings, ledger: Ledger | None = None) -> None:
        self.settings = settings
        self.endpoint = ApiEndpoint(settings, ledger)
        self._conversations: dict[int, ApiConversation] = {}
        self._open(self.endpoint.connection, settings.parallel)

    @property
    def ledger(self) -> Ledger:
        """What was spent."""
        return self.endpoint.ledger

    def start(self, slot: int, env: TextEnv, observation: str, seed: int) -> None:
        """Open a conversation in `slot`."""
        self._conversations[slot] = ApiConversation(
            instructions=env.instructions, observation=observation, window=self.settings.window,
            chance=generator(seed, Stream.TOKENS),
        )  # fmt: skip

    def observe(self, slot: int, observation: str) -> None:
        """Write the environment's answer."""
        self._conversations[slot].observe(observation)

    def finish(self, slot: int) -> list[int]:
        """Close the conversation; there is no token stream."""
        self._conversations.pop(slot, None)
        return []

    def act(self, slots: Sequence[int]) -> list[Reply]:
        """Return the model's reply in each slot.

        Raises:
            BudgetReachedError: As much was spent as may be.
            ServerError: A request failed for good.
        """
        calls = [partial(self._speak, one, int(one.chance.integers(SEEDS)))
                 for one in map(self._conversations.__getitem__, slots)]  # fmt: skip
        # At a bound, what is under way is charged, and so is counted.
        replies = self._all(calls, awaited=(BudgetReachedError,))
        return [self._reply(slot, reply) for slot, reply in zip(slots, replies, strict=True)]

    def _speak(self, conversation: ApiConversation, seed: int) -> ApiReply | None:
        """Return a reply; None where the conversation has become longer than what the model sees."""
        try:
            return self.endpoint.reply(conversation.messages(), seed)
        except ConversationFullError:
            if not conversation.turns:  # no episode could be played so
                raise
            return None

    def _reply(self, slot: int, reply: ApiReply | None) -> Reply:
        if reply is None:
            return Reply(text="", out_of_room=True)
        self._conversations[slot].answer(reply.text)
        return Reply(text=reply.text, cut=reply.cut, tokens=reply.tokens)
