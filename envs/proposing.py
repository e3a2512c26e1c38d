"""The second role of self-play: writing instances of an environment, and what makes one worth playing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from turngym.arguments import PositiveShare, checked_arguments
from turngym.envs.capabilities import MissingCapability, RandomFloor, Writing
from turngym.envs.core import TextEnv
from turngym.envs.making import make_env, text_env
from turngym.envs.parsing import InvalidAction
from turngym.envs.splits import Split
from turngym.envs.written import InvalidInstance, UnsolvableInstance

TRIVIAL = 0.5
"""Success of the random agent from which on an instance is trivial."""

Kind = Literal["accepted", "malformed", "unsolvable", "held_out", "trivial"]
UNSOLVABLE: tuple[Kind, ...] = ("malformed", "unsolvable")
"""What cannot be solved."""
SOLVABLE = "solvable"
"""The key of `info`, and of the measures of an episode, that says whether what was proposed can be solved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a proposed instance is."""

    kind: Kind
    """Whether it can be played, or the first thing that speaks against it."""
    reason: str = ""
    """Why it cannot be played, as a sentence without its full stop."""
    index: int | None = None
    """Its index in the training split; None where it is no instance, or one of another split."""


class Verifier:
    """Says whether texts are instances worth playing: well-formed, solvable, of the training split, not trivial.

    Args:
        env_id: The environment.
        env_kwargs: Its arguments, as of `make_env`.
        trivial: Success of the random agent, in (0, 1], from which on an instance is trivial; an environment that
            cannot tell it has no trivial instances.

    Raises:
        MissingCapability: Its instances are not written.
    """

    def __init__(self, env_id: str, env_kwargs: Mapping[str, Any] | None = None, *, trivial: float = TRIVIAL) -> None:
        self._env = make_env(env_id, env_kwargs)
        game = text_env(self._env)
        if not isinstance(game, Writing):
            raise MissingCapability(game, "writing", needed_by="self-play", otherwise="set selfplay.proposer to 'none'")
        self.game: Writing = game
        self._trivial = trivial

    def judge(self, text: str) -> Verdict:
        """Return what a text is."""
        try:
            split, index = self.game.read_instance(text)
        except UnsolvableInstance as error:
            return Verdict(kind="unsolvable", reason=str(error))
        except InvalidInstance as error:
            return Verdict(kind="malformed", reason=str(error))
        if split != "train":
            return Verdict(kind="held_out", reason=f"it belongs to the {split} split, which training never sees")
        if isinstance(self.game, RandomFloor):
            self._env.reset(seed=0, options={"split": split, "index": index})
            success = self.game.random_success()
            if success is not None and success >= self._trivial:
                won = f"random play solves it in {success:.0%} of its tries"
                return Verdict(kind="trivial", index=index, reason=won)
        return Verdict(kind="accepted", index=index)

    def write(self, index: int) -> str:
        """Return drawn training instance `index` as text."""
        self._env.reset(seed=0, options={"split": "train", "index": index})
        return self.game.written_instance()

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


class ProposalEnv(TextEnv):
    """Write one instance of another environment, which a player is then to solve.

    ## Description
    The proposer's role in self-play, as an environment of one turn. In training the reward is replaced by how much a
    player can learn from the instance, see `turngym.trainers.selfplay`.

    ## Action Space
    An instance of the other environment, written as its `instance_form` says.

    ## Observation Space
    The request to write one; afterwards what became of it.

    ## Starting State
    The same for every instance; only the oracle does not write the same.

    ## Rewards
    1 for an instance that is well-formed, solvable, of the training split and not trivial, otherwise 0.

    ## Episode End
    Terminates with the first text that can be read as an instance. The turn limit of 1 truncates.

    ## Information
    The keys of `turngym.envs.core.TurnInfo`, and after a turn `proposal`, the `kind` of the `Verdict`, and `solvable`,
    1 for an instance that can be solved, otherwise 0.

    ## Arguments
    Those of `TextEnv`, and:

    * `game`: the id of the other environment.
    * `game_kwargs={}`: its arguments.
    * `trivial=0.5`: success of the random agent, in (0, 1], from which on an instance is trivial.

    The oracle is the rule-based generator: it writes down the drawn training instance with the index of the episode.

    ## Version History
    * v0: Initial version.
    """

    reward_range = (0.0, 1.0)

    @checked_arguments
    def __init__(
        self,
        *,
        game: str,
        game_kwargs: dict[str, Any] | None = None,
        trivial: PositiveShare = TRIVIAL,
        split: Split = "train",
        reasoning: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(split=split, reasoning=reasoning, render_mode=render_mode)
        self.verifier = Verifier(game, game_kwargs, trivial=trivial)

    @property
    def _rules(self) -> str:
        return (f"Write an instance of a game for another player; best is one that the player solves half of the time. "
                f"{self.verifier.game.instance_form}")  # fmt: skip

    def _begin(self, split: Split, index: int) -> None:
        self._index = index
        self._verdict: Verdict | None = None

    def _observe(self, feedback: str) -> str:
        return feedback or "Write an instance."

    def _play(self, action: str) -> tuple[float, bool, str]:
        if self._verdict is not None and self._verdict.kind != "malformed":
            raise InvalidAction("it is written already")
        self._verdict = self.verifier.judge(action)
        if self._verdict.kind == "malformed":
            raise InvalidAction(self._verdict.reason)
        return float(self._success), True, self._verdict.reason or "Accepted."

    def _more_info(self) -> Mapping[str, Any]:
        if self._verdict is None:
            return {}
        return {"proposal": self._verdict.kind, SOLVABLE: float(self._verdict.kind not in UNSOLVABLE)}

    @property
    def _success(self) -> bool:
        return self._verdict is not None and self._verdict.kind == "accepted"

    def oracle_action(self) -> str:
        """Return the drawn training instance with the index of this episode, as text."""
        return self.verifier.write(self._index)

    def close(self) -> None:
        """Close the other environment too."""
        self.verifier.close()
        super().close()
