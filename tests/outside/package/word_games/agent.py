from turngym.agents import ScriptedAgent, register_agent
from turngym.agents.scripted import Seat
from word_games.guess import GuessEnv


@register_agent("bisect")
class Bisect(ScriptedAgent):
    def choose(self, seat: Seat) -> str:
        assert isinstance(seat.env, GuessEnv)
        return str((seat.env.low + seat.env.high) // 2)
