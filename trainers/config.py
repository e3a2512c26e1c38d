"""All that a training run can be told, with its default and unit; the resolved configuration is saved with the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """What is played."""

    id: str = "turngym/FrozenLake-v0"
    """The registered id of the environment."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments for `gymnasium.make` beyond the registered ones."""
    step_timeout: float = 0.0
    """Seconds that an environment may take for a reset or a step before its episode is given up; 0 waits for ever."""


@dataclass(frozen=True, kw_only=True)
class ShapingConfig:
    """What is added to the rewards that are learned from, in units of reward; what is reported stays without."""

    potential_weight: float = 0.0
    """Weight of the environment's potential: a turn earns this times the potential's rise, and the last one gives the
    rest back. Changes no optimal policy for learners that do not discount: set `objectives.state_discount` to 1 with
    "gigpo", and `objectives.turn_discount` with the turn levels of "ppo"."""
    automatic_weight: float = 0.0
    """Weight of a potential learned from stage 1: V* of a state at `values.beta_value`. Seen by the objective alone, on
    top of the above. Changes no optimal policy where the above changes none."""
    invalid_penalty: float = 0.0
    """Reward taken for a well-formed reply that the game refuses. Changes the optimum."""
    format_penalty: float = 0.0
    """Reward taken instead for a reply that holds no action or several. Changes the optimum."""
    step_cost: float = 0.0
    """Reward taken for every turn. Changes the optimum."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Who plays: a checkpoint folder, or a small decoder built on the spot."""

    path: str = ""
    """A folder written by `save_pretrained`; empty builds the small model and its tokenizer."""
    hidden_size: int = 64
    """Width of the small model."""
    layers: int = 4
    """Depth of the small model."""
    heads: int = 4
    """Attention heads of the small model."""
    feedforward_size: int = 192
    """Inner width of the small model's gated feed-forward layers."""
    vocabulary_size: int = 512
    """Largest vocabulary of the small model's tokenizer, of which 256 are bytes."""
    digits_per_token: int = 1
    """Most digits in a token of the small model: 1 to compute digit by digit, 3 to know numbers as wholes."""
    context_length: int = 1024
    """Longest token stream of an episode."""
    max_reply_tokens: int = 16
    """Longest reply, in tokens, the end-of-turn token included."""
    keep_thoughts: bool = False
    """Accept a chat template that removes earlier thoughts from the history; the stream keeps them as sampled."""
    show_instructions: bool = False
    """Whether the small model's system prompt holds the rules; it learns them by playing, without."""


@dataclass(frozen=True, kw_only=True)
class WarmStartConfig:
    """Behaviour cloning on scripted play of mixed quality, until the model is mediocre and exploratory."""

    enabled: bool = True
    """Whether to clone before learning; switch off for a checkpoint that already plays."""
    success_low: float = 0.3
    """Lower end of the band in which the sampled validation success must lie after cloning."""
    success_high: float = 0.6
    """Upper end of the band; a success that corrections leave above it is only reported."""
    mistake_rate: float = 0.5
    """Probability of a slip per turn once demonstrations slip; corrections change it."""
    flawless_share: float = 0.7
    """Share of the course whose demonstrations are flawless; those of the rest slip."""
    batch_size: int = 32
    """Demonstrations per step."""
    learning_rate: float = 5e-3
    """Peak learning rate of AdamW on embeddings and norms."""
    matrix_learning_rate: float = 2e-2
    """Peak learning rate of Muon on the hidden matrices."""
    weight_decay: float = 0.0
    """Decay per step of all weights, in units of the learning rate. Keeps a clone from learning by heart the instances
    of a small family, of which a long course shows each several times."""
    course_steps: int = 1500
    """Steps of the course, over which the learning rates fall to 0."""
    max_corrections: int = 4
    """How often the part with slips is done over, at another mistake rate, while the success is outside the band."""
    check_episodes: int = 300
    """Validation episodes that measure the success after the course and after each correction."""


@dataclass(frozen=True, kw_only=True)
class ValueConfig:
    """Stage 1: the optimal value V* from the frozen reference policy."""

    instances: int = 512
    """Training instances in the pool."""
    samples: int = 4
    """Reference episodes of every instance."""
    extra_samples: int = 512
    """Further reference episodes, given one by one to the instances whose value is least certain; fewer where all have
    their most, which for an instance that was always won is twice `samples`."""
    max_samples: int = 32
    """Most reference episodes of one instance."""
    explorer_temperatures: list[float] = field(default_factory=list)
    """Temperatures at which the reference plays the pool once more, to see what its rarer replies lead to; above
    `astarpo.temperature` is of use. The values of states learn from these episodes, those of instances do not."""
    explorer_models: list[str] = field(default_factory=list)
    """Folders of other models, with the reference's tokenizer, that play the pool too; for the same."""
    explorer_samples: int = 2
    """Episodes of every instance at each of these temperatures and by each of these models."""
    beta_value: float = 0.5
    """Temperature of V*, in units of the reward range."""
    prior_strength: float = 0.0
    """Pseudo-samples by which an instance's mean of exp(R/beta) is shrunk towards the pool's; 0 fits them to how far
    the returns of the instances differ."""
    state_estimator: str = "measured"
    """How states are valued: "soft_values" (soft value iteration, right with chance), "log_mean_exp" (of the returns
    that followed, right without), or "measured" for the one that fits how far chance decides the returns."""
    state_potentials: bool = True
    """Whether the value of a state never met is that of states of the same turn and potential, or of the same turn."""
    state_strength: float = 1.0
    """Pseudo-visits by which soft value iteration shrinks each action of a state towards the state's mean, and that
    towards the mean of all states of the same turn and potential."""


@dataclass(frozen=True, kw_only=True)
class AstarpoConfig:
    """Stage 2: play a batch, learn from it, and again; by A*PO or by any other objective of the registry."""

    objective: str = "astarpo"
    """Name in the registry of objectives: "astarpo" (whole trajectory), "astarpo_turn" (turn by turn), "oapl", "gvpo",
    "rebel", "reinforce", "rloo", "grpo", "dr_grpo", "dapo", "starpo_s", "gigpo", "ppo", "awr", "weighted_sft" or
    "raft"."""
    steps: int = 150
    """Steps, each on a batch of its own."""
    max_tokens: int = 0
    """Most tokens to generate, those of stage 1 included. Learning ends when they are spent or after `steps`, whichever
    comes first, and the schedules move along; 0 counts steps alone."""
    batch_size: int = 128
    """Episodes per step, a multiple of the group size."""
    group_size: int = 0
    """Episodes of each prompt in a step; 0 leaves it to the objective: 4 for those that compare episodes of one prompt,
    1 for the others."""
    minibatches: int = 1
    """Parts of a batch, each with an optimizer step of its own; groups stay together."""
    updates_per_batch: int = 1
    """How often a batch is gone through; more than once is for objectives that clip the ratio to the sampler."""
    reset_every: int = 0
    """Steps of a round, after which the policy as it is becomes the reference and stage 1 is run anew for it; 0 never.
    With chance as without, rounds that each end at their optimum, at temperatures b, lead to the optimum of the first
    reference at 1 / sum(1 / b), and V* there is the mean of V* over the rounds, each at its b, weighted by 1 / b."""
    fresh_share: float = 0.75
    """Share of the prompts that were never played before; the rest comes from the pool of stage 1."""
    beta: float = 0.05
    """KL temperature at the first step, in units of the reward range."""
    beta_final: float = 0.005
    """KL temperature at the last step; it moves geometrically from `beta`."""
    learning_rate: float = 5e-4
    """Peak learning rate of AdamW. At 1e-3 the small model now and then runs away from its reference."""
    final_learning_rate: float = 1e-4
    """Learning rate of the last step; it falls linearly from the peak."""
    warmup_steps: int = 10
    """Steps of linear warm-up."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    temperature: float = 1.0
    """Sampling temperature, the same in every log-probability; that of stage 1 and of the first step."""
    temperature_final: float = 0.0
    """Sampling temperature of the last step and of the test; it moves linearly from `temperature`. 0 keeps that one. V*
    is of the reference at `temperature`, so with another one it is only a baseline, which any number may be."""
    tokens_per_microbatch: int = 4096
    """Padded tokens per forward pass."""
    tracker_memory: float = 0.9
    """Most that the value tracker remembers of an instance from one visit to the next."""


@dataclass(frozen=True, kw_only=True)
class ObjectivesConfig:
    """Numbers of the objectives; each reads its own and passes over the others."""

    baseline: str = "tracker"
    """Where the value of a prompt comes from in "astarpo", "astarpo_turn", "reinforce", "awr" and "weighted_sft":
    "tracker" (stage 1, then the soft returns seen), "vstar" (stage 1), "state_tracker" and "state_vstar" (the same for
    every state instead of the start alone), "batch" (mean of the others), "none" (0)."""
    filter: str = ""
    """Which episodes are learned from: "all", "success" (refused where values are read, which that would bias), "mixed"
    (groups whose returns differ), "top_std" (the share of groups whose returns differ most) or "top_p" (the fewest that
    hold most of the spread); empty for the objective's own."""
    filter_share: float = 0.25
    """Share of the groups that "top_std" keeps."""
    filter_mass: float = 0.9
    """Share of the sum of standard deviations that "top_p" keeps."""
    turn_lambda: float = 1.0
    """Eligibility of "astarpo_turn", in [0, 1]; below 1 it needs a baseline that knows the states."""
    optimal_baseline: bool = False
    """Whether "astarpo_turn" takes off its advantages the mean of those of a step's other episodes, weighted by how
    improbable what was said is: the constant that leaves least noise, which helps where a rare token loses a game."""
    clip_low: float = 0.2
    """How far below 1 the ratio to the sampler counts in the clipped objectives."""
    clip_high: float = 0.2
    """How far above 1 it counts."""
    clip_higher: float = 0.28
    """How far above 1 it counts in "dapo" and "starpo_s"."""
    kl_weight: float = 0.001
    """Weight of the KL term in the loss of "grpo", "gigpo", "ppo", "awr" and "weighted_sft"; 0 spares the reference."""
    state_weight: float = 1.0
    """Weight of the advantage among equal states in "gigpo"."""
    state_discount: float = 0.95
    """Discount per turn of the reward-to-go that "gigpo" compares among equal states."""
    gae_level: str = "token"
    """What an action is in the advantages of "ppo": "token", "turn", or "bilevel" (turns, then the tokens of each)."""
    gae_discount: float = 1.0
    """Discount per token of "ppo"."""
    gae_lambda: float = 1.0
    """Decay of the advantages of "ppo"; 1 for whole returns."""
    turn_discount: float = 0.95
    """Discount per turn of "ppo" with turn-level and bi-level advantages."""
    value_weight: float = 0.5
    """Weight of the critic's squared error in the loss of "ppo"."""
    weight_limit: float = 3.0
    """Largest exponent of a weight in "awr", whose temperature is `values.beta_value`."""


ON_ALARM = ("warn", "stop", "rollback")
"""What an alarm may do."""


@dataclass(frozen=True, kw_only=True)
class MonitorsConfig:
    """When stage 2 counts as collapsing, and what happens then."""

    on_alarm: str = "warn"
    """What an alarm does: "warn" (a line in the terminal and in metrics.jsonl), "stop" (the run ends with a checkpoint
    and can be resumed) or "rollback" (back to the last checkpoint from before the trouble, with other draws and a lower
    learning rate). An alarm acts once, and again only after it has cleared."""
    rollback_learning_rate: float = 0.5
    """What the learning rate is multiplied by at every rollback."""
    max_rollbacks: int = 2
    """Rollbacks after which a further alarm stops the run."""
    std_share: float = 0.1
    """Alarm "reward_std": the standard deviation of a prompt's returns is at most this share of its mean over the first
    steps, or 0 from the start. Of a prompt with one episode in a step, this return and that of the step that played it
    last are compared, so the alarm cannot see a run that plays fewer than 8 prompts of the pool in a step, or each of
    them once, and sees a collapse only when they come again."""
    std_first_steps: int = 10
    """Steps over which that mean is taken: the first that have the figure."""
    std_steps: int = 10
    """Steps running, among those that have the figure, after which "reward_std" rings."""
    std_solved: float = 0.95
    """Success from which on a small standard deviation means that the task is solved, and is no alarm."""
    grad_norm_ratio: float = 10.0
    """Alarm "grad_norm": the gradient norm before clipping exceeds its moving average by this factor. Sparse rewards
    exceed 10 for a step now and then in runs that end well: raise it where the alarm stops the run or rolls it back."""
    grad_norm_memory: float = 0.9
    """Share of the moving average's weight that survives a step; about `1 / (1 - grad_norm_memory)` steps count."""
    kl_tax: float = 0.2
    """Alarm "kl_tax": beta times the KL to the reference is above this share of the reward range; for objectives whose
    loss charges beta."""
    validation_success: float = 0.01
    """Alarm "validation": the success in validation is below this."""
    validations: int = 5
    """Validations running after which "validation" rings."""
    empty_steps: int = 5
    """Alarm "empty_steps": so many steps running whose filter left nothing to learn from."""
    drift: float = 0.01
    """Alarm "drift": sampler and trainer, which go through the same weights in two ways, differ in the log-probability
    of more than one sampled token in 100 by more than this, in nats. Float32 stays far below it, bfloat16 may not."""
    retrieval_every: int = 0
    """Steps between measurements of retrieval accuracy and the mutual information of first reply and prompt, which go
    through the model once more; 0 never measures them."""
    retrieval_prompts: int = 16
    """Prompts in such a measurement; it takes their number squared in sequences."""


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """Easier levels of the environment for stage 2, each played as often as it can teach."""

    levels: list[dict[str, Any]] = field(default_factory=list)
    """Arguments that make the environment easier, in place of those in `env.kwargs`; a table for each level, the
    easiest first. The environment itself is always the last level, so without others there is no curriculum."""
    floor: float = 0.1
    """Least share of the prompts for each level."""
    memory: float = 0.99
    """Share of a level's running success and value that survives an episode; about 1 / (1 - memory) episodes count."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How the result is measured."""

    episodes: int = 512
    """Held-out test instances, each played once sampled and once greedily."""
    first: int = 0
    """Number of the first test instance; others than those that settings were compared on give an unspoilt figure."""
    validate_every: int = 0
    """Optimizer steps between validations on `validation_episodes`; 0 never validates."""
    validation_episodes: int = 200
    """Validation instances per validation."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where and how the run runs."""

    name: str = ""
    """Folder of the run under `root`; empty derives it from environment and seed."""
    root: str = "runs"
    """Folder of all runs."""
    seed: int = 0
    """Seeds weights, demonstrations, instances and sampling."""
    threads: int = 2
    """Torch threads; equal threads give equal bits."""
    checkpoint_every: int = 25
    """Optimizer steps between checkpoints."""
    rollout_slots: int = 128
    """Episodes played at once."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training run."""

    env: EnvConfig = field(default_factory=EnvConfig)
    shaping: ShapingConfig = field(default_factory=ShapingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    warm_start: WarmStartConfig = field(default_factory=WarmStartConfig)
    values: ValueConfig = field(default_factory=ValueConfig)
    astarpo: AstarpoConfig = field(default_factory=AstarpoConfig)
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)
    monitors: MonitorsConfig = field(default_factory=MonitorsConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    run: RunConfig = field(default_factory=RunConfig)
