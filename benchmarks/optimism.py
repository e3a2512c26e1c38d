"""What log-mean-exp values of states cost in games of chance: where lambda = 0 leads with them, and with soft values.

    python -m turngym.benchmarks.optimism

Log-mean-exp values of states tend to V^E, which is above V* where chance has a part. At lambda = 0 they are targets,
and a policy that is fitted to them perfectly gives a move the odds

    pi(a|s) = ref(a|s) exp((A(s, a) - V'(s)) / beta),    A(s, a) = E[r + V(next state)]

with V'(s) for them to add up to one. Nothing is learned here but V: the lakes are those of `algorithms`, the reference
is an oracle that makes mistakes, the estimators are those of training, and the success of that policy is computed.

Shapes: H turns, S cells, A moves, N cells moved to, B episodes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import tyro
from numpy.typing import NDArray

from turngym.agents.intervals import student_interval
from turngym.benchmarks.algorithm_tasks import LAKES, STAGE_ONE, TASKS
from turngym.benchmarks.algorithms_rows import RESULTS, shown
from turngym.benchmarks.page import kept, table
from turngym.envs import make_env, text_env
from turngym.envs.frozen_lake import MOVES, FrozenLakeEnv
from turngym.envs.frozen_lake_maps import Rows, potentials, transition_table
from turngym.envs.frozen_lake_values import Dynamics, solve
from turngym.envs.splits import Split
from turngym.trainers.baselines.states import State, StateValues, stage_one_states
from turngym.trainers.config import ValueConfig
from turngym.trainers.stage_one.soft_values import read_transitions
from turngym.trainers.stage_one.store_rows import StoredTurn

ENV_ID = "turngym/FrozenLake-v0"
BETA = 0.02
"""Temperature, that with which runs of `algorithms` begin."""
HORIZON = 10
"""Turns of an episode, of one move each."""
MISTAKE_RATE = 0.74
"""Share of the reference's moves that are drawn at random, which makes it as good as the bases of `algorithms`."""
COLUMNS = ("task", "episodes", "visits", "mean return", "V, soft_values", "V, log_mean_exp",
           "success, soft_values", "success, log_mean_exp", "difference")  # fmt: skip
HEAD = f"""# Optimism

    python -m turngym.benchmarks.optimism

Success at the fixed point of lambda = 0 with values of states from stage 1, at beta = {BETA}, on lakes that are not of
stage 1. There an oracle with {MISTAKE_RATE:.0%} random moves plays {STAGE_ONE.instances} lakes; the comparison has 512
episodes. Visits are those of a state that was met; V is the mean over the starts. Means over repetitions of stage 1;
the last column, soft value iteration less log-mean-exp, has its 95% interval.
"""


@dataclass(frozen=True)
class Options:
    """Compute what optimistic values of states cost."""

    episodes: tuple[int, ...] = (512, 5120, 51200)
    """Of stage 1."""
    repetitions: int = 8
    """Of stage 1, with other draws."""
    held_out: int = 96
    """Lakes on which success is computed."""
    out: Path = RESULTS / "optimism.md"
    """The page to write."""


class Lake:
    """A lake as arrays, and its reference.

    Args:
        slip: Probability that a move goes astray.
        split: Of the instance.
        index: Of the instance.
    """

    def __init__(self, slip: float, split: Split, index: int) -> None:
        rows = read_map(split, index)
        letters = "".join(rows)
        self.index = index
        self.start = letters.index("S")
        self.goal = letters.index("G")
        self.end_S = np.array([letter in "GH" for letter in letters])
        self.dynamics = Dynamics.from_table(transition_table(rows, 1.0 - slip))
        self.potential_S = np.array(potentials(rows))
        best_HS = solve(self.dynamics, HORIZON).policy_HS[:0:-1]
        self.reference_HSA = (1 - MISTAKE_RATE) * np.eye(len(MOVES))[best_HS] + MISTAKE_RATE / len(MOVES)

    def fixed_point(self, values: StateValues) -> NDArray[np.float64]:
        """Return the policy at which lambda = 0 stands still, `[H, S, A]`; no state is known but by its like."""
        later_HS = np.zeros((HORIZON, len(self.end_S)))
        for turn in range(1, HORIZON):
            later_HS[turn - 1] = [values.value(State("", turn, potential)) for potential in self.potential_S]
        later_HS[:, self.end_S] = 0.0
        logit_HSA = np.array([self.dynamics.move_values(later_S) for later_S in later_HS]) / BETA
        odds_HSA = self.reference_HSA * np.exp(logit_HSA - logit_HSA.max(-1, keepdims=True))
        return np.asarray(odds_HSA / odds_HSA.sum(-1, keepdims=True))

    def success(self, policy_HSA: NDArray[np.float64]) -> float:
        """Return the probability with which a policy reaches the goal."""
        value_S = np.zeros(len(self.end_S))
        for policy_SA in policy_HSA[::-1]:
            value_S = (policy_SA * self.dynamics.move_values(value_S)).sum(-1)
        return float(value_S[self.start])

    def play(self, episodes: int, rng: np.random.Generator) -> Iterator[StoredTurn]:
        """Let the reference play, and yield its turns as a value store would."""
        cell_B, paths = np.full(episodes, self.start), []
        for turn in range(HORIZON):
            move_B = draw(self.reference_HSA[turn, cell_B], rng)
            paths.append((cell_B, move_B, cell_B := draw(self.dynamics.transitions_SAN[cell_B, move_B], rng)))
        for sample, path in enumerate(np.array(paths).transpose(2, 0, 1).tolist()):
            for turn, (cell, move, following) in enumerate(path):
                reward = float(following == self.goal)
                yield StoredTurn(
                    instance=self.index, sample=sample, turn=turn, state_key=f"{self.index}|{cell},{HORIZON - turn}",
                    action=f"<action>{MOVES[move]}</action>", reward=reward, task_reward=reward, valid=True,
                    potential=float(self.potential_S[cell]),
                )  # fmt: skip
                if self.end_S[following]:
                    break


def read_map(split: Split, index: int) -> Rows:
    """Return the map of a lake, a text for each row; it does not depend on the slip."""
    with closing(make_env(ENV_ID)) as env:
        env.reset(options={"split": split, "index": index})
        lake = text_env(env)
        assert isinstance(lake, FrozenLakeEnv)
        return lake.rows


def draw(odds_BX: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a column for every row."""
    reached_BX = odds_BX.cumsum(-1)
    return np.asarray((rng.random((len(odds_BX), 1)) * reached_BX[:, -1:] >= reached_BX).sum(-1))


class Outcome(NamedTuple):
    """What comes of a stage 1, with soft value iteration and with log-mean-exp."""

    visits: float
    """Of a state that was met, on average."""
    mean_return: float
    """Of the reference."""
    soft_value: float
    """Mean of V over the starts."""
    optimistic_value: float
    soft_success: float
    """At the fixed point, on held-out lakes."""
    optimistic_success: float


def outcome(lakes: Sequence[Lake], held_out: Sequence[Lake], episodes: int, seed: int) -> Outcome:
    """Play stage 1, and follow both estimators to where they lead.

    Args:
        lakes: Those of stage 1.
        held_out: Those on which success is computed.
        episodes: Of stage 1.
        seed: Of all draws.

    Raises:
        ValueError: There are fewer episodes than lakes.
    """
    if episodes < len(lakes):
        raise ValueError(f"{episodes} episodes are too few for {len(lakes)} lakes")
    rng = np.random.default_rng(seed)
    shares = [episodes // len(lakes) + (place < episodes % len(lakes)) for place in range(len(lakes))]
    turns = (turn for lake, share in zip(lakes, shares, strict=True) for turn in lake.play(share, rng))
    transitions = read_transitions(turns)
    soft, optimistic = (
        stage_one_states(transitions, BETA, ValueConfig(state_estimator=estimator))
        for estimator in ("soft_values", "log_mean_exp")
    )
    starts = [State("", 0, potential) for potential in transitions.potential_S[transitions.starts]]
    return Outcome(
        visits=float(transitions.visits.mean()),
        mean_return=float(transitions.to_go_M[transitions.turn_S[transitions.state_M] == 0].mean()),
        soft_value=fmean(map(soft.value, starts)),
        optimistic_value=fmean(map(optimistic.value, starts)),
        soft_success=fmean(lake.success(lake.fixed_point(soft)) for lake in held_out),
        optimistic_success=fmean(lake.success(lake.fixed_point(optimistic)) for lake in held_out),
    )


def row(task: str, episodes: int, outcomes: Sequence[Outcome]) -> list[str]:
    """Return the cells of a task and a number of episodes."""
    visits, *others = map(fmean, zip(*outcomes, strict=True))
    difference = student_interval([one.soft_success - one.optimistic_success for one in outcomes])
    return [
        task,
        f"{episodes:,}",
        f"{visits:.1f}",
        *(f"{other:.3f}" for other in others),
        shown(*difference, sign=True),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute all rows and write the page."""
    options = tyro.cli(Options, args=arguments)
    rows = []
    for task in LAKES:
        slip = TASKS[task].slip or 0.0
        lakes = [Lake(slip, "train", index) for index in range(STAGE_ONE.instances)]
        held_out = [Lake(slip, "validation", index) for index in range(options.held_out)]
        for episodes in options.episodes:
            outcomes = [outcome(lakes, held_out, episodes, seed) for seed in range(options.repetitions)]
            rows.append(row(task, episodes, outcomes))
    print(kept(f"{HEAD}\n{table(COLUMNS, rows)}\n", options.out), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
