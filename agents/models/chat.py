"""From words to token ids, one way: the chat template taken apart once, then only ever appended to.

A chat template is a program that renders a whole conversation. Rendering again after every turn would rewrite tokens
that were already sampled, so `ChatFormat` finds the fixed text around the contents once, and from then on writes
pieces: an opening for the first observation, a continuation for every later one.

Contents are encoded with control tokens split into plain text, so that no observation can forge one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from turngym.agents.models.chat_encoding import Piece, Place, PlainEncoder
from turngym.agents.models.chat_template import ChatTemplate, difference
from turngym.agents.models.errors import ChatTemplateError
from turngym.envs.parsing import OPEN

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from turngym.agents.models.small_tokenizer import SmallTokenizer


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
        ChatTemplateError: There is no template, it changes what was said, it leaves the rules out, it rewrites history
            and that was not accepted, or the tokenizer cannot tell control tokens from text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | SmallTokenizer, *, keep_thoughts: bool = False) -> None:
        template = ChatTemplate(tokenizer)
        self._tokenizer, self._controls = tokenizer, template.controls
        self._frames = frames = template.frames
        self._prompt = prompt = frames.only_prompt or frames.forced
        split = self._controls.split
        self._before_rules, self._before_first = split(frames.before_rules or ""), split(frames.before_first)
        self._after_first, self._after_later = split(frames.after_first + prompt), split(frames.after_later + prompt)
        # Once it is answered, the start of a thought is left out.
        answered = frames.after_first + frames.forced, frames.after_later + frames.forced
        self._after_first_answered, self._after_later_answered = map(split, answered)
        self._before_later = split(frames.before_later)
        self._template = template
        stop_id = self._controls.ids[frames.stop]
        eos = tokenizer.eos_token_id
        self.stop_ids: tuple[int, ...] = (stop_id,) if eos in (None, stop_id) else (stop_id, int(eos))
        self._reply_encoder, self._content_encoder = self._encoders()
        *_, last = ["text", *self._controls.texts(self._after_later)]
        self._reply_place = Place.INSIDE if last and isinstance(last, str) else Place.AFTER_CONTROL
        self._blanks = self._blanks_around_replies()
        self._check_ids(template)
        self.rewrites_history = template.strips_thoughts
        if self.rewrites_history and not keep_thoughts:
            raise ChatTemplateError(
                "the chat template removes earlier thoughts from the history, so a later turn would not see the tokens "
                "that were sampled; allow that with keep_thoughts (--model.keep-thoughts true in training, "
                "--keep-thoughts in other commands) to keep them in the stream, or let every turn see the history as "
                "the template serves it (--model.history served)"
            )

    # Writing the stream -----------------------------------------------------------------------------------------

    def opening(self, instructions: str, observation: str, *, answered: bool = False) -> list[int]:
        """Return the ids of a new conversation up to where the first reply begins.

        Args:
            instructions: The rules.
            observation: The first observation.
            answered: As the template writes them once there is a reply.
        """
        rules = [] if self._frames.before_rules is None else [*self._before_rules, instructions]
        after = self._after_first_answered if answered else self._after_first
        pieces = [*rules, *self._before_first, observation, *after]
        return self._content_encoder.encode_pieces(self._controls.texts(pieces), Place.FIRST)

    def continuation(self, observation: str, *, closed: bool = True, answered: bool = False) -> list[int]:
        """Return the ids between a reply and the next one.

        Args:
            observation: The environment's answer.
            closed: Whether the reply ended with a stop token; otherwise the stop token is written here, unsampled.
            answered: As the template writes them once there is a next reply.
        """
        after = self._after_later_answered if answered else self._after_later
        pieces: list[Piece] = [self.stop_ids[0], *self._before_later, observation, *after]
        ids = self._content_encoder.encode_pieces(self._controls.texts(pieces), Place.AFTER_CONTROL)
        return ids[1:] if closed else ids

    def reply(self, text: str) -> list[int]:
        """Return the ids an agent would sample to say `text`, the stop token included."""
        said = self._frames.before_reply + text + self._frames.after_reply
        return [*self._reply_encoder.encode(said, self._reply_place), self.stop_ids[0]]

    def answer(self, ids: Sequence[int]) -> list[int]:
        """Return the ids that make a reply in progress answer: they end its thought and open the answer.

        Args:
            ids: The reply so far.

        Returns:
            The ids, none if the answer has begun.
        """
        said = self._reply_encoder.decode(ids)
        if OPEN in said:
            return []
        begun = self._prompt + said
        thinks = begun.rfind("<think>") > begun.rfind("</think>")
        return self._reply_encoder.encode("\n</think>\n\n" * thinks + OPEN, Place.INSIDE)

    def served(self, text: str) -> list[int]:
        """Return the ids of an earlier reply as the template serves it, without its thoughts where it takes them out.

        The stop token is not among them.
        """
        return self._reply_encoder.encode(self._template.served(text), self._reply_place)

    def content(self, text: str) -> list[int]:
        """Encode text that is not ours, as it stands after other text: control tokens in it become plain text."""
        return self._content_encoder.encode(text)

    def text(self, ids: Sequence[int]) -> str:
        """Decode the ids of a reply, without its stop token and the white space that the template has around it."""
        if ids and ids[-1] in self.stop_ids:
            ids = ids[:-1]
        text = self._reply_encoder.decode(ids)
        before, after = self._blanks
        for blank in before:
            text = text.removeprefix(blank)
        return text.removesuffix(after)

    # Getting ready ----------------------------------------------------------------------------------------------

    def _encoders(self) -> tuple[PlainEncoder, PlainEncoder]:
        """Return the encoders of replies and of contents.

        They differ where the template writes tokens that are not marked special, such as `<think>`: in a reply they are
        one token, but an observation must not be able to forge them.
        """
        added = self._controls.by_id
        written = self._controls.split(self._frames.text("", ["", ""], [""]) + self._frames.forced)
        named = set(self._tokenizer.all_special_ids) - {self._tokenizer.unk_token_id}
        controls = {i for i in (*self.stop_ids, *written, *named) if isinstance(i, int) and i in added}
        unmarked = {added[i].content for i in controls if not added[i].special}
        stops = unmarked & {added[i].content for i in self.stop_ids}
        for_replies = PlainEncoder(self._tokenizer, stops)
        for_contents = for_replies if unmarked == stops else PlainEncoder(self._tokenizer, unmarked)
        for text in (added[i].content for i in controls):
            if controls.intersection(for_contents.encode(text)):
                raise ChatTemplateError(f"the tokenizer reads the text {text!r} as a control token, so that an "
                                        "observation could forge it; use a byte-level tokenizer")  # fmt: skip
        return for_replies, for_contents

    def _blanks_around_replies(self) -> tuple[str, str]:
        """Return the white space that stands before and after a reply in its ids, and is none of its text."""
        word = "left"
        before, found, after = self._reply_encoder.decode(self.reply(word)[:-1]).partition(word)
        return (before, after) if found else ("", "")

    def _check_ids(self, template: ChatTemplate) -> None:
        """Check that the stream has the ids that the tokenizer gives to what the template renders."""
        rules, first, second = "Say <left>.", "You see 2 ways.", "On <you> go."
        short, longer = template.render(rules, [first], []), template.render(rules, [first, second], ["left"])
        for text, parts in ((short, self.opening(rules, first)), (longer, self.continuation(second, closed=False))):
            whole = self._tokenizer.encode(text + self._frames.forced, add_special_tokens=False)
            compared = whole if text is short else whole[-len(parts) :]
            if compared != parts:
                raise ChatTemplateError("the tokenizer reads a conversation in another way as a whole than in parts: "
                                        f"{difference(self._spelled(parts), self._spelled(compared))}")  # fmt: skip

    def check_served(self) -> None:
        """Check that a conversation has the ids that the tokenizer gives to what the template renders of all of it.

        Raises:
            ChatTemplateError: It has not; the message says where they differ.
        """
        rules, observations = "Say <left>.", ["You see 2 ways.", "On <you> go.", "3 ways."]
        thought = "<think>\nIs it left?\n</think>\n\n"
        for replies in (["left", "right"], [f"{thought}left", f"{thought}right"], ["Is it?\n</think>\n\nleft", ""]):
            ids = self.opening(rules, observations[0], answered=True) + self.served(replies[0])
            ids += self.continuation(observations[1], closed=False, answered=True) + self.served(replies[1])
            ids += self.continuation(observations[2], closed=False)
            text = self._template.render(rules, observations, replies) + self._frames.forced
            whole = self._tokenizer.encode(text, add_special_tokens=False)
            if ids != whole:
                raise ChatTemplateError("the tokenizer reads a served conversation in another way as a whole than in "
                                        f"parts: {difference(self._spelled(ids), self._spelled(whole))}; take another "
                                        "model.history")  # fmt: skip

    def _spelled(self, ids: Sequence[int]) -> str:
        return "|".join(map(str, self._tokenizer.convert_ids_to_tokens(list(ids))))
