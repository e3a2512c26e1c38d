"""Goals: what a shopper is asked to buy, and the fixed order of all goals of a catalogue."""

from turngym.webshop_server.goals.goal import Draws, Goal, RecordedDraws, SeededDraws, WantedOption, goal_of
from turngym.webshop_server.goals.order import GoalCensus, GoalOrder, Goals

__all__ = [
    "Draws",
    "Goal",
    "GoalCensus",
    "GoalOrder",
    "Goals",
    "RecordedDraws",
    "SeededDraws",
    "WantedOption",
    "goal_of",
]
