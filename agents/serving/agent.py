"""A language model as an agent whose tokens a server samples: the same conversations, the same streams of ids."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from types import TracebackType
from typing import ClassVar, Self

from turngym.agents.base import Reply
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.serving.completions import Completion, CompletionServer

SEEDS = 2**31
"""Seeds of requests lie below this."""


class ServedAgent(LanguageModelAgent):
    """Plays many episodes at once with a model on a server, several requests at a time.

    Conversations are written here, by the tokenizer and the chat format of `model`, and nothing is tokenised on the
    server. Every request is seeded by the seed of its episode and the turn, so that on a server whose sampling is
    determined by the seed an episode does not depend on the others, nor on how many requests are made at once.

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
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="turngym-requests")

    def __enter__(self) -> Self:
        """Return the agent, which is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the requests under way; the agent and its server are of no use from now on."""
        self.server.connection.close()
        self._pool.shutdown(cancel_futures=True)

    def act(self, slots: Sequence[int]) -> list[Reply]:
        """Return the server's reply in each slot.

        Raises:
            ServerError: A request failed for good; nothing is written.
        """
        speaking = [slot for slot in slots if self._has_room(slot)]
        seeds = [int(self._rows[slot].uniforms.integers(SEEDS)) for slot in speaking]
        futures = [self._pool.submit(self._complete, slot, seed) for slot, seed in zip(speaking, seeds, strict=True)]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in futures:  # of several errors that of the first slot
                if future in done and (error := future.exception()):
                    raise error
        except BaseException:  # an interrupt too
            self.close()
            raise
        for slot, future in zip(speaking, futures, strict=True):
            completion, row = future.result(), self._rows[slot]
            row.stream += completion.ids
            row.logprobs = completion.logprobs
        return [self._reply(slot) if slot in speaking else self._give_up(slot) for slot in slots]

    def _complete(self, slot: int, seed: int) -> Completion:
        return self.server.complete(
            self._rows[slot].stream, seed=seed, temperature=self.temperature, max_tokens=self.max_reply_tokens,
            stop_ids=self.model.chat.stop_ids, vocabulary=self._vocabulary,
        )  # fmt: skip
