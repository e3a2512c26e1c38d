"""The contract every text environment keeps: spaces, instances, turn limits and information keys."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypedDict

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from turngym.envs.parsing import CLOSE, OPEN, InvalidAction, extract_action
from turngym.envs.spaces import UnicodeText
from turngym.envs.splits import SPLITS, Split

MAX_ACTION_CHARS = 2_000
MAX_OBSERVATION_CHARS = 20_000


class TurnInfo(TypedDict):
    """What `reset` and `step` report beside the observation; the same keys in every environment."""

    success: bool
    """Whether the task is solved now."""
    valid: bool
    """Whether the last action was usable; true after a reset."""
    well_formed: bool
    """Whether the last reply held one action, as `parsing` reads it; the game may refuse it. True after a reset."""
    state_key: str
    """The Markov state: instance, game state, turns left."""
    potential: float
    """Progress in [0, 1] for potential-based shaping; zero once the episode has terminated."""
    task_reward: float
    """The unshaped reward of this turn."""


class TextEnv(gym.Env[str, str]):
    """A game played in text, one reply per turn.

    A subclass draws an instance in `_begin`, describes it in `_observe`, and advances it in `_play`. This class owns
    what must be the same everywhere: seeding, splits, the action length limit, the turn counter and the `info` keys.

    An instance is a pure function of `(split, index)`. `reset(seed=s)` draws an index of the environment's own split;
    `reset(options={"split": "test", "index": 7})` names one. Chance during play comes from `self.np_random` alone.

    Args:
        split: The split that instances are drawn from when `reset` names none: "train", "validation" or "test".
        reasoning: Whether a reply may hold thoughts, its action standing in one final `<answer>...</answer>` block;
            otherwise the whole reply is the action.
        render_mode: None or "ansi" (`render` returns the current observation).
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012 - typed by gymnasium
    reward_range: tuple[float, float] = (0.0, 1.0)
    """Bounds of the undiscounted return of an episode."""
    explains_refusals: bool = True
    """Whether the observation says why an action is unusable; only the copy of an original that does not is silent."""
    deterministic: bool = True
    """Whether the same actions on the same instance always lead to the same outcome."""

    def __init__(self, *, split: Split = "train", reasoning: bool = False, render_mode: str | None = None) -> None:
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode must be None or 'ansi', got {render_mode!r}")
        self.split: Split = split
        self.reasoning = reasoning
        self.render_mode = render_mode
        self.turn_limit: int | None = None
        self.turns_taken = 0
        self.action_space = UnicodeText(MAX_ACTION_CHARS)
        self.observation_space = UnicodeText(MAX_OBSERVATION_CHARS)
        self._observation = ""

    # What a subclass writes -------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def _rules(self) -> str:
        """The rules of the game and the form of an action, formatted from the configuration in force."""

    @property
    @abstractmethod
    def instance_key(self) -> str:
        """What makes this instance this one; equal keys mean the same instance."""

    @abstractmethod
    def _begin(self, split: Split, index: int) -> None:
        """Set up instance `(split, index)` in its starting state."""

    @abstractmethod
    def _observe(self, feedback: str) -> str:
        """Describe the current state, with `feedback` on the last action (empty after a reset)."""

    @abstractmethod
    def _play(self, action: str) -> tuple[float, bool, str]:
        """Apply a usable action; return (reward, terminated, feedback), or raise `InvalidAction` to refuse it."""

    @property
    @abstractmethod
    def _state(self) -> str:
        """The game state without instance and turns left."""

    @property
    @abstractmethod
    def _success(self) -> bool:
        """Whether the task is solved."""

    @property
    @abstractmethod
    def _potential(self) -> float:
        """Progress in [0, 1] in a state that is not terminal."""

    @abstractmethod
    def sample_action(self, rng: np.random.Generator) -> str:
        """Draw an action uniformly from the usable ones: what the random agent plays."""

    @abstractmethod
    def oracle_action(self) -> str:
        """Return an optimal action in the current state: what the oracle agent plays. Reads hidden state."""

    def mistaken_action(self, rng: np.random.Generator) -> str:
        """Draw a plausible slip of a good player, for demonstrations of mixed quality."""
        return self.sample_action(rng)

    def rule_action(self) -> str:
        """Return what a simple player with a fixed rule does, who sees no hidden state.

        Raises:
            NotImplementedError: This environment has no such player.
        """
        raise NotImplementedError(f"{type(self).__name__} has no player with a rule")

    def optimal_success(self) -> float | None:
        """Probability that the best possible player solves this instance from its start; None where unknown."""
        return None

    def random_success(self) -> float | None:
        """Probability that the random agent solves this instance from its start; None where only play can tell."""
        return None

    # The Gymnasium interface ------------------------------------------------------------------------------------

    @property
    def instructions(self) -> str:
        """The rules as a system prompt: they say exactly what the configuration in force does."""
        parts = [self._rules]
        if self.turn_limit is not None:
            parts.append(f"You have {self.turn_limit} turns.")
        if self.reasoning:
            parts.append(f"Think first, then end your reply with the action in one {OPEN}...{CLOSE} block.")
        else:
            parts.append("Reply with the action alone.")
        return " ".join(parts)

    @property
    def turns_left(self) -> int | None:
        """Turns until the limit in force truncates the episode; None without a limit."""
        return None if self.turn_limit is None else max(0, self.turn_limit - self.turns_taken)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Seeds every random draw of this episode and of those that follow without a seed.
            options: `split` (str) and `index` (int >= 0) name an instance; without `index` one is drawn.

        Returns:
            The first observation and the information of `TurnInfo`.

        Raises:
            ValueError: An option is unknown, or its value is out of range.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        split = options.pop("split", self.split)
        index = options.pop("index", None)
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}; known are 'split' and 'index'")
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        drawn = int(self.np_random.integers(2**31))
        if index is None:
            index = drawn
        if not isinstance(index, int | np.integer) or isinstance(index, bool) or index < 0:
            raise ValueError(f"index must be a whole number of at least 0, got {index!r}")
        self.turns_taken = 0
        self._begin(split, int(index))
        self._observation = self._observe("")
        return self._observation, dict(self._info(valid=True, well_formed=True, reward=0.0, terminated=False))

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one reply. An unusable one costs its turn and is answered with the reason; it never raises."""
        self.turns_taken += 1
        well_formed = valid = False
        try:
            if not self.action_space.contains(action):
                raise InvalidAction(f"a reply is text of at most {MAX_ACTION_CHARS} characters")
            action = extract_action(action, reasoning=self.reasoning)
            well_formed = True
            reward, terminated, feedback = self._play(action)
            valid = True
        except InvalidAction as refusal:
            reward, terminated, feedback = 0.0, False, f"Invalid action: {refusal}."
        self._observation = self._observe(feedback)
        info = self._info(valid=valid, well_formed=well_formed, reward=reward, terminated=terminated)
        return self._observation, reward, terminated, False, dict(info)

    def render(self) -> str | None:
        """Return the current observation in "ansi" mode, None without a render mode."""
        return self._observation if self.render_mode == "ansi" else None

    def _info(self, *, valid: bool, well_formed: bool, reward: float, terminated: bool) -> TurnInfo:
        left = "inf" if self.turns_left is None else self.turns_left
        return TurnInfo(
            success=self._success,
            valid=valid,
            well_formed=well_formed,
            state_key=f"{self.instance_key}|{self._state}|{left}",
            potential=0.0 if terminated else float(self._potential),
            task_reward=float(reward),
        )


class AnnounceTurnLimit(gym.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Tells a `TextEnv` the turn limit in force, so that its prompt and `state_key` cannot lie.

    `TimeLimit` counts outside the environment and `gymnasium.make(..., max_episode_steps=n)` may change it; this
    wrapper, the outermost of every registered environment, hands the number down.
    """

    def __init__(self, env: gym.Env[str, str]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        text_env = env.unwrapped
        if not isinstance(text_env, TextEnv):
            raise TypeError(f"AnnounceTurnLimit needs a TextEnv inside, got {type(text_env).__name__}")
        text_env.turn_limit = env.spec.max_episode_steps if env.spec else None
