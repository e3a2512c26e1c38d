"""Stage 1: the frozen reference plays the pool of instances, and every episode goes into the value store.

An interrupted stage 1 continues with the same episodes: the seed of an episode depends on the run's seed, its instance
and the number of the sample alone, episodes are stored in blocks, whole or not at all, and every round of extra samples
is planned from what the store holds.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from turngym.agents.episode import Episode
from turngym.agents.evaluation import cut_shares
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.rollout import Instance, PlayError
from turngym.envs.making import defining_arguments
from turngym.seeds import Stream, episode_seed
from turngym.trainers.config import (
    GROUP_FILTERS,
    STATE_BASELINES,
    ModelConfig,
    ShapingConfig,
    TrainConfig,
    ValueConfig,
    Valued,
)
from turngym.trainers.reporting.progress import Progress, SuccessSoFar
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.shaping import played_shaping
from turngym.trainers.stage_one.instance_values import ValueEstimates, estimate_values, next_instances
from turngym.trainers.stage_one.repaid import repaid
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.store_rows import REFERENCE, StoredTurn

REFERENCE_WEIGHTS = "reference weights"
"""The key of the reference's weights in the fingerprint of a store."""
BLOCK = 256
"""Episodes stored at a time, which is the most that a run that is stopped or killed loses."""
ROUNDS = 4
"""Least number of rounds in which the extra samples are handed out; each is planned with what was found before."""


@dataclass(frozen=True, kw_only=True)
class StageOneSetup:
    """The settings that stage 1 reads."""

    values: ValueConfig
    """The section `values`."""
    rollouts: Rollouts
    """How episodes are played."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The section `model`, by which the models of explorers are read."""
    seed: int = 0
    """The seed of the run."""
    tokens_per_microbatch: int = 4096
    """Padded tokens per forward pass."""
    reads_states: bool = False
    """Whether the baseline or the shaping reads the values of states."""
    keeps_episodes: bool = False
    """Whether whole episodes are stored, of which stage 2 learns too."""
    reads_spread: bool = False
    """Whether episodes are filtered by the spread of the returns of a prompt."""
    repaid: ShapingConfig | None = None
    """The shaping by which stored rewards are read; None for that of `rollouts`, by which they are paid."""

    @classmethod
    def of(cls, config: TrainConfig, begun: TrainConfig | None = None) -> StageOneSetup:
        """Return that of a run.

        Args:
            config: Its settings as they are now.
            begun: Those it began with, if others; all episodes of stage 1 are played and paid by them.
        """
        if begun is not None:
            other = played_shaping(config.shaping) != played_shaping(begun.shaping)
            return replace(cls.of(config), rollouts=Rollouts.of(begun), repaid=config.shaping if other else None)
        objective = config.objective
        valued = isinstance(objective, Valued) and objective.baseline in STATE_BASELINES
        return cls(values=config.values, rollouts=Rollouts.of(config), model=config.model, seed=config.run.seed,
                   tokens_per_microbatch=config.learning.tokens_per_microbatch,
                   reads_states=valued or config.shaping.automatic_weight != 0.0,
                   keeps_episodes=config.learning.replayed > 0,
                   reads_spread=objective.filter in GROUP_FILTERS)  # fmt: skip

    @property
    def beta_value(self) -> float:
        """The temperature of V*, in the unit of the returns."""
        return self.values.beta_value * self.rollouts.reward_span


def store_fingerprint(reference: LanguageModel, rollouts: Rollouts) -> dict[str, str]:
    """Return the names and values of everything that the distribution of the reference's episodes depends on.

    The seed of the run is not among them: it only decides which episodes are drawn.
    """
    plain = vars(played_shaping(rollouts.shaping))
    shaping = ", ".join(f"{name}={value!r}" for name, value in plain.items() if value)
    return {
        REFERENCE_WEIGHTS: reference.fingerprint(),
        "tokenizer": fingerprint_text(reference.tokenizer.backend_tokenizer.to_str()),
        "chat template": fingerprint_text(str(reference.tokenizer.chat_template)),
        "temperature": repr(rollouts.temperature),
        "longest reply": str(rollouts.max_reply_tokens),
        "longest episode": str(reference.context_length),
        "environment": rollouts.env.id,
        "environment arguments": repr(sorted(defining_arguments(rollouts.env.id, rollouts.env.kwargs).items())),
        "turn limit": str(rollouts.turn_limit),
        **({} if reference.decoding.history == "all" else {"history": reference.decoding.history_words}),
        **({"longest thought": str(thought)} if (thought := reference.decoding.max_thought_tokens) else {}),
        **({"reward shaping": shaping} if shaping else {}),
    }


def fingerprint_text(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def sample_reference(
    reference: LanguageModel, store: ValueStore, setup: StageOneSetup, progress: Progress
) -> Iterator[dict[str, float]]:
    """Play the pool with the reference until the store holds what the configuration asks for.

    First every instance gets `values.samples` episodes. Then up to `values.extra_samples` more go, in a few rounds, to
    the instances whose value is least certain. Episodes that ended in an error say nothing and are not stored.

    Args:
        reference: The frozen policy.
        store: Filled further; what it holds already is not played again.
        setup: What is played.
        progress: Told about every episode.

    Yields:
        The numbers of each block that was stored: its seconds, errors and sampled tokens; and of all that is stored:
        episodes, success rate, mean V* and the strength of its prior.

    Raises:
        PlayError: No episode at all could be played, or returns are outside of the environment's range.
    """
    values = setup.values
    asked = values.instances * values.samples
    held = store.counts()
    progress.phase("stage 1: values", asked + values.extra_samples)
    progress.advance(sum(held.values()))
    block = partial(_play_block, setup.rollouts.agent(reference), store, setup, SuccessSoFar(progress))
    missing = [(i, k) for i in range(values.instances) for k in range(held.get(i, 0), values.samples)]
    for start in range(0, len(missing), BLOCK):
        yield block(missing[start : start + BLOCK])
    # A round is planned from all that is stored, so it must be stored as one block.
    rounds = max(ROUNDS, math.ceil(values.extra_samples / BLOCK))
    for number in range(1, rounds + 1):
        wanted = asked + values.extra_samples * number // rounds - sum(store.counts().values())
        pairs = plan_extra_samples(store, setup, wanted) if wanted > 0 else []
        if pairs:
            yield block(pairs)


def _play_block(
    agent: LanguageModelAgent,
    store: ValueStore,
    setup: StageOneSetup,
    on_episode: SuccessSoFar,
    pairs: Sequence[tuple[int, int]],
) -> dict[str, float]:
    """Play pairs of instance and sample number, store the episodes, and return the numbers of `sample_reference`."""
    started = time.perf_counter()
    instances = [Instance(split="train", index=i, seed=sample_seed(setup.seed, i, k)) for i, k in pairs]
    episodes = setup.rollouts.play(agent, instances, shaped=True, on_episode=on_episode)
    usable = [episode for episode in episodes if not episode.status.is_error()]
    check_room(usable, agent)
    store.add(usable, whole=setup.keeps_episodes)
    summary = store.summary()
    if not summary.episodes:
        raise PlayError(f"every reference episode ended in an error, the first with {episodes[0].error}")
    try:
        estimates = estimate(store, setup)
    except ValueError as error:
        raise PlayError(str(error)) from error
    return {"seconds": time.perf_counter() - started, "errors": len(episodes) - len(usable),
            "episodes": summary.episodes, "success": summary.success_rate,
            "value": float(np.mean(estimates.values)), "prior_strength": estimates.strength,
            "sampled_tokens": sum(episode.num_sampled for episode in usable), **cut_shares(usable)}  # fmt: skip


def check_room(episodes: Sequence[Episode], agent: LanguageModelAgent) -> None:
    """Check that some episode had room for a reply.

    Raises:
        PlayError: None had, so that nothing can be learned.
    """
    if episodes and not any(episode.turns for episode in episodes):
        raise PlayError(f"no first observation leaves room for a reply of {agent.max_reply_tokens} tokens in a context "
                        f"of {agent.context_length}: raise model.context_length, or lower "
                        "model.max_reply_tokens")  # fmt: skip


def estimate(
    store: ValueStore, setup: StageOneSetup, *, beta: float | None = None, split: str = "train"
) -> ValueEstimates:
    """Estimate V* of every instance in the store, shaping included.

    Args:
        store: The value store of any round.
        setup: The settings of its stage 1.
        beta: Temperature, in the unit of the returns; None for `setup.beta_value`.
        split: The split of the instances: "train", "validation" or "test".

    Raises:
        ValueError: The store has no episode of the split, or its returns do not fit the environment.
    """
    beta = setup.beta_value if beta is None else beta
    shaping = setup.rollouts.shaping if setup.repaid is None else setup.repaid
    bounds = replace(setup.rollouts, shaping=shaping).return_range
    return estimate_values(stored_returns(store, setup, split), beta, setup.values.prior_strength, bounds)


def stored_turns(
    store: ValueStore, setup: StageOneSetup, split: str = "train", behaviour: str | None = REFERENCE
) -> Iterator[StoredTurn]:
    """Yield stored turns as `ValueStore.turns` does, with the rewards by which they are to be read.

    Raises:
        ValueError: They cannot be paid anew; the message says why.
    """
    turns = store.turns(split=split, behaviour=behaviour)
    return turns if setup.repaid is None else repaid(turns, setup.rollouts.shaping, setup.repaid)


def stored_returns(store: ValueStore, setup: StageOneSetup, split: str = "train") -> dict[int, list[float]]:
    """Return the reference's returns of every instance as `ValueStore.returns` does, by these rewards.

    Raises:
        ValueError: They cannot be paid anew; the message says why.
    """
    returns = store.returns(split)
    if setup.repaid is not None:
        pairs = zip(store.turns(split=split), stored_turns(store, setup, split), strict=True)
        for paid, turn in pairs:
            returns[turn.instance][turn.sample] += turn.reward - paid.reward
    return returns


def plan_extra_samples(store: ValueStore, setup: StageOneSetup, count: int) -> list[tuple[int, int]]:
    """Return `count` pairs of instance and sample number, the widest posterior first.

    An instance that was always won, in its first `values.samples` episodes and in as many again, gets no more. One that
    was never won may go on to `values.max_samples`: a first win would change its value most. Where all are served,
    fewer are returned.
    """
    values = setup.values
    estimates = estimate(store, setup)
    won_I = np.array(list(store.success_rates().values())) == 1.0
    most_I = np.where(won_I, min(2 * values.samples, values.max_samples), values.max_samples)
    positions = next_instances(estimates.counts, estimates.stds, count, most_I, estimates.strength)
    taken = dict(zip(estimates.instances.tolist(), estimates.counts.tolist(), strict=True))
    pairs = []
    for instance in estimates.instances[positions].tolist():
        pairs.append((instance, taken[instance]))
        taken[instance] += 1
    return pairs


def sample_seed(run_seed: int, index: int, sample: int) -> int:
    """Return the seed of one reference episode."""
    return episode_seed(run_seed, Stream.STAGE_ONE, index, sample)
