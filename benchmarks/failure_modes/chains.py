"""Where chains of steps break: clones of flawless long multiplication, at equal demonstrated turns.

A chain is a task of MultiplicationSteps, `a * b` with the digits in the order in which carrying goes, and it must be
right at the first attempt in every step. Products have as many digits as `a`; how many steps there are, `b` decides.
A clone is asked greedily, and what is recorded is the first step that it has wrong.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from turngym.agents.episode import Episode
from turngym.agents.evaluation import instance_range
from turngym.agents.intervals import student_interval, welch_interval
from turngym.benchmarks.algorithms_rows import shown
from turngym.benchmarks.failure_modes import few_factors
from turngym.benchmarks.failure_modes.rows import measured
from turngym.benchmarks.page import table
from turngym.envs import make_env, text_env
from turngym.envs.multiplication_steps import Calculation, MultiplicationStepsEnv, long_multiplication
from turngym.envs.parsing import extract_action
from turngym.trainers.base_model import prepare_base
from turngym.trainers.config import EnvConfig, ModelConfig, RunConfig, TrainConfig, WarmStartConfig
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Place = Literal["first product", "later product", "sum"]
"""A kind of step at which a chain can break."""
COURSE_STEPS = 400
TURNS_PER_STEP = 96
"""Turns that a step of cloning is shown, whatever the chain."""
SEED_COUNT = 3
EPISODES = 128
"""Test instances, each played once."""


class Chain(NamedTuple):
    """A family of tasks."""

    first: int
    """Digits of the first factor: how wide products are."""
    second: int
    """Digits of the second factor: `2 * second - 1` steps."""
    firsts: int = 0
    """How many numbers are first factors; 0 for all that have so many digits."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        few = f", {self.firsts} first factors" if self.firsts else ""
        return f"{self.first} x {self.second}{few}"

    @property
    def steps(self) -> int:
        """How many steps a task has."""
        return 2 * self.second - 1

    @property
    def products(self) -> int:
        """How many different products of a first factor and a digit there are, those with 0 included."""
        return 10 * (self.firsts or 9 * 10 ** (self.first - 1))

    @property
    def env(self) -> EnvConfig:
        """The environment, in which a wrong step leaves too few turns for the rest."""
        kwargs: dict[str, Any] = {"digits": [self.first, self.second], "digit_order": "least_first",
                                  "max_episode_steps": self.steps}  # fmt: skip
        if self.firsts:
            few = f"{few_factors.__name__}:failure_modes/FewFactors-v0"
            return EnvConfig(id=few, kwargs={**kwargs, "firsts": self.firsts})
        return EnvConfig(id="turngym/MultiplicationSteps-v0", kwargs=kwargs)


CHAINS = {chain.name: chain for chain in (Chain(2, 2), Chain(3, 3), Chain(4, 4), Chain(5, 5), Chain(2, 5),
                                          Chain(3, 3, firsts=90))}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRow:
    """A clone of one chain, on test instances."""

    chain: str
    """Name in `CHAINS`."""
    seed: int
    showings: float
    """How often a product of a first factor and a digit was shown, on average over all that there are."""
    success: float
    """Share of the test instances with every step right."""
    first_product: float
    """Share that has the first product wrong."""
    later_product: float
    """Share whose first wrong step is a later product."""
    sums: float
    """Share whose first wrong step is a sum."""
    product_carried: float
    """Share of the breaks at a first product whose first wrong digit takes a carry; nan without any."""
    product_carries: float
    """Share of the digits of all first products that take a carry."""
    sum_carried: float
    """Share of the breaks at a sum whose first wrong digit takes a carry; nan without any."""
    sum_carries: float
    """Share of the digits of all sums that take a carry."""
    seconds: float
    """Processor seconds."""


def takes_carry(step: Calculation) -> list[bool]:
    """Return for every digit of a result, the last one first, whether a carry is added to it."""
    if step.operator == "*":
        digit = int(str(step.right)[0])
        lower = [digit * (step.left % 10**place) >= 10**place for place in range(len(str(step.left * digit)))]
        return [False] * (len(str(step.right)) - 1) + lower
    return [step.left % 10**place + step.right % 10**place >= 10**place for place in range(len(str(step.result)))]


class Break(NamedTuple):
    """The first wrong step of a chain."""

    place: Place
    step: Calculation
    answer: str
    """What was said, the last digit first."""

    @property
    def carried(self) -> bool:
        """Whether a carry is added to the first digit that is wrong, the last one first."""
        right = str(self.step.result)[::-1]
        wrong = next((place for place, digit in enumerate(right) if self.answer[place : place + 1] != digit), None)
        return wrong is not None and takes_carry(self.step)[wrong]


def steps_of(episode: Episode) -> list[Calculation]:
    """Return the steps of the task of an episode."""
    first, second = episode.turns[0].state_key.split("|")[0].split("*")
    return long_multiplication(int(first), int(second))


def first_break(episode: Episode) -> Break | None:
    """Return the first wrong step of an episode; None where it has none."""
    for place, (turn, step) in enumerate(zip(episode.turns, steps_of(episode), strict=False)):
        if turn.task_reward == 0:
            kind: Place = "sum" if step.operator == "+" else "later product" if place else "first product"
            return Break(kind, step, extract_action(turn.action, reasoning=False) if turn.valid else "")
    return None


def shown_tasks(chain: Chain) -> int:
    """Return how many demonstrations a clone is shown."""
    return COURSE_STEPS * round(TURNS_PER_STEP / chain.steps)


def config_of(chain: Chain, seed: int) -> TrainConfig:
    """Return the configuration that clones a chain."""
    return TrainConfig(
        env=chain.env,
        model=ModelConfig(heads=4, layers=2, rope_base=1e4, copying=False, max_reply_tokens=14),
        warm_start=WarmStartConfig(
            mistake_rate=0.0, course_steps=COURSE_STEPS, batch_size=shown_tasks(chain) // COURSE_STEPS,
            success_low=0.0, success_high=1.0, check_episodes=1,
        ),
        run=RunConfig(seed=seed, threads=1),
    )  # fmt: skip


def measure(chain: Chain, seed: int) -> ChainRow:
    """Clone a chain, and find where the clone breaks."""
    config = config_of(chain, seed)
    torch.set_num_threads(config.run.threads)
    began = time.process_time()
    with TemporaryDirectory() as place:
        model = prepare_base(config, Path(place), Metrics(Path(place) / "metrics.jsonl"), SilentProgress())
    rollouts = Rollouts.of(config)
    played = rollouts.play(rollouts.agent(model, greedy=True), instance_range("test", EPISODES))
    breaks = [broken for episode in played if (broken := first_break(episode))]
    where = Counter(broken.place for broken in breaks)
    tasks = [steps_of(episode) for episode in played]
    return ChainRow(
        chain=chain.name, seed=seed, showings=shown_tasks(chain) * chain.second / chain.products,
        success=fmean(episode.success for episode in played),
        first_product=where["first product"] / EPISODES, later_product=where["later product"] / EPISODES,
        sums=where["sum"] / EPISODES,
        product_carried=share(broken.carried for broken in breaks if broken.place == "first product"),
        product_carries=share(carry for task in tasks for carry in takes_carry(task[0])),
        sum_carried=share(broken.carried for broken in breaks if broken.place == "sum"),
        sum_carries=share(carry for task in tasks for step in task if step.operator == "+"
                          for carry in takes_carry(step)),
        seconds=time.process_time() - began,
    )  # fmt: skip


def share(truths: Iterable[bool]) -> float:
    """Return the share that is true; nan without any."""
    counted = list(truths)
    return fmean(counted) if counted else math.nan


def key(row: ChainRow) -> tuple[str, int]:
    """Return what a row is known by."""
    return row.chain, row.seed


def rows_of(path: Path, seeds: int) -> list[ChainRow]:
    """Return the rows of so many seeds, measured as far as the file does not hold them."""
    wanted = itertools.product(CHAINS, range(seeds))
    return measured(path, ChainRow, wanted, lambda one: [measure(CHAINS[one[0]], one[1])], key)


# The page ------------------------------------------------------------------------------------------------------------

HEAD = f"""# Where chains break

    python -m turngym.benchmarks.failure_modes chains

Clones of flawless long multiplication, `MultiplicationSteps` with `digit_order="least_first"`: {COURSE_STEPS} steps of
cloning, each on about {TURNS_PER_STEP} turns, whatever the chain, of a model with 2 layers of width 64. Then {EPISODES}
test instances, played greedily; a step must be right at the first attempt. A task shows one first product; showings are
those of a product of a first factor and a digit in any place, on average over all that there are. By 0 or
1 a first product is no calculation: "by 2 to 9" is how many of the test's are one. Means with 95% intervals over seeds.

![Where chains break](failure_modes_chains.png)
"""
COLUMNS = ("digits", "steps", "seeds", "tasks shown", "showings", "every step right", "first product wrong",
           "by 2 to 9", "a later product", "a sum", "processor s")  # fmt: skip
CARRIES = """
Digits to which a carry is added, among the first wrong digits (the last digit of a number comes first) and among all
digits of such steps; means over the seeds that broke there:
"""
COMPARED = (("3 x 3", "2 x 2"), ("3 x 3", "3 x 3, 90 first factors"), ("3 x 3, 90 first factors", "2 x 2"),
            ("2 x 5", "2 x 2"))  # fmt: skip
"""Chains whose breaks at the first product are compared."""
DIFFERENCES = """
How much more often the first product is wrong, with 95% intervals by Welch:
"""
CARRY_COLUMNS = ("digits", "first products: wrong", "all", "sums: wrong", "all")


def by_chain(rows: Iterable[ChainRow]) -> dict[str, list[ChainRow]]:
    """Return the rows of each chain, in the order of `CHAINS`."""
    kept = list(rows)
    return {name: those for name in CHAINS if (those := [row for row in kept if row.chain == name])}


def page(rows: Sequence[ChainRow]) -> str:
    """Return the whole page."""
    lines, carries = [], []
    for name, group in by_chain(rows).items():
        ends = [shown(*student_interval([getattr(row, column) for row in group]))
                for column in ("success", "first_product", "later_product", "sums")]  # fmt: skip
        lines.append([
            name, str(CHAINS[name].steps), str(len(group)), f"{shown_tasks(CHAINS[name]):,}",
            f"{group[0].showings:.3g}",
            *ends[:2], f"{calculations(CHAINS[name]):.3f}", *ends[2:],
            f"{fmean(row.seconds for row in group):.0f}",
        ])  # fmt: skip
        carries.append([
            name, known_mean(row.product_carried for row in group), known_mean(row.product_carries for row in group),
            known_mean(row.sum_carried for row in group), known_mean(row.sum_carries for row in group),
        ])  # fmt: skip
    chains = by_chain(rows)
    wrong = {name: [row.first_product for row in group] for name, group in chains.items()}
    differences = [
        [one, other, shown(*welch_interval(wrong[one], wrong[other]), sign=True)]
        for one, other in COMPARED
        if one in wrong and other in wrong
    ]
    return "\n".join((
        HEAD, table(COLUMNS, lines), DIFFERENCES, table(("in", "than in", "more often"), differences),
        CARRIES, table(CARRY_COLUMNS, carries), "",
    ))  # fmt: skip


def calculations(chain: Chain) -> float:
    """Return the share of the test instances whose first product is by neither 0 nor 1."""
    with closing(make_env(chain.env.id, chain.env.kwargs)) as env:
        multipliers = []
        for index in range(EPISODES):
            env.reset(options={"split": "test", "index": index})
            game = text_env(env)
            assert isinstance(game, MultiplicationStepsEnv)
            multipliers.append(game.factors[1] % 10)
    return share(digit > 1 for digit in multipliers)


def known_mean(numbers: Iterable[float]) -> str:
    """Return the mean of those that are known as text; empty without any."""
    known = [number for number in numbers if not math.isnan(number)]
    return f"{fmean(known):.3f}" if known else ""


def draw(figure: Figure, rows: Sequence[ChainRow]) -> None:
    """Draw for every chain how many end well, and where the others break."""
    axes = figure.add_subplot()
    chains = by_chain(rows)
    base = [0.0] * len(chains)
    parts = {"success": "every step right", "sums": "a sum wrong", "later_product": "a later product wrong",
             "first_product": "the first product wrong"}  # fmt: skip
    colors = ("#31a354", "#9ecae1", "#fdae6b", "#de2d26")
    for (column, words), color in zip(parts.items(), colors, strict=True):
        means = [fmean(getattr(row, column) for row in group) for group in chains.values()]
        axes.bar(range(len(chains)), means, bottom=base, color=color, label=words)
        base = [low + mean for low, mean in zip(base, means, strict=True)]
    labels = [f"{name.replace(', ', chr(10))}\n{CHAINS[name].steps} steps" for name in chains]
    axes.set_xticks(range(len(chains)), labels, fontsize=8)
    axes.set_ylabel("share of the test instances")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=4, frameon=False)
