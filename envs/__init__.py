"""What is played: text games that obey the Gymnasium interface."""

from turngym.envs.core import TextEnv
from turngym.envs.parsing import InvalidAction, extract_action
from turngym.envs.registry import env_ids, register_all
from turngym.envs.spaces import UnicodeText

__all__ = ["InvalidAction", "TextEnv", "UnicodeText", "env_ids", "extract_action", "register_all"]
