"""Learning where the model sees a part of the earlier turns: what was sampled is learned from, as it was seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.trainers.harness import alone_and_halted, learn_from, make_loop, run, with_learning

import turngym
from turngym._errors import InputError
from turngym.agents.episode import read_episodes
from turngym.agents.evaluation import instance_range, score_episodes
from turngym.agents.models.decoding import Decoding, History
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.rollout import collect_episodes
from turngym.trainers.config import ModelConfig, RunConfig, TrainConfig
from turngym.trainers.objectives import StepParams

MODES: tuple[History, ...] = ("served", "window", "turn")
every_mode = pytest.mark.parametrize("history", MODES)


def seeing(model: LanguageModel, config: TrainConfig, history: History) -> tuple[LanguageModel, TrainConfig]:
    """Return a model and a run that see one earlier turn, or none, or all as they are served."""
    turns = 1 if history == "window" else ModelConfig.history_turns
    config = replace(config, model=replace(config.model, history=history, history_turns=turns))
    return LanguageModel(model.model, model.tokenizer, decoding=config.decoding), config


@every_mode
@pytest.mark.parametrize("algorithm", ["astarpo_turn", "ppo"])
def test_the_learner_scores_what_the_sampler_saw(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path, history: History, algorithm: str
) -> None:
    model, config = seeing(model, with_learning(tiny, algorithm, steps=2, fresh_share=0.0), history)
    numbers, played = run(make_loop(model, config), tmp_path)
    assert len(numbers) == 2
    assert all(step["logprob_drift"] < 1e-5 and step["grad_norm"] > 0 for step in numbers)
    assert max(len(episode.rows()) for episodes in played for episode in episodes) > 2


def test_a_run_that_was_halted_goes_on_with_the_same_bits(
    model: LanguageModel, tiny: TrainConfig, tmp_path: Path
) -> None:
    model, config = seeing(model, tiny, "window")
    alone, halted = alone_and_halted(model, config, tmp_path)
    assert halted.files == alone.files and halted.lines == alone.lines


def test_every_door_plays_with_the_history_of_the_run(model: LanguageModel, tiny: TrainConfig, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "given")
    config = replace(
        tiny,
        model=replace(tiny.model, path=str(tmp_path / "given"), history="turn", context_length=60),
        warm_start=replace(tiny.warm_start, course_steps=3, success_low=0.0, success_high=1.0),
        learning=replace(tiny.learning, steps=2),
        run=RunConfig(root=str(tmp_path / "runs"), name="forgetful", threads=1),
    )
    trained = turngym.train(config)
    policy = trained.folder / "checkpoints" / "step-000002" / "policy"
    assert Decoding.read(policy) == config.decoding and config.decoding.window == 0
    episodes = [episode for path in (trained.folder / "episodes").glob("*.jsonl") for episode in read_episodes(path)]
    assert all(turn.row_start < turn.span[0] for episode in episodes for turn in episode.turns)
    assert all(len(episode.rows()) == max(1, len(episode.turns)) for episode in episodes)
    assert max(len(episode.token_ids) for episode in episodes) > 60, "the context is that of a row"
    agent = turngym.load_agent(trained.folder)
    played = collect_episodes(agent, config.env.id, instance_range("test", 20), env_kwargs=config.env.kwargs)
    sampled = trained.scores["trained_sampled"]
    assert (score_episodes(played, 0.0).rate, score_episodes(played, 0.0).mean_turns) == (
        sampled.rate, sampled.mean_turns
    )  # fmt: skip
    other = turngym.load_agent(trained.folder, history="window", history_turns=1)
    assert other.model.decoding.window == 1
    with pytest.raises(InputError, match="history_turns is not read with history 'turn': set that to 'window'"):
        turngym.load_agent(trained.folder, history_turns=3)


@pytest.mark.parametrize("algorithm", ["astarpo_turn", "rloo", "ppo"])
def test_served_rows_and_the_stream_have_the_same_objective_values(
    model: LanguageModel, tiny: TrainConfig, algorithm: str
) -> None:
    """The built-in template keeps all that was said, so both show the same before every reply."""
    config = with_learning(tiny, algorithm, steps=1, fresh_share=0.0)
    stream, of_stream = seeing(model, config, "all")
    agent = LanguageModelAgent(stream, slots=8, greedy=True)
    played = collect_episodes(agent, config.env.id, instance_range("train", 8), env_kwargs=config.env.kwargs, slots=8)
    served, of_served = seeing(model.copy(), config, "served")
    found = []
    for seeing_it, its_config in ((stream, of_stream), (served, of_served)):
        episodes = [seeing_it.encode_episode(episode) for episode in played]
        assert [e.num_sampled for e in episodes] == [e.num_sampled for e in played]
        loop = make_loop(seeing_it, its_config)
        step = StepParams(config=loop.schedule.objective, beta=0.05, reward_span=1.0)
        found.append(learn_from(loop, episodes, step))
    first, second = found
    assert first.numbers["loss"] == pytest.approx(second.numbers["loss"], rel=1e-4, abs=1e-5)
    assert first.numbers["grad_norm"] == pytest.approx(second.numbers["grad_norm"], rel=1e-3)
    assert torch.allclose(first.logp_N, second.logp_N, atol=1e-5)
