"""Episodes as pictures: an environment that can draw itself does so while the stored actions are played again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass, field

from turngym.agents.episode import Episode
from turngym.agents.replaying import ReplayError, replay
from turngym.envs import Drawing, Drawn, capabilities_of, make_env, text_env
from turngym.envs.making import discard, played_class
from turngym.plugins import describe


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What an episode shows when it is played again."""

    drawings: list[Drawing] = field(default_factory=list)  # [K + 1]
    """The picture before each turn and after the last one; fewer where the environment answers otherwise by now."""
    potentials: list[float] = field(default_factory=list)  # [K + 1]
    """The environment's own potential in the same places."""
    why_not: str = ""
    """Why there are no more pictures, as part of a sentence; empty where all are there."""


def replayed(episodes: Sequence[Episode]) -> list[Replayed]:
    """Play episodes of one environment again, and draw them.

    Whatever an environment raises is told in `why_not`: an episode is shown as text then.

    Args:
        episodes: Some episodes that were played alike.
    """
    if not episodes:
        return []
    first = episodes[0]
    if first.env_kwargs.get("url"):
        return [Replayed(why_not="it was played on a server, which is not asked here") for _ in episodes]
    try:
        with chdir("."):  # an environment may leave its folder
            kind = played_class(first.env_id, first.env_kwargs)
            if "drawing" not in capabilities_of(kind):
                return [Replayed(why_not=f"{kind.__name__} draws none") for _ in episodes]
            env = make_env(first.env_id, first.env_kwargs)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - of anybody's environment
        return [Replayed(why_not=f"the environment cannot be made here: {describe(error)}") for _ in episodes]
    found = []
    for episode in episodes:
        found.append(shown := Replayed())
        inside = text_env(env)
        assert isinstance(inside, Drawn)
        try:
            with chdir("."):
                for info in replay(env, episode):
                    shown.drawings.append(inside.drawing())
                    shown.potentials.append(float(info["potential"]))
        except ReplayError as error:
            shown.why_not = str(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the same
            shown.why_not = f"the environment failed: {describe(error)}"
    discard(env)
    return found
