from typing import Any

import gymnasium
from gymnasium.spaces import Text


class EchoEnv(gymnasium.Env[str, str]):
    """Repeat the word that you read."""

    observation_space = Text(8)
    action_space = Text(8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.word = str(self.np_random.choice(["sun", "moon", "star"]))
        return self.word, {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        right = action == self.word
        return "over", float(right), True, False, {"success": right}


gymnasium.register("me/Echo-v0", entry_point="word_games.echo:EchoEnv", max_episode_steps=2)
