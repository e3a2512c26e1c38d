"""Stage 1 of A*PO: the frozen reference plays the pool of instances, and every episode goes into the value store.

Seeds are a function of the run's seed, the instance and the number of the sample; episodes are stored in blocks, each
whole or absent; and every round of extra samples is planned from what the store holds. So an interrupted stage 1
continues with the same episodes.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np

from turngym.agents.language_model import LanguageModel
from turngym.agents.rollout import Instance, make_env, text_env
from turngym.trainers.checkpoints.fingerprint import fingerprint_of
from turngym.trainers.config import TrainConfig
from turngym.trainers.reporting.progress import Progress, SuccessSoFar
from turngym.trainers.rollouts import model_player, play
from turngym.trainers.shaping import played_shaping, return_range
from turngym.trainers.stage_one.instance_values import ValueEstimates, estimate_values, next_instances
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.units import value_temperature

STAGE_ONE_STREAM = 4
"""Keeps the seeds of this stage apart from those of the others."""
REFERENCE_WEIGHTS = "reference weights"
"""What a store's fingerprint calls the weights of its reference."""
BLOCK = 1024
"""Episodes stored at a time: the most that a kill loses."""
ROUNDS = 4
"""Least number of rounds in which the extra samples are handed out; each is planned with what was found before."""


def store_fingerprint(reference: LanguageModel, config: TrainConfig) -> dict[str, str]:
    """Name everything the law of the reference episodes depends on; which of them were drawn, their own seeds say."""
    env = text_env(make_env(config.env.id, config.env.kwargs))
    shaping = ", ".join(f"{name}={value!r}" for name, value in vars(played_shaping(config)).items() if value)
    return {
        REFERENCE_WEIGHTS: fingerprint_of(reference.model.state_dict()),
        "tokenizer": fingerprint_text(reference.tokenizer.backend_tokenizer.to_str()),
        "chat template": fingerprint_text(str(reference.tokenizer.chat_template)),
        "temperature": repr(config.astarpo.temperature),
        "longest reply": str(config.model.max_reply_tokens),
        "longest episode": str(reference.context_length),
        "environment": config.env.id,
        "environment arguments": repr(sorted(config.env.kwargs.items())),
        "turn limit": str(env.turn_limit),
        **({"reward shaping": shaping} if shaping else {}),
    }


def fingerprint_text(text: str) -> str:
    """Return a short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def sample_reference(
    reference: LanguageModel, store: ValueStore, config: TrainConfig, progress: Progress
) -> Iterator[dict[str, float]]:
    """Play the pool with the reference until the store holds what the configuration asks for.

    First every instance gets `values.samples` episodes. Then up to `values.extra_samples` more go, in a few rounds, to
    the instances whose value is least certain. Episodes that ended in an error say nothing and are not stored.

    Args:
        reference: The frozen policy.
        store: Filled further; what it holds already is not played again.
        config: The run.
        progress: Told about every episode.

    Yields:
        The numbers of each block that was stored: its seconds, errors and sampled tokens; and of all that is stored:
        episodes, success rate, mean V* and the strength of its prior.

    Raises:
        RuntimeError: No episode at all could be played.
    """
    stage = config.values
    asked = stage.instances * stage.samples
    held = store.counts()
    progress.phase("stage 1: values", asked + stage.extra_samples)
    progress.advance(sum(held.values()))
    count = SuccessSoFar(progress)
    agent = model_player(reference, config)

    def sample(pairs: Sequence[tuple[int, int]]) -> dict[str, float]:
        started = time.perf_counter()
        instances = [Instance(split="train", index=i, seed=sample_seed(config.run.seed, i, k)) for i, k in pairs]
        episodes = play(agent, instances, config, shaped=True, on_episode=count)
        usable = [episode for episode in episodes if not episode.status.is_error()]
        store.add(usable)
        summary = store.summary()
        if not summary.episodes:
            raise RuntimeError(f"every reference episode ended in an error, the first with {episodes[0].error}")
        estimates = estimate(store, config)
        return {"seconds": time.perf_counter() - started, "errors": len(episodes) - len(usable),
                "episodes": summary.episodes, "success": summary.success_rate,
                "value": float(np.mean(estimates.values)), "prior_strength": estimates.strength,
                "sampled_tokens": sum(episode.num_sampled for episode in usable)}  # fmt: skip

    missing = [(i, k) for i in range(stage.instances) for k in range(held.get(i, 0), stage.samples)]
    for start in range(0, len(missing), BLOCK):
        yield sample(missing[start : start + BLOCK])
    # A round is planned from all that is stored, so it must be stored as one block.
    rounds = max(ROUNDS, math.ceil(stage.extra_samples / BLOCK))
    for number in range(1, rounds + 1):
        wanted = asked + stage.extra_samples * number // rounds - sum(store.counts().values())
        samples = plan_extra_samples(store, config, wanted) if wanted > 0 else []
        if samples:
            yield sample(samples)


def estimate(
    store: ValueStore, config: TrainConfig, *, beta: float | None = None, split: str = "train"
) -> ValueEstimates:
    """Estimate V* of every instance in the store, shaping included.

    Args:
        store: Of any round.
        config: The run.
        beta: Temperature, in the unit of the returns; None for that of the configuration.
        split: Which instances.

    Raises:
        ValueError: The store has no episode of the split, or its returns do not fit the environment.
    """
    beta = value_temperature(config) if beta is None else beta
    return estimate_values(store.returns(split), beta, config.values.prior_strength or None, return_range(config))


def plan_extra_samples(store: ValueStore, config: TrainConfig, count: int) -> list[tuple[int, int]]:
    """Return `count` pairs of instance and sample number, the widest posterior first.

    An instance that was always won, in its first `values.samples` episodes and in as many again, gets no more. One that
    was never won may go on to `values.max_samples`: a first win would change its value most. Where all are served,
    fewer are returned.
    """
    stage = config.values
    estimates = estimate(store, config)
    won_I = np.array(list(store.success_rates().values())) == 1.0
    most_I = np.where(won_I, min(2 * stage.samples, stage.max_samples), stage.max_samples)
    positions = next_instances(estimates.counts, estimates.stds, count, most_I, estimates.strength)
    taken = dict(zip(estimates.instances.tolist(), estimates.counts.tolist(), strict=True))
    pairs = []
    for instance in estimates.instances[positions].tolist():
        pairs.append((instance, taken[instance]))
        taken[instance] += 1
    return pairs


def sample_seed(run_seed: int, index: int, sample: int) -> int:
    """Return the seed of one reference episode."""
    return int(np.random.default_rng([run_seed, STAGE_ONE_STREAM, index, sample]).integers(2**31))
