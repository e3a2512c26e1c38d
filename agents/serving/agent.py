"""A language model as an agent whose tokens a server samples: the same conversations, the same streams of ids."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from turngym.agents.base import Reply
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.serving.asking import SEEDS, AskingAgent
from turngym.agents.serving.completions import Completion, CompletionServer


class ServedAgent(AskingAgent, LanguageModelAgent):
    """Plays many episodes at once with a model on a server, several requests at a time.

    Conversations are written here, by the tokenizer and the chat format of `model`, and nothing is tokenised on the
    server. Every request is seeded by the seed of its episode and the turn, so that on a server whose sampling is
    determined by the seed an episode does not depend on the others, nor on how many requests are made at once. A reply
    whose thought ends at its limit takes two requests.

    Where a request fails for good, `act` raises, and no reply of that call is written into any episode.

    Args:
        model: The same model, or one with the same vocabulary and chat format; it computes nothing here.
        server: Samples the replies.
        parallel: Requests at once.
        temperature: Divides the logits; above 0. None for that of `model.decoding`.
        slots: Episodes held at once.
        max_reply_tokens: Longest reply, the stop token included; None for that of `model.decoding`.
        policy_version: Optimizer steps behind the server's weights, recorded in every turn.

    Raises:
        ServerError: The server's model sees fewer tokens at once than the agent.
        ValueError: The temperature is not above 0, or no reply fits into the context.
    """

    reads_weights: ClassVar[bool] = False

    def __init__(
        self,
        model: LanguageModel,
        server: CompletionServer,
        *,
        parallel: int = 64,
        temperature: float | None = None,
        slots: int = 128,
        max_reply_tokens: int | None = None,
        policy_version: int = 0,
    ) -> None:
        super().__init__(model, temperature=temperature, slots=slots, max_reply_tokens=max_reply_tokens,
                         policy_version=policy_version)  # fmt: skip
        longest = server.served.context_length
        if longest is not None and longest < self.context_length:
            raise server.connection.error(
                f"sees {longest} tokens at once, and the policy plays with {self.context_length}: start it with "
                f"--max-model-len {self.context_length} (SGLang: --context-length), or lower model.context_length"
            )
        self.server = server
        self._vocabulary = int(model.model.config.get_text_config().vocab_size)
        self._open(server.connection, parallel)

    def act(self, slots: Sequence[int]) -> list[Reply]:
        """Return the server's reply in each slot.

        Raises:
            ServerError: A request failed for good; nothing is written.
        """
        speaking = [slot for slot in slots if self._has_room(slot)]
        seeds = [int(self._rows[slot].uniforms.integers(SEEDS)) for slot in speaking]
        spoken = self._all([partial(self._speak, slot, seed) for slot, seed in zip(speaking, seeds, strict=True)])
        for slot, (ids, logprobs, forced) in zip(speaking, spoken, strict=True):
            row = self._rows[slot]
            row.stream += ids
            row.logprobs, row.forced = logprobs, forced
        return [self._reply(slot) if slot in speaking else self._give_up(slot) for slot in slots]

    def _speak(self, slot: int, seed: int) -> tuple[list[int], list[float], tuple[int, int]]:
        """Return the ids of a reply, the log-probabilities of the sampled ones, and where the forced ones will lie."""
        row, chat = self._rows[slot], self.model.chat
        thought = self._complete(row.stream, seed, row.max_thought_tokens or self.max_reply_tokens)
        if len(thought.ids) != row.max_thought_tokens or thought.ids[-1] in chat.stop_ids:
            return thought.ids, thought.logprobs, (0, 0)
        opening = chat.answer(thought.ids)
        ids = thought.ids + opening
        answer = self._complete(row.stream + ids, (seed + 1) % SEEDS, self.max_reply_tokens - len(ids))
        start, stop = len(row.stream) + len(thought.ids), len(row.stream) + len(ids)
        return ids + answer.ids, thought.logprobs + answer.logprobs, (start, stop) if opening else (0, 0)

    def _complete(self, stream: list[int], seed: int, max_tokens: int) -> Completion:
        return self.server.complete(stream, seed=seed, temperature=self.temperature, max_tokens=max_tokens,
                                    stop_ids=self.model.chat.stop_ids, vocabulary=self._vocabulary)  # fmt: skip
