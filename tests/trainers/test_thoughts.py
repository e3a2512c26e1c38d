"""Learning where thoughts have a limit: answers are opened for the model, and that is not learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.trainers.harness import make_loop, run, with_learning

import turngym
from turngym._errors import InputError
from turngym.agents.episode import read_episodes
from turngym.agents.evaluation import cut_shares, instance_range
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.rollout import collect_episodes
from turngym.trainers.config import ModelConfig, RunConfig, TrainConfig
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run_files import METRICS_FILE
from turngym.trainers.stage_one.sampling import store_fingerprint

THOUGHT, OPENING, ANSWER = 2, 16, 6


def thinking(config: TrainConfig) -> TrainConfig:
    """Return a run with thoughts of two tokens at most."""
    return replace(
        config,
        env=replace(config.env, kwargs={**config.env.kwargs, "reasoning": True}),
        model=replace(config.model, max_thought_tokens=THOUGHT, max_reply_tokens=THOUGHT + OPENING + ANSWER),
    )


@pytest.mark.parametrize("algorithm", ["astarpo_turn", "ppo"])
def test_the_learner_scores_what_was_sampled_alone(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, algorithm: str
) -> None:
    config = thinking(with_learning(tiny, algorithm, steps=2, fresh_share=0.0))
    config = replace(config, monitors=replace(config.monitors, retrieval_every=1))
    model = LanguageModel(model.model, model.tokenizer, decoding=config.decoding)
    numbers, played = run(make_loop(model, config), tmp_path)
    assert len(numbers) == 2
    for step, episodes in zip(numbers, played, strict=True):
        turns = [turn for episode in episodes for turn in episode.turns]
        assert step["logprob_drift"] < 1e-5
        assert step["forced_replies"] == sum(turn.forced != (0, 0) for turn in turns) / len(turns) > 0
        assert step["sampled_tokens"] == sum(len(turn.logprobs) for turn in turns)
        assert step["sampled_tokens"] < sum(turn.span[1] - turn.span[0] for turn in turns)


def test_a_run_and_what_it_leaves_play_by_the_limit(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "given")
    config = thinking(tiny)
    config = replace(
        config,
        model=replace(config.model, path=str(tmp_path / "given")),
        warm_start=replace(config.warm_start, enabled=False),
        learning=replace(config.learning, steps=2),
        run=RunConfig(root=str(tmp_path / "runs"), name="thoughtful", threads=1),
    )
    trained = turngym.train(config)
    policy = trained.folder / "checkpoints" / "step-000002" / "policy"
    assert Decoding.read(policy) == config.decoding and config.decoding.max_thought_tokens == THOUGHT
    lines = Metrics(trained.folder / METRICS_FILE).lines()
    assert [line["forced_replies"] > 0 for line in lines if line["phase"] == "learning"] == [True, True]
    recorded = [episode for path in (trained.folder / "episodes").glob("*.jsonl") for episode in read_episodes(path)]
    assert all(turn.forced[0] - turn.span[0] == THOUGHT for one in recorded for turn in one.turns if any(turn.forced))
    agent = turngym.load_agent(trained.folder)
    played = collect_episodes(agent, config.env.id, instance_range("test", 20), env_kwargs=config.env.kwargs)
    sampled = trained.scores["trained_sampled"]
    assert sampled.forced_replies == cut_shares(played)["forced_replies"] > 0
    assert "Thoughts were ended at max_thought_tokens" in str(trained)
    longer = turngym.load_agent(trained.folder, max_thought_tokens=THOUGHT + 1)
    assert longer.max_thought_tokens == THOUGHT + 1


def test_values_belong_to_their_limit(model: LanguageModel, tiny: TrainConfig) -> None:
    limited = LanguageModel(model.model, model.tokenizer, decoding=thinking(tiny).decoding)
    one, other = (store_fingerprint(each, Rollouts.of(tiny)) for each in (model, limited))
    assert set(other) - set(one) == {"longest thought"} and other["longest thought"] == str(THOUGHT)


def test_a_thought_must_be_shorter_than_a_reply() -> None:
    with pytest.raises(InputError, match=r"^model.max_thought_tokens must be less than model.max_reply_tokens, 16"):
        ModelConfig(max_thought_tokens=16)
