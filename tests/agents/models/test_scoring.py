"""Batches of episodes: nobody is lost, padding is invisible, and what was sampled is what is scored."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from turngym.agents.episode import Episode, Turn
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.models.scoring import MAX_STRETCH, TokenBatch, TokenRows, sampled_logprobs, token_batches
from turngym.agents.rollout import Instance, collect_episodes
from turngym.trainers.config import TrainConfig

CPU = torch.device("cpu")


def episode(pieces: list[tuple[int, int]]) -> Episode:
    """Make an episode of turns with so many ids of the environment, then so many sampled ones; every id its place."""
    turns, end = [], 0
    for read, said in pieces:
        turns.append(
            Turn(observation="", action="", reward=0.0, task_reward=0.0, state_key="", potential=0.0, valid=True,
                 span=(end + read, end + read + said))
        )  # fmt: skip
        end += read + said
    return Episode(env_id="x", split="train", index=0, seed=0, turns=turns, token_ids=list(range(end)))


def the_part(batch: TokenBatch) -> TokenRows:
    """Return the one tensor of a batch of episodes of one row."""
    (part,) = batch.parts
    return part


def padded(batch: TokenBatch) -> int:
    return sum(part.ids_RT.numel() for part in batch.parts)


episodes_lists = st.lists(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), max_size=4).map(episode), max_size=20
)


@given(episodes_lists, st.integers(1, 80))
def test_every_episode_with_replies_is_in_one_batch(episodes: list[Episode], max_tokens: int) -> None:
    batches = list(token_batches(episodes, max_tokens, CPU))
    seen = sorted(i for batch in batches for i in batch.members)
    assert seen == [i for i, one in enumerate(episodes) if one.num_sampled]
    for batch in batches:
        lengths = [len(episodes[i].token_ids) for i in batch.members]
        assert the_part(batch).ids_RT.shape == (len(lengths), max(lengths)) and batch.order_N is None
        assert len(lengths) == 1 or (padded(batch) <= max_tokens and max(lengths) <= MAX_STRETCH * min(lengths))


@given(episodes_lists, st.integers(1, 80), st.integers(1, 4))
def test_units_share_a_batch_and_the_rest_is_left_out(episodes: list[Episode], max_tokens: int, size: int) -> None:
    units = [list(range(start, min(start + size, len(episodes)))) for start in range(0, len(episodes), 2 * size)]
    batches = list(token_batches(episodes, max_tokens, CPU, units))
    said = [[i for i in unit if episodes[i].num_sampled] for unit in units]
    assert sorted(i for batch in batches for i in batch.members) == sorted(chain.from_iterable(said))
    for batch in batches:
        held = [unit for unit in said if set(unit) & set(batch.members)]
        assert all(set(unit) <= set(batch.members) for unit in held)
        assert len(held) == 1 or padded(batch) <= max_tokens


@given(episodes_lists)
def test_the_mask_is_the_spans(episodes: list[Episode]) -> None:
    for batch in token_batches(episodes, 200, CPU):
        members = [episodes[i] for i in batch.members]
        places = [range(*turn.span) for one in members for turn in one.turns]
        numbers = [(row, number) for row, one in enumerate(members) for number in range(len(one.turns))]
        # The id of a token is its place in the stream, so what the mask selects can be read off.
        assert the_part(batch).ids_RT[the_part(batch).sampled_RT].tolist() == list(chain.from_iterable(places))
        owners = [number for number, place in zip(numbers, places, strict=True) for _ in place]
        assert list(zip(batch.episode_N.tolist(), batch.turn_N.tolist(), strict=True)) == owners
        assert batch.num_turns == max(len(one.turns) for one in members)


@st.composite
def rowed(draw: st.DrawFn) -> Episode:
    """Draw an episode some of whose turns begin a row, and in some of which nothing was sampled to be learned from.

    Every id is its place in the stream.
    """
    one = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=5).map(episode))
    start, turns = 0, []
    for earlier, turn in zip([None, *one.turns], one.turns, strict=False):
        start = earlier.span[1] if earlier is not None and draw(st.booleans()) else start
        turns.append(replace(turn, row_start=start, span=turn.span if draw(st.booleans()) else (0, 0)))
    turns[-1] = replace(turns[-1], span=one.turns[-1].span)
    return replace(one, turns=turns)


def without_padding(ids: list[int]) -> list[int]:
    """Return a row as far as its ids count up."""
    return [i for place, i in enumerate(ids) if i == ids[0] + place]


@given(st.lists(rowed(), min_size=1, max_size=8), st.integers(1, 80))
def test_all_rows_of_an_episode_are_in_one_batch_and_its_tokens_in_order(
    episodes: list[Episode], max_tokens: int
) -> None:
    batches = list(token_batches(episodes, max_tokens, CPU))
    assert sorted(i for batch in batches for i in batch.members) == list(range(len(episodes)))
    for batch in batches:
        members = [episodes[i] for i in batch.members]
        learned = [{turn.row_start for turn in one.turns if turn.span[1]} for one in members]
        rows = [one.token_ids[slice(*row)] for one, starts in zip(members, learned, strict=True) for row in one.rows()
                if row[0] in starts]  # fmt: skip
        held = [without_padding(ids) for part in batch.parts for ids in part.ids_RT.tolist()]
        assert sorted(held) == sorted(rows)
        assert len(members) == 1 or padded(batch) <= max_tokens
        ids_N = torch.cat([part.ids_RT[part.sampled_RT] for part in batch.parts])
        ids_N = ids_N if batch.order_N is None else ids_N[batch.order_N]
        expected = [(row, number, place) for row, one in enumerate(members) for number, turn in enumerate(one.turns)
                    for place in range(*turn.span)]  # fmt: skip
        assert list(zip(batch.episode_N.tolist(), batch.turn_N.tolist(), ids_N.tolist(), strict=True)) == expected


def play(player: LanguageModel, tiny: TrainConfig, count: int = 12, temperature: float = 1.0) -> list[Episode]:
    agent = LanguageModelAgent(player, temperature=temperature, slots=4, max_reply_tokens=4)
    instances = [Instance(split="train", index=i, seed=i) for i in range(count)]
    return collect_episodes(agent, tiny.env.id, instances, env_kwargs=tiny.env.kwargs, slots=4)


def one_at_a_time(player: LanguageModel, one: Episode, temperature: float) -> list[float]:
    """Score the sampled ids of an episode by feeding exactly what came before each of them."""
    scores = []
    for turn in one.turns:
        for place in range(*turn.span):
            logits_V = player.model(input_ids=torch.tensor([one.token_ids[:place]])).logits[0, -1]
            scores.append(float((logits_V / temperature).log_softmax(-1)[one.token_ids[place]]))
    return scores


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@torch.no_grad()
def test_logprobs_are_those_of_the_single_tokens(player: LanguageModel, tiny: TrainConfig, temperature: float) -> None:
    player.model.double()
    episodes = play(player, tiny, 4, temperature)
    assert len({len(one.token_ids) for one in episodes}) > 1
    for batch in token_batches(episodes, 10**6, CPU):
        logp_N = sampled_logprobs(player, batch, temperature)
        assert logp_N.dtype == torch.float64
        expected = [score for i in batch.members for score in one_at_a_time(player, episodes[i], temperature)]
        torch.testing.assert_close(logp_N, torch.tensor(expected).double(), rtol=0, atol=1e-6)


@torch.no_grad()
def test_logprobs_are_what_the_sampler_recorded(player: LanguageModel, tiny: TrainConfig) -> None:
    episodes = play(player, tiny)
    for batch in token_batches(episodes, 2000, CPU):
        recorded = [logprob for i in batch.members for turn in episodes[i].turns for logprob in turn.logprobs]
        assert (sampled_logprobs(player, batch) - torch.tensor(recorded)).abs().max() < 1e-4


def test_half_precision_is_scored_in_single(player: LanguageModel, tiny: TrainConfig) -> None:
    batch = next(token_batches(play(player, tiny, 2), 2000, CPU))
    player.model.bfloat16()
    assert sampled_logprobs(player, batch).dtype == torch.float32


def loss_and_gradients(player: LanguageModel, batch: TokenBatch) -> list[Tensor]:
    loss = sampled_logprobs(player, batch).sum()
    return [loss.detach(), *torch.autograd.grad(loss, list(player.model.parameters()))]


@pytest.mark.parametrize("filler", ["zero", "stop", "random"])
def test_the_ids_of_padding_do_not_matter(player: LanguageModel, tiny: TrainConfig, filler: str) -> None:
    episodes = play(player, tiny)
    stop = player.chat.stop_ids[0]  # padding is often the stop token: a search for it would find the padding
    for batch in token_batches(episodes, 2000, CPU):
        part = the_part(batch)
        padding_RT = torch.ones_like(part.sampled_RT)
        for row, i in enumerate(batch.members):
            padding_RT[row, : len(episodes[i].token_ids)] = False
        others_RT = torch.randint(len(player.tokenizer), padding_RT.shape)
        if filler != "random":
            others_RT.fill_(stop if filler == "stop" else 0)
        refilled = replace(batch, parts=[replace(part, ids_RT=torch.where(padding_RT, others_RT, part.ids_RT))])
        for one, other in zip(loss_and_gradients(player, batch), loss_and_gradients(player, refilled), strict=True):
            assert torch.equal(one, other)


def test_every_stop_token_that_was_sampled_counts_once(player: LanguageModel, tiny: TrainConfig) -> None:
    episodes = play(player, tiny)
    stop = player.chat.stop_ids[0]
    sampled = [one.token_ids[slice(*turn.span)] for one in episodes for turn in one.turns]
    parts = [the_part(batch) for batch in token_batches(episodes, 2000, CPU)]
    assert sum(int((p.ids_RT[p.sampled_RT] == stop).sum()) for p in parts) == sum(ids.count(stop) for ids in sampled)
    # A reply that was cut off gets its stop token from the chat format, and that one is not learned from.
    cut = [one for one in episodes for turn in one.turns[:-1] if one.token_ids[turn.span[1] - 1] != stop]
    assert cut and sum(ids.count(stop) for ids in sampled) > 0
    assert sum(int((p.ids_RT == stop).sum()) for p in parts) == sum(ids.count(stop) for ids in sampled) + len(cut)
