from math import log

from turngym.envs import TextEnv, register_potential
from word_games.guess import GuessEnv


@register_potential("narrowed")
def narrowed(env: TextEnv) -> float:
    assert isinstance(env, GuessEnv)
    return 1 - log(env.high - env.low + 1) / log(100)
