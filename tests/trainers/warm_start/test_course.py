"""The steps of cloning: which weights they move, how far, and by what loss."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.pytorch_utils import Conv1D

from turngym.agents.episode import Episode
from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import LanguageModel, NonFiniteError
from turngym.agents.scripted import DemonstrationAgent
from turngym.trainers.config import LearningConfig, TrainConfig
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.warm_start import course
from turngym.trainers.warm_start.cloning import scripted_play
from turngym.trainers.warm_start.course import cloning_optimizers, cloning_step, corrected


def shown(model: LanguageModel, config: TrainConfig) -> list[Episode]:
    """Return a batch of flawless demonstrations."""
    return scripted_play(
        model, Rollouts.of(config), np.random.default_rng([0]), config.warm_start.batch_size, DemonstrationAgent(0.0)
    )


@pytest.mark.parametrize(("success", "rate"), [(0.45, 0.2), (0.9, 0.2 * 2**0.5), (0.0, 0.1), (0.25, 0.2 * 5**0.5 / 3)])
def test_a_correction_raises_the_mistakes_with_the_success(tiny: TrainConfig, success: float, rate: float) -> None:
    stage = replace(tiny.warm_start, success_low=0.3, success_high=0.6)
    assert corrected(0.2, success, stage) == pytest.approx(rate)


def test_a_correction_is_bounded(tiny: TrainConfig) -> None:
    stage = replace(tiny.warm_start, success_low=0.1, success_high=0.2)
    assert corrected(0.2, 1.0, stage) == pytest.approx(0.3)
    assert corrected(0.8, 1.0, stage) == 1.0


def names_by_optimizer(network: torch.nn.Module, config: TrainConfig) -> list[set[str]]:
    names = {parameter: name for name, parameter in network.named_parameters()}
    optimizers = cloning_optimizers(network, config.warm_start)
    assert [type(optimizer).__name__ for optimizer in optimizers] == ["Muon", "AdamW"]
    held = [{names[p] for group in optimizer.param_groups for p in group["params"]} for optimizer in optimizers]
    assert held[0] | held[1] == set(names.values()) and not held[0] & held[1]
    return held


def test_adamw_is_told_whether_one_kernel_takes_its_step(
    model: LanguageModel, tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cloning_optimizers(model.model, tiny.warm_start)[1].defaults["fused"] is None
    monkeypatch.setattr(course, "fused_on", lambda _: True)
    assert cloning_optimizers(model.model, tiny.warm_start)[1].defaults["fused"] is True


@pytest.mark.parametrize("tied", [True, False])
def test_muon_gets_exactly_the_hidden_matrices(model: LanguageModel, tiny: TrainConfig, tied: bool) -> None:
    config = copy.deepcopy(model.model.config)
    config.tie_word_embeddings = tied
    matrices, others = names_by_optimizer(type(model.model)(config), tiny)
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
             "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]  # fmt: skip
    assert matrices == {f"model.layers.{layer}.{part}.weight" for layer in range(2) for part in parts}
    assert ("lm_head.weight" in others) == (not tied)


def test_weight_decay_shrinks_all_weights(model: LanguageModel, tiny: TrainConfig) -> None:
    """By their learning rate: that of the hidden matrices is four times as high."""
    config = replace(tiny.warm_start, weight_decay=0.5, learning_rate=0.1)
    network = copy.deepcopy(model.model)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    matrices, _ = names_by_optimizer(network, tiny)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in cloning_optimizers(network, config):
        optimizer.step()
    for name, weight in network.named_parameters():
        torch.testing.assert_close(weight, (0.8 if name in matrices else 0.95) * before[name])


def test_tables_of_other_architectures_are_no_hidden_matrices(tiny: TrainConfig) -> None:
    network = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_embd=8, n_layer=1, n_head=2, n_positions=16))
    matrices, others = names_by_optimizer(network, tiny)
    assert {"transformer.wte.weight", "transformer.wpe.weight"} < others
    assert len(matrices) == 4


@pytest.mark.parametrize(("inside", "outside"), [(8, 32), (32, 8), (8, 8), (8, 24)])
def test_a_matrix_that_is_stored_transposed_takes_the_same_step(tiny: TrainConfig, inside: int, outside: int) -> None:
    config = replace(tiny.warm_start, weight_decay=0.1, learning_rate=0.01)
    linear, transposed = torch.nn.Linear(inside, outside), Conv1D(outside, inside)
    gradient = torch.randn(outside, inside)
    with torch.no_grad():
        transposed.weight.copy_(linear.weight.T)
    linear.weight.grad, transposed.weight.grad = gradient, gradient.T.contiguous()
    for layer in (linear, transposed):
        layer.bias.grad = torch.zeros(outside)
        for optimizer in cloning_optimizers(layer, config):
            optimizer.step()
    torch.testing.assert_close(transposed.weight.T, linear.weight)


def test_a_step_lowers_the_likelihood_loss_it_reports(model: LanguageModel, tiny: TrainConfig) -> None:
    episodes = shown(model, tiny)
    streams = [torch.tensor([episode.token_ids]) for episode in episodes]
    with torch.no_grad():
        total, count = 0.0, 0
        for episode, stream in zip(episodes, streams, strict=True):
            logp_TV = model.model(input_ids=stream).logits[0].log_softmax(-1)
            places = [place for turn in episode.turns for place in range(*turn.span)]
            total -= sum(float(logp_TV[place - 1, episode.token_ids[place]]) for place in places)
            count += len(places)
    small = replace(tiny.warm_start, learning_rate=1e-4)
    optimizers = cloning_optimizers(model.model, small)
    assert cloning_step(model, optimizers, episodes) == pytest.approx(total / count, rel=1e-5)
    assert cloning_step(model, optimizers, episodes) < total / count


@pytest.mark.parametrize("recomputed", [False, True])
def test_micro_batches_do_not_change_the_step(model: LanguageModel, tiny: TrainConfig, recomputed: bool) -> None:
    episodes = shown(model, tiny)
    gradients = []
    for tokens in (1, 10**6):
        learning = LearningConfig(tokens_per_microbatch=tokens, gradient_checkpointing=recomputed and tokens == 1)
        copied = LanguageModel(copy.deepcopy(model.model), model.tokenizer)
        cloning_step(copied, [], episodes, learning)
        assert any(getattr(module, "gradient_checkpointing", False) for module in copied.model.modules()) == (
            recomputed and tokens == 1
        )
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in copied.model.parameters()]))
    residual = (gradients[0] - gradients[1]).abs() / gradients[0].abs().max()
    assert float(residual.max()) < 1e-4
    assert float(residual.mean()) < 1e-6


def test_a_loss_that_is_not_finite_changes_nothing(model: LanguageModel, tiny: TrainConfig) -> None:
    episodes = shown(model, tiny)
    optimizers = cloning_optimizers(model.model, tiny.warm_start)
    model.model.model.norm.weight.data[0] = torch.nan
    before = fingerprint_of(model.model.state_dict())
    with pytest.raises(NonFiniteError, match=r"loss nan.*lower warm_start.learning_rate"):
        cloning_step(model, optimizers, episodes)
    assert fingerprint_of(model.model.state_dict()) == before
    assert all(not optimizer.state for optimizer in optimizers)
