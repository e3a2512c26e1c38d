"""The checkpoints of a run: a loop restored is the loop saved, and a rollback keeps what cannot be undone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.trainers.harness import copied, make_loop, run, with_learning

from turngym.agents.models.fingerprint import fingerprint_of
from turngym.agents.models.language_model import LanguageModel
from turngym.trainers.checkpoints.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint
from turngym.trainers.config import TrainConfig
from turngym.trainers.live.tuning import Tuning
from turngym.trainers.loop import Loop
from turngym.trainers.run_checkpoints import RunCheckpoints


@pytest.fixture
def config(tiny: TrainConfig) -> TrainConfig:
    return with_learning(tiny, "ppo", steps=4)


def weights(loop: Loop) -> list[str]:
    critic = loop.learner.critic
    assert critic is not None
    return [fingerprint_of(module.state_dict()) for module in (loop.learner.policy.model, critic)]


def checkpoints(folder: Path, loop: Loop, config: TrainConfig) -> RunCheckpoints:
    return RunCheckpoints(folder, loop, Tuning(config, folder, lambda note: None))


def saved(loop: Loop, config: TrainConfig, folder: Path) -> Checkpoint:
    checkpoints(folder, loop, config).save()
    last = latest_checkpoint(folder)
    assert last is not None
    return load_checkpoint(last)


def test_a_restored_loop_goes_on_as_the_saved_one(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    loop = make_loop(model, config)
    run(loop, tmp_path, steps=2)
    checkpoint = saved(loop, config, tmp_path / "checkpoints")
    other = make_loop(LanguageModel.from_pretrained(checkpoint.policy), config)
    other.references.current = copied(loop.references.current)
    checkpoints(tmp_path / "checkpoints", other, config).restore(checkpoint)
    assert weights(other) == weights(loop) and other.schedule.state_dict() == loop.schedule.state_dict()
    for each in (loop, other):
        run(each, tmp_path)
    assert weights(other) == weights(loop)
    assert other.prompts.state_dict() == loop.prompts.state_dict()
    assert other.successes.state_dict() == loop.successes.state_dict()


def test_a_rollback_counts_and_keeps_tokens_and_used_instances(
    model: LanguageModel, config: TrainConfig, tmp_path: Path
) -> None:
    loop = make_loop(model, config)
    run(loop, tmp_path, steps=2)
    checkpoint, before = saved(loop, config, tmp_path / "checkpoints"), weights(loop)
    run(loop, tmp_path)
    assert weights(loop) != before
    tokens, used = loop.schedule.generated_tokens, loop.prompts.state_dict()
    checkpoints(tmp_path / "checkpoints", loop, config).roll_back(
        checkpoint, LanguageModel.from_pretrained(checkpoint.policy)
    )
    assert weights(loop) == before
    assert (loop.schedule.step, loop.schedule.rollbacks, loop.schedule.generated_tokens) == (2, 1, tokens)
    assert loop.prompts.state_dict() == used != checkpoint.extra["prompts"]
    assert loop.successes.state_dict() == checkpoint.extra["successes"]
