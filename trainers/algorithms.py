"""What a run can be told to learn by: an objective of the registry, or one with the settings that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from turngym.trainers.config import TrainConfig

Overrides = Mapping[str, Mapping[str, Any]]
"""Settings by section, as on the command line."""
ALGORITHMS: dict[str, Overrides] = {
    "astarpo_lambda": {
        "astarpo": {"objective": "astarpo_turn"},
        "objectives": {"baseline": "state_tracker", "turn_lambda": 0.5, "optimal_baseline": True},
    },
}
"""Names beyond those of the objectives. `astarpo_lambda` is A*PO turn by turn with everything that belongs to it: soft
returns tracked per state, bootstrapping and centred advantages."""


def with_overrides(config: TrainConfig, overrides: Overrides) -> TrainConfig:
    """Return a configuration with some settings of some sections replaced."""
    sections = {section: replace(getattr(config, section), **values) for section, values in overrides.items()}
    return replace(config, **sections)


def with_algorithm(config: TrainConfig, name: str) -> TrainConfig:
    """Return a configuration that learns by a name of `ALGORITHMS` or, any other name, by that objective."""
    return with_overrides(config, ALGORITHMS.get(name, {"astarpo": {"objective": name}}))
