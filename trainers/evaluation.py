"""The evaluation of a run: random, base and trained model on the same held-out instances, beside the optimum."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from turngym._durable import replacement
from turngym.agents.base import Agent
from turngym.agents.episode import Episode, write_episodes
from turngym.agents.evaluation import error_note, instance_range, no_random_floor, optimal_rate, score_episodes
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.scripted import RandomAgent
from turngym.envs import MissingCapability
from turngym.strict_json import dumps
from turngym.trainers.config import EvaluationConfig
from turngym.trainers.loop import Loop
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import Progress, SuccessSoFar
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run_files import EPISODES, RESULT_FILE


def evaluate_run(
    loop: Loop, config: EvaluationConfig, folder: Path, metrics: Metrics, progress: Progress, *, base: LanguageModel
) -> dict[str, Any]:
    """Score random, base and trained model on the test split, beside the optimum, and write `result.json`.

    Args:
        loop: Stage 2 at its end.
        config: Which test instances are played.
        folder: The folder of the run.
        metrics: The lines of the run, read for times and alarms.
        progress: Told about every agent and episode.
        base: The model before reinforcement learning.

    Returns:
        The content of `result.json`.
    """
    rollouts, schedule = loop.rollouts, loop.schedule
    instances = instance_range("test", config.episodes, config.first)
    started = time.perf_counter()
    result: dict[str, Any] = {"env_id": rollouts.env.id, "objective": loop.learner.objective.name}
    optimum = optimal_rate(rollouts.env.id, instances, rollouts.env.kwargs, step_timeout=rollouts.env.step_timeout,
                           isolate=rollouts.env.isolate)  # fmt: skip
    result["optimum"], result["optimum_failures"] = optimum.rate, optimum.failures
    if optimum.failures:
        progress.note(optimum.note())
    temperature = schedule.learning.final_temperature
    for name, agent in evaluated_agents(base, loop.learner.policy, rollouts, temperature):
        progress.phase(f"test: {name.replace('_', ', ')}", config.episodes)
        began = time.perf_counter()
        try:
            episodes = rollouts.play(agent, instances, on_episode=SuccessSoFar(progress))
        except MissingCapability:
            progress.note(no_random_floor(rollouts.env.id))
            continue
        if note := error_note(name, episodes):
            progress.note(note)
        result[name] = score_episodes(episodes, time.perf_counter() - began).to_dict()
        if name.startswith("trained"):
            record_episodes(folder / EPISODES / f"test_{name}.jsonl", episodes)
    stage_one = schedule.stage_one_tokens
    result["generated_tokens"] = {"values": stage_one, "learning": schedule.generated_tokens - stage_one}
    result["alarms"] = dict(Counter(line["alarm"] for line in metrics.lines() if line["phase"] == "alarm"))
    result["rollbacks"] = schedule.rollbacks
    result["seconds"] = {phase: metrics.seconds(phase) for phase in ("warm_start", "values", "learning")}
    result["seconds"]["test"] = time.perf_counter() - started
    with replacement(folder / RESULT_FILE) as unfinished:
        unfinished.write_text(dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def evaluated_agents(
    base: LanguageModel, policy: LanguageModel, rollouts: Rollouts, temperature: float
) -> Iterator[tuple[str, Agent]]:
    """Yield the agents with their names in the result, one at a time, since each holds a cache."""
    yield "random", RandomAgent()
    yield "base_sampled", rollouts.agent(base, temperature=temperature)
    yield "base_greedy", rollouts.agent(base, greedy=True)
    yield "trained_sampled", rollouts.agent(policy, temperature=temperature)
    yield "trained_greedy", rollouts.agent(policy, greedy=True)


def record_episodes(path: Path, episodes: list[Episode]) -> None:
    """Write episodes to a file, in place of one that an interrupted attempt may have left."""
    path.unlink(missing_ok=True)
    write_episodes(path, episodes)
