"""The loss and gradient of `astarpo` against another implementation: the `A2POTrainer` of TRL, on its own batch.

TRL samples from the reference, estimates V*, samples from the policy, builds the mask and computes the loss, all by its
own code. Of that batch, the ids and rewards alone are handed to ours. TRL plays one turn and does not divide its loss.

Shapes: B prompts, N samples of one prompt, T tokens of a completion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.trainers.objectives.steps import step_params
from torch import Tensor

from turngym.agents.episode import Episode, Turn
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers.base_model import load_or_build
from turngym.trainers.baselines.baseline import InstanceBaseline
from turngym.trainers.batches import make_batch
from turngym.trainers.config import EnvConfig, LearningConfig, ModelConfig, TrainConfig
from turngym.trainers.learner import Learner
from turngym.trainers.objectives import find_objective
from turngym.trainers.schedules import Moment
from turngym.trainers.stage_one.instance_values import estimate_values
from turngym.trainers.stage_one.stage import StageOneResult

# TRL reads an attribute that the next transformers will have under another name.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")

BETA_VALUE, BETA = 0.5, 0.05
SAMPLES = 8
PROMPTS = ["left", "up and right", "SFFF\nFHFH\nFFFH\nHFFG", "down", "the goal is to the right of the start", "G"]
CONFIG = TrainConfig(
    env=EnvConfig(kwargs={"size": 3}),
    model=ModelConfig(hidden_size=32, layers=2, heads=2, rope_base=1e4, copying=False, context_length=128),
    learning=LearningConfig(learning_rate=0.0, final_learning_rate=0.0, max_grad_norm=1e9),
)


@dataclass(kw_only=True)
class Theirs:
    """What TRL made of the prompts, and what it was rewarded for."""

    trainer: Any
    batch: dict[str, Any]
    loss: Tensor
    returns: dict[int, list[float]]
    """The rewards of the reference's samples, by prompt."""


def play_with_trl(folder: Path, *, pad_is_eos: bool) -> Theirs:
    """Let TRL take both stages up to the loss, with a policy that has moved away from its reference."""
    why = "TRL, another implementation of A*PO, is not installed: pip install -e '.[oracle]'"
    trl, datasets = pytest.importorskip("trl.experimental.a2po", reason=why), pytest.importorskip("datasets")
    model = load_or_build(CONFIG)
    tokenizer = model.tokenizer
    tokenizer.padding_side = "left"
    if pad_is_eos:
        tokenizer.pad_token = tokenizer.eos_token
    rewards: list[float] = []

    def reward(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
        earned = [float(len(text) % 3 == 0) for text in completions]
        rewards.extend(earned)
        return earned

    trainer = trl.A2POTrainer(
        model=model.model,
        reward_funcs=reward,
        args=trl.A2POConfig(
            str(folder), beta1=BETA_VALUE, beta2=BETA, num_value_samples=SAMPLES, max_completion_length=12,
            filter_all_incorrect=False, use_cpu=True, bf16=False, activation_checkpointing=False, report_to=[],
            per_device_train_batch_size=len(PROMPTS),
        ),
        train_dataset=datasets.Dataset.from_dict({"prompt": PROMPTS}),
        processing_class=tokenizer,
    )  # fmt: skip
    # An untrained model hardly ever stops; with this some of its completions end, and the others are cut off.
    trainer.generation_config.sequence_bias = [[[tokenizer.eos_token_id], 2.5]]
    for parameter in trainer.model.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape)
    batch = trainer._prepare_inputs([{"prompt": prompt} for prompt in PROMPTS])
    drawn = [rewards[start : start + SAMPLES] for start in range(0, len(PROMPTS) * SAMPLES, SAMPLES)]
    return Theirs(trainer=trainer, batch=batch, loss=trainer.compute_loss(trainer.model, batch),
                  returns=dict(enumerate(drawn)))  # fmt: skip


def as_episodes(theirs: Theirs) -> list[Episode]:
    """Read prompts, completions up to their first end, and rewards from a batch; TRL's mask is not looked at."""
    ends, width = set(theirs.trainer.eos_token_ids), theirs.batch["logits_to_keep"]
    episodes = []
    for index, ids in enumerate(theirs.batch["input_ids"].tolist()):
        prompt = theirs.trainer.processing_class(PROMPTS[index], add_special_tokens=False)["input_ids"]
        said = ids[-width:]
        length = next((place + 1 for place, token in enumerate(said) if token in ends), width)
        turn = Turn(
            observation=PROMPTS[index], action="", reward=float(theirs.batch["rewards"][index]), task_reward=0.0,
            state_key="", potential=0.0, valid=True, span=(len(prompt), len(prompt) + length), logprobs=[0.0] * length,
        )  # fmt: skip
        episodes.append(Episode(env_id="x", split="train", index=index, seed=0, turns=[turn],
                                token_ids=[*prompt, *said[:length]]))  # fmt: skip
    return episodes


def gradient(model: Any) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("pad_is_eos", [False, True])
def test_the_loss_and_its_gradient_are_those_of_trl(tmp_path: Path, pad_is_eos: bool) -> None:
    theirs = play_with_trl(tmp_path, pad_is_eos=pad_is_eos)
    policy, reference = (
        LanguageModel(model, theirs.trainer.processing_class)
        for model in (theirs.trainer.model, theirs.trainer.ref_model)
    )
    theirs.trainer.model.zero_grad()
    theirs.loss.backward()
    expected = gradient(policy.model) / (2 * BETA)

    estimates = estimate_values(theirs.returns, BETA_VALUE, 0.0, (0.0, 1.0))
    assert estimates.values == pytest.approx(theirs.batch["v_star"].tolist(), abs=1e-6)
    baseline = InstanceBaseline(StageOneResult(pool=[], estimates=estimates), easier=0, middle=0.5, follows=False)
    learner = Learner(policy, find_objective("astarpo"), CONFIG.learning, seed=0)
    learner.optimizer = torch.optim.SGD(policy.model.parameters(), lr=0.0)
    episodes = as_episodes(theirs)
    batch = make_batch(episodes, policy)
    batch = replace(batch, value_BK=baseline.values(batch, episodes))
    moment = Moment(step=0, beta=BETA, temperature=1.0, learning_rate=0.0)
    taken = learner.train_step(batch, episodes, reference, step_params("astarpo", beta=BETA), moment)
    assert taken.numbers["loss"] == pytest.approx(theirs.loss.item() / (2 * BETA), rel=1e-5)
    torch.testing.assert_close(gradient(policy.model), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))

    # The batch has all there is to get wrong: completions that ended and that were cut off, rewards and values of
    # several sizes, and log-ratios that matter.
    said_B = [episode.num_sampled for episode in episodes]
    assert sorted(said_B)[2] < 12 == max(said_B)
    assert len(set(estimates.values)) > 2 and len(set(theirs.batch["rewards"].tolist())) == 2
    assert BETA * max(abs(sum(log_ratio_K)) for log_ratio_K in taken.log_ratio_BK) > 0.02
