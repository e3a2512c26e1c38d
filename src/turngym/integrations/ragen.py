"""The games as environments of RAGEN. No training of RAGEN's was run with them.

    from turngym.integrations.ragen import register
    register()      # at the top of RAGEN's train.py

    custom_envs:    # in RAGEN's config/envs.yaml
      Lake:
        env_type: turngym
        max_actions_per_traj: 10    # the turn limit of the game
        env_instruction: "..."      # what rules("FrozenLake", size=3) returns
        env_config: {game: FrozenLake, game_kwargs: {size: 3}}

RAGEN seeds all members of a group alike, so that they play the same instance; validation plays the split `validation`.
It cuts actions out of `<answer>` itself and splits them at `action_sep`: a game gets one action at a time. A game that
fails stops it. Written for RAGEN as of September 2025 (no release); its environments need no base class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from turngym.agents import Instance
from turngym.envs import make_env
from turngym.envs.making import text_env
from turngym.integrations.session import GameSession, checked_env

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""What RAGEN calls the splits."""


@dataclass
class GameConfig:
    """The game of an environment, as `env_config` of a tag names it."""

    game: str = "FrozenLake"
    game_kwargs: dict[str, Any] = field(default_factory=dict)


class GameEnv:
    """One game after another, in the four methods that RAGEN calls."""

    def __init__(self, config: GameConfig | None = None) -> None:
        self.config = config or GameConfig()
        self._session = GameSession(self.config.game, dict(self.config.game_kwargs))
        self._seen = ""

    def reset(self, seed: int = 0, mode: str = "train", **_: Any) -> str:
        """Begin the instance with the number of the seed, in the split that the mode names."""
        self._seen = self._session.begin(Instance(split=SPLITS[mode], index=int(seed), seed=int(seed))).observation
        return self._seen

    def step(self, action: str) -> tuple[str, float, bool, dict[str, Any]]:
        """Play an action; return observation, reward, whether the game is over, and what RAGEN counts."""
        before, outcome = self._seen, self._session.play(action)
        self._seen = outcome.observation
        told = {"action_is_effective": outcome.valid and self._seen != before, "action_is_valid": outcome.valid,
                "success": outcome.success}  # fmt: skip
        return self._seen, outcome.reward, self._session.over, told

    def render(self, mode: str = "text") -> str:
        """Return the last observation."""
        return self._seen

    def close(self) -> None:
        """Close the game."""
        self._session.close()


def rules(game: str, **game_kwargs: Any) -> str:
    """Return the rules of a game for `env_instruction`; how to reply and the turns left RAGEN says itself."""
    return text_env(make_env(checked_env(game, game_kwargs), game_kwargs))._rules  # noqa: SLF001


def register(name: str = "turngym") -> None:
    """Make the games known to RAGEN as an `env_type`."""
    from ragen.env import REGISTERED_ENV_CONFIGS, REGISTERED_ENVS

    REGISTERED_ENVS[name], REGISTERED_ENV_CONFIGS[name] = GameEnv, GameConfig
