"""Who plays: episodes, scripted agents, language models, and how many episodes are played at once.

`LanguageModel` and `LanguageModelAgent` need torch and are loaded when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from turngym.agents.base import Agent, Reply
from turngym.agents.episode import Episode, Status, Turn, read_episodes, write_episodes
from turngym.agents.evaluation import Score, instance_range, optimal_rate, score_episodes
from turngym.agents.models.decoding import Decoding
from turngym.agents.registry import AGENTS, make_agent, register_agent
from turngym.agents.rollout import Instance, collect_episodes
from turngym.agents.scripted import (
    DemonstrationAgent,
    HostileAgent,
    OracleAgent,
    RandomAgent,
    RuleAgent,
    ScriptedAgent,
)

if TYPE_CHECKING:
    from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent

__all__ = [
    "AGENTS",
    "Agent",
    "Decoding",
    "DemonstrationAgent",
    "Episode",
    "HostileAgent",
    "Instance",
    "LanguageModel",
    "LanguageModelAgent",
    "OracleAgent",
    "RandomAgent",
    "Reply",
    "RuleAgent",
    "Score",
    "ScriptedAgent",
    "Status",
    "Turn",
    "collect_episodes",
    "instance_range",
    "make_agent",
    "optimal_rate",
    "read_episodes",
    "register_agent",
    "score_episodes",
    "write_episodes",
]


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first asked for."""
    if name in ("LanguageModel", "LanguageModelAgent"):
        return getattr(import_module("turngym.agents.models.language_model"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
