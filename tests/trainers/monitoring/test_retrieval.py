"""Whether first replies tell which prompt they answer: golden matrices, and policies that copy or ignore."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.trainers.harness import make_loop, run, with_learning
from torch import Tensor

from turngym.agents.episode import Episode, Turn
from turngym.agents.evaluation import instance_range
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers.config import MonitorsConfig, TrainConfig
from turngym.trainers.monitoring import retrieval as retrieval_module
from turngym.trainers.monitoring.retrieval import cross_scores, first_turns, measure_retrieval, retrieval
from turngym.trainers.rollouts import Rollouts

PROMPTS = [[1, 2, 3], [2, 1, 3], [3, 2, 1], [1, 3, 2]]
TOKENS = 4096


class Network(torch.nn.Module):
    """A network whose next-token logits are `look(ids_BT)`."""

    def __init__(self, look: Any) -> None:
        super().__init__()
        self.look, self.head = look, torch.nn.Identity()

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, *, input_ids: Tensor, **_: Any) -> Any:
        return SimpleNamespace(logits=self.head(self.look(input_ids)))


def policy(look: Any) -> Any:
    """Return a stand-in for a model over five tokens."""
    return SimpleNamespace(
        context_length=16, device=torch.device("cpu"), model=Network(look), computing=contextlib.nullcontext
    )


def ignore(ids_BT: Tensor) -> Tensor:
    return torch.tensor([0.0, 3.0, 1.0, 2.0, -1.0]).expand(*ids_BT.shape, 5)


def copy_prompt(ids_BT: Tensor) -> Tensor:
    """Expect at every place the token that stood three places before the one to come."""
    source_BT = torch.nn.functional.pad(ids_BT, (2, 0))[:, : ids_BT.shape[1]]
    return 5.0 * torch.nn.functional.one_hot(source_BT, 5)


def answered(prompt: list[int], reply: list[int]) -> Episode:
    turn = Turn(observation="", action="", reward=0.0, task_reward=0.0, state_key="", potential=0.0, valid=True,
                span=(len(prompt), len(prompt) + len(reply)), logprobs=[0.0] * len(reply))  # fmt: skip
    later = replace(turn, span=(7, 8), logprobs=[0.0])
    return Episode(env_id="x", split="train", index=0, seed=0, turns=[turn, later], token_ids=[*prompt, *reply, 4, 4])


EPISODES = [answered(prompt, prompt) for prompt in PROMPTS]


def measured(model: Any, episodes: list[Episode]) -> dict[str, float]:
    return measure_retrieval(model, episodes, temperature=1.0, max_reply_tokens=3, tokens_per_microbatch=TOKENS)


def test_a_policy_that_repeats_its_prompt_is_always_found_out() -> None:
    numbers = measured(policy(copy_prompt), EPISODES)
    assert numbers["retrieval_accuracy"] == 1.0
    assert 0.99 * math.log(4) < numbers["mi_proxy"] <= math.log(4)


def test_a_policy_that_ignores_its_prompt_is_found_by_chance() -> None:
    numbers = measured(policy(ignore), EPISODES)
    assert numbers["retrieval_accuracy"] == 0.25
    assert numbers["mi_proxy"] == pytest.approx(0.0, abs=1e-6)


def test_cross_scores_by_hand() -> None:
    # Tempered by 2, a copied token has the logit 2.5 among four zeros.
    hit, miss = 2.5 - math.log(math.exp(2.5) + 4), -math.log(math.exp(2.5) + 4)
    for tokens in (1, TOKENS):
        chosen = first_turns([EPISODES[0], answered(PROMPTS[1], [2, 2, 3])], 2, 9)
        # The prompts are 1 2 3 and 2 1 3, the replies 1 2 3 and 2 2 3.
        expected = torch.tensor([[3 * hit, hit + 2 * miss], [2 * hit + miss, 2 * hit + miss]], dtype=torch.float64)
        scores = cross_scores(policy(copy_prompt), chosen, 2.0, tokens)
        torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-6)


def test_golden_matrix() -> None:
    score_PP = torch.tensor([[0.75, 0.25, 0.5], [0.5, 0.5, 0.25], [0.5, 0.25, 0.25]], dtype=torch.float64).log()
    numbers = retrieval(score_PP)
    assert numbers["retrieval_accuracy"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    logs = math.log(0.75 / 0.5) + math.log(0.5 / (1.25 / 3)) + math.log(0.25 / (1 / 3))
    assert numbers["mi_proxy"] == pytest.approx(logs / 3)


def test_only_different_prompts_that_fit_and_were_answered_count(monkeypatch: pytest.MonkeyPatch) -> None:
    silent, long = answered([4, 4, 4], []), answered([1] * 9, [2])
    chosen = first_turns([silent, long, EPISODES[0], answered(PROMPTS[0], [4]), *EPISODES[1:]], 3, 8)
    assert [episode.token_ids for episode in chosen] == [[*prompt, *prompt] for prompt in PROMPTS[:3]]
    assert all(len(episode.turns) == 1 for episode in chosen)
    assert measured(policy(copy_prompt), EPISODES[:1] * 4) == {}
    monkeypatch.setattr(retrieval_module, "PROMPTS", 2)
    assert measured(policy(ignore), EPISODES)["retrieval_accuracy"] == 0.5


def test_own_scores_are_what_the_sampler_recorded(model: LanguageModel, tiny: TrainConfig) -> None:
    rollouts = Rollouts.of(tiny)
    episodes = first_turns(rollouts.play(rollouts.agent(model), instance_range("train", 6)), 6, 400)
    own = cross_scores(model, episodes, 1.0, TOKENS).diagonal()
    recorded = [sum(episode.turns[0].logprobs) for episode in episodes]
    assert len(recorded) > 2
    assert own.tolist() == pytest.approx(recorded, abs=1e-4)


def test_a_step_is_scored_at_the_temperature_that_played_it(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_learning(tiny, temperature=1.5, temperature_final=0.5, steps=3)
    config = replace(config, monitors=MonitorsConfig(retrieval_every=1))
    scored: list[tuple[Tensor, list[float]]] = []

    def spy(policy: LanguageModel, episodes: list[Episode], *rest: Any) -> Tensor:
        scores = cross_scores(policy, episodes, *rest)
        scored.append((scores.diagonal(), [sum(episode.turns[0].logprobs) for episode in episodes]))
        return scores

    monkeypatch.setattr(retrieval_module, "cross_scores", spy)
    run(make_loop(model, config), tmp_path)
    assert len(scored) == 3
    for own, recorded in scored:
        assert own.tolist() == pytest.approx(recorded, abs=1e-4)
