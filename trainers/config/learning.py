"""The sections `learning`, `monitors`, `evaluation` and `run`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from turngym.agents.models.limits import LARGE
from turngym.arguments import Count, Index, NonNegative, Positive, PositiveShare, Range, Share
from turngym.trainers.config.section import Section, Seed

ReplayShare = Annotated[float, Range(low=0, high=0.9)]
"""A share that leaves something to be played."""
MAX_THREADS = 1024
"""More than any machine has cores for; torch ends the process when it cannot start its threads."""
MAX_SLOTS = 4096
"""Each holds a whole context in memory, so that more would exhaust it."""
NUM_TEST_INSTANCES = 2**31
"""How many instances of a split have a number."""


@dataclass(frozen=True, kw_only=True)
class LearningConfig(Section):
    """Stage 2: batches, passes, budget, learning rates and temperatures, for every objective."""

    section: ClassVar[str] = "learning"

    steps: Count = 150
    """Steps, each on a batch of its own."""
    max_tokens: Count | None = None
    """Most tokens to generate, those of stage 1 included. Learning ends when they are spent or after `steps`, whichever
    comes first, and the schedules move along; None counts steps alone."""
    batch_size: Count = 128
    """Episodes per step, a multiple of `objective.group_size`."""
    minibatches: Count = 1
    """Parts of a batch, each with an optimizer step of its own; groups stay together."""
    updates_per_batch: Count = 1
    """Passes over each batch; more than one is for objectives that clip the ratio to the sampler."""
    reset_every: Count | None = None
    """Steps of a round, after which the present policy becomes the reference and stage 1 is run anew for it; None
    never resets. Rounds that each end at their optimum, at temperatures b, lead to the optimum of the first reference
    at 1 / sum(1 / b), in deterministic and stochastic environments alike; V* there is the mean of V* over the rounds,
    each at its b, weighted by 1 / b."""
    replay_share: ReplayShare = 0.0
    """Share of the episodes of a step that are not played but drawn from stage 1: of the reference and of explorers
    with probabilities, never of scripted ones. For `astarpo_turn` with the baseline "state_vstar", whose optimum does
    not depend on who has played."""
    fresh_share: Share = 0.75
    """Share of the prompts that were never played before; the rest comes from the pool of stage 1."""
    learning_rate: NonNegative = 5e-4
    """Peak learning rate of AdamW, for the small model, which at 1e-3 sometimes drifts far from its reference. A
    checkpoint of 50 million weights and more learns at 1e-6, or its adapter at 1e-5, unless a rate is given."""
    final_learning_rate: NonNegative | None = None
    """Learning rate of the last step; it falls linearly from the peak. None for a fifth of that."""
    warmup_steps: Index = 10
    """Steps of linear warm-up."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm."""
    temperature: Positive = 1.0
    """Sampling temperature, the same in every log-probability; that of stage 1 and of the first step."""
    temperature_final: Positive | None = None
    """Sampling temperature of the last step and of the test; it moves linearly from `temperature`. None keeps
    `temperature`. V* of stage 1 holds for the reference at `temperature`; at another one it is only a baseline."""
    tokens_per_microbatch: Count = 4096
    """Padded tokens per forward pass, also while cloning."""
    gradient_checkpointing: bool | None = None
    """Whether a backward pass computes the inside of every layer again in place of keeping it, also while cloning: a
    fraction of the memory for activations, for a third more time. Gradients are the same. None does so with models of
    50 million weights and more."""

    def recomputes(self, weights: int) -> bool:
        """Return whether layers of a model with so many weights are computed again in a backward pass."""
        return weights >= LARGE if self.gradient_checkpointing is None else self.gradient_checkpointing

    @property
    def replayed(self) -> int:
        """How many episodes of a step come from stage 1, in place of as many that are played."""
        return min(round(self.replay_share * self.batch_size), self.batch_size - 1)

    @property
    def final_rate(self) -> float:
        """The learning rate of the last step."""
        return self.learning_rate / 5 if self.final_learning_rate is None else self.final_learning_rate

    @property
    def final_temperature(self) -> float:
        """The sampling temperature of the last step, at which the result is measured."""
        return self.temperature if self.temperature_final is None else self.temperature_final


@dataclass(frozen=True, kw_only=True)
class MonitorsConfig(Section):
    """When an alarm rings in stage 2, and what happens then; `monitoring.alarms.Thresholds` holds the thresholds."""

    section: ClassVar[str] = "monitors"

    on_alarm: Literal["warn", "stop", "rollback"] = "warn"
    """What an alarm does: "warn" (a line in the terminal and in metrics.jsonl), "stop" (the run ends with a checkpoint
    and can be resumed) or "rollback" (back to the last checkpoint from before the trouble, with other draws and a lower
    learning rate). An alarm acts once, and again only after it has cleared."""
    sensitivity: Positive = 1.0
    """How easily the alarms ring: 2 halves every distance that a figure must be beyond, 0.5 doubles it. Sparse rewards
    ring "grad_norm" sometimes in runs that end well; lower it where that stops the run or rolls it back."""
    rollback_learning_rate: PositiveShare = 0.5
    """What the learning rate is multiplied by at every rollback."""
    max_rollbacks: Index = 2
    """Rollbacks after which a further alarm stops the run."""
    retrieval_every: Count | None = None
    """Steps between measurements of retrieval accuracy and the mutual information of first reply and prompt, which go
    through the model once more; None never measures them."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Section):
    """The evaluation of the result, and validation along the run."""

    section: ClassVar[str] = "evaluation"

    episodes: Count = 512
    """Held-out test instances, each played once sampled and once greedily."""
    first: Index = 0
    """Number of the first test instance. Settings that were chosen by their result on the instances 0 to 511 are
    measured fairly on those from 512 on."""
    validate_every: Count | None = None
    """Optimizer steps between validations on `validation_episodes`; None never validates."""
    validation_episodes: Count = 200
    """Validation instances per validation."""

    def check(self) -> None:
        """Check that there are as many instances.

        Raises:
            ValueError: The last one would have no number.
        """
        if self.first + self.episodes > NUM_TEST_INSTANCES:
            raise self.refuse("first", f"plus evaluation.episodes must be at most {NUM_TEST_INSTANCES}")
        if self.validation_episodes > NUM_TEST_INSTANCES:
            raise self.refuse("validation_episodes", f"must be at most {NUM_TEST_INSTANCES}")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Section):
    """Where and how the run runs."""

    section: ClassVar[str] = "run"

    name: str = ""
    """Folder of the run under `root`; empty derives it from environment and seed."""
    root: str = "runs"
    """Folder of all runs."""
    seed: Seed = 0
    """Seeds weights, demonstrations, instances and sampling."""
    device: str = "auto"
    """Where the model lies: a device of torch such as cpu, cuda or cuda:1, or auto for cuda, mps or cpu, the first that
    there is."""
    threads: Annotated[int, Range(low=1, high=MAX_THREADS)] = 1
    """Torch threads; equal threads give equal bits."""
    checkpoint_every: Count = 25
    """Optimizer steps between checkpoints."""
    rollout_slots: Annotated[int, Range(low=1, high=MAX_SLOTS)] = 128
    """Episodes played at once."""
    trackers: list[Literal["tensorboard", "wandb"]] = field(default_factory=list)
    """Trackers that get the metrics, the table of the result and the learning curve too."""
    imports: list[str] = field(default_factory=list)
    """Modules to import first, which register environments, objectives, potentials or agents."""
    import_folder: str = ""
    """Where such modules lie that are not installed, beside the current folder; that in which the run was started."""
