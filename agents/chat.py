"""From words to token ids, one way: the chat template taken apart once, then only ever appended to.

A chat template is a program that renders a whole conversation. Rendering again after every turn would rewrite tokens
that were already sampled, so `ChatFormat` renders a sample conversation once, finds the fixed text around the contents,
and from then on writes pieces: an opening for the first observation, a continuation for every later one.

Contents are encoded with control tokens split into plain text, so that no observation can forge one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from turngym.agents.episode import Episode

_SYSTEM, _FIRST, _REPLY, _SECOND = "TURNGYMSYSTEM", "TURNGYMFIRST", "TURNGYMREPLY", "TURNGYMSECOND"
_THOUGHT = "<think>\nTURNGYMTHOUGHT\n</think>\n\n"
_OPENED_THOUGHT = re.compile(r"<think>\s*(</think>\s*)?$")
"""What some templates write where a reply begins, and leave out of the replies of the history."""


class ChatTemplateError(ValueError):
    """The chat template cannot be used for play over several turns; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """The fixed ids around one observation, and around the rules before it."""

    before_rules: list[int]
    before_observation: list[int]
    after_observation: list[int]

    def ids(self) -> list[int]:
        """Return all of them."""
        return [*self.before_rules, *self.before_observation, *self.after_observation]


class ChatFormat:
    """Encodes rules, observations and replies for one tokenizer.

    Args:
        tokenizer: A fast tokenizer with a chat template.
        keep_thoughts: Accept a template that removes earlier thoughts from the history. The stream then keeps them as
            they were sampled: what was sampled is what is trained on.

    Attributes:
        stop_ids: Ids that end a reply. The first of them is what the template writes after a reply.
        rewrites_history: Whether the template removes thoughts from earlier replies.

    Raises:
        ChatTemplateError: There is no template, it changes replies, it rewrites history and that was not accepted, or
            the tokenizer cannot tell control tokens from text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, keep_thoughts: bool = False) -> None:
        if not tokenizer.chat_template:
            raise ChatTemplateError("the tokenizer has no chat template; set tokenizer.chat_template before loading")
        self._tokenizer = tokenizer
        self._added = tokenizer.added_tokens_decoder
        self._opens_thought = False
        self._opening = self._find_opening()
        self._continuation, stop_id = self._find_continuation()
        eos = tokenizer.eos_token_id
        self.stop_ids: tuple[int, ...] = (stop_id,) if eos in (None, stop_id) else (stop_id, int(eos))
        self._reply_encoder, self._content_encoder = self._encoders()
        self.rewrites_history = self._opens_thought or self._strips_thoughts()
        if self.rewrites_history and not keep_thoughts:
            raise ChatTemplateError(
                "the chat template removes earlier thoughts from the history, so a later turn would not see the tokens "
                "that were sampled; allow that with keep_thoughts (--model.keep-thoughts true in training, "
                "--keep-thoughts in other commands) to keep them in the stream"
            )

    # Writing the stream -----------------------------------------------------------------------------------------

    def opening(self, instructions: str, observation: str) -> list[int]:
        """Return the ids of a new conversation up to where the first reply begins."""
        frame = self._opening
        rules = self.content(instructions) if frame.before_rules else []
        return [*frame.before_rules, *rules, *frame.before_observation, *self.content(observation),
                *frame.after_observation]  # fmt: skip

    def continuation(self, observation: str, *, closed: bool = True) -> list[int]:
        """Return the ids between a reply and the next one.

        Args:
            observation: The environment's answer.
            closed: Whether the reply ended with a stop token; otherwise the stop token is written here, unsampled.
        """
        frame = self._continuation
        stop = [] if closed else [self.stop_ids[0]]
        return [*stop, *frame.before_observation, *self.content(observation), *frame.after_observation]

    def reply(self, text: str) -> list[int]:
        """Return the ids an agent would sample to say `text`, the stop token included."""
        return [*_encode(self._reply_encoder, text), self.stop_ids[0]]

    def content(self, text: str) -> list[int]:
        """Encode text that is not ours: control tokens in it become plain text."""
        return _encode(self._content_encoder, text)

    def text(self, ids: Sequence[int]) -> str:
        """Decode the ids of a reply, its stop token left out."""
        if ids and ids[-1] in self.stop_ids:
            ids = ids[:-1]
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def encode_episode(self, episode: Episode) -> Episode:
        """Return a copy of a scripted episode with the token stream a model would have produced."""
        stream: list[int] = []
        turns = []
        for number, turn in enumerate(episode.turns):
            if number == 0:
                stream += self.opening(episode.instructions, turn.observation)
            else:
                stream += self.continuation(turn.observation)
            start = len(stream)
            stream += self.reply(turn.action)
            turns.append(replace(turn, span=(start, len(stream))))
        return replace(episode, turns=turns, token_ids=stream)

    # Taking the template apart ----------------------------------------------------------------------------------

    def _render(self, messages: list[dict[str, str]], *, prompt: bool) -> str:
        rendered: Any = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        return str(rendered)

    def _control(self, text: str) -> list[int]:
        """Encode text of the template itself, in which control tokens are meant."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _conversation(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _FIRST}]

    def _find_opening(self) -> _Frame:
        try:
            text = self._render(self._conversation(), prompt=True)
            self._system_role = True
        except Exception:  # noqa: BLE001 - templates raise whatever jinja raises when they refuse the system role
            text = self._render([{"role": "user", "content": f"{_SYSTEM}\n\n{_FIRST}"}], prompt=True)
            self._system_role = False
        before, found, after = text.partition(_FIRST)
        if not found or _SYSTEM in after:
            raise ChatTemplateError("the chat template does not show the user's message after the system prompt")
        before_rules, has_rules, before_observation = before.partition(_SYSTEM)
        if not has_rules:
            return _Frame([], self._control(before), self._control(after))
        return _Frame(self._control(before_rules), self._control(before_observation), self._control(after))

    def _find_continuation(self) -> tuple[_Frame, int]:
        messages = self._conversation() if self._system_role else [{"role": "user", "content": _FIRST}]
        messages += [{"role": "assistant", "content": _REPLY}, {"role": "user", "content": _SECOND}]
        head = self._render(messages[:-2], prompt=True)
        text = self._render(messages, prompt=True)
        if not text.startswith(head + _REPLY):
            head, self._opens_thought = _OPENED_THOUGHT.sub("", head), True
        if not text.startswith(head + _REPLY):
            raise ChatTemplateError("the chat template rewrites an earlier turn when a later one is added")
        between, found, after = text[len(head + _REPLY) :].partition(_SECOND)
        if not found:
            raise ChatTemplateError("the chat template does not show the second user message")
        ids = self._control(between)
        if not ids or ids[0] not in self._added:
            raise ChatTemplateError("the chat template does not end a reply with a token of its own")
        return _Frame([], ids[1:], self._control(after)), ids[0]

    def _encoders(self) -> tuple[Tokenizer, Tokenizer]:
        """Return the encoders of replies and of contents.

        They differ where the template writes tokens that are not marked special, such as `<think>`: in a reply they are
        one token, but an observation must not be able to forge them.
        """
        frames = self._opening.ids() + self._continuation.ids()
        named = set(self._tokenizer.all_special_ids) - {self._tokenizer.unk_token_id}
        controls = {*self.stop_ids, *frames, *named} & self._added.keys()
        unmarked = {self._added[i].content for i in controls if not self._added[i].special}
        stops = unmarked & {self._added[i].content for i in self.stop_ids}
        for_replies = _plain_encoder(self._tokenizer, stops)
        for_contents = for_replies if unmarked == stops else _plain_encoder(self._tokenizer, unmarked)
        for text in (self._added[i].content for i in controls):
            if controls.intersection(_encode(for_contents, text)):
                raise ChatTemplateError(f"the tokenizer reads the text {text!r} as a control token, so that an "
                                        "observation could forge it; use a byte-level tokenizer")  # fmt: skip
        return for_replies, for_contents

    def _strips_thoughts(self) -> bool:
        messages = [{"role": "user", "content": _FIRST}, {"role": "assistant", "content": _THOUGHT + _REPLY},
                    {"role": "user", "content": _SECOND}]  # fmt: skip
        return _THOUGHT + _REPLY not in self._render(messages, prompt=True)


def _plain_encoder(tokenizer: PreTrainedTokenizerBase, controls: Container[str]) -> Tokenizer:
    """Copy the Rust tokenizer behind `tokenizer`, set to read special tokens and `controls` as ordinary text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ChatTemplateError(f"{type(tokenizer).__name__} is not a fast tokenizer; load one with a tokenizer.json")
    state = json.loads(backend.to_str())
    for token in state["added_tokens"]:
        token["special"] |= token["content"] in controls
    plain: Tokenizer = Tokenizer.from_str(json.dumps(state))
    plain.encode_special_tokens = True
    plain.no_padding()
    plain.no_truncation()
    return plain


def _encode(encoder: Tokenizer, text: str) -> list[int]:
    # An unpaired surrogate has no UTF-8 form, and the encoder takes nothing else.
    ids: list[int] = encoder.encode(text.encode("utf-8", "replace").decode(), add_special_tokens=False).ids
    return ids
