"""The games behind an OpenEnv server: `turngym serve FrozenLake`, or an application of one's own.

    from turngym.integrations.openenv import application

    app = application("FrozenLake", env_kwargs={"size": 3})     # uvicorn my_module:app

Clients of OpenEnv reset with `split` and `index`, which name an instance as everywhere in turngym, and step with
`{"text": "..."}`. Sessions are independent of each other. Written for OpenEnv 0.10, whose package brings more than a
hundred others along: it belongs into an environment of its own, beside turngym's core.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from openenv.core.env_server import (
    Action,
    Environment,
    Observation,
    State,
    create_fastapi_app,
    create_web_interface_app,
)
from openenv.core.env_server.types import EnvironmentMetadata
from pydantic import Field

from turngym import __version__
from turngym.envs import SPLITS, Drawn, Sampling, make_env
from turngym.envs.drawing import shown
from turngym.envs.finding import short_name
from turngym.integrations.session import checked_env
from turngym.plugins import describe

NUM_INSTANCES = 2**30
"""Numbers of the instances of a split, for those who list them; turngym itself knows no end."""
SESSIONS = 64
"""Sessions at a time unless told otherwise."""
SUGGESTED = 8
"""Most actions that the web page offers to click."""
ROW = "<style>:is(#_, .oe-visual) { flex: 1 1 100% !important; }</style>"
"""Gives what is drawn the width of its card; OpenEnv's own rule, which `#_` outweighs, that of its longest line."""


STYLES = {
    "svg": "max-width: 100%",
    "html": "width: 100%; height: 30rem; border: 1px solid #8886; border-radius: 6px; resize: vertical",
}
"""How pictures stand on the page, by their kind."""


class TextAction(Action):
    """What a player says in a turn."""

    text: str = Field(description="The reply, as the rules of the game describe it")


class TextObservation(Observation):
    """What the game answers."""

    text: str = Field(description="What the player sees")
    instructions: str = Field(default="", description="The rules, at the start of an episode")
    success: bool = Field(default=False, description="Whether the task is solved")
    valid: bool = Field(default=True, description="Whether the game could use the last reply")
    truncated: bool = Field(default=False, description="Whether the turn limit ended the episode")


class GameState(State):
    """Where an episode stands."""

    env_id: str = Field(description="The registered id of the game")
    split: str = Field(default="train", description="The split of the instance")
    index: int | None = Field(default=None, description="The instance within its split, where it was named")


class TextGame(Environment[TextAction, TextObservation, GameState]):
    """One session of a game.

    Args:
        env_id: A registered id.
        env_kwargs: Arguments of the game.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._env = make_env(env_id, env_kwargs or {})
        self._game: Any = self._env.unwrapped
        self._state = GameState(env_id=env_id)
        self._over = True

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, split: str | None = None,
        index: int | None = None, **_: Any,
    ) -> TextObservation:  # fmt: skip
        """Begin an instance; one is drawn where none is named.

        Raises:
            InputError: There is no such split, or a number is negative.
        """
        named = {"split": split, "index": index}
        options = {name: value for name, value in named.items() if value is not None}
        text, info = self._env.reset(seed=seed, options=options)
        self._state = GameState(env_id=self._state.env_id, episode_id=episode_id, split=split or self._game.split,
                                index=index)  # fmt: skip
        self._over = False
        return TextObservation(text=text, instructions=self._game.instructions, success=bool(info["success"]))

    def step(self, action: TextAction, timeout_s: float | None = None, **_: Any) -> TextObservation:
        """Play one reply; in an episode that is over nothing happens any more."""
        if self._over:
            return TextObservation(text="The episode is over.", done=True, reward=0.0, valid=False)
        text, reward, terminated, truncated, info = self._env.step(action.text)
        self._over = terminated or truncated
        self._state.step_count += 1
        return TextObservation(
            text=text, done=self._over, reward=float(reward), success=bool(info["success"]), valid=bool(info["valid"]),
            truncated=truncated,
        )  # fmt: skip

    @property
    def state(self) -> GameState:
        """Where the episode stands."""
        return self._state

    def close(self) -> None:
        """End the session."""
        self._env.close()

    def get_metadata(self) -> EnvironmentMetadata:
        """Return what is known of the game."""
        about = (type(self._game).__doc__ or "A text game.").strip().splitlines()[0]
        return EnvironmentMetadata(name=short_name(self._state.env_id), description=about, version=__version__)

    def list_splits(self) -> list[str]:
        """Return the splits, of which no two share an instance."""
        return list(SPLITS)

    def num_tasks(self, split: str) -> int:
        """Return how many instances of a split have a number; a game may have fewer that differ."""
        self._check(split)
        return NUM_INSTANCES

    def get_task(self, split: str, index: int) -> dict[str, Any]:
        """Return what names an instance.

        Raises:
            IndexError: There is no such number.
        """
        self._check(split)
        if not 0 <= index < NUM_INSTANCES:
            raise IndexError(f"instances have the numbers 0 to {NUM_INSTANCES - 1}, not {index}")
        return {"id": f"{split}-{index}", "split": split, "index": index}

    def get_task_range(self, split: str, start: int | None = None, stop: int | None = None) -> list[dict[str, Any]]:
        """Return what names the instances from `start` on, before `stop`; a hundred where no end is given."""
        first, end, _ = slice(start, stop).indices(NUM_INSTANCES)
        end = end if stop is not None else min(end, first + 100)
        return [self.get_task(split, index) for index in range(first, end)]

    def list_tasks(self, split: str) -> list[dict[str, Any]]:
        """Return the first hundred; `num_tasks` says how many there are."""
        return self.get_task_range(split)

    def _check(self, split: str) -> None:
        if split not in SPLITS:
            raise IndexError(f"there is no split {split!r}: {', '.join(SPLITS)}")

    def render_web(self, observation: dict[str, Any]) -> str:
        """Return the game for the page at `/web`: its picture, if it draws one, and what a player reads."""
        said = "\n\n".join(filter(None, (observation.get("instructions"), observation.get("text"))))
        text = f'{ROW}<pre style="white-space: pre-wrap; margin: 0">{html.escape(said)}</pre>'
        if not isinstance(self._game, Drawn):
            return text
        try:
            drawing = self._game.drawing()
            picture = shown(drawing, style=STYLES[drawing.kind])
        except Exception as error:  # noqa: BLE001 - of anybody's environment; the game goes on without its picture
            return f"<p>No picture: {html.escape(describe(error))}</p>{text}"
        return f"{picture}<details><summary>as the player reads it</summary>{text}</details>"

    def web_actions(self, observation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Return some usable actions to click."""
        if observation.get("done") or self._over or not isinstance(self._game, Sampling):
            return []
        rng = np.random.default_rng(0)
        drawn = sorted({self._game.sample_action(rng) for _ in range(4 * SUGGESTED)})
        return [(text, {"text": text}) for text in drawn[:SUGGESTED]]


def application(
    env: str, *, env_kwargs: Mapping[str, Any] | None = None, sessions: int = SESSIONS, web: bool = False
) -> Any:
    """Return the application of a server, for uvicorn and the like.

    Args:
        env: The game, such as "FrozenLake".
        env_kwargs: Its arguments.
        sessions: Sessions at a time.
        web: Whether it also has OpenEnv's page to play on, at `/web`.

    Raises:
        InputError: There is no such game, or its arguments do not fit it.
    """
    kwargs = dict(env_kwargs or {})
    env_id = checked_env(env, kwargs)
    # `create_app` would serve the page only where a variable of the environment asks for it.
    make = create_web_interface_app if web else create_fastapi_app
    return make(partial(TextGame, env_id, kwargs), TextAction, TextObservation, env_name=short_name(env_id),
                max_concurrent_envs=sessions, state_cls=GameState)  # fmt: skip
