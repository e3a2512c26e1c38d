r"""Replies as models write them that were not trained on a game: read leniently where the strict grammar refuses them.

A reply is played as it stands wherever the game takes it so. Only a reply that is refused is read once more, by
`turngym.envs.parsing.lenient_action`, and played if the game takes that. So no usable reply is read otherwise than
without this wrapper, and games that refuse nothing play alike with it and without.

Example:
    >>> import gymnasium, turngym
    >>> from turngym.envs.lenient import LenientReplies
    >>> env = LenientReplies(gymnasium.make("turngym/FrozenLake-v0"))
    >>> observation, info = env.reset(seed=0)
    >>> observation, reward, terminated, truncated, info = env.step("I will go up.\n**Action:** `Up`.")
    >>> info["valid"], info["lenient"]
    (True, True)
"""

from __future__ import annotations

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from turngym.envs.core import TextEnv


class LenientReplies(gym.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Lets an environment read a refused reply once more; `info["lenient"]` says whether that made it usable.

    Args:
        env: An environment with a `TextEnv` inside.

    Raises:
        TypeError: There is none.
    """

    def __init__(self, env: gym.Env[str, str]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        text_env = env.unwrapped
        if not isinstance(text_env, TextEnv):
            raise TypeError(f"LenientReplies needs a TextEnv inside, got {type(text_env).__name__}")
        text_env.lenient_replies = True
