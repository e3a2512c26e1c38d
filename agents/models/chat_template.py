"""A chat template taken apart: the fixed text that it writes around rules, observations and replies.

A template is a program that may do anything with a conversation. So what is found in a short one is tried on longer
ones, with texts that templates are known to change, and a template that writes anything else there is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from string import ascii_letters
from typing import TYPE_CHECKING, Any

from turngym.agents.models.chat_encoding import ControlTokens
from turngym.agents.models.errors import ChatTemplateError, reason_of
from turngym.agents.models.small_tokenizer import SmallTokenizer, chat_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_RULES, _FIRST, _REPLY, _SECOND = "TURNGYMSYSTEM", "TURNGYMFIRST", "TURNGYMREPLY", "TURNGYMSECOND"
_THOUGHT = "<think>\nTURNGYMTHOUGHT\n</think>\n\n"
_OPENED_THOUGHT = re.compile(r"<think>\s*(</think>\s*)?$")
"""What some templates write where a reply begins, and leave out of the replies of the history."""
_PROBE = (
    "Go <Left>, {name} & \"Right\" or 'up'\n\n\t* (%d)  ~ [x] # 3\n" + "It is far: 1,000.50 Ünïcode steps. " * 9 + "end"
)
"""Text that a template could escape, trim inside, cut off or write in other letters."""
_EXCHANGES = (1, 2, 3, 4, 8, 24, 100)
"""How long the conversations are that a template is tried on."""
_LONG = 100
"""So many times the text is repeated in a conversation of one exchange: 34,000 characters, which could be cut off."""
_SHOWN = 40
"""Characters of a template's text in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFrames:
    """The text around what is said, in the order of a conversation."""

    before_rules: str | None
    """None where the built-in template leaves the rules out."""
    before_first: str
    """Between the rules and the first observation."""
    after_first: str
    """Up to where the first reply begins."""
    only_prompt: str
    """What stands there while the reply is awaited, and is left out of the history: the start of a thought."""
    forced: str
    """What the history writes there before every reply, such as the channel of final answers."""
    before_reply: str
    """White space that belongs to the reply, as the model would write it."""
    after_reply: str
    """White space between the reply and its stop token."""
    stop: str
    """The stop token."""
    before_later: str
    """Between the stop token and the next observation."""
    after_later: str
    """Up to where the next reply begins."""

    def text(self, rules: str, observations: Sequence[str], replies: Sequence[str]) -> str:
        """Return the text of a conversation that waits for its next reply."""
        shown = "" if self.before_rules is None else self.before_rules + rules
        text = shown + self.before_first + observations[0] + self.after_first
        for reply, observation in zip(replies, observations[1:], strict=True):
            text += self.forced + self.before_reply + reply + self.after_reply + self.stop
            text += self.before_later + observation + self.after_later
        return text + self.only_prompt


class ChatTemplate:
    """The chat template of a tokenizer.

    Args:
        tokenizer: The tokenizer.

    Attributes:
        controls: The control tokens of the tokenizer.
        frames: The text around what is said.
        strips_thoughts: Whether the template leaves the thoughts of earlier replies out.

    Raises:
        ChatTemplateError: There is no template, or it cannot be played; the message says what was found.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | SmallTokenizer) -> None:
        if not tokenizer.chat_template:
            raise ChatTemplateError("the tokenizer has no chat template; set tokenizer.chat_template before loading")
        self._tokenizer = tokenizer
        self.controls = ControlTokens(tokenizer)
        self._system_role = True
        self.frames = self._find_frames()
        self.strips_thoughts = bool(self.frames.only_prompt) or self._leaves_thoughts_out()

    def render(self, rules: str, observations: Sequence[str], replies: Sequence[str]) -> str:
        """Render a conversation that waits for its next reply, the rules where this template takes them.

        Raises:
            ChatTemplateError: The template raises.
        """
        first = observations[0] if self._system_role else f"{rules}\n\n{observations[0]}"
        messages = [{"role": "system", "content": rules}] if self._system_role else []
        messages.append({"role": "user", "content": first})
        for reply, observation in zip(replies, observations[1:], strict=True):
            messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": observation}]
        return self._render(messages)

    def served(self, reply: str) -> str:
        """Return what the template makes of an earlier reply, the white space around it included.

        A reply that it cannot show, which a model may well give, stays as it is.
        """
        frames = self.frames
        with suppress(ChatTemplateError):
            text = self.render(_RULES, [_FIRST, _SECOND], [reply])
            before = frames.text(_RULES, [_FIRST], []).removesuffix(frames.only_prompt) + frames.forced
            after = frames.stop + frames.before_later + _SECOND + frames.after_later + frames.only_prompt
            if text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after):
                return text[len(before) : len(text) - len(after)]
        return frames.before_reply + reply + frames.after_reply

    def _render(self, messages: list[dict[str, str]]) -> str:
        try:
            text: Any = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # templates raise whatever jinja raises, and what they like themselves
            raise _FailingTemplateError(
                f"the chat template fails on a conversation of {len(messages)} messages: {reason_of(error)}"
            ) from error
        return str(text)

    def _find_frames(self) -> ChatFrames:
        """Take the template apart with the rules as a system prompt, else as a part of the first message."""
        errors: list[ChatTemplateError] = []
        for self._system_role in (True, False):
            try:
                frames = self._take_apart()
                self._try_out(frames)
            except _RulesLeftOutError:
                raise
            except ChatTemplateError as error:
                errors.append(error)
            else:
                return frames
        raise next((error for error in errors if not isinstance(error, _FailingTemplateError)), errors[0])

    def _take_apart(self) -> ChatFrames:
        short, again = (self.render(_RULES, [_FIRST], []) for _ in range(2))
        longer = self.render(_RULES, [_FIRST, _SECOND], [_REPLY])
        if again != short:
            raise ChatTemplateError("the chat template writes something else each time: " + difference(short, again))
        before, found, after_first = short.partition(_FIRST)
        if not found or _RULES in after_first:
            raise ChatTemplateError("the chat template does not show the user's message after the system prompt")
        before_rules, before_first = self._around_rules(before)
        history, only_prompt = short, ""
        if not longer.startswith(short):
            history = _OPENED_THOUGHT.sub("", short)
            only_prompt = short[len(history) :]
        if not longer.startswith(history):
            raise ChatTemplateError("the chat template rewrites an earlier message when later ones are added: "
                                    + difference(history, longer))  # fmt: skip
        lead, replied, rest = longer[len(history) :].partition(_REPLY)
        between, answered, after_later = rest.partition(_SECOND)
        if not (replied and answered):
            missing = "second user message" if replied else "assistant's reply"
            raise ChatTemplateError(f"the chat template does not show the {missing} as it is")
        forced, closing = lead.rstrip(), self.controls.split(between.lstrip())
        if not closing or isinstance(closing[0], str):
            raise ChatTemplateError("the chat template does not end a reply with a token of its own")
        stop = self.controls.by_id[closing[0]].content
        return ChatFrames(
            before_rules=before_rules, before_first=before_first, after_first=after_first.removesuffix(only_prompt),
            only_prompt=only_prompt, forced=forced, before_reply=lead[len(forced) :],
            after_reply=between[: len(between) - len(between.lstrip())], stop=stop,
            before_later=between.lstrip()[len(stop) :], after_later=after_later.removesuffix(only_prompt),
        )  # fmt: skip

    def _around_rules(self, before: str) -> tuple[str | None, str]:
        """Return the text before the rules, None without rules, and that between them and the first observation."""
        before_rules, shown, before_first = before.partition(_RULES)
        if shown:
            return before_rules, before_first
        if self._tokenizer.chat_template == chat_template(show_instructions=False):  # meant so: it learns by playing
            return None, before
        raise _RulesLeftOutError(
            "the chat template leaves the system prompt out, so that the model would never read the rules: let the "
            "template show it, or raise an exception for that role, and the rules go into the first user message"
        )

    def _try_out(self, frames: ChatFrames) -> None:
        """Check that conversations of several lengths come out as the frames say."""
        for count in _EXCHANGES:
            text = _PROBE * _LONG if count == 1 else _PROBE
            said = [f"{number} {text}" for number in range(2 * count)]
            texts = (text, said[::2], said[1:-1:2])
            expected, found = frames.text(*texts), self.render(*texts)
            if expected != found:
                raise ChatTemplateError(
                    "the chat template changes what was said, or writes something else in a longer conversation: after "
                    f"{2 * count} messages it has {difference(expected, found)}"
                )

    def _leaves_thoughts_out(self) -> bool:
        return _THOUGHT + _REPLY not in self.render(_RULES, [_FIRST, _SECOND], [_THOUGHT + _REPLY])


class _FailingTemplateError(ChatTemplateError):
    """The template raises."""


class _RulesLeftOutError(ChatTemplateError):
    """The template shows the user's messages without the system prompt."""


def difference(expected: str, found: str) -> str:
    """Say where two texts begin to differ."""
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
    )
    begin = max(0, at - _SHOWN // 2)
    return f"{found[begin : begin + _SHOWN]!r} in place of {expected[begin : begin + _SHOWN]!r}"


def with_date(template: str, day: date) -> str:
    """Return a template that always shows this date; one that shows none, or one of its own, stays as it is."""
    if "strftime_now" not in template or "macro strftime_now(" in template:
        return template
    midnight = datetime.combine(day, time())
    directives = (f"%{flag}{letter}" for flag in ("-", "") for letter in ascii_letters)
    parts = "".join(f".replace({directive!r}, {midnight.strftime(directive)!r})"
                    for directive in directives if directive in template)  # fmt: skip
    return f"{{%- macro strftime_now(format) -%}}{{{{ format{parts} }}}}{{%- endmacro -%}}{template}"


def with_settings(template: str, settings: Mapping[str, Any]) -> str:
    """Return a template in which variables that it reads have fixed values, such as `enable_thinking` false.

    Args:
        template: The template.
        settings: The values, of the types of JSON, by name.

    Raises:
        ChatTemplateError: The template reads no such variable.
    """
    for name in settings:
        if not (name.isidentifier() and re.search(rf"\b{name}\b", template)):
            raise ChatTemplateError(f"chat_template_kwargs: the chat template reads no {name!r}")
    return "".join(f"{{%- set {name} = {_literal(value)} -%}}" for name, value in settings.items()) + template


def _literal(value: Any) -> str:
    """Return a value of JSON as a template writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
