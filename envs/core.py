"""The contract every text environment keeps: spaces, instances, turn limits and information keys."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, SupportsFloat, TypedDict

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from turngym._errors import InputError
from turngym.arguments import Index, checked, checked_arguments
from turngym.envs.answers import as_number, as_truth
from turngym.envs.parsing import CLOSE, OPEN, InvalidAction, extract_action, lenient_action
from turngym.envs.spaces import UnicodeText
from turngym.envs.splits import Split

MAX_ACTION_CHARS = 2_000
MAX_OBSERVATION_CHARS = 20_000
MAX_WAITING_TEXTS = 64
"""Texts of an episode that wait to be digested, at most, where no state is read that is the history."""
HOOKS = {
    "_rules": "the rules of the game",
    "_begin": "set up an instance",
    "_observe": "describe the state",
    "_play": "apply an action",
    "_success": "whether the task is solved",
}
"""What every subclass of `TextEnv` writes, and what for."""
LENIENT_KEY = "lenient"
"""The key of `info` after a reply that says whether only the lenient reading made it usable, where there is one."""


class UnfitEnv(InputError):
    """An environment that cannot be played as it is; the message says what to change or to give."""


class TurnInfo(TypedDict):
    """What `reset` and `step` report beside the observation in every environment; some have further keys."""

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


@dataclass(slots=True, kw_only=True)  # not frozen, which would take three times as long to make
class _Attempt:
    """What came of one reading of a reply."""

    action: str
    """What was read; empty where nothing was."""
    well_formed: bool
    """Whether the reply held one action."""
    valid: bool = False
    """Whether the game took it."""
    reward: float = 0.0
    terminated: bool = False
    feedback: str


class _Complete(ABC):  # noqa: B024 - its hooks are those of TextEnv
    """Refuses to make an environment that lacks a hook, and says which."""

    # Not in TextEnv itself, where inspect would take this signature for that of the environment.
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: ARG004
        lacking = [f"{name} ({HOOKS[name]})" for name in HOOKS if name in cls.__abstractmethods__]
        lacking += sorted(cls.__abstractmethods__ - set(HOOKS))
        if lacking:
            named = " and ".join([", ".join(lacking[:-1]), lacking[-1]] if lacking[1:] else lacking)
            raise TypeError(f"{cls.__name__} cannot be made: it lacks {named}; see turngym.envs.TextEnv")
        return super().__new__(cls)


class TextEnv(gym.Env[str, str], _Complete):
    """A game played in text, one reply per turn.

    A subclass writes five hooks: it tells the `_rules`, draws an instance in `_begin`, describes it in `_observe`,
    advances it in `_play`, and says in `_success` whether the task is solved. This class owns what must be the same
    everywhere: seeding, splits, the action length limit, the turn counter and the `info` keys.

    All else is optional. `instance_key`, `_state` and `_potential` have defaults that are right for every game;
    a subclass that knows better overrides them. What scripted agents and tables ask of a game (an oracle, random
    usable actions and the like) is there if the class defines the method: see `turngym.envs.capabilities`.

    An instance is a pure function of `(split, index)`. `reset(seed=s)` draws an index of the environment's own split;
    `reset(options={"split": "test", "index": 7})` names one. Chance during play comes from `self.np_random` alone.

    Args:
        split: The split that instances are drawn from when `reset` names none: "train", "validation" or "test".
        reasoning: Whether a reply may hold thoughts, its action standing in one final `<answer>...</answer>` block;
            otherwise the whole reply is the action.
        render_mode: None or "ansi" (`render` returns the current observation).

    Raises:
        TypeError: The class lacks a hook.
        InputError: An argument is of another type or out of range; a subclass whose `__init__` is decorated with
            `turngym.arguments.checked_arguments` says so of its own arguments too.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012 - typed by gymnasium
    reward_range: tuple[float, float] = (0.0, 1.0)
    """Bounds of the undiscounted return of an episode."""
    explains_refusals: bool = True
    """Whether the observation says why an action is unusable; only the copy of an original that does not is silent."""
    deterministic: bool = True
    """Whether the same actions on the same instance always lead to the same outcome."""
    lenient_replies: bool = False
    """Whether a reply that is refused as it stands is read once more, leniently; `LenientReplies` sets it."""
    path_arguments: tuple[str, ...] = ()
    """Arguments that name files or folders, which a training run keeps by their absolute paths."""
    presentation_arguments: tuple[str, ...] = ("reasoning",)
    """Arguments that say what an agent reads and in which form it replies; instances, rewards and turns are the same
    whatever they are."""

    @checked_arguments
    def __init__(self, *, split: Split = "train", reasoning: bool = False, render_mode: str | None = None) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise InputError(f"render_mode must be None or 'ansi', got {render_mode!r}")
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

    @abstractmethod
    def _begin(self, split: Split, index: int) -> None:
        """Set up instance `(split, index)` in its starting state."""

    @abstractmethod
    def _observe(self, feedback: str) -> str:
        """Describe the current state, with `feedback` on the last action (empty after a reset)."""

    @abstractmethod
    def _play(self, action: str) -> tuple[float, bool, str]:
        """Apply a usable action; return (reward, terminated, feedback), or raise `InvalidAction` to refuse it.

        A refusal changes nothing in the game: another reading of the same reply may be played in its place.
        """

    @property
    @abstractmethod
    def _success(self) -> bool:
        """Whether the task is solved."""

    # What a subclass may write ----------------------------------------------------------------------------------

    @property
    def instance_key(self) -> str:
        """What makes this instance this one; equal keys mean the same instance.

        By default split and index, so that no two splits share one. A game that repeats itself over the indices of a
        small family keys its instances by their content.
        """
        return "{}/{}".format(*self.__instance)

    @property
    def _state(self) -> str:
        """The game state without instance and turns left.

        By default the history: how many usable actions there were since the reset, and a digest of them and of what
        was observed. That is Markov in every game, also where chance decides. A game that names its states lets
        episodes with different histories meet in one.
        """
        self.__digest()
        return f"{self.__plays}:{self.__history.hex()}"

    @property
    def _potential(self) -> float:
        """Progress in [0, 1] in a state that is not terminal; by default 0, which shapes nothing."""
        return 0.0

    def _more_info(self) -> Mapping[str, Any]:
        """Return keys of `info` beyond those of `TurnInfo`, which every environment has; by default none."""
        return {}

    @classmethod
    def reward_range_of(cls, **kwargs: Any) -> tuple[float, float]:  # noqa: ARG003
        """Return the `reward_range` of an environment made with these arguments, without making it.

        Override it where arguments decide. Where none does, a class with an `__init__` may say so by `reward_range` in
        its body instead. Of a class that does neither one is made to read it.

        Args:
            **kwargs: Arguments of the class; those with defaults may be left out.
        """
        return cls.reward_range

    def num_instances(self, split: Split) -> int | None:
        """Return after how many indices the instances of a split begin again; None where none is known to.

        By default None. Tables of a game that knows it play every instance once, and none twice.
        """
        return None

    @classmethod
    def defining_arguments(cls, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what of some arguments decides how an environment made with them plays.

        Episodes of equal defining arguments are of one game, and so can be stored together. By default all arguments
        are; a game that is read from a file, or played at an address, puts what it finds there in their place.
        """
        return arguments

    # The Gymnasium interface ------------------------------------------------------------------------------------

    @property
    def instructions(self) -> str:
        """The rules as a system prompt: they say exactly what the configuration in force does."""
        rules = self._rules
        parts = [rules] if rules else []
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
            seed: Seeds every random draw of this episode and of those that follow without a seed; at least 0.
            options: `split` (str) and `index` (int >= 0) name an instance; without `index` one is drawn. Or `instance`
                (str) is one, written as `instance_form` says, where the environment can read it.

        Returns:
            The first observation and the information of `TurnInfo`.

        Raises:
            InputError: The seed or an option is out of range, or an option is unknown; or the text is no instance.
        """
        split, index = self.__chosen(options)
        super().reset(seed=None if seed is None else checked(seed, Index, "seed"))
        drawn = int(self.np_random.integers(2**31))
        self.turns_taken = 0
        # Two underscores: these must not meet the attributes of a game.
        self.__instance: tuple[Split, int] = split, drawn if index is None else index
        self._begin(*self.__instance)
        self._observation = self._observe("")
        self.__plays, self.__history, self.__texts = 0, b"", [str(self._observation)]
        return self._observation, self._info(valid=True, well_formed=True, reward=0.0, terminated=False)

    def __chosen(self, options: Any) -> tuple[Split, int | None]:
        """Return what the options of a reset say."""
        given = checked(options or {}, dict[str, Any], "options")
        unknown = given.keys() - {"split", "index", "instance"}
        if unknown:
            raise InputError(f"unknown reset options {sorted(unknown)}; known are 'split' and 'index', or 'instance'")
        if "instance" in given:
            return self.__written(given)
        index = given.get("index")
        return (checked(given.get("split", self.split), Split, "split"),
                None if index is None else checked(index, Index, "index"))  # fmt: skip

    def __written(self, given: dict[str, Any]) -> tuple[Split, int]:
        """Return where the instance lies that the options of a reset write out."""
        read = getattr(self, "read_instance", None)
        if read is None:
            raise InputError(f"{type(self).__name__} reads no written instances; name one by 'split' and 'index'")
        if len(given) > 1:
            raise InputError("the reset option 'instance' is one whole: leave out 'split' and 'index'")
        split, index = read(checked(given["instance"], str, "instance"))
        return split, index

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one reply. An unusable one costs its turn and is answered with the reason; it never raises."""
        self.turns_taken += 1
        turn = self.__attempt(action)
        lenient = False
        if self.lenient_replies and not turn.valid and isinstance(action, str):
            again = self.__attempt(action, refused=turn)
            turn, lenient = (again, True) if again.valid else (turn, False)
        self._observation = self._observe(turn.feedback)
        if turn.valid:
            self.__plays += 1
            # An observation that is no text is for others to refuse.
            self.__texts += [turn.action, str(self._observation)]
            if len(self.__texts) > MAX_WAITING_TEXTS:
                self.__digest()
        info = self._info(valid=turn.valid, well_formed=turn.well_formed, reward=turn.reward,
                          terminated=turn.terminated)  # fmt: skip
        if self.lenient_replies:
            info[LENIENT_KEY] = lenient
        return self._observation, turn.reward, turn.terminated, False, info

    def __attempt(self, reply: str, refused: _Attempt | None = None) -> _Attempt:
        """Play a reply by the strict grammar, or, where that was refused, by the lenient one."""
        action, well_formed = "", False
        try:
            if refused is None:
                self.__check_length(reply)
                action = extract_action(reply, reasoning=self.reasoning)
            else:
                action = lenient_action(reply)
                self.__check_length(action)
                if action == refused.action:
                    return refused
            well_formed = True
            reward, terminated, feedback = self._play(action)
        except InvalidAction as refusal:
            return _Attempt(action=action, well_formed=well_formed, feedback=f"Invalid action: {refusal}.")
        return _Attempt(action=action, well_formed=True, valid=True, reward=reward, feedback=feedback,
                        terminated=as_truth(terminated, "end of the game"))  # fmt: skip

    def __check_length(self, text: str) -> None:
        if not self.action_space.contains(text):
            raise InvalidAction(f"a reply is text of at most {MAX_ACTION_CHARS} characters")

    def render(self) -> str | None:
        """Return the current observation in "ansi" mode, None without a render mode."""
        return self._observation if self.render_mode == "ansi" else None

    def __digest(self) -> None:
        """Add the texts that wait to the history, which most games that name their states never read."""
        for text in self.__texts:  # a chain of digests, since a running one can be neither copied nor pickled
            encoded = self.__history + text.encode("utf-8", "surrogatepass")
            self.__history = hashlib.blake2b(encoded, digest_size=16).digest()
        self.__texts = []

    def _info(self, *, valid: bool, well_formed: bool, reward: float, terminated: bool) -> dict[str, Any]:
        left = "inf" if self.turn_limit is None else self.turns_left
        common: TurnInfo = {
            "success": as_truth(self._success, "success"),
            "valid": valid,
            "well_formed": well_formed,
            "state_key": f"{self.instance_key}|{self._state}|{left}",
            "potential": 0.0 if terminated else as_number(self._potential, "potential"),
            "task_reward": as_number(reward, "reward"),
        }
        return {**self._more_info(), **common}


class AnnounceTurnLimit(gym.Wrapper[str, str, str, str], RecordConstructorArgs):
    """Makes the turn limit one that neither the prompt nor the end of an episode can lie about.

    `TimeLimit` counts outside the environment and `gymnasium.make(..., max_episode_steps=n)` may change it; this
    wrapper, the outermost of every registered environment, hands the number down to the `TextEnv`. Where the last turn
    ends the game, `TimeLimit` truncates too; here the game counts alone, so that an episode ends in one way.
    """

    def __init__(self, env: gym.Env[str, str]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        text_env = env.unwrapped
        if not isinstance(text_env, TextEnv):
            raise TypeError(f"AnnounceTurnLimit needs a TextEnv inside, got {type(text_env).__name__}")
        text_env.turn_limit = env.spec.max_episode_steps if env.spec else None

    def step(self, action: str) -> tuple[str, SupportsFloat, bool, bool, dict[str, Any]]:
        """Play one reply; what has terminated is not truncated."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated and not terminated, info


def is_wrapped(env: gym.Env[Any, Any], kind: type[gym.Wrapper[Any, Any, Any, Any]]) -> bool:
    """Return whether a wrapper of this kind stands among the wrappers of an environment."""
    while isinstance(env, gym.Wrapper):
        if isinstance(env, kind):
            return True
        env = env.env
    return False
