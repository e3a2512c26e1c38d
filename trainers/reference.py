"""Stage 1 of A*PO: the frozen reference plays the pool of instances, and every episode goes into the value store.

Seeds are a function of the run's seed, the instance and the number of the sample, and every round of extra samples is
planned from what the store holds, so an interrupted stage 1 continues with the same episodes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from turngym.agents.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.rollout import Instance, collect_episodes, make_env, text_env
from turngym.trainers.config import TrainConfig
from turngym.trainers.fingerprint import fingerprint_of
from turngym.trainers.progress import Progress
from turngym.trainers.value_store import ValueStore
from turngym.trainers.values import ValueEstimates, estimate_values, next_instances

STAGE_ONE_STREAM = 4
"""Keeps the seeds of this stage apart from those of the others."""
ROUNDS = 4
"""In how many rounds the extra samples are handed out; each is planned with what the rounds before found."""


def store_fingerprint(reference: LanguageModel, config: TrainConfig) -> dict[str, str]:
    """Name everything the reference episodes depend on."""
    env = text_env(make_env(config.env.id, config.env.kwargs))
    return {
        "reference weights": fingerprint_of(reference.model.state_dict()),
        "tokenizer": fingerprint_text(reference.tokenizer.backend_tokenizer.to_str()),
        "chat template": fingerprint_text(str(reference.tokenizer.chat_template)),
        "temperature": repr(config.astarpo.temperature),
        "longest reply": str(config.model.max_reply_tokens),
        "environment": config.env.id,
        "environment arguments": repr(sorted(config.env.kwargs.items())),
        "turn limit": str(env.turn_limit),
        "seed": str(config.run.seed),
    }


def fingerprint_text(text: str) -> str:
    """Return a short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def sample_reference(
    reference: LanguageModel, store: ValueStore, config: TrainConfig, progress: Progress
) -> ValueEstimates:
    """Play the pool with the reference until the store holds what the configuration asks for; estimate V*.

    First every instance gets `values.samples` episodes. Then `values.extra_samples` more go, in a few rounds, to the
    instances whose value is least certain.

    Args:
        reference: The frozen policy.
        store: Filled further; what it holds already is not played again.
        config: The run.
        progress: Told about every episode.
    """
    stage = config.values
    progress.phase("stage 1: values", stage.instances * stage.samples + stage.extra_samples)
    agent = LanguageModelAgent(
        reference, temperature=config.astarpo.temperature, slots=config.run.rollout_slots,
        max_reply_tokens=config.model.max_reply_tokens,
    )  # fmt: skip

    def play(samples: Sequence[tuple[int, int]]) -> None:
        instances = [Instance(split="train", index=i, seed=sample_seed(config.run.seed, i, k)) for i, k in samples]
        episodes = collect_episodes(
            agent, config.env.id, instances, env_kwargs=config.env.kwargs, slots=config.run.rollout_slots,
            on_episode=lambda episode: progress.advance(success=float(episode.success)),
        )  # fmt: skip
        store.add(episode for episode in episodes if not episode.status.is_error())

    counts = store.counts()
    play([(i, k) for i in range(stage.instances) for k in range(counts.get(i, 0), stage.samples)])
    planned = stage.instances * stage.samples
    for round_number in range(1, ROUNDS + 1):
        planned_after = stage.instances * stage.samples + stage.extra_samples * round_number // ROUNDS
        held = sum(store.counts().values())
        if held < planned_after:
            play(plan_extra_samples(store, config, planned_after - max(held, planned)))
        planned = planned_after
    return estimate(store, config)


def estimate(store: ValueStore, config: TrainConfig) -> ValueEstimates:
    """Estimate V* of every instance in the store."""
    low, high = text_env(make_env(config.env.id, config.env.kwargs)).reward_range
    stage = config.values
    return estimate_values(store.returns(), stage.beta_value * (high - low), stage.prior_strength, (low, high))


def plan_extra_samples(store: ValueStore, config: TrainConfig, count: int) -> list[tuple[int, int]]:
    """Return `count` pairs of instance and sample number, the widest posterior first."""
    estimates = estimate(store, config)
    positions = next_instances(estimates.counts, estimates.stds, count, config.values.max_samples)
    taken = dict(zip(estimates.instances.tolist(), estimates.counts.tolist(), strict=True))
    pairs = []
    for instance in estimates.instances[positions].tolist():
        pairs.append((instance, taken[instance]))
        taken[instance] += 1
    return pairs


def sample_seed(run_seed: int, index: int, sample: int) -> int:
    """Return the seed of one reference episode."""
    return int(np.random.default_rng([run_seed, STAGE_ONE_STREAM, index, sample]).integers(2**31))

