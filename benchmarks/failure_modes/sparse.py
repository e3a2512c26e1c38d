"""Rewards of the goal alone against turn rewards: a table learns to cross lakes on which chance finds the goal rarely.

A policy is a table of logits, a row for each cell of each lake, and begins uniform, which is its reference. It learns
by `astarpo_turn`. Turn rewards are those of `PotentialShaping`, so the best policy is the same: by the environment's
own potential, which is the distance over ice, or by the straight distance, which leads into dead ends. The values that
it compares with are those of training, from a stage 1 and then by the soft returns seen, with or without buckets of
the potential, or none. Success is computed, not sampled, on the lakes that are learned.

Shapes: L lakes, S cells, A moves, B episodes, K turns, N turns that were played.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from turngym.agents.intervals import student_interval
from turngym.benchmarks.algorithms_rows import shown
from turngym.benchmarks.failure_modes.rows import measured
from turngym.benchmarks.optimism import draw as draw_columns
from turngym.benchmarks.page import table
from turngym.envs import make_env, text_env
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.envs.frozen_lake_maps import potentials, transition_table
from turngym.envs.frozen_lake_values import Dynamics, solve
from turngym.trainers.baselines.states import State, StateValues
from turngym.trainers.config import AstarpoTurnConfig
from turngym.trainers.objectives import StepParams, TrainingBatch, find_objective

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Values = Literal["by state and potential", "by state", "none"]
Rewards = Literal["goal", "ice", "straight"]

ENV_ID = "turngym/FrozenLake8x8-v0"
SIZE = 8
HORIZON = 30
"""Turns of an episode, of one move each."""
LAKES = 8
BATCH_SIZE = 32
STEPS = 80
STAGE_ONE = 4
"""Episodes of each lake by the reference, before learning."""
BETA, BETA_FINAL = 0.05, 0.005
"""KL temperature at the first and at the last step, as by default in training."""
RATES = (0.03, 0.1, 0.3)
"""Learning rates; a variant has the one with which it did best with the seeds of tuning."""
TUNING = (1000, 1001)
"""Seeds of tuning, which count in nothing else."""
SEED_COUNT = 8
POINTS = 16
"""Of a curve."""
VALUES: tuple[Values, ...] = ("by state and potential", "by state", "none")
LAMBDAS = (1.0, 0.0)
REWARDS: dict[Rewards, str] = {"goal": "at the goal alone", "ice": "turn rewards, distance over ice",
                               "straight": "turn rewards, straight distance"}  # fmt: skip
"""What is paid, in words."""


class Variant(NamedTuple):
    """What a run learns from."""

    values: Values
    """What the values of states know."""
    turn_lambda: float
    """Of `astarpo_turn`."""
    rewards: Rewards
    """What is paid beside the goal: by a potential a move earns its rise, and the last one pays it back."""


VARIANTS = tuple(itertools.starmap(Variant, itertools.product(VALUES, LAMBDAS, REWARDS)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseRow:
    """One run."""

    values: str
    """What the values of states know."""
    turn_lambda: float
    """Of `astarpo_turn`."""
    rewards: str
    """Name in `REWARDS`."""
    learning_rate: float
    """Of Adam."""
    seed: int
    """Of the lakes and of all draws."""
    success: float
    """After the last step, a mean over the lakes, exact."""
    curve: str
    """The same from the first step on, once in `STEPS // POINTS` steps, separated by spaces."""
    random: float
    """Success of the reference on the same lakes."""
    optimum: float
    """Success of the best agent on them."""


class Lakes(NamedTuple):
    """The lakes as arrays."""

    next_LSA: Ints
    """Where a move leads."""
    goal_LS: NDArray[np.bool_]
    end_LS: NDArray[np.bool_]
    start_L: Ints
    potential_LS: Floats
    """That of the environment: by the distance to the goal over ice."""
    straight_LS: Floats
    """By the distance in rows and columns, whatever lies between."""
    optimum: float
    """Success of the best agent, a mean over the lakes."""
    random: float
    """Success of the reference."""


@cache
def read_lakes(first: int, count: int) -> Lakes:
    """Return some lakes of the training split in a row."""
    letters, following, potential, best = [], [], [], []
    with closing(make_env(ENV_ID)) as env:
        for index in range(first, first + count):
            env.reset(options={"split": "train", "index": index})
            lake = text_env(env)
            assert isinstance(lake, FrozenLakeEnv)
            dynamics = Dynamics.from_table(transition_table(lake.rows, 1.0))
            letters.append([*"".join(lake.rows)])
            following.append(dynamics.transitions_SAN.argmax(-1))
            potential.append(potentials(lake.rows))
            best.append(solve(dynamics, HORIZON).values_HS[-1, letters[-1].index("S")])
    letter_LS = np.array(letters)
    lakes = Lakes(
        next_LSA=np.array(following), goal_LS=letter_LS == "G", end_LS=np.isin(letter_LS, ["G", "H"]),
        start_L=(letter_LS == "S").argmax(1), potential_LS=np.array(potential),
        straight_LS=np.array([straight_potentials(cells.index("G")) for cells in letters]),
        optimum=fmean(best), random=0.0,
    )  # fmt: skip
    return lakes._replace(random=success(lakes, np.full(lakes.next_LSA.shape, 0.25)))


def straight_potentials(goal: int) -> Floats:
    """Return 1 at the goal and 0 at the cell that is the most rows and columns away, `[S]`."""
    row_S, column_S = np.divmod(np.arange(SIZE**2), SIZE)
    distance_S = abs(row_S - goal // SIZE) + abs(column_S - goal % SIZE)
    return np.asarray(1.0 - distance_S / distance_S.max())


def success(lakes: Lakes, policy_LSA: Floats) -> float:
    """Return the probability with which a policy reaches the goal, a mean over the lakes."""
    place_LS = np.arange(len(lakes.start_L))[:, None, None]
    value_LS = lakes.goal_LS.astype(np.float64)
    for _ in range(HORIZON):
        ahead_LS = (policy_LSA * value_LS[place_LS, lakes.next_LSA]).sum(-1)
        value_LS = np.where(lakes.end_LS, lakes.goal_LS, ahead_LS)
    return float(value_LS[np.arange(len(lakes.start_L)), lakes.start_L].mean())


class Played(NamedTuple):
    """Episodes; after the end of one nothing is played and nothing earned."""

    lake_B: Ints
    cell_BK: Ints
    move_BK: Ints
    reward_BK: Floats
    played_BK: NDArray[np.bool_]


def play(lakes: Lakes, policy_LSA: Floats, lake_B: Ints, rng: np.random.Generator, rewards: Rewards) -> Played:
    """Draw an episode on each of some lakes.

    Args:
        lakes: All lakes.
        policy_LSA: The policy.
        lake_B: Which of them.
        rng: Draws the moves.
        rewards: What is paid.
    """
    shape = len(lake_B), HORIZON
    cell_BK, move_BK = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    reward_BK, played_BK = np.zeros(shape), np.zeros(shape, bool)
    shaping_LS = {"goal": 0.0 * lakes.potential_LS, "ice": lakes.potential_LS, "straight": lakes.straight_LS}[rewards]
    cell_B = lakes.start_L[lake_B]
    for turn in range(HORIZON):
        live_B = ~lakes.end_LS[lake_B, cell_B]
        move_B = draw_columns(policy_LSA[lake_B, cell_B], rng)
        next_B = np.where(live_B, lakes.next_LSA[lake_B, cell_B, move_B], cell_B)
        cell_BK[:, turn], move_BK[:, turn], played_BK[:, turn] = cell_B, move_B, live_B
        over_B = lakes.end_LS[lake_B, next_B] | (turn == HORIZON - 1)
        gain_B = np.where(over_B, 0.0, shaping_LS[lake_B, next_B]) - shaping_LS[lake_B, cell_B]
        reward_BK[:, turn] = live_B * (lakes.goal_LS[lake_B, next_B] + gain_B)
        cell_B = next_B
    return Played(lake_B, cell_BK, move_BK, reward_BK, played_BK)


def states(lakes: Lakes, played: Played) -> list[list[State]]:
    """Return the state before each turn of every episode."""
    rows = zip(played.lake_B.tolist(), played.cell_BK.tolist(), played.played_BK.sum(1).tolist(), strict=True)
    return [
        [State(f"{lake}|{cell}|{HORIZON - turn}", turn, float(lakes.potential_LS[lake, cell]))
         for turn, cell in enumerate(cells[:length])]
        for lake, cells, length in rows
    ]  # fmt: skip


def follow(values: StateValues, states_B: Sequence[Sequence[State]], soft_reward_BK: Floats) -> None:
    """Add the soft returns of episodes to the values of their states."""
    for visited, rewards in zip(states_B, soft_reward_BK.tolist(), strict=True):
        soft_return = 0.0
        for state, reward in zip(reversed(visited), reversed(rewards[: len(visited)]), strict=True):
            soft_return += reward
            values.visit(state, soft_return)


def learn(lakes: Lakes, variant: Variant, learning_rate: float, seed: int, steps: int) -> Iterator[float]:
    """Learn, and yield the success after each step.

    Args:
        lakes: What is learned.
        variant: From what.
        learning_rate: Of Adam.
        seed: Of all draws.
        steps: Of learning.
    """
    rng = np.random.default_rng(seed)
    logits_LSA = torch.zeros(lakes.next_LSA.shape, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits_LSA], lr=learning_rate)
    loss = find_objective("astarpo_turn").loss
    config = AstarpoTurnConfig(baseline="state_tracker", turn_lambda=variant.turn_lambda)
    values = first_values(lakes, variant, rng)
    for step in range(steps):
        beta = BETA * (BETA_FINAL / BETA) ** (step / max(steps - 1, 1))
        logp_LSA = logits_LSA.log_softmax(-1)
        lake_B = rng.permutation(np.arange(BATCH_SIZE) % len(lakes.start_L))
        played = play(lakes, logp_LSA.detach().exp().numpy(), lake_B, rng, variant.rewards)
        states_B = states(lakes, played)
        value_BK = np.zeros(played.reward_BK.shape)
        if values is not None:
            for row, visited in enumerate(states_B):
                value_BK[row, : len(visited)] = [values.value(state) for state in visited]
        batch = as_batch(played, logp_LSA, value_BK)
        optimizer.zero_grad()
        loss(batch, StepParams(config=config, beta=beta)).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if values is not None:
            ratio_BK = batch.per_turn((batch.logp_N - batch.ref_logp_N).detach()).numpy()
            follow(values, states_B, played.reward_BK - beta * ratio_BK)
        yield success(lakes, logits_LSA.detach().softmax(-1).numpy())


def first_values(lakes: Lakes, variant: Variant, rng: np.random.Generator) -> StateValues | None:
    """Return the values after a stage 1 by the uniform reference, whose soft returns are its returns; None for none."""
    if variant.values == "none":
        return None
    lake_B = np.repeat(np.arange(len(lakes.start_L)), STAGE_ONE)
    uniform_LSA = np.full(lakes.next_LSA.shape, 0.25)
    played = play(lakes, uniform_LSA, lake_B, rng, variant.rewards)
    states_B = states(lakes, played)
    keys = (state.key for visited in states_B for state in visited)
    values = StateValues(keys, potentials=variant.values == "by state and potential")
    follow(values, states_B, played.reward_BK)
    return values


def as_batch(played: Played, logp_LSA: torch.Tensor, value_BK: Floats) -> TrainingBatch:
    """Return episodes as an objective sees them, one token per move."""
    row_N, turn_N = np.nonzero(played.played_BK)
    cell_N, move_N = played.cell_BK[row_N, turn_N], played.move_BK[row_N, turn_N]
    return TrainingBatch(
        logp_N=logp_LSA[played.lake_B[row_N], cell_N, move_N],
        ref_logp_N=torch.full((len(row_N),), np.log(0.25), dtype=torch.float64),
        episode_N=torch.from_numpy(row_N), turn_N=torch.from_numpy(turn_N),
        reward_BK=torch.from_numpy(played.reward_BK), value_BK=torch.from_numpy(value_BK),
    )  # fmt: skip


def measure(variant: Variant, learning_rate: float, seed: int) -> SparseRow:
    """Learn, and return what came of it."""
    torch.set_num_threads(1)
    lakes = read_lakes(seed * LAKES, LAKES)
    successes = list(learn(lakes, variant, learning_rate, seed, STEPS))
    return SparseRow(
        values=variant.values, turn_lambda=variant.turn_lambda, rewards=variant.rewards, learning_rate=learning_rate,
        seed=seed, success=successes[-1], curve=" ".join(f"{point:.4f}" for point in successes[:: STEPS // POINTS]),
        random=lakes.random, optimum=lakes.optimum,
    )  # fmt: skip


def variant_of(row: SparseRow) -> Variant:
    """Return the variant of a run."""
    return next(variant for variant in VARIANTS if (row.values, row.turn_lambda, row.rewards) == variant)


def key(row: SparseRow) -> tuple[Variant, float, int]:
    """Return what a row is known by."""
    return variant_of(row), row.learning_rate, row.seed


def rows_of(path: Path, seeds: int) -> list[SparseRow]:
    """Return the rows of tuning and of so many seeds, measured as far as the file does not hold them."""

    def some(jobs: Iterable[tuple[Variant, float, int]]) -> list[SparseRow]:
        return measured(path, SparseRow, jobs, lambda job: [measure(*job)], key)

    tuning = some(itertools.product(VARIANTS, RATES, TUNING))
    return tuning + some((variant, tuned_rate(tuning, variant), seed) for variant in VARIANTS for seed in range(seeds))


def runs_of(rows: Iterable[SparseRow], variant: Variant) -> list[SparseRow]:
    """Return the runs of a variant."""
    return [row for row in rows if variant_of(row) == variant]


def tuned_rate(rows: Sequence[SparseRow], variant: Variant) -> float:
    """Return the learning rate with which a variant did best with the seeds of tuning."""
    runs = [row for row in runs_of(rows, variant) if row.seed in TUNING]
    return max(RATES, key=lambda rate: fmean(row.success for row in runs if row.learning_rate == rate))


# The page ------------------------------------------------------------------------------------------------------------

HEAD = f"""# Sparse rewards

    python -m turngym.benchmarks.failure_modes sparse

A table of logits learns {LAKES} lakes of {SIZE} x {SIZE} cells by `astarpo_turn`, from the uniform reference, in
{STEPS} steps of {BATCH_SIZE} episodes. Lambda is that of the objective. Values of states begin with {STAGE_ONE}
episodes of each lake by the reference and follow the soft returns seen. Turn rewards are potentials: by the distance
over ice, which to climb is the optimum, or by the straight distance, which leads into dead ends. Success is exact, on
the lakes that were learned, and a seed has lakes of its own. Intervals are of 95% over seeds; differences to the goal
alone are paired. The learning rate is the one of {", ".join(f"{rate:g}" for rate in RATES)} that did best with
{len(TUNING)} other seeds.
"""
COLUMNS = ("values", "lambda", "rewards", "learning rate", "seeds", "success", "over the goal alone")
PICTURE = "![Success while it learns](failure_modes_sparse.png)"


def learned(rows: Sequence[SparseRow]) -> list[SparseRow]:
    """Return the rows that are not of tuning."""
    return [row for row in rows if row.seed not in TUNING]


def page(rows: Sequence[SparseRow]) -> str:
    """Return the whole page."""
    counted, lines = learned(rows), []
    for variant in VARIANTS:
        runs = {row.seed: row for row in runs_of(counted, variant)}
        plain = {row.seed: row for row in runs_of(counted, variant._replace(rewards="goal"))}
        over = [runs[seed].success - plain[seed].success for seed in sorted(runs.keys() & plain.keys())]
        lines.append([
            variant.values, f"{variant.turn_lambda:g}", REWARDS[variant.rewards],
            f"{next(iter(runs.values())).learning_rate:g}", str(len(runs)),
            shown(*student_interval([row.success for row in runs.values()])),
            "" if variant.rewards == "goal" else shown(*student_interval(over), sign=True),
        ])  # fmt: skip
    ends = {row.seed: row for row in counted}.values()
    between = (f"The reference reaches the goal in {fmean(row.random for row in ends):.3f} of the episodes, "
               f"the best agent in {fmean(row.optimum for row in ends):.3f}.")  # fmt: skip
    return f"{HEAD}\n{between}\n\n{PICTURE}\n\n{table(COLUMNS, lines)}\n"


def draw(figure: Figure, rows: Sequence[SparseRow]) -> None:
    """Draw the success while it learns, a panel for each kind of values and lambda."""
    panels = figure.subplots(len(LAMBDAS), len(VALUES), sharex=True, sharey=True)
    for (line, turn_lambda), (column, values) in itertools.product(enumerate(LAMBDAS), enumerate(VALUES)):
        axes = panels[line][column]
        for rewards, words in REWARDS.items():
            runs = runs_of(learned(rows), Variant(values, turn_lambda, rewards))
            curves = [[float(point) for point in row.curve.split()] for row in runs]
            means = [fmean(points) for points in zip(*curves, strict=True)]
            axes.plot([1 + place * (STEPS // POINTS) for place in range(len(means))], means, label=words)
        known = "no values" if values == "none" else f"values {values}"
        axes.set_title(f"{known}, lambda {turn_lambda:g}", fontsize=9)
        axes.set_ylim(0.0, 1.0)
    for axes in panels[-1]:
        axes.set_xlabel("step")
    panels[0][0].set_ylabel("success")
    panels[1][0].set_ylabel("success")
    panels[0][0].legend(fontsize=7)
