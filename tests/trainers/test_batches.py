"""From episodes to a batch: tokens, turns, groups and states by hand."""

from __future__ import annotations

import pytest
import torch

from turngym.agents.episode import Episode, Turn
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.scoring import token_batches
from turngym.trainers.batches import make_batch


def episode(index: int, turns: list[tuple[int, float, str]], *, success: bool = False) -> Episode:
    """Make an episode of turns with so many sampled ids, a reward and a state; its log-probabilities count down."""
    played, end = [], 0
    for said, reward, state in turns:
        logprobs = [-float(end + place + 1) for place in range(said)]
        played.append(
            Turn(observation="", action="", reward=reward, task_reward=0.0, state_key=state, potential=0.0, valid=True,
                 span=(end + 2, end + 2 + said), logprobs=logprobs)
        )  # fmt: skip
        end += 2 + said
    return Episode(env_id="x", split="train", index=index, seed=0, turns=played, token_ids=list(range(end)),
                   success=success)  # fmt: skip


@pytest.fixture
def episodes() -> list[Episode]:
    return [
        episode(7, [(2, 0.5, "a"), (1, 1.0, "b")], success=True),
        episode(9, [(1, 0.0, "a")]),
        episode(7, [(1, 0.25, "b"), (1, 0.0, "a"), (0, 2.0, "c")]),
    ]


def test_a_batch_is_what_the_episodes_say(model: LanguageModel, episodes: list[Episode]) -> None:
    whole = make_batch(episodes, model)
    assert whole.episode_N.tolist() == [0, 0, 0, 1, 2, 2]
    assert whole.turn_N.tolist() == [0, 0, 1, 0, 0, 1]
    assert whole.old_logp_N.tolist() == [-1.0, -2.0, -5.0, -1.0, -1.0, -4.0]
    assert torch.equal(whole.logp_N, whole.old_logp_N)
    assert whole.reward_BK.tolist() == [[0.5, 1.0, 0.0], [0.0, 0.0, 0.0], [0.25, 0.0, 2.0]]
    assert whole.group_B.tolist() == [7, 9, 7]
    assert whole.success_B.tolist() == [True, False, False]
    # The same state of another instance is another state; where there is no turn, none.
    assert whole.state_BK.tolist() == [[0, 1, -1], [2, -1, -1], [1, 0, 3]]


@pytest.mark.parametrize(("dtype", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_precision(model: LanguageModel, episodes: list[Episode], dtype: torch.dtype, expected: torch.dtype) -> None:
    model.model.to(dtype)
    whole = make_batch(episodes, model)
    assert whole.reward_BK.dtype == whole.old_logp_N.dtype == expected


def test_the_tokens_of_a_micro_batch_are_those_of_its_episodes(model: LanguageModel, episodes: list[Episode]) -> None:
    whole = make_batch(episodes, model)
    for batch in token_batches(episodes, 12, torch.device("cpu")):
        part = whole.select(batch.members)
        assert torch.equal(part.episode_N, batch.episode_N) and torch.equal(part.turn_N, batch.turn_N)
