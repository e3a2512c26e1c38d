"""Chat formats: the template taken apart, the stream that is only appended to, and templates that are refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from turngym.agents.episode import Episode, Turn
from turngym.agents.models.chat import ChatFormat
from turngym.agents.models.errors import ChatTemplateError
from turngym.agents.models.history import encode_episode
from turngym.agents.models.small_tokenizer import chat_template

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]
RULES = "Reply with the action alone."
OBSERVATIONS = ["You are at 0,0.", "The move is blocked.\nYou are at 0,0.", "You are at 0,1 | go on.", "Ω 7*(3+4)"]
REPLIES = ["down", "right, up", "3 * (7 - 2)"]


def stream(chat: ChatFormat, observations: list[str], replies: list[str], rules: str = RULES) -> list[int]:
    """Write a conversation that waits for its next reply."""
    ids = chat.opening(rules, observations[0])
    for reply, observation in zip(replies, observations[1:], strict=True):
        ids += chat.reply(reply) + chat.continuation(observation)
    return ids


def rendered(tokenizer: PreTrainedTokenizerBase, observations: list[str], replies: list[str]) -> list[int]:
    """Render the same conversation the usual way."""
    messages = [{"role": "system", "content": RULES}, {"role": "user", "content": observations[0]}]
    for reply, observation in zip(replies, observations[1:], strict=True):
        messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": observation}]
    ids: Any = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return list(ids)


@pytest.fixture(params=["qwen", "llama", "built-in"])
def tokenizer(
    request: pytest.FixtureRequest,
    qwen_tokenizer: MakeTokenizer,
    llama_tokenizer: MakeTokenizer,
    built_in_tokenizer: PreTrainedTokenizerFast,
) -> PreTrainedTokenizerFast:
    """Every style with a template that leaves the history alone."""
    if request.param == "built-in":
        return built_in_tokenizer
    return qwen_tokenizer() if request.param == "qwen" else llama_tokenizer()


# The stream ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [1, 2, 3, 4])
def test_a_clean_chat_has_the_ids_of_apply_chat_template(tokenizer: PreTrainedTokenizerFast, turns: int) -> None:
    observations, replies = OBSERVATIONS[:turns], REPLIES[: turns - 1]
    assert stream(ChatFormat(tokenizer), observations, replies) == rendered(tokenizer, observations, replies)


def test_every_turn_only_appends(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(tokenizer)
    streams = [stream(chat, OBSERVATIONS[: n + 1], REPLIES[:n]) for n in range(4)]
    for shorter, longer in pairwise(streams):
        assert longer[: len(shorter)] == shorter and len(longer) > len(shorter)


def test_an_unclosed_reply_is_closed_by_the_continuation(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(tokenizer)
    closed, forced = chat.continuation("go on"), chat.continuation("go on", closed=False)
    assert forced == [chat.stop_ids[0], *closed]
    assert chat.reply("up") == [*chat.content("up"), chat.stop_ids[0]]


def test_the_stop_token_is_the_one_that_the_template_writes(
    qwen_tokenizer: MakeTokenizer, llama_tokenizer: MakeTokenizer
) -> None:
    qwen, base, llama = qwen_tokenizer(), qwen_tokenizer(eos="<|endoftext|>"), llama_tokenizer()
    end, text_end = map(qwen.convert_tokens_to_ids, ["<|im_end|>", "<|endoftext|>"])
    assert ChatFormat(qwen).stop_ids == (end,)
    assert ChatFormat(base).stop_ids == (end, text_end), "a base model may also end its text"
    assert ChatFormat(llama).stop_ids == (llama.convert_tokens_to_ids("<|eot_id|>"),)


def test_replies_are_read_without_their_stop_token(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(tokenizer)
    assert chat.text(chat.reply(" right,  up\n")) == " right,  up\n"
    assert chat.text(chat.content("up")) == "up", "a truncated reply has none"
    assert chat.text([]) == "" and chat.text([chat.stop_ids[0]]) == ""


@given(text=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_survives_the_built_in_tokenizer(built_in_tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    chat = ChatFormat(built_in_tokenizer)
    assert chat.text(chat.content(text)) == text


def test_an_unpaired_surrogate_is_replaced(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(tokenizer)
    assert chat.text(chat.content("a\ud800b")) == "a?b"
    assert chat.reply("\udfff") == chat.reply("?")


def test_a_scripted_episode_gets_the_stream_of_a_model(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(tokenizer)
    turns = [
        Turn(
            observation=observation, action=reply, reward=0.0, task_reward=0.0, state_key="", potential=0.0, valid=True
        )
        for observation, reply in zip(OBSERVATIONS, REPLIES, strict=False)
    ]
    scripted = Episode(env_id="x", split="train", index=0, seed=0, instructions=RULES, turns=turns)
    encoded = encode_episode(chat, scripted)
    expected = stream(chat, OBSERVATIONS[:3], REPLIES[:2]) + chat.reply(REPLIES[2])
    assert encoded.token_ids == expected
    assert [encoded.token_ids[slice(*turn.span)] for turn in encoded.turns] == [chat.reply(r) for r in REPLIES]
    assert scripted.token_ids == [] and scripted.turns[0].span == (0, 0), "the original stays as it was"
    assert encode_episode(chat, Episode(env_id="x", split="train", index=0, seed=0)).token_ids == []


# The frame ----------------------------------------------------------------------------------------------------------


def test_padding_and_truncation_of_the_tokenizer_do_not_matter(qwen_tokenizer: MakeTokenizer) -> None:
    tokenizer = qwen_tokenizer()
    expected = ChatFormat(tokenizer).content("a" * 50)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=99)
    assert ChatFormat(tokenizer).content("a" * 50) == expected


def test_a_template_without_a_system_role_puts_the_rules_before_the_observation(qwen_tokenizer: MakeTokenizer) -> None:
    tokenizer = qwen_tokenizer()
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    tokenizer.chat_template = refusal + str(tokenizer.chat_template)
    chat = ChatFormat(tokenizer)
    opening = tokenizer.decode(chat.opening("Be brief.", "You are here."))
    assert opening == "<|im_start|>user\nBe brief.\n\nYou are here.<|im_end|>\n<|im_start|>assistant\n"
    assert (
        tokenizer.decode(chat.continuation("Next.")) == "\n<|im_start|>user\nNext.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_may_leave_the_rules_out(built_in_tokenizer: PreTrainedTokenizerFast) -> None:
    backend = built_in_tokenizer.backend_tokenizer
    shown, hidden = (PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>") for _ in range(2))
    shown.chat_template = chat_template(show_instructions=True)
    hidden.chat_template = chat_template(show_instructions=False)
    assert hidden.decode(ChatFormat(hidden).opening(RULES, "go")) == "<|user|>go<|assistant|>"
    assert shown.decode(ChatFormat(shown).opening(RULES, "go")) == f"<|system|>{RULES}<|user|>go<|assistant|>"


# Thoughts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["stripping", "opened-thought"])
def test_a_template_that_strips_thoughts_is_refused_with_advice(qwen_tokenizer: MakeTokenizer, template: str) -> None:
    with pytest.raises(ChatTemplateError, match=r"--model\.keep-thoughts true"):
        ChatFormat(qwen_tokenizer(template))


def test_kept_thoughts_stay_in_the_stream(qwen_tokenizer: MakeTokenizer) -> None:
    tokenizer = qwen_tokenizer("stripping")
    chat = ChatFormat(tokenizer, keep_thoughts=True)
    assert chat.rewrites_history and not ChatFormat(qwen_tokenizer()).rewrites_history
    thought = "<think>\nThe goal is to the right.\n</think>\n\nright"
    ids = stream(chat, OBSERVATIONS[:2], [thought])
    assert thought in tokenizer.decode(ids)
    assert "The goal" not in tokenizer.decode(rendered(tokenizer, OBSERVATIONS[:2], [thought]))
    plain = qwen_tokenizer("plain")
    assert ids == rendered(plain, OBSERVATIONS[:2], [thought]), "as a template would that strips nothing"


def test_a_thought_that_the_prompt_opens_stays_open_in_the_stream(qwen_tokenizer: MakeTokenizer) -> None:
    tokenizer = qwen_tokenizer("opened-thought")
    ids = stream(ChatFormat(tokenizer, keep_thoughts=True), ["a", "b"], ["Hm.\n</think>\n\nup"])
    reply = "<|im_start|>assistant\n<think>\nHm.\n</think>\n\nup<|im_end|>\n<|im_start|>user\nb<|im_end|>\n"
    assert reply in tokenizer.decode(ids)
    assert str(tokenizer.decode(ids)).endswith("<|im_start|>assistant\n<think>\n")


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        ("{{ messages[-1].role }}", "does not show the user's message"),
        ("{{ messages[1].content }}{{ messages[0].content }}", "after the system prompt"),
        ("{{ messages|length }}{% for m in messages %}{{ m.content }}{% endfor %}", "rewrites an earlier message"),
        ("{% for m in messages %}{% if loop.index < 4 %}{{ m.content + '<|im_end|>' }}{% endif %}{% endfor %}",
         "second user message"),
        ("{% for m in messages %}{{ m.content + '\n' }}{% endfor %}", "does not end a reply with a token"),
    ],
)  # fmt: skip
def test_templates_that_cannot_be_played_are_refused(
    qwen_tokenizer: MakeTokenizer, template: str | None, message: str
) -> None:
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ChatTemplateError, match=message):
        ChatFormat(tokenizer)


def test_a_slow_tokenizer_is_refused(qwen_tokenizer: MakeTokenizer) -> None:
    class Slow(PreTrainedTokenizerFast):
        backend_tokenizer = None  # type: ignore[assignment]

    tokenizer = Slow(tokenizer_object=qwen_tokenizer().backend_tokenizer, eos_token="<|im_end|>")
    tokenizer.chat_template = qwen_tokenizer().chat_template
    with pytest.raises(ChatTemplateError, match="Slow is not a fast tokenizer"):
        ChatFormat(tokenizer)


def test_a_tokenizer_whose_words_are_control_tokens_is_refused() -> None:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "</s>": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="[UNK]")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content + ' </s> ' }}{% endfor %}"
    with pytest.raises(ChatTemplateError, match="forge it"):
        ChatFormat(tokenizer)
