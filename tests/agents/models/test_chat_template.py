"""Templates of the families that people load, in a short form that is built as theirs, and templates that lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from tests.agents.conftest import LLAMA, PLAIN, STRIPPING, byte_level
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from turngym.agents.models.chat import ChatFormat
from turngym.agents.models.chat_template import with_date, with_settings
from turngym.agents.models.errors import ChatTemplateError

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]
CONTROLS = (
    "<start_of_turn>",
    "<end_of_turn>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "<|start|>",
    "<|message|>",
    "<|end|>",
    "<|channel|>",
    "<|return|>",
)
RULES = "Reply with <the action>."
OBSERVATIONS = ["You are at 0,0; the goal is <far>.", "Blocked.\nYou are at 0,0.", "Ω 7*(3+4)", "On."]
REPLIES = ["left", "Right & up", "<down>"]

MISTRAL_02 = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL_03 = (
    "{%- if messages[0]['role'] == 'system' -%}"
    "{%- set system = messages[0]['content'] -%}{%- set turns = messages[1:] -%}"
    "{%- else -%}{%- set turns = messages -%}{%- endif -%}{{- bos_token -}}{%- for m in turns -%}"
    "{%- if m['role'] == 'user' -%}{%- if loop.last and system is defined -%}"
    "{{- '[INST] ' + system + '\n\n' + m['content'] + '[/INST]' -}}"
    "{%- else -%}{{- '[INST] ' + m['content'] + '[/INST]' -}}{%- endif -%}"
    "{%- else -%}{{- ' ' + m['content'] + eos_token -}}{%- endif -%}{%- endfor -%}"
)
NEMO = MISTRAL_03.replace("'[INST] '", "'[INST]'").replace("' ' + m", "m")
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}{% set system = messages[0]['content'] %}"
    "{% else %}{% set turns = messages %}{% set system = false %}{% endif %}{% for m in turns %}"
    "{% if loop.index0 == 0 and system %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + m['content'] %}"
    "{% else %}{% set content = m['content'] %}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
VICUNA = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + ' ' }}{% set turns = messages[1:] %}"
    "{% else %}{% set turns = messages %}{% endif %}{% for m in turns %}"
    "{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ASSISTANT:' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
ALPACA = (
    "{{ messages[0]['content'] }}{% for m in messages[1:] %}{% if m['role'] == 'user' %}"
    "{{ '\n\n### Instruction:\n' + m['content'] + '\n\n### Response:\n' }}"
    "{% else %}{{ m['content'] + '</s>' }}{% endif %}{% endfor %}"
)
GPT_OSS = (
    "{{ '<|start|>system<|message|>Today: ' + strftime_now('%Y-%m-%d') + '<|end|>' }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ '<|start|>developer<|message|># Instructions\n\n' + m.content + '<|end|>' }}"
    "{% elif m.role == 'user' %}{{ '<|start|>user<|message|>' + m.content + '<|end|>' }}"
    "{% else %}{{ '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = m['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI_3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
QWEN_25 = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are Qwen.<|im_end|>\n' }}{% endif %}" + PLAIN
)
"""It writes a system prompt of its own where there is none."""
SWITCHED = STRIPPING.replace(
    "<|im_start|>assistant\n' -}}{%- endif",
    "<|im_start|>assistant\n' -}}{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}{%- endif",
)
"""Like Qwen3's: without thinking, the prompt for a reply holds an empty thought."""
DATED = LLAMA.replace(
    "{{ bos_token }}",
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ bos_token + 'Today Date: ' + date_string }}",
)
"""Like Llama 3.2's."""


@pytest.fixture(scope="module")
def make_tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """Make a byte-level tokenizer with the control tokens of these families and a template."""
    backend = byte_level(CONTROLS).to_str()

    def make(template: str) -> PreTrainedTokenizerFast:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(backend), bos_token="<s>", eos_token="</s>"
        )
        tokenizer.chat_template = template
        return tokenizer

    return make


def messages(rules_first: bool, turns: int) -> list[dict[str, str]]:
    """Return a conversation that waits for its next reply, the rules in a system message or in the first one."""
    first = OBSERVATIONS[0] if rules_first else f"{RULES}\n\n{OBSERVATIONS[0]}"
    said = [{"role": "system", "content": RULES}] if rules_first else []
    said.append({"role": "user", "content": first})
    for reply, observation in zip(REPLIES[:turns], OBSERVATIONS[1:], strict=False):
        said += [{"role": "assistant", "content": reply}, {"role": "user", "content": observation}]
    return said


def stream(chat: ChatFormat, turns: int) -> list[int]:
    ids = chat.opening(RULES, OBSERVATIONS[0])
    for reply, observation in zip(REPLIES[:turns], OBSERVATIONS[1:], strict=False):
        ids += chat.reply(reply) + chat.continuation(observation)
    return ids


@pytest.mark.parametrize("turns", [0, 1, 3])
@pytest.mark.parametrize(
    ("template", "system_message"),
    [
        pytest.param(MISTRAL_02, False, id="Mistral 0.2, without a system role"),
        pytest.param(MISTRAL_03, False, id="Mistral 0.3, whose system prompt moves to the last message"),
        pytest.param(NEMO, False, id="Mistral Nemo"),
        pytest.param(LLAMA_2, True, id="Llama 2"),
        pytest.param(VICUNA, True, id="Vicuna"),
        pytest.param(ALPACA, True, id="Alpaca, which begins with the rules"),
        pytest.param(LLAMA, True, id="Llama 3"),
        pytest.param(GEMMA, False, id="Gemma, whose roles alternate and whose replies are the model's"),
        pytest.param(PHI_3, True, id="Phi 3"),
        pytest.param(QWEN_25, True, id="Qwen 2.5"),
    ],
)
def test_the_stream_has_the_ids_of_the_template(
    make_tokenizer: MakeTokenizer,
    llama_tokenizer: MakeTokenizer,
    qwen_tokenizer: MakeTokenizer,
    template: str,
    system_message: bool,
    turns: int,
) -> None:
    own = {LLAMA: llama_tokenizer, QWEN_25: qwen_tokenizer}.get(template)
    tokenizer = make_tokenizer(template) if own is None else own()
    tokenizer.chat_template = template
    expected: Any = tokenizer.apply_chat_template(
        messages(system_message, turns), add_generation_prompt=True, return_dict=False
    )
    chat = ChatFormat(tokenizer)
    assert stream(chat, turns) == list(expected)
    assert RULES in tokenizer.decode(expected), "the rules are read"
    for reply in (*REPLIES, " left", "two\nlines "):
        assert chat.text(chat.reply(reply)).strip() == reply.strip()
    assert [chat.text(chat.reply(reply)) for reply in REPLIES] == REPLIES


def test_a_template_that_names_a_channel_before_replies_opens_it(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(with_date(GPT_OSS, date(2025, 8, 5)))
    chat = ChatFormat(tokenizer)
    opening = "<|start|>assistant<|channel|>final<|message|>"
    assert tokenizer.decode(chat.opening(RULES, "Go.")) == (
        "<|start|>system<|message|>Today: 2025-08-05<|end|><|start|>developer<|message|># Instructions\n\n"
        f"{RULES}<|end|><|start|>user<|message|>Go.<|end|>{opening}"
    )
    rendered: Any = tokenizer.apply_chat_template(messages(True, 3), tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(stream(chat, 3)) == rendered + opening.removeprefix("<|start|>assistant")
    assert chat.stop_ids[0] == tokenizer.convert_tokens_to_ids("<|end|>")


# Refused ------------------------------------------------------------------------------------------------------------

NUMBERED = PLAIN.replace("message.role +", "message.role + loop.index|string +")
REMINDED = PLAIN.replace("message.content +", "message.content + (' Be brief.' if loop.index > 4 else '') +")
FORGETFUL = PLAIN.replace("in messages %}", "in messages[:1] + messages[1:][-20:] %}")


@pytest.mark.parametrize(
    ("template", "found"),
    [
        pytest.param(PLAIN.replace("message.content", "message.content | upper"), "GO <LEFT>", id="upper"),
        pytest.param(PLAIN.replace("message.content", "message.content | e"), "&lt;", id="escaped"),
        pytest.param(PLAIN.replace("message.content", "message.content | tojson"), "does not end a reply", id="json"),
        pytest.param(PLAIN.replace("message.content", "message.content | truncate"), r"\.\.\.", id="truncated"),
        pytest.param(
            PLAIN.replace("message.content", "message.content | replace('\n', ' ')"), "in place of", id="lines"
        ),
        pytest.param(NUMBERED, "in place of", id="numbered turns"),
        pytest.param(REMINDED, "after 6 messages it has .*Be brief", id="a reminder after the fourth message"),
        pytest.param(FORGETFUL, "in place of", id="a history that is cut off"),
        pytest.param(PLAIN.replace("message.content", "message.content[:20000]"), "after 2 messages", id="long texts"),
        pytest.param(REMINDED.replace("> 4", "> 90"), "after 200 messages", id="a late reminder"),
        pytest.param("{{ range(99999) | random }}" + PLAIN, "something else each time", id="random"),
    ],
)
def test_a_template_that_changes_what_was_said_is_refused_with_what_it_does(
    qwen_tokenizer: MakeTokenizer, template: str, found: str
) -> None:
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ChatTemplateError, match=found) as caught:
        ChatFormat(tokenizer)
    assert "thoughts" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_template_that_leaves_the_rules_out_is_refused(qwen_tokenizer: MakeTokenizer) -> None:
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = PLAIN.replace("in messages %}", "in messages if message.role != 'system' %}")
    with pytest.raises(ChatTemplateError, match="would never read the rules"):
        ChatFormat(tokenizer)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('not for chats') }}", "not for chats"),
        ("{{ 1 // 0 }}", "fails on a conversation of"),
        ("{% for", "fails on a conversation of"),
        ("{{ messages.__class__.__mro__ }}", "fails on a conversation of"),
        ("{% for i in range(999999999) %}x{% endfor %}", "fails on a conversation of"),
        (
            PLAIN + "{% if messages|length > 6 %}{{ raise_exception('too many messages') }}{% endif %}",
            "too many messages",
        ),
    ],
)
def test_a_template_that_raises_is_one_sentence(qwen_tokenizer: MakeTokenizer, template: str, reason: str) -> None:
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ChatTemplateError, match=reason) as caught:
        ChatFormat(tokenizer)
    assert "\n" not in str(caught.value)


# Dates --------------------------------------------------------------------------------------------------------------


def test_a_date_is_shown_as_it_was_fixed(llama_tokenizer: MakeTokenizer) -> None:
    tokenizer, shown = llama_tokenizer(), []
    for day in (date(2024, 2, 29), date(2031, 12, 1)):
        tokenizer.chat_template = with_date(DATED, day)
        shown.append(tokenizer.decode(ChatFormat(tokenizer).opening(RULES, "Go.")))
    first, second = map(str, shown)
    assert "Today Date: 29 Feb 2024" in first and "Today Date: 01 Dec 2031" in second
    assert first.replace("29 Feb 2024", "01 Dec 2031") == second


@pytest.mark.parametrize(
    "pattern",
    ["%Y-%m-%d", "%d %B %Y", "%A, %b %e", "%y%j %H:%M:%S %p %I %a", "%-d.%-m.%G", "%F %T", "%c", "%D week %V, day %u"],
)
def test_dates_are_written_as_the_library_writes_them(make_tokenizer: MakeTokenizer, pattern: str) -> None:
    day = date(2026, 3, 7)
    template = with_date("{{ strftime_now('" + pattern + "') }}", day)
    written = make_tokenizer(template).apply_chat_template([{"role": "user", "content": ""}], tokenize=False)
    assert written == day.strftime(pattern)


def test_a_template_without_a_date_stays_as_it_is() -> None:
    assert with_date(PLAIN, date(2026, 3, 7)) == PLAIN


# Settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("thinks", [True, False])
def test_thinking_is_switched_by_a_variable_of_the_template(qwen_tokenizer: MakeTokenizer, thinks: bool) -> None:
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = with_settings(SWITCHED, {"enable_thinking": thinks})
    chat = ChatFormat(tokenizer, keep_thoughts=True)
    chat.check_served()
    opening = str(tokenizer.decode(chat.opening(RULES, "Go.")))
    assert opening.endswith("assistant\n" if thinks else "assistant\n<think>\n\n</think>\n\n")
    other = qwen_tokenizer()
    other.chat_template = SWITCHED
    theirs: Any = other.apply_chat_template(
        messages(True, 3), add_generation_prompt=True, return_dict=False, enable_thinking=thinks
    )
    ids = chat.opening(RULES, OBSERVATIONS[0], answered=True)
    for number, (reply, observation) in enumerate(zip(REPLIES, OBSERVATIONS[1:], strict=True)):
        ids += chat.served(f"<think>\nHm.\n</think>\n\n{reply}")
        ids += chat.continuation(observation, closed=False, answered=number < 2)
    assert ids == list(theirs), "a served history has no thoughts, and no empty ones either"


def test_settings_of_all_kinds_stay_in_the_template(make_tokenizer: MakeTokenizer) -> None:
    values = {"yes": True, "none_of": None, "count": 3, "share": 0.5, "word": 'a "b" {{ c }}\n', "many": [1, {"k": []}]}
    template = "{{ [" + ", ".join(values) + "] | tojson }}{% for m in messages %}{{ m.content + '</s>' }}{% endfor %}"
    tokenizer = make_tokenizer(with_settings(template, values))
    shown: Any = tokenizer.apply_chat_template([{"role": "user", "content": ""}], tokenize=False)
    assert json.loads(shown.removesuffix("</s>")) == list(values.values())
    assert with_settings(template, {}) == template


@pytest.mark.parametrize("name", ["enable_thoughts", "a b", "enable", ""])
def test_a_variable_that_the_template_does_not_read_is_refused(name: str) -> None:
    with pytest.raises(ChatTemplateError, match="chat_template_kwargs: the chat template reads no"):
        with_settings(SWITCHED, {name: True})
