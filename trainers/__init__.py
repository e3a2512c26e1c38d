"""How language models learn: a checked configuration, values of a reference policy, objectives, and the loop.

Everything in `turngym.trainers.config` is free of torch; the rest of `__all__` is loaded when it is first asked for.
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
