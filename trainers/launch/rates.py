"""Learning rates of large models: those of defaults and presets are for the built-in one, and would wreck them."""

from __future__ import annotations

from collections.abc import Container
from types import MappingProxyType

from turngym.trainers.config import TrainConfig, with_overrides
from turngym.trainers.launch.presets import preset_names

ALL_WEIGHTS = MappingProxyType({"learning.learning_rate": 1e-6, "warm_start.learning_rate": 1e-5})
"""Rates where all weights learn; those of most published training by reinforcement and by demonstrations."""
ADAPTER = MappingProxyType({name: 10 * rate for name, rate in ALL_WEIGHTS.items()})
"""Rates of an adapter, whose best ones are about ten times as high (Schulman et al., LoRA Without Regret, 2025,
https://thinkingmachines.ai/blog/lora)."""
FINAL = "learning.final_learning_rate"


def with_usual_rates(config: TrainConfig, preset: str | None, given: Container[str]) -> TrainConfig:
    """Return a configuration by which a large checkpoint learns at the rates that are usual for it.

    Args:
        config: The configuration.
        preset: What it began from: a preset, whose rates are replaced, or a configuration file, whose rates stay.
        given: The settings that were given beside that, such as "learning.learning_rate"; they stay.
    """
    if preset is not None and preset not in preset_names():
        return config
    rates: dict[str, float | None] = {**(ADAPTER if config.lora.rank else ALL_WEIGHTS), FINAL: None}
    sections: dict[str, dict[str, float | None]] = {}
    for name, rate in rates.items():
        section, _, setting = name.partition(".")
        if name not in given:
            sections.setdefault(section, {})[setting] = rate
    return with_overrides(config, sections)
