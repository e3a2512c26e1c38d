"""The configuration of a whole training run, and the checks across its sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from turngym._errors import InputError
from turngym.agents.models.decoding import Decoding
from turngym.agents.models.placement import Placement
from turngym.arguments import suggestion
from turngym.names import article, nearest
from turngym.trainers.config.agent import LoraConfig, ModelConfig, WarmStartConfig
from turngym.trainers.config.game import CurriculumConfig, EnvConfig, ShapingConfig
from turngym.trainers.config.learning import EvaluationConfig, LearningConfig, MonitorsConfig, RunConfig
from turngym.trainers.config.objective_parts import STATE_BASELINES, ObjectiveConfig, Valued
from turngym.trainers.config.objectives import (
    OBJECTIVE_CONFIGS,
    AstarpoConfig,
    AstarpoTurnConfig,
    find_objective_config,
    readers_of,
)
from turngym.trainers.config.rollout import RolloutConfig
from turngym.trainers.config.section import Section
from turngym.trainers.config.selfplay import SelfplayConfig
from turngym.trainers.config.values import ValueConfig

KINDS: dict[str, type[Section]] = {
    kind.section: kind
    for kind in (
        EnvConfig, ShapingConfig, ModelConfig, LoraConfig, WarmStartConfig, ValueConfig, ObjectiveConfig,
        LearningConfig, RolloutConfig, MonitorsConfig, CurriculumConfig, SelfplayConfig, EvaluationConfig, RunConfig,
    )
}  # fmt: skip
"""The class of every section; of that of the objective, what all have in common."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training run.

    Raises:
        ValueError: Sections do not go together, or a setting is not read by the chosen objective; the message names it.
    """

    env: EnvConfig = field(default_factory=EnvConfig)
    shaping: ShapingConfig = field(default_factory=ShapingConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    warm_start: WarmStartConfig = field(default_factory=WarmStartConfig)
    values: ValueConfig = field(default_factory=ValueConfig)
    objective: ObjectiveConfig = field(default_factory=AstarpoConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    monitors: MonitorsConfig = field(default_factory=MonitorsConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    selfplay: SelfplayConfig = field(default_factory=SelfplayConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        """Check the settings of several sections against each other."""
        self._check_kinds()
        if self.lora.rank and not self.model.path:
            raise self.lora.refuse("rank", "is for a checkpoint, whose weights stay as they are: set model.path, or "
                                           "leave it at 0")  # fmt: skip
        if self.learning.batch_size % self.objective.group_size:
            raise self.learning.refuse("batch_size", "must be a multiple of objective.group_size, "
                                                     f"{self.objective.group_size}")  # fmt: skip
        if not self.needs_stage_one and (unread := changed(self.values, without_stage_one(self.values))):
            raise InputError(f"values.{unread[0]} is not read: {self.objective.name} "
                             f"{'with this baseline ' if isinstance(self.objective, Valued) else ''}does without "
                             "stage 1; leave it out, or take another --algorithm")  # fmt: skip
        first = self.values.instances * self.values.samples if self.needs_stage_one else 0
        if self.learning.max_tokens is not None and self.learning.max_tokens <= first:
            raise self.learning.refuse("max_tokens", f"must be above {first}, the episodes of stage 1, each of which "
                                                     "generates at least one token")  # fmt: skip
        self._check_update()
        self._check_selfplay()
        if isinstance(self.objective, Valued):
            self._check_baseline(self.objective)
        if isinstance(self.objective, AstarpoTurnConfig):
            self._check_lambda(self.objective)
        if self.learning.replay_share:
            self._check_replay()

    @property
    def needs_stage_one(self) -> bool:
        """Whether a run has stage 1: its objective reads values, or its shaping does."""
        return reads_stage_one(self.objective, self.shaping)

    @property
    def decoding(self) -> Decoding:
        """How the policy plays, at the temperature of the last step, at which it is measured."""
        model = self.model
        return Decoding(context_length=model.context_length, max_reply_tokens=model.max_reply_tokens,
                        max_thought_tokens=model.max_thought_tokens or None,
                        temperature=self.learning.final_temperature, keep_thoughts=model.keep_thoughts,
                        history=model.history, history_turns=model.history_turns)  # fmt: skip

    @property
    def placement(self) -> Placement:
        """Where the model lies, and in which precisions."""
        return Placement(device=self.run.device, dtype=self.model.dtype, compute_dtype=self.model.compute_dtype)

    def _check_kinds(self) -> None:
        """Refuse what is no section, and a subclass, whose further settings no file could be read back with."""
        for name, section in sections(self).items():
            kind = KINDS[name]
            fits = isinstance(section, kind) if name == "objective" else type(section) is kind
            if not fits:
                raise InputError(f"{name} must be {article(kind.__name__)}, got {section!r}")

    def _check_update(self) -> None:
        update, adapted = self.rollout.update, bool(self.lora.rank)
        if not self.rollout.server or update == "none" or (update == "vllm-lora") == adapted:
            return
        reason = "is for whole models, and lora.rank makes an adapter: take 'vllm-lora'"
        raise self.rollout.refuse("update", reason if adapted else "is for adapters: set lora.rank, or take 'vllm'")

    def _check_selfplay(self) -> None:
        selfplay, group = self.selfplay, self.objective.group_size
        batch = self.learning.batch_size - self.learning.replayed
        if not selfplay.enabled:
            return
        if selfplay.plays % group:
            raise selfplay.refuse("plays", f"must be a multiple of objective.group_size, {group}")
        most = int(selfplay.share * batch) // selfplay.plays
        if selfplay.proposals > most:
            raise selfplay.refuse("proposals", f"must be at most {most}, so that {selfplay.plays} episodes of each "
                                               f"fit into selfplay.share {selfplay.share:g} of {batch} "
                                               "episodes")  # fmt: skip
        objective = self.objective
        by_instance = (isinstance(objective, Valued) and objective.reads_stage_one
                       and objective.baseline not in STATE_BASELINES)  # fmt: skip
        if selfplay.value_samples and not by_instance:
            raise selfplay.refuse("value_samples", f"is for V* of instances, which {self.objective.name} with this "
                                                   "baseline does not read: leave it at 0, or set "
                                                   "objective.baseline to tracker or vstar")  # fmt: skip

    def _check_baseline(self, objective: Valued) -> None:
        if objective.baseline == "state_vstar" and self.selfplay.by_model:
            raise objective.refuse("baseline", "takes all values from stage 1, which plays no proposer: set it to "
                                               "state_tracker, which follows its returns, or selfplay.proposer to "
                                               "'rule'")  # fmt: skip
        if objective.baseline == "state_vstar" and self.curriculum.levels:
            raise objective.refuse("baseline", "takes all values from stage 1, which plays no easier level: set it to "
                                               "state_tracker, which follows them, or leave curriculum.levels "
                                               "empty")  # fmt: skip

    def _check_replay(self) -> None:
        """Check that learning from what others have played leads where learning from own play does."""
        objective = self.objective
        if not isinstance(objective, AstarpoTurnConfig) or objective.baseline != "state_vstar":
            raise self.learning.refuse("replay_share", "is for astarpo_turn with objective.baseline state_vstar, whose "
                                                       "optimum is the same whoever has played: take them, or leave it "
                                                       "at 0")  # fmt: skip
        for name, default in (("optimal_baseline", False), ("filter", "all"), ("group_size", 1)):
            if getattr(objective, name) != default:
                raise self.learning.refuse("replay_share", f"does not go with objective.{name}, which is for episodes "
                                                           "of the policy alone: leave one of them out")  # fmt: skip
        if self.learning.final_temperature != self.learning.temperature:
            raise self.learning.refuse("replay_share", "needs V* of the policy's own temperature, and stage 1 plays at "
                                                       "learning.temperature alone: leave learning.temperature_final "
                                                       "out")  # fmt: skip

    def _check_lambda(self, objective: AstarpoTurnConfig) -> None:
        if objective.turn_lambda == 1.0:
            return
        shaped = objective.baseline == "none" and self.shaping.automatic_weight != 0.0
        if objective.baseline not in STATE_BASELINES and not shaped:
            raise objective.refuse("turn_lambda", "below 1 trusts the value of every state, and baseline "
                                                  f"{objective.baseline!r} knows those of the starts alone: set "
                                                  f"objective.baseline to {' or '.join(STATE_BASELINES)}, or leave it "
                                                  "at 1")  # fmt: skip
        moves = self.learning.final_temperature != self.learning.temperature
        if objective.baseline == "state_vstar" and moves:
            raise objective.refuse("turn_lambda", "below 1 needs V* of the policy's own temperature, and stage 1 plays "
                                                  "at learning.temperature alone: leave learning.temperature_final "
                                                  "out, or set objective.baseline to state_tracker, which "
                                                  "follows")  # fmt: skip


def reads_stage_one(objective: ObjectiveConfig, shaping: ShapingConfig) -> bool:
    """Return whether an objective, or the automatic shaping, reads the values of stage 1."""
    return (isinstance(objective, Valued) and objective.reads_stage_one) or shaping.automatic_weight != 0.0


def without_stage_one(values: ValueConfig) -> ValueConfig:
    """Return the section with defaults for all but `instances`, the one setting that is read without stage 1."""
    return ValueConfig(instances=values.instances)


def sections(config: TrainConfig) -> dict[str, Section]:
    """Return the sections of a configuration by name."""
    return {part.name: getattr(config, part.name) for part in fields(config)}


def changed(section: Section, default: Section) -> list[str]:
    """Return the names of the settings in which two sections of one kind differ."""
    return [part.name for part in fields(section) if getattr(section, part.name) != getattr(default, part.name)]


# Algorithms -----------------------------------------------------------------------------------------------------

Overrides = Mapping[str, Mapping[str, Any]]
"""New values of settings, by section and name: {"learning": {"steps": 60}}."""
ALGORITHMS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "astarpo_lambda": ("astarpo_turn", {"baseline": "state_tracker", "turn_lambda": 0.5, "optimal_baseline": True}),
}
"""Names beyond those of the objectives: an objective, and settings of it. `astarpo_lambda` is A*PO turn by turn with
everything that belongs to it: soft returns tracked per state, bootstrapping and centred advantages."""


def with_overrides(config: TrainConfig, overrides: Overrides) -> TrainConfig:
    """Return a configuration with some settings of some sections replaced.

    Raises:
        ValueError: There is no such section or setting, or a value cannot be used.
    """
    known = sections(config)
    replaced: dict[str, Any] = {}
    for name, values in overrides.items():
        if name not in known:
            raise InputError(f"there is no section {name!r}{suggestion(name, known)}")
        if not isinstance(values, Mapping):
            raise InputError(f"{name} is a section: give a dict of its settings, not {values!r}")
        replaced[name] = with_settings(known[name], values)
    return replace(config, **replaced)


def with_settings(section: Section, values: Mapping[str, Any]) -> Section:
    """Return a section with some settings replaced.

    Raises:
        ValueError: There is no such setting, or a value cannot be used.
    """
    known = [part.name for part in fields(section)]
    for name in values:
        if name not in known:
            raise InputError(unknown_setting(section, name))
    return replace(section, **values)


def unknown_setting(section: Section, key: str) -> str:
    """Return the message about a key that a section does not have."""
    if isinstance(section, ObjectiveConfig) and (readers := readers_of(key)):
        return f"{section.name} does not read objective.{key}; {', '.join(readers)} {'do' if readers[1:] else 'does'}"
    known = [part.name for part in fields(section)]
    return f"there is no setting '{section.section}.{key}'{suggestion(key, known)}"


def with_algorithm(config: TrainConfig, name: str) -> TrainConfig:
    """Return a configuration that learns by a name of `ALGORITHMS` or, any other name, by that objective.

    A setting that both objectives have keeps its value, unless that is the default or belongs to the present one's name
    in `ALGORITHMS`. The section `values` is kept where
    the new objective or the shaping reads stage 1.

    Raises:
        ValueError: There is no such algorithm, or its settings do not suit the others.
    """
    if name not in algorithm_names():
        raise InputError(f"there is no algorithm {name!r}{nearest(name, algorithm_names(), most=40)}")
    objective_name, settings = ALGORITHMS.get(name, (name, {}))
    kind = find_objective_config(objective_name)
    _, left = ALGORITHMS.get(algorithm_of(config.objective), ("", {}))
    own = {part.name for part in fields(kind)} - left.keys()
    kept = {setting: getattr(config.objective, setting)
            for setting in changed(config.objective, type(config.objective)()) if setting in own}  # fmt: skip
    objective = kind(**{**kept, **settings})
    values = config.values if reads_stage_one(objective, config.shaping) else without_stage_one(config.values)
    return replace(config, objective=objective, values=values)


def algorithm_of(objective: ObjectiveConfig) -> str:
    """Return what an objective with its settings is called: a name of `ALGORITHMS`, or that of the objective."""
    for name, (kind, settings) in ALGORITHMS.items():
        if objective.name == kind and all(getattr(objective, key) == value for key, value in settings.items()):
            return name
    return objective.name


def algorithm_names() -> list[str]:
    """Return the names that `with_algorithm` takes: of all objectives, and those of `ALGORITHMS`."""
    return [*OBJECTIVE_CONFIGS, *ALGORITHMS]
