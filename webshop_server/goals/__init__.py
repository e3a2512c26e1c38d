"""Goals: what a shopper is asked to buy, and the fixed order of all goals of a catalogue."""

from turngym.webshop_server.goals.goal import (
    BOUNDS,
    NO_BOUND,
    Draws,
    Goal,
    RecordedDraws,
    SeededDraws,
    WantedOption,
    goal_of,
    wished_goal,
)
from turngym.webshop_server.goals.order import GoalCensus, GoalOrder, Goals

__all__ = [
    "BOUNDS",
    "NO_BOUND",
    "Draws",
    "Goal",
    "GoalCensus",
    "GoalOrder",
    "Goals",
    "RecordedDraws",
    "SeededDraws",
    "WantedOption",
    "goal_of",
    "wished_goal",
]
