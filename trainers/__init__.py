"""Reinforcement learning of language models: configuration, warm start, stage 1, objectives and the loop of stage 2.

The configuration and the presets do not load torch; the other names in `__all__` do, when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from turngym.trainers.config import (
    Clipped,
    Grouped,
    KLPenalised,
    KLRegularised,
    ObjectiveConfig,
    TrainConfig,
    Valued,
    algorithm_names,
    with_algorithm,
    with_overrides,
)
from turngym.trainers.launch.configure import configure
from turngym.trainers.launch.presets import load_preset, preset_names, register_preset

if TYPE_CHECKING:
    from turngym.trainers.launch.training import TrainingResult, load_agent, train
    from turngym.trainers.objectives import OBJECTIVES, Objective, StepParams, TrainingBatch, objective

__all__ = [
    "OBJECTIVES",
    "Clipped",
    "Grouped",
    "KLPenalised",
    "KLRegularised",
    "Objective",
    "ObjectiveConfig",
    "StepParams",
    "TrainConfig",
    "TrainingBatch",
    "TrainingResult",
    "Valued",
    "algorithm_names",
    "configure",
    "load_agent",
    "load_preset",
    "objective",
    "preset_names",
    "register_preset",
    "train",
    "with_algorithm",
    "with_overrides",
]

_LATER = {
    **dict.fromkeys(("OBJECTIVES", "Objective", "StepParams", "TrainingBatch", "objective"), "objectives"),
    **dict.fromkeys(("TrainingResult", "load_agent", "train"), "launch.training"),
}
"""The module of everything that needs torch."""


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first asked for."""
    if name in _LATER:
        return getattr(import_module(f"turngym.trainers.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
