"""`turngym values`: what stage 1 of a run knows, how sure it is, and how much of the returns was luck."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table
from tyro.conf import Positional, arg

from turngym.cli.errors import UsageError
from turngym.cli.options import parse
from turngym.cli.terminal import make_console
from turngym.envs.finding import check_env
from turngym.trainers.config import TrainConfig
from turngym.trainers.launch.resuming import held_live, steps_done
from turngym.trainers.launch.run_folder import known_config
from turngym.trainers.live.settings import tuned
from turngym.trainers.references import round_betas, round_estimates, rounds_begun
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run_files import CONFIG_FILE, METRICS_FILE, store_name
from turngym.trainers.run_lock import run_lock
from turngym.trainers.shaping import is_shaped
from turngym.trainers.stage_one.importance import effective_share
from turngym.trainers.stage_one.instance_values import ValueEstimates, composed_beta, composed_values
from turngym.trainers.stage_one.sampling import StageOneSetup, estimate
from turngym.trainers.stage_one.soft_values import monte_carlo_values, read_transitions, soft_values
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.store_file import ValueStoreError
from turngym.trainers.stage_one.store_rows import REFERENCE, StoredTurn, StoreSummary
from turngym.trainers.stage_one.variance import bracket, recommend, variance_split

STORE_FILE = store_name(1)
QUANTILES = {"least": 0.0, "10%": 0.1, "median": 0.5, "90%": 0.9, "most": 1.0}
BRACKET = (
    "The true V* lies between the true mean return and the true V^E, which counts luck as skill; without chance it is "
    "V^E. Few samples put V^E too low, and V* here is shrunk towards the pool."
)
SHAPED = (
    "[shaping] adds to the rewards that are learned from: V*, V^E, luck and spread below are of the shaped return; "
    "success and what is called so are of the task."
)
EFFECTIVE = (
    "Effective: how many turns of the reference say as much about its odds. What replies lead to is learned from every "
    "turn alike; the values of instances above are from the reference's episodes alone."
)
ROUNDS = (
    "All above the rounds is of round 1. Beta: the temperature of the last step taken by the end of the round, in "
    "units of reward; V* of the round's reference is at it. Composed: the mean of V* over the rounds so far, weighted "
    "by 1 / beta: V* of the first reference at `to beta`, 1 / (sum of 1 / beta), if each round before ended at its "
    "optimum. Chance and few samples err as above, the more the lower the temperature."
)
NO_STORE = (
    "{} is missing, though its round has begun to learn: the rounds from it on are left out. --resume takes it from a "
    "checkpoint."
)
BETA_VALUE = "values.beta_value"
LIVE = "The temperature is {:g} times the reward range, as set live in place of values.beta_value {:g}."
NO_BETAS = "The run's metrics.jsonl does not tell at which temperatures its rounds were solved: their V* is left out."
DIGEST = re.compile(r"[0-9a-f]{64}")
"""What a part of the fingerprint is that is no setting."""


@dataclass(frozen=True)
class ValuesOptions:
    """Show what the value store of a run holds: the values of its instances, their certainty, and the part of luck."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run folder whose stage 1 has begun."""
    split: Literal["train", "validation", "test"] = "train"
    """Which instances."""
    merge: list[str] = field(default_factory=list)
    """Run folders or value stores of the same reference, whose episodes of round 1 are added first, explorers' too: the
    run must not have begun to learn, and they count as its own, also as samples and tokens of its stage 1."""
    beta_value: float | None = None
    """Temperature of V*, in units of the reward range; the run's own unless given. At 0, to which V* rises as the
    temperature falls, it is the largest return of an instance. Rounds have theirs."""


def run(words: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    options = parse(ValuesOptions, words, command="values")
    if options.beta_value is not None and not options.beta_value >= 0:
        raise UsageError(f"--beta-value must be a number of at least 0, got {options.beta_value}")
    begun, path = find_store(Path(options.run))
    config = with_live_temperature(begun, path.parent)
    console = make_console()
    try:
        lock = run_lock(path.parent) if options.merge else nullcontext()
        with lock, ValueStore(path, None) as store:
            for line in merge_stores(store, path.parent, options.merge):
                console.print(line, soft_wrap=True)
            for part in describe_store(store, config, options):
                console.print(part, soft_wrap=isinstance(part, str))
            if config != begun and options.beta_value is None:
                console.print(LIVE.format(config.values.beta_value, begun.values.beta_value), soft_wrap=True)
            for part in (*describe_rounds(path.parent, config, options), *made_with(store.fingerprint)):
                console.print(part, soft_wrap=isinstance(part, str))
    except ValueStoreError as error:
        raise UsageError(str(error)) from error
    return 0


def find_store(folder: Path) -> tuple[TrainConfig, Path]:
    """Return the configuration and the value store of a run.

    Raises:
        UsageError: The folder is no run, or one without stage 1, or its stage 1 has not begun.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    if not (folder / CONFIG_FILE).is_file():
        raise UsageError(f"{folder} is no run: it has no {CONFIG_FILE}")
    config = known_config(folder)
    if not config.needs_stage_one:
        raise UsageError(f"the run {folder} has no values: {config.objective.name} does without stage 1 here, so there "
                         "is no value store; astarpo is an algorithm that has one")  # fmt: skip
    if not (folder / STORE_FILE).is_file():
        raise UsageError(f"the run {folder} has no {STORE_FILE}: its stage 1 has not begun; continue it with: "
                         f"turngym train --resume {folder}")  # fmt: skip
    return config, folder / STORE_FILE


def with_live_temperature(config: TrainConfig, folder: Path) -> TrainConfig:
    """Return the configuration of a run with the temperature of V* that is held live, if one is.

    Raises:
        InputError: The record of live changes is damaged.
    """
    held = held_live(folder)
    return tuned(config, {BETA_VALUE: held[BETA_VALUE]}) if BETA_VALUE in held else config


def merge_stores(store: ValueStore, folder: Path, others: Sequence[str]) -> Iterator[str]:
    """Add the episodes of other stores to that of a run, and say of each how many were new.

    Raises:
        UsageError: Stage 2 of the run has begun.
        ValueStoreError: A store is absent, unusable or of another set-up; those before it are merged.
    """
    if others and any((folder / "checkpoints").glob("step-*")):
        raise UsageError(
            f"stage 2 of the run {folder} has begun, and the values it learns by would change under it: "
            "merge into a run without checkpoints"
        )
    for other in map(Path, others):
        path = other / STORE_FILE if other.is_dir() else other
        yield f"{path}: {store.merge(path)} new episodes merged."


def describe_store(store: ValueStore, config: TrainConfig, options: ValuesOptions) -> list[str | Table]:
    """Return what there is to say of a store, in order.

    Raises:
        UsageError: The store has no episode of the split, the environment cannot be made, or the returns do not fit it.
    """
    summary = store.summary(options.split)
    if not summary.episodes:
        raise UsageError(f"{store.path} holds no episode of the {options.split} split")
    check_env(config.env.id, config.env.kwargs)
    rollouts = Rollouts.of(config)
    beta = temperature(config, options, rollouts.reward_span)
    estimates = estimated(store, config, options, beta)
    kind = kind_of_return(config)
    lower_I, upper_I = bracket(store.returns(options.split), beta)
    rows = {
        "V*": estimates.values,
        "its std": estimates.stds,
        f"mean {kind}": lower_I,
        "V^E": upper_I,
        "V^E - mean": upper_I - lower_I,
        "samples": estimates.counts.astype(np.float64),
    }
    returns = f"mean {kind} {summary.mean_return:.3f}"
    if is_shaped(config.shaping):
        returns = f"mean task return {summary.mean_task_return:.3f}, {returns}"
    held = (
        f"{summary.episodes} episodes of {summary.instances} instances ({options.split} split), {summary.turns} turns, "
        f"{summary.tokens} tokens; success {summary.success_rate:.3f}, {returns}. "
        f"The prior of an instance counts for {estimates.strength:.3g} samples."
    )
    at = f"temperature {beta:g}" if beta else "temperature 0: V* is the largest return"
    return [
        quantile_table(rows, f"Over instances, at {at}"),
        *([SHAPED] if is_shaped(config.shaping) else []),
        held,
        BRACKET,
        *describe_luck(store.turns(split=options.split), beta, kind, reasoning=rollouts.reasoning),
        *describe_behaviours(store, options.split, beta, reasoning=rollouts.reasoning),
    ]


def kind_of_return(config: TrainConfig) -> str:
    """Return what the returns in a run's value stores are called."""
    return "shaped return" if is_shaped(config.shaping) else "return"


def temperature(config: TrainConfig, options: ValuesOptions, reward_span: float) -> float:
    """Return the temperature of V*, in units of reward."""
    return (config.values.beta_value if options.beta_value is None else options.beta_value) * reward_span


def estimated(store: ValueStore, config: TrainConfig, options: ValuesOptions, beta: float) -> ValueEstimates:
    """Return V* of the instances of a store.

    Raises:
        UsageError: The returns do not fit the environment.
    """
    try:
        return estimate(store, StageOneSetup.of(config), beta=beta, split=options.split)
    except ValueError as error:
        raise UsageError(f"the values cannot be estimated: {error}") from error


def describe_rounds(folder: Path, config: TrainConfig, options: ValuesOptions) -> list[str | Table]:
    """Return what stage 1 of each round found, where the reference was reset.

    Raises:
        UsageError: The returns do not fit the environment.
    """
    held: list[StoreSummary] = []
    every = config.learning.reset_every
    begun = rounds_begun(folder, every)
    while len(held) < begun and (path := folder / store_name(len(held) + 1)).is_file():
        with ValueStore(path, None) as store:
            summary = store.summary(options.split)
        if not summary.episodes:  # its stage 1 has only begun
            break
        held.append(summary)
    if every is None:
        return []
    missing = [NO_STORE.format(store_name(len(held) + 1))] if steps_done(folder) > len(held) * every else []
    if len(held) < 2:
        return [*missing]
    betas = round_betas(Metrics(folder / METRICS_FILE), len(held), every)
    if betas is None:
        return [NO_BETAS]
    try:
        rounds = round_estimates(folder, betas, StageOneSetup.of(config), options.split)
    except ValueError as error:
        raise UsageError(f"the values of the rounds cannot be estimated: {error}") from error
    shaped = is_shaped(config.shaping)
    returns = ("task return", "shaped") if shaped else ("return",)
    table = number_table("Rounds, V* of shaped returns" if shaped else "Rounds",
                         ("n", "success", *returns, "beta", "V*", "to beta", "composed"))  # fmt: skip
    for number, (summary, beta) in enumerate(zip(held, betas, strict=True), 1):
        composed = np.mean(list(composed_values(rounds[:number], betas[:number]).values()))
        means = (summary.mean_task_return, summary.mean_return) if shaped else (summary.mean_return,)
        table.add_row(
            f"round {number}", str(summary.episodes), *(f"{mean:.3f}" for mean in (summary.success_rate, *means)),
            f"{beta:.3g}", f"{rounds[number - 1].values.mean():.3f}", f"{composed_beta(betas[:number]):.3g}",
            f"{composed:.3f}",
        )  # fmt: skip
    return [table, ROUNDS, *missing]


def describe_luck(turns: Iterable[StoredTurn], beta: float, kind: str, *, reasoning: bool) -> list[str]:
    """Return how much of the returns is luck, and which estimator of state values follows from that."""
    try:
        transitions = read_transitions(turns, reasoning=reasoning)
    except ValueError as error:
        return [f"States have no values: {error}."]
    measured = variance_split(transitions)
    # Without pseudo-visits, which would pull V* below V^E where there is no chance at all.
    optimism_S = monte_carlo_values(transitions, beta) - soft_values(transitions, beta, strength=0.0)
    index = round(float(optimism_S[transitions.starts].mean()), 4) + 0.0  # no -0.0000
    share = f"chance {measured.environment_share:.1%}, the policy's choices the rest"
    chosen = recommend(measured)
    return [
        f"Variance of the {kind}s of an instance: {measured.returns:.4f}; of it the environment's {share}.",
        f"Luck index (V^E less V* by soft value iteration, mean over starts): {index:.4f}.",
        f"Values of states: use {chosen.estimator}. {chosen.reason}",
        f"Filters by the spread of returns (objective.filter mixed, top_std, top_p): {measured.of_spread}",
    ]


def describe_behaviours(store: ValueStore, split: str, beta: float, *, reasoning: bool) -> list[str | Table]:
    """Return who explored, what their turns are worth, and what soft value iteration makes of them; nothing if nobody.

    Values of starts are compared over those that the reference has played.
    """
    names = store.behaviours(split)
    if set(names) <= {REFERENCE}:
        return []
    turns = list(store.turns(split=split, behaviour=None))
    parts: list[str | Table] = [behaviours_table(store, split, names, turns), EFFECTIVE]
    with suppress(ValueError):  # states without values, of which `describe_luck` tells
        own = [turn for turn in turns if turn.behaviour == REFERENCE]
        alone, pooled = (read_transitions(played, reasoning=reasoning) for played in (own, turns))
        # The reference's turns come first, so its states have the same places in both.
        first, second = (
            soft_values(transitions, beta, strength=0.0)[alone.starts].mean() for transitions in (alone, pooled)
        )
        parts.append(f"V* by soft value iteration, mean over starts: {first:.4f} from the reference's episodes alone, "
                     f"{second:.4f} with the explorers'.")  # fmt: skip
    return parts


def behaviours_table(store: ValueStore, split: str, names: Sequence[str], turns: Sequence[StoredTurn]) -> Table:
    """Return the reference and the explorers, with all their turns, as a table."""
    table = number_table("Who played", ("episodes", "success", "turns", "effective"))
    for name in names:
        held = store.summary(split, name)
        log_ratios = [turn.log_ratio for turn in turns if turn.behaviour == name]
        effective = held.turns and held.turns * effective_share(log_ratios)
        cells = (str(held.episodes), f"{held.success_rate:.3f}", str(held.turns), f"{effective:.0f}")
        table.add_row(name, *cells)
    return table


def made_with(fingerprint: Mapping[str, str]) -> list[str]:
    """Return the set-up of a store on two lines: the settings, and the beginnings of the digests."""
    settings = [f"{name} {value}" for name, value in sorted(fingerprint.items()) if not DIGEST.fullmatch(value)]
    digests = [f"{name} {value[:12]}" for name, value in sorted(fingerprint.items()) if DIGEST.fullmatch(value)]
    return [f"Made with: {', '.join(settings)}.", f"Digests: {', '.join(digests)}."]


def number_table(title: str, columns: Iterable[str]) -> Table:
    """Return an empty table of named rows with a number in each column."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def quantile_table(rows: dict[str, NDArray[np.float64]], title: str) -> Table:
    """Return the mean and the quantiles of several quantities, one in each row."""
    table = number_table(title, ("mean", *QUANTILES))
    for name, values in rows.items():
        numbers = [values.mean(), *np.quantile(values, list(QUANTILES.values()))]
        table.add_row(name, *(f"{number:.3f}" for number in numbers))
    return table
