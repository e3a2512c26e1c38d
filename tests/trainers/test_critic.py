"""The value head: where it looks, where it begins, and how it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from turngym.agents.models.language_model import LanguageModel
from turngym.agents.models.scoring import sampled_logprobs, sampled_scores, token_batches
from turngym.agents.rollout import Instance
from turngym.trainers.config import TrainConfig
from turngym.trainers.critic import load_critic, make_critic, save_critic
from turngym.trainers.rollouts import Rollouts


def test_it_values_everything_at_zero_to_begin_with(model: LanguageModel) -> None:
    critic = make_critic(model)
    assert critic.weight.shape == (1, 32) and not critic.weight.any() and not critic.bias.any()
    model.model.double()
    assert make_critic(model).weight.dtype == torch.float64


@torch.no_grad()
def test_it_sees_what_the_policy_sees_before_each_token(model: LanguageModel, tiny: TrainConfig) -> None:
    model.model.double()
    critic = make_critic(model)
    torch.nn.init.normal_(critic.weight, generator=torch.Generator().manual_seed(0))
    rollouts = Rollouts.of(tiny)
    episodes = rollouts.play(rollouts.agent(model), [Instance(split="train", index=i, seed=i) for i in range(4)])
    for batch in token_batches(episodes, 10**6, torch.device("cpu")):
        logp_N, value_N = sampled_scores(model, batch, 1.0, critic=critic)
        assert torch.equal(logp_N, sampled_logprobs(model, batch))
        expected = [
            float(
                critic(
                    model.model.model(input_ids=torch.tensor([episodes[i].token_ids[:place]])).last_hidden_state[0, -1]
                )
            )
            for i in batch.members
            for turn in episodes[i].turns
            for place in range(*turn.span)
        ]
        torch.testing.assert_close(value_N, torch.tensor(expected).double(), rtol=0, atol=1e-6)
        assert sampled_scores(model, batch, 1.0, critic=None)[1].numel() == 0


def test_it_is_kept_beside_the_policy(model: LanguageModel, tmp_path: Path) -> None:
    critic, other = make_critic(model), make_critic(model)
    torch.nn.init.normal_(critic.weight)
    model.save_pretrained(tmp_path)
    save_critic(critic, tmp_path)
    load_critic(other, tmp_path)
    assert torch.equal(other.weight, critic.weight) and torch.equal(other.bias, critic.bias)
    again = LanguageModel.from_pretrained(tmp_path)  # the policy is read as if it lay there alone
    assert torch.equal(again.model.model.norm.weight, model.model.model.norm.weight)


def test_it_needs_a_file(model: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_critic(make_critic(model), tmp_path)
