"""What is played: text games that obey the Gymnasium interface.

A game of yours derives from `TextEnv` and goes through `register`, `check_text_env` and `make_env`; a text environment
that was written for Gymnasium alone goes through `make_env`, which adapts it.
"""

from turngym.envs.adapter import AdaptedTextEnv
from turngym.envs.capabilities import (
    Capability,
    Drawn,
    MissingCapability,
    Optimum,
    Oracle,
    RandomFloor,
    Reasoned,
    Rule,
    Sampling,
    Slips,
    Writing,
    capabilities_of,
)
from turngym.envs.core import TextEnv, UnfitEnv
from turngym.envs.drawing import Drawing
from turngym.envs.lenient import LenientReplies
from turngym.envs.making import env_class, make_env, played_range, reward_range, text_env, turn_limit
from turngym.envs.parsing import InvalidAction, extract_action, lenient_action
from turngym.envs.potentials import ReplacePotential, register_potential
from turngym.envs.registry import env_ids, register, register_all
from turngym.envs.shaping import PlainShaping, PotentialShaping
from turngym.envs.spaces import UnicodeText
from turngym.envs.splits import SPLITS, Split, draw_instance
from turngym.envs.testing import check_text_env
from turngym.envs.written import InvalidInstance, UnsolvableInstance

__all__ = [
    "SPLITS",
    "AdaptedTextEnv",
    "Capability",
    "Drawing",
    "Drawn",
    "InvalidAction",
    "InvalidInstance",
    "LenientReplies",
    "MissingCapability",
    "Optimum",
    "Oracle",
    "PlainShaping",
    "PotentialShaping",
    "RandomFloor",
    "Reasoned",
    "ReplacePotential",
    "Rule",
    "Sampling",
    "Slips",
    "Split",
    "TextEnv",
    "UnfitEnv",
    "UnicodeText",
    "UnsolvableInstance",
    "Writing",
    "capabilities_of",
    "check_text_env",
    "draw_instance",
    "env_class",
    "env_ids",
    "extract_action",
    "lenient_action",
    "make_env",
    "played_range",
    "register",
    "register_all",
    "register_potential",
    "reward_range",
    "text_env",
    "turn_limit",
]
