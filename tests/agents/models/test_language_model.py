"""Language models as players: the stream, the log-probabilities, the sampling, and what does not change them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.agents.models.device_waits import DeviceWaits
from transformers import AutoTokenizer

from turngym.agents.base import Reply
from turngym.agents.episode import Episode, Status
from turngym.agents.evaluation import cut_shares, instance_range
from turngym.agents.models.decoder import CachedDecoder
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import CheckpointError, LanguageModel, LanguageModelAgent, NonFiniteError
from turngym.agents.models.row import Row
from turngym.agents.models.scoring import sampled_logprobs, token_batches
from turngym.agents.rollout import Instance, collect_episodes

MakeModel = Callable[..., LanguageModel]
STYLES = ("qwen2", "qwen3", "llama", "built-in")
MAX_REPLY = 6


class Rules:
    """All that a language model reads of an environment."""

    instructions = "Reply with the action alone."
    reasoning = False


def start(agent: LanguageModelAgent, slot: int, observation: str, seed: int) -> None:
    agent.start(slot, Rules(), observation, seed)  # type: ignore[arg-type]


def play(model: LanguageModel, env_id: str, count: int = 12, slots: int = 4, **options: Any) -> list[Episode]:
    """Play the first instances."""
    agent = LanguageModelAgent(model, slots=slots, max_reply_tokens=MAX_REPLY, **options)
    instances = [Instance(split="train", index=index, seed=50 + index) for index in range(count)]
    return collect_episodes(agent, env_id, instances, slots=slots)


def expected_logprobs(model: LanguageModel, episode: Episode, temperature: float = 1.0) -> list[list[float]]:
    """Compute the log-probability of every sampled id by one plain forward pass, as training does."""
    ids = torch.tensor([episode.token_ids])
    with torch.inference_mode():
        logits_TV = model.model(input_ids=ids, use_cache=False).logits[0]
    logp_TV = torch.log_softmax(logits_TV / temperature, dim=-1)
    return [
        [logp_TV[at - 1, episode.token_ids[at]].item() for part in turn.sampled() for at in range(*part)]
        for turn in episode.turns
    ]  # fmt: skip


def tokens(episodes: Sequence[Episode]) -> list[list[int]]:
    return [episode.token_ids for episode in episodes]


# Token in, token out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_the_stream_is_what_was_written_and_what_was_sampled(make_model: MakeModel, echo_env: str, style: str) -> None:
    model = make_model(style)
    chat = model.chat
    endings = set()
    for episode in play(model, echo_env):
        rebuilt: list[int] = []
        for number, turn in enumerate(episode.turns):
            if number == 0:
                rebuilt += chat.opening(episode.instructions, turn.observation)
            else:
                closed = rebuilt[-1] in chat.stop_ids
                endings.add(closed)
                rebuilt += chat.continuation(turn.observation, closed=closed)
            sampled = episode.token_ids[slice(*turn.span)]
            assert turn.span == (len(rebuilt), len(rebuilt) + len(sampled))
            assert 0 < len(sampled) <= MAX_REPLY and len(turn.logprobs) == len(sampled)
            assert not set(sampled[:-1]) & set(chat.stop_ids), "a stop token ends the reply"
            assert sampled[-1] in chat.stop_ids or len(sampled) == MAX_REPLY
            assert turn.action == chat.text(sampled)
            rebuilt += sampled
        assert episode.token_ids == rebuilt
    assert endings == {True, False}, "replies of both kinds were seen"


def test_a_truncated_reply_is_closed_outside_its_span(make_model: MakeModel) -> None:
    model = make_model(stop_scale=0.0)
    agent = LanguageModelAgent(model, slots=1, max_reply_tokens=3)
    start(agent, 0, "Go.", seed=1)
    (reply,) = agent.act([0])
    agent.observe(0, "On.")
    stream = agent.finish(0)
    first, stop = reply.span
    assert stop - first == 3 and model.chat.stop_ids[0] not in stream[first:stop]
    assert stream[stop] == model.chat.stop_ids[0], "the frame closes the turn"
    assert stream[stop:] == model.chat.continuation("On.", closed=False)


def test_the_stream_only_grows(make_model: MakeModel) -> None:
    agent = LanguageModelAgent(make_model(), slots=2, max_reply_tokens=4)
    start(agent, 1, "Go.", seed=3)
    snapshots = []
    for turn in range(4):
        (reply,) = agent.act([1])
        snapshots.append(list(agent._rows[1].stream))
        assert reply.span[1] == len(snapshots[-1])
        agent.observe(1, f"Turn {turn}: you said {reply.text!r}.")
    final = agent.finish(1)
    for snapshot in snapshots:
        assert final[: len(snapshot)] == snapshot


def test_sampled_thoughts_stay_although_the_template_would_strip_them(make_model: MakeModel) -> None:
    model = make_model("qwen3", template="stripping", keep_thoughts=True)
    think, end_think = (model.tokenizer.backend_tokenizer.token_to_id(text) for text in ("<think>", "</think>"))
    agent = LanguageModelAgent(model, slots=1, max_reply_tokens=4)
    start(agent, 0, "Go.", seed=0)
    agent.act([0])
    row = agent._rows[0]
    row.stream[row.reply_start :] = thought = [think, *model.chat.content("right"), end_think, model.chat.stop_ids[0]]
    agent.observe(0, "On.")
    assert agent.finish(0) == (
        model.chat.opening(Rules.instructions, "Go.") + thought + model.chat.continuation("On.")
    )  # fmt: skip


# Answers that are opened for the model ------------------------------------------------------------------------------

THINKING: dict[str, Any] = {"env_id": "turngym/FrozenLake-v0", "env_kwargs": {"size": 3, "reasoning": True}}


def thinking(model: LanguageModel, thoughts: int | None, answer: int, **game: Any) -> list[Episode]:
    """Play a game with thoughts of at most some tokens."""
    opening = len(model.chat.answer(model.chat.content("<think>")))
    model.decoding = replace(
        model.decoding, max_thought_tokens=thoughts, max_reply_tokens=(thoughts or 0) + opening + answer
    )
    instances = [Instance(split="train", index=index, seed=50 + index) for index in range(12)]
    return collect_episodes(LanguageModelAgent(model, slots=4), instances=instances, slots=4, **(game or THINKING))


@pytest.mark.parametrize("style", STYLES)
def test_a_thought_at_its_limit_is_followed_by_the_opening_of_an_answer(make_model: MakeModel, style: str) -> None:
    model = make_model(style)
    endings = set()
    for episode in thinking(model, thoughts=3, answer=4):
        for turn, expected in zip(episode.turns, expected_logprobs(model, episode), strict=True):
            reply, (start, stop) = episode.token_ids[slice(*turn.span)], turn.forced
            endings.add(start < stop)
            assert len(turn.logprobs) == turn.num_sampled == len(reply) - (stop - start)
            assert turn.logprobs == pytest.approx(expected, abs=1e-4), "nothing that was written is scored"
            if start == stop:
                assert len(reply) <= 3 and reply[-1] in model.chat.stop_ids, "it ended before"
                continue
            assert start == turn.span[0] + 3 and turn.action.count("<answer>") == 1
            assert len(reply) == model.decoding.max_reply_tokens or reply[-1] in model.chat.stop_ids
            assert episode.token_ids[start:stop] == model.chat.answer(reply[:3])
    assert endings == {True, False}, "replies of both kinds were seen"


def test_what_was_written_is_not_learned_from(make_model: MakeModel) -> None:
    model = make_model()
    episodes = thinking(model, thoughts=3, answer=4)
    (batch,) = token_batches(episodes, 10**6, torch.device("cpu"))
    told = [logprob for i in batch.members for turn in episodes[i].turns for logprob in turn.logprobs]
    assert len(told) == sum(episode.num_sampled for episode in episodes)
    torch.testing.assert_close(sampled_logprobs(model, batch).detach(), torch.tensor(told), atol=1e-4, rtol=0.0)
    again = [Episode.from_json(episode.to_json()) for episode in episodes]
    assert again == episodes and any(turn.forced != (0, 0) for episode in again for turn in episode.turns)
    assert not any(turn.num_sampled for turn in episodes[0].masked([0, 1, 2]).turns[:3])


def test_where_the_answer_is_the_whole_reply_none_is_opened(make_model: MakeModel, echo_env: str) -> None:
    episodes = thinking(make_model(stop_scale=0.0), thoughts=3, answer=4, env_id=echo_env)
    assert {turn.forced for episode in episodes for turn in episode.turns} == {(0, 0)}
    assert max(turn.num_sampled for episode in episodes for turn in episode.turns) > 7, "none is cut at the limit"


def test_the_shares_of_what_was_cut_tell_of_thoughts(make_model: MakeModel) -> None:
    episodes = thinking(make_model(stop_scale=0.0), thoughts=3, answer=4)
    assert cut_shares(episodes)["forced_replies"] == 1.0
    assert "forced_replies" not in cut_shares(thinking(make_model(), thoughts=None, answer=8))


def test_an_answer_needs_room_behind_the_thought(make_model: MakeModel) -> None:
    model = make_model()
    model.decoding = replace(model.decoding, max_thought_tokens=90, max_reply_tokens=96)
    with pytest.raises(ValueError, match=r"max_thought_tokens must leave room for \d+ tokens that open an answer"):
        LanguageModelAgent(model)


# Log-probabilities --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_are_those_of_training(
    make_model: MakeModel, echo_env: str, style: str, dtype: torch.dtype, tolerance: float, temperature: float
) -> None:
    model = make_model(style, dtype=dtype)
    for episode in play(model, echo_env, count=8, temperature=temperature):
        expected = expected_logprobs(model, episode, temperature)
        for turn, logprobs in zip(episode.turns, expected, strict=True):
            assert np.allclose(turn.logprobs, logprobs, rtol=0, atol=tolerance)


def test_greedy_log_probabilities_are_at_the_temperature_too(make_model: MakeModel, echo_env: str) -> None:
    model = make_model(dtype=torch.float64)
    for episode in play(model, echo_env, count=3, greedy=True, temperature=2.0):
        expected = expected_logprobs(model, episode, temperature=2.0)
        for turn, logprobs in zip(episode.turns, expected, strict=True):
            assert np.allclose(turn.logprobs, logprobs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("style", STYLES)
def test_both_attention_functions_agree(make_model: MakeModel, echo_env: str, style: str) -> None:
    model = make_model(style, dtype=torch.float64)
    episodes = play(model, echo_env)
    model.model.set_attn_implementation("eager")
    # The library's eager function takes its softmax in single precision.
    eager = play(model, echo_env)
    assert tokens(eager) == tokens(episodes)
    for one, other in zip(eager, episodes, strict=True):
        for turn, same in zip(one.turns, other.turns, strict=True):
            assert np.allclose(turn.logprobs, same.logprobs, rtol=0, atol=1e-6)


def test_half_precision_plays(make_model: MakeModel, echo_env: str) -> None:
    for attention in ("sdpa", "eager"):
        model = make_model(dtype=torch.bfloat16, attention=attention)
        for episode in play(model, echo_env, count=4):
            for turn, logprobs in zip(episode.turns, expected_logprobs(model, episode), strict=True):
                assert np.allclose(turn.logprobs, logprobs, rtol=0, atol=0.2)


# Sampling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_tokens_are_drawn_with_their_probabilities(make_model: MakeModel, temperature: float) -> None:
    model = make_model(scale=12.0, stop_scale=1.0)
    agent = LanguageModelAgent(model, slots=500, max_reply_tokens=1, temperature=temperature)
    counts = np.zeros(len(model.tokenizer))
    for batch in range(8):
        for slot in range(500):
            start(agent, slot, "Go.", seed=500 * batch + slot)
        agent.act(range(500))
        for slot in range(500):
            counts[agent.finish(slot)[-1]] += 1
    prompt = torch.tensor([model.chat.opening(Rules.instructions, "Go.")])
    with torch.inference_mode():
        probabilities = torch.softmax(model.model(input_ids=prompt).logits[0, -1].double() / temperature, -1).numpy()
    expected = probabilities * counts.sum()
    common = expected >= 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    chi_square, freedom = ((observed - expected) ** 2 / expected).sum(), len(expected) - 1
    assert freedom > 20
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)


def test_a_token_without_probability_is_never_drawn(make_model: MakeModel) -> None:
    agent = LanguageModelAgent(make_model(), slots=2)
    logits_BV = torch.tensor([[0.0, -2000.0, 0.0, -2000.0], [-2000.0, -2000.0, -2000.0, 0.0]])
    for slot in (0, 1):
        start(agent, slot, "", seed=slot)
    for _ in range(200):
        agent._sample([0, 1], logits_BV)
    assert set(agent._rows[0].stream[-200:]) == {0, 2} and set(agent._rows[1].stream[-200:]) == {3}


@pytest.mark.parametrize("style", STYLES)
def test_greedy_play_is_that_of_generate(make_model: MakeModel, echo_env: str, style: str) -> None:
    model = make_model(style, dtype=torch.float64)
    for episode in play(model, echo_env, greedy=True):
        for turn in episode.turns:
            first, stop = turn.span
            history = torch.tensor([episode.token_ids[:first]])
            generated = model.model.generate(
                history, attention_mask=torch.ones_like(history), max_new_tokens=MAX_REPLY, do_sample=False,
                eos_token_id=list(model.chat.stop_ids),
            )  # fmt: skip
            assert generated[0, first:].tolist() == episode.token_ids[first:stop]


# What does not matter -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("greedy", [False, True])
def test_the_company_of_an_episode_does_not_matter(
    make_model: MakeModel, echo_env: str, style: str, greedy: bool
) -> None:
    model = make_model(style, dtype=torch.float64)
    one, three, many = (play(model, echo_env, count=14, slots=slots, greedy=greedy) for slots in (1, 3, 64))
    assert tokens(one) == tokens(three) == tokens(many)
    for alone, together in zip(one, three, strict=True):
        for turn, same in zip(alone.turns, together.turns, strict=True):
            assert np.allclose(turn.logprobs, same.logprobs, rtol=0, atol=1e-10)


def test_the_same_play_twice_has_the_same_bits(make_model: MakeModel, echo_env: str) -> None:
    model = make_model()
    agent = LanguageModelAgent(model, slots=3, max_reply_tokens=MAX_REPLY)
    instances = [Instance(split="train", index=index, seed=index) for index in range(10)]
    first, again = (collect_episodes(agent, echo_env, instances, slots=3) for _ in range(2))
    assert first == again == play_fresh(model, echo_env, instances)
    others = [Instance(split="train", index=index, seed=90 + index) for index in range(10)]
    assert tokens(collect_episodes(agent, echo_env, others, slots=3)) != tokens(first)


def test_what_was_played_before_does_not_change_a_bit(make_model: MakeModel, echo_env: str) -> None:
    model = make_model()
    instances = [Instance(split="train", index=index, seed=index) for index in range(6)]
    agent = LanguageModelAgent(model, slots=3, max_reply_tokens=MAX_REPLY)
    start(agent, 0, "On. " * 80, seed=0)
    agent.act([0])
    assert agent._decoder.cache.allocated > 128, "the cache has grown"
    assert collect_episodes(agent, echo_env, instances, slots=3) == play_fresh(model, echo_env, instances)


def play_fresh(model: LanguageModel, env_id: str, instances: list[Instance]) -> list[Episode]:
    agent = LanguageModelAgent(model, slots=3, max_reply_tokens=MAX_REPLY)
    return collect_episodes(agent, env_id, instances, slots=3)


def test_play_touches_no_global_generator_and_no_gradient(make_model: MakeModel, echo_env: str) -> None:
    model = make_model()
    before = torch.get_rng_state(), repr(np.random.get_state())
    play(model, echo_env, count=3)
    assert torch.equal(torch.get_rng_state(), before[0]) and repr(np.random.get_state()) == before[1]
    assert all(parameter.grad is None for parameter in model.model.parameters())


def test_the_slots_in_use_may_be_any(make_model: MakeModel) -> None:
    model = make_model(dtype=torch.float64)

    def replies(slots: list[int]) -> list[Reply]:
        agent = LanguageModelAgent(model, slots=40, max_reply_tokens=MAX_REPLY)
        for seed, slot in enumerate(slots):
            start(agent, slot, "Go." * (seed + 1), seed)
        return agent.act(slots)

    expected = [(reply.text, reply.span) for reply in replies([0, 1, 2])]
    assert [(reply.text, reply.span) for reply in replies([39, 3, 20])] == expected
    assert [(reply.text, reply.span) for reply in replies([2, 1, 0])] == expected


# Limits and failures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [40, 100, 110])
def test_a_full_context_ends_the_episode(make_model: MakeModel, echo_env: str, context: int) -> None:
    model = make_model(dtype=torch.float64)
    unlimited = play(model, echo_env)
    episodes = play(model, echo_env, context_length=context)
    truncated = [episode for episode in episodes if episode.status is Status.TRUNCATED_LENGTH]
    assert 0 < len(truncated) < len(episodes) or context == 40
    for episode, full in zip(episodes, unlimited, strict=True):
        assert all(turn.span[1] <= context for turn in episode.turns)
        assert episode.token_ids == full.token_ids[: len(episode.token_ids)], "there was no room for the rest alone"
        if episode.status is Status.TRUNCATED_LENGTH:
            ends = [turn.span[1] for turn in episode.turns]
            assert len(episode.token_ids) == (ends[-1] if ends else 0), "the stream ends with its last sampled id"
            assert not episode.success
        else:
            assert len(episode.turns) == len(full.turns)


def test_a_reply_says_whether_its_limit_ended_it(make_model: MakeModel, echo_env: str) -> None:
    model = make_model(dtype=torch.float64)
    turns = [(turn, episode.token_ids) for episode in play(model, echo_env) for turn in episode.turns]
    for turn, ids in turns:
        assert turn.cut == (ids[turn.span[1] - 1] not in model.chat.stop_ids)
        assert not turn.cut or turn.span[1] - turn.span[0] == MAX_REPLY
    assert {turn.cut for turn, _ in turns} == {True, False}


def test_the_context_is_the_models_at_most(make_model: MakeModel) -> None:
    model = make_model(max_position_embeddings=100)
    assert LanguageModelAgent(model, context_length=1000).context_length == 100
    assert LanguageModelAgent(model).context_length == 100
    assert LanguageModelAgent(model, context_length=60).context_length == 60


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_stop_the_rollout(make_model: MakeModel, echo_env: str, value: float) -> None:
    model = make_model()
    model.model.train()
    with torch.no_grad():
        model.model.get_output_embeddings().weight[7] = value
    with pytest.raises(NonFiniteError, match="last good checkpoint"):
        play(model, echo_env)
    assert model.model.training, "the mode is restored all the same"


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("settings", [{}, {"sliding_window": 24, "use_sliding_window": True, "max_window_layers": 1}])
def test_play_waits_for_the_device_once_a_token(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], greedy: bool
) -> None:
    model = make_model("qwen2", **settings)
    agent = LanguageModelAgent(model, slots=8, max_reply_tokens=MAX_REPLY, greedy=greedy)
    reads, read = [], CachedDecoder.read

    def counted(decoder: CachedDecoder, rows: Mapping[int, Row]) -> torch.Tensor:
        reads.append(len(rows))
        return read(decoder, rows)

    monkeypatch.setattr(CachedDecoder, "read", counted)
    for slot in (0, 1, 2, 7):
        start(agent, slot, "Go." * (slot + 1), seed=slot)
    with DeviceWaits() as found:
        agent.act([0, 1, 2, 7])
        for slots in ([7], [0, 2]):  # a copy of a row of the cache, and a view with an idle row
            for slot in slots:
                agent.observe(slot, "And on.")
            agent.act(slots)
    assert len(reads) >= 3 and {1, 2, 4} <= set(reads)
    assert found.waits == ["tolist"] * len(reads)


@pytest.mark.parametrize(
    "wait",
    [
        lambda tensor: tensor.sum().item(),
        lambda tensor: bool(tensor.any()),
        lambda tensor: tensor.numpy(),
        lambda tensor: tensor[tensor > 1],
        lambda tensor: tensor[[0, 2]],
        lambda tensor: tensor.to(torch.device("cpu")),
        lambda tensor: torch.tensor([1.0], device=tensor.device),
    ],
)
def test_what_waits_for_a_device_is_seen(wait: Callable[[torch.Tensor], object]) -> None:
    with DeviceWaits() as found:
        wait(torch.arange(3))
    assert len(found.waits) == 1


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_restored_and_dropout_is_off(make_model: MakeModel, training: bool) -> None:
    model = make_model(attention_dropout=0.5)
    model.model.train(training)
    agent = LanguageModelAgent(model, slots=1, max_reply_tokens=MAX_REPLY)
    start(agent, 0, "Go.", seed=0)
    (reply,) = agent.act([0])
    assert all(module.training is training for module in model.model.modules())
    model.model.eval()
    episode = Episode(env_id="", split="", index=0, seed=0, token_ids=agent.finish(0))
    logits_TV = model.model(input_ids=torch.tensor([episode.token_ids])).logits[0]
    logp_TV = torch.log_softmax(logits_TV, dim=-1)
    expected = [logp_TV[at - 1, episode.token_ids[at]].item() for at in range(*reply.span)]
    assert np.allclose(reply.logprobs, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "use greedy=True"),
        ({"temperature": -1.0}, "above 0"),
        ({"temperature": float("nan")}, "above 0"),
        ({"max_reply_tokens": 0}, "max_reply_tokens must be a whole number of at least 1, got 0"),
        ({"max_reply_tokens": 512}, "got 512"),
        ({"max_reply_tokens": 64, "context_length": 64}, "context length of 64"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    make_model: MakeModel, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LanguageModelAgent(make_model(), **arguments)


def test_a_slot_that_does_not_exist_is_refused(make_model: MakeModel, echo_env: str) -> None:
    agent = LanguageModelAgent(make_model(), slots=2)
    instances = [Instance(split="train", index=index, seed=0) for index in range(3)]
    with pytest.raises(IndexError, match="slot 2 is none of the agent's 2"):
        collect_episodes(agent, echo_env, instances, slots=3)


# Checkpoints --------------------------------------------------------------------------------------------------------


def test_a_decoder_with_a_window_plays_beyond_it(make_model: MakeModel, echo_env: str) -> None:
    model = make_model(use_sliding_window=True, sliding_window=16, max_window_layers=1)
    assert model.context_length == 512
    for episode in play(model, echo_env, count=5, slots=2):
        for turn, expected in zip(episode.turns, expected_logprobs(model, episode), strict=True):
            assert np.allclose(turn.logprobs, expected, rtol=0, atol=1e-5)


def test_attention_without_a_mask_is_refused(make_model: MakeModel) -> None:
    model = make_model()
    model.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(CheckpointError, match="attn_implementation='sdpa'"):
        LanguageModel(model.model, model.tokenizer)


TEXT = "You are at 12,3; isn't that far?\n\n<|im_end|> Ω <|end|>\n 2024 Привет\u200b  end"


@pytest.mark.parametrize("style", STYLES)
def test_a_checkpoint_comes_back_as_it_was(make_model: MakeModel, echo_env: str, tmp_path: Path, style: str) -> None:
    model = make_model(style)
    model.save_pretrained(tmp_path / "model")
    loaded = LanguageModel.from_pretrained(tmp_path / "model")
    assert loaded.tokenizer.encode(TEXT) == model.tokenizer.encode(TEXT)
    assert loaded.chat.content(TEXT) == model.chat.content(TEXT)
    assert loaded.chat.opening("rules", TEXT) == model.chat.opening("rules", TEXT)
    assert loaded.chat.stop_ids == model.chat.stop_ids
    assert (loaded.tokenizer.pad_token_id, loaded.context_length) == (model.tokenizer.pad_token_id, 512)
    assert play(loaded, echo_env, count=5) == play(model, echo_env, count=5)
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_a_checkpoint_of_a_named_tokenizer_class_is_read_by_it(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model("qwen2")
    model.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": "Qwen2Tokenizer"}))
    (tmp_path / "checksums.json").unlink()
    loaded = LanguageModel.from_pretrained(tmp_path)
    assert type(loaded.tokenizer) is type(AutoTokenizer.from_pretrained(tmp_path))
    assert loaded.tokenizer.encode(TEXT) == model.tokenizer.encode(TEXT)
    loaded.save_pretrained(tmp_path / "again")
    again = LanguageModel.from_pretrained(tmp_path / "again")
    assert again.tokenizer.encode(TEXT) == model.tokenizer.encode(TEXT)


def test_the_generic_class_is_needed_beside_a_qwen2(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model("qwen2")
    model.model.save_pretrained(tmp_path)
    tokenizer = make_model("built-in").tokenizer
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).encode("at 2024 now") != tokenizer.encode("at 2024 now")
    assert LanguageModel.from_pretrained(tmp_path).tokenizer.encode("at 2024 now") == tokenizer.encode("at 2024 now")


PLAIN = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
said = []
for text in texts:
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    out = network.generate(**ids, max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    said.append([ids["input_ids"][0].tolist(), out[0, ids["input_ids"].shape[1] :].tolist()])
print(json.dumps(said))
"""


def test_the_plain_library_reads_and_plays_a_small_model_alike(
    make_model: MakeModel, echo_env: str, tmp_path: Path
) -> None:
    """In a process of its own, without turngym: the same ids of every first prompt, and the same greedy replies."""
    model = make_model("built-in")
    model.decoding = replace(model.decoding, max_reply_tokens=8)
    model.save_pretrained(tmp_path / "published")
    agent = LanguageModelAgent(model, slots=4, greedy=True)
    played = [episode for env_id, count in ((echo_env, 4), ("turngym/Countdown-v0", 12))
              for episode in collect_episodes(agent, env_id, instance_range("test", count), slots=4)]  # fmt: skip
    expected, texts = [], []
    for episode in played:
        start, stop = episode.turns[0].span
        expected.append([episode.token_ids[:start], episode.token_ids[start:stop]])
        said = [{"role": "system", "content": episode.instructions},
                {"role": "user", "content": episode.turns[0].observation}]  # fmt: skip
        texts.append(model.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))
    command = [sys.executable, "-c", PLAIN, str(tmp_path / "published"), json.dumps(texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout) == expected and len(expected) == 16


def test_weights_may_be_loaded_in_another_precision(make_model: MakeModel, tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    loaded = LanguageModel.from_pretrained(tmp_path, dtype=torch.bfloat16, attn_implementation="eager")
    assert loaded.model.dtype == torch.bfloat16 and loaded.device == torch.device("cpu")


def test_a_checkpoint_that_rewrites_history_needs_consent(make_model: MakeModel, tmp_path: Path) -> None:
    make_model("qwen3", template="stripping", keep_thoughts=True).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="keep_thoughts"):
        LanguageModel.from_pretrained(tmp_path, decoding=Decoding())
    assert LanguageModel.from_pretrained(tmp_path).chat.rewrites_history


def damage(folder: Path, name: str, content: bytes | None) -> None:
    (folder / "checksums.json").unlink()  # as in a folder that another program has written
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "there is no config.json"),
        ("config.json", b"{", "cannot be loaded"),
        ("config.json", b'{"model_type": "no such thing"}', "cannot be loaded"),
        ("model.safetensors", None, "cannot be loaded"),
        ("model.safetensors", b"rubbish", "cannot be loaded"),
        ("tokenizer.json", b"rubbish", "cannot be loaded"),
        ("tokenizer.json", b"{}", "cannot be loaded"),
        ("tokenizer_config.json", b"[]", "cannot be loaded"),
        ("tokenizer_config.json", b"rubbish", "cannot be loaded"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(
    make_model: MakeModel, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    make_model("built-in").save_pretrained(tmp_path)
    damage(tmp_path, name, content)
    with pytest.raises(CheckpointError, match=message) as caught:
        LanguageModel.from_pretrained(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
