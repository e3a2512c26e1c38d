from importlib.resources import files

from turngym.trainers import register_preset
from word_games import agent, echo, guess, potential

__all__ = ["agent", "echo", "guess", "potential"]

register_preset("guess", files("word_games") / "guess.toml")
