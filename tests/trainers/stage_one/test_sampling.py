"""Stage 1: every instance is played, doubt buys more samples, and an interruption leaves no trace."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from turngym.agents.episode import Episode, Turn
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.rollout import PlayError
from turngym.envs.frozen_lake import FrozenLakeEnv
from turngym.trainers.config import TrainConfig, ValueConfig
from turngym.trainers.reporting.progress import SilentProgress
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.stage_one import sampling
from turngym.trainers.stage_one.instance_values import estimate_values, next_instances
from turngym.trainers.stage_one.sampling import (
    StageOneSetup,
    estimate,
    plan_extra_samples,
    sample_reference,
    sample_seed,
    store_fingerprint,
)
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.store_file import ValueStoreMismatch

EXTRA = 16


class StopAfter(SilentProgress):
    """Interrupts after so many episodes, as a user would."""

    def __init__(self, episodes: float) -> None:
        self.left = episodes

    def phase(self, name: str, total: int | None) -> None:
        self.total = total

    def advance(self, n: int = 1, **numbers: float) -> None:
        self.left -= n
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "BLOCK", 20)


@pytest.fixture
def config(tiny: TrainConfig) -> TrainConfig:
    return replace(tiny, values=ValueConfig(instances=24, samples=2, extra_samples=EXTRA, max_samples=5))


def fill(
    path: Path, model: LanguageModel, config: TrainConfig, stop_after: float = np.inf
) -> tuple[list[dict[str, float]], dict[str, list[dict[str, Any]]]]:
    """Run stage 1; return the numbers of its blocks and everything the store holds."""
    progress = StopAfter(stop_after)
    with ValueStore(path, store_fingerprint(model, Rollouts.of(config))) as store:
        blocks = list(sample_reference(model, store, StageOneSetup.of(config), progress))
    assert progress.total == 48 + EXTRA
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        tables = ("fingerprint", "episodes", "turns")
        return blocks, {
            name: [dict(row) for row in database.execute(f"SELECT * FROM {name} ORDER BY 1, 2")]  # noqa: S608
            for name in tables
        }


def test_every_instance_is_played_and_uncertain_ones_more_often(
    model: LanguageModel, config: TrainConfig, tmp_path: Path
) -> None:
    blocks, rows = fill(tmp_path / "values.sqlite", model, config)
    assert [block["episodes"] for block in blocks] == [20, 40, 48, 52, 56, 60, 64]
    assert all(block["errors"] == 0 and block["seconds"] > 0 for block in blocks)
    counts = Counter(row["instance"] for row in rows["episodes"])
    assert sorted(counts) == list(range(24)) and sum(counts.values()) == 64
    assert min(counts.values()) == 2 and max(counts.values()) <= 5
    assert {row["split"] for row in rows["episodes"]} == {"train"}
    assert len({(row["instance"], row["seed"]) for row in rows["episodes"]}) == 64
    with ValueStore(tmp_path / "values.sqlite", store_fingerprint(model, Rollouts.of(config))) as store:
        estimates = estimate(store, StageOneSetup.of(config))
        assert blocks[-1]["value"] == pytest.approx(np.mean(estimates.values))
        assert blocks[-1]["success"] == pytest.approx(store.summary().success_rate)
        expected = estimate_values(store.returns(), 0.5, None, (0.0, 1.0))
        assert blocks[-1]["prior_strength"] == estimates.strength == expected.strength
    np.testing.assert_array_equal(estimates.values, expected.values)
    # The first round of extra samples was planned from two samples each, and began with the least certain value.
    returns: dict[int, list[float]] = {}
    for row in rows["episodes"][:48]:
        returns.setdefault(row["instance"], []).append(row["total_return"])
    first = estimate_values(returns, 0.5, None, (0.0, 1.0))
    planned = next_instances(first.counts, first.stds, 4, config.values.max_samples, first.strength)
    assert sorted(row["instance"] for row in rows["episodes"][48:52]) == sorted(first.instances[planned])
    assert len(set(first.stds)) > 1 and first.stds[planned[0]] == first.stds.max()


@pytest.mark.parametrize("episodes", [0, 7, 33, 48, 51, 63])
def test_interrupted_and_continued_equals_uninterrupted(
    model: LanguageModel, config: TrainConfig, tmp_path: Path, episodes: int
) -> None:
    _, expected = fill(tmp_path / "uninterrupted.sqlite", model, config)
    path = tmp_path / "interrupted.sqlite"
    with pytest.raises(KeyboardInterrupt):
        fill(path, model, config, stop_after=episodes)
    with closing(sqlite3.connect(path)) as database:
        (held,) = database.execute("SELECT COUNT(*) FROM episodes").fetchone()
    assert held == max(total for total in (0, 20, 40, 48, 52, 56, 60) if total <= episodes)
    blocks, rows = fill(path, model, config)
    assert rows == expected
    assert blocks[-1]["episodes"] == 64


def test_what_is_complete_is_not_played_again(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    _, first = fill(tmp_path / "values.sqlite", model, config)
    progress = StopAfter(64)
    with ValueStore(tmp_path / "values.sqlite", store_fingerprint(model, Rollouts.of(config))) as store:
        assert list(sample_reference(model, store, StageOneSetup.of(config), progress)) == []
    assert progress.left == 0  # told about all 64 at once
    assert fill(tmp_path / "values.sqlite", model, config) == ([], first)


def test_full_instances_get_no_more(model: LanguageModel, config: TrainConfig, tmp_path: Path) -> None:
    full = replace(config, values=replace(config.values, max_samples=2))
    blocks, rows = fill(tmp_path / "values.sqlite", model, full)
    assert blocks[-1]["episodes"] == len(rows["episodes"]) == 48


def stored(index: int, sample: int, *, success: bool) -> Episode:
    turn = Turn(observation="", action="up", reward=float(success), task_reward=float(success), state_key="s",
                potential=0.0, valid=True)  # fmt: skip
    return Episode(env_id="x", split="train", index=index, seed=sample, turns=[turn], success=success)


def test_extra_samples_go_where_the_value_is_uncertain(config: TrainConfig, tmp_path: Path) -> None:
    outcomes = {0: [True] * 4, 1: [True, False] * 2, 2: [True, False]}
    with ValueStore(tmp_path / "values.sqlite", {}) as store:
        store.add(stored(i, k, success=win) for i, wins in outcomes.items() for k, win in enumerate(wins))
        stds = estimate(store, StageOneSetup.of(config)).stds
        assert stds[2] > stds[1] > stds[0]  # fewer samples, then unlike ones
        planned = plan_extra_samples(store, StageOneSetup.of(config), 4)
        assert planned[0] == (2, 2)
        assert sorted(planned) == [(1, 4), (2, 2), (2, 3), (2, 4)]  # at most five of one instance, none of the sure one
        # A sample narrows what is shrunk by far but little, so the widest goes on longer before it is another's turn.
        strong = replace(config, values=replace(config.values, prior_strength=20.0, max_samples=32))
        known = estimate(store, StageOneSetup.of(strong))
        expected = next_instances(known.counts, known.stds, 10, [4, 32, 32], 20.0)
        assert [index for index, _ in plan_extra_samples(store, StageOneSetup.of(strong), 10)] == expected.tolist()
        assert expected.tolist() != next_instances(known.counts, known.stds, 10, [4, 32, 32]).tolist()


def test_only_instances_that_were_always_won_are_done_before_the_most(config: TrainConfig, tmp_path: Path) -> None:
    outcomes = {0: [True] * 4, 1: [True] * 3, 2: [False] * 4, 3: [True] * 3 + [False]}
    with ValueStore(tmp_path / "values.sqlite", {}) as store:
        store.add(stored(i, k, success=win) for i, wins in outcomes.items() for k, win in enumerate(wins))
        assert sorted(plan_extra_samples(store, StageOneSetup.of(config), 99)) == [(1, 3), (2, 4), (3, 4)]
        # What was never won comes first, and goes on to the most.
        patient = replace(config, values=replace(config.values, max_samples=32))
        assert plan_extra_samples(store, StageOneSetup.of(patient), 20)[:8] == [(2, k) for k in range(4, 12)]
        taken = Counter(index for index, _ in plan_extra_samples(store, StageOneSetup.of(patient), 99))
        assert taken == {1: 1, 2: 28, 3: 28}
        impatient = replace(config, values=replace(config.values, max_samples=3))
        assert plan_extra_samples(store, StageOneSetup.of(impatient), 99) == []


def with_env(config: TrainConfig, **kwargs: Any) -> TrainConfig:
    return replace(config, env=replace(config.env, kwargs={**config.env.kwargs, **kwargs}))


OTHER_RUNS: dict[str, Callable[[TrainConfig], TrainConfig]] = {
    "temperature": lambda c: replace(c, learning=replace(c.learning, temperature=0.9)),
    "longest reply": lambda c: replace(c, model=replace(c.model, max_reply_tokens=5)),
    "environment": lambda c: replace(c, env=replace(c.env, id="turngym/FrozenLakeWindy-v0")),
    "environment arguments": lambda c: with_env(c, view="coordinates"),
    "turn limit": lambda c: with_env(c, max_episode_steps=9),
}
OTHER_PLAYERS: dict[str, Callable[[LanguageModel], object]] = {
    "reference weights": lambda model: model.model.model.norm.weight.data[0].add_(1e-6),
    "chat template": lambda model: model.tokenizer.__setattr__("chat_template", "other"),
    "tokenizer": lambda model: model.tokenizer.add_tokens(["xyzzy"]),
    "longest episode": lambda model: model.__setattr__("context_length", 400),
    "history": lambda model: model.__setattr__("decoding", replace(model.decoding, history="turn")),
}


@pytest.mark.parametrize("what", [*OTHER_RUNS, *OTHER_PLAYERS])
def test_samples_of_another_set_up_are_refused(
    model: LanguageModel, config: TrainConfig, tmp_path: Path, what: str
) -> None:
    model = LanguageModel(model.model, type(model.tokenizer).from_pretrained(saved_tokenizer(model, tmp_path)))
    ValueStore(tmp_path / "values.sqlite", store_fingerprint(model, Rollouts.of(config))).close()
    ValueStore(tmp_path / "values.sqlite", store_fingerprint(model, Rollouts.of(config))).close()
    if what in OTHER_RUNS:
        config = OTHER_RUNS[what](config)
    else:
        OTHER_PLAYERS[what](model)
    with pytest.raises(ValueStoreMismatch, match=f"{what} is "):
        ValueStore(tmp_path / "values.sqlite", store_fingerprint(model, Rollouts.of(config)))


def test_a_store_is_of_what_an_address_leads_to(
    model: LanguageModel, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrozenLakeEnv, "defining_arguments", lambda arguments: {"lake": len(arguments["address"])})
    found = []
    for address in ("a", "b", "cc"):
        elsewhere = replace(config, env=replace(config.env, kwargs={"address": address}))
        monkeypatch.setattr(Rollouts, "turn_limit", 10)
        found.append(store_fingerprint(model, Rollouts.of(elsewhere))["environment arguments"])
    assert found == ["[('lake', 1)]", "[('lake', 1)]", "[('lake', 2)]"]


def test_runs_of_other_seeds_play_other_episodes_that_can_be_merged(
    model: LanguageModel, config: TrainConfig, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{seed}.sqlite" for seed in (0, 1)]
    configs = [replace(config, run=replace(config.run, seed=seed)) for seed in (0, 1)]
    rows = [fill(path, model, of_seed)[1] for path, of_seed in zip(paths, configs, strict=True)]
    played = [{(row["instance"], row["seed"]) for row in held["episodes"]} for held in rows]
    assert rows[0]["fingerprint"] == rows[1]["fingerprint"] and not played[0] & played[1]
    with ValueStore(paths[0], store_fingerprint(model, Rollouts.of(configs[0]))) as store:
        assert (store.merge(paths[1]), store.merge(paths[1])) == (64, 0)
        assert store.summary().episodes == sum(store.counts().values()) == 128
        assert (estimate(store, StageOneSetup.of(config)).counts > 3).all()
        assert list(sample_reference(model, store, StageOneSetup.of(config), SilentProgress())) == []


@pytest.mark.parametrize("stop_after", [21, 51])
def test_what_was_merged_into_an_unfinished_stage_one_is_not_asked_for_again(
    model: LanguageModel, config: TrainConfig, tmp_path: Path, stop_after: int
) -> None:
    paths = [tmp_path / f"{name}.sqlite" for name in ("one", "two")]
    other = replace(config, run=replace(config.run, seed=1))
    for path, of_run, stop in zip(paths, (config, other), (stop_after, 20), strict=True):
        with pytest.raises(KeyboardInterrupt):
            fill(path, model, of_run, stop)
    with ValueStore(paths[0], store_fingerprint(model, Rollouts.of(config))) as store:
        assert store.merge(paths[1]) == 20
    _, rows = fill(paths[0], model, config)
    counts = Counter(row["instance"] for row in rows["episodes"])
    # Both have played the first ten instances twice; with the others that makes 68, so none is left of the extra ones.
    assert counts == {index: 4 if index < 10 else 2 for index in range(24)}


def saved_tokenizer(model: LanguageModel, folder: Path) -> Path:
    model.tokenizer.save_pretrained(folder / "tokenizer")
    return folder / "tokenizer"


def test_the_estimator_may_change_without_new_samples(
    model: LanguageModel, config: TrainConfig, tmp_path: Path
) -> None:
    fill(tmp_path / "values.sqlite", model, config)
    warmer = replace(config, values=replace(config.values, beta_value=0.1, prior_strength=3.0))
    with ValueStore(tmp_path / "values.sqlite", store_fingerprint(model, Rollouts.of(warmer))) as store:
        assert list(sample_reference(model, store, StageOneSetup.of(warmer), SilentProgress())) == []
        assert (
            estimate(store, StageOneSetup.of(warmer)).values != estimate(store, StageOneSetup.of(config)).values
        ).any()


def test_seeds_are_a_function_of_run_instance_and_sample() -> None:
    seeds = [sample_seed(run, i, k) for run in range(3) for i in range(20) for k in range(5)]
    assert len(set(seeds)) == len(seeds)
    assert seeds == [sample_seed(run, i, k) for run in range(3) for i in range(20) for k in range(5)]


def test_a_failing_environment_costs_its_own_samples(
    model: LanguageModel, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = FrozenLakeEnv._begin

    def broken(self: FrozenLakeEnv, split: Any, index: int) -> None:
        if index == 3:
            raise RuntimeError("the ice machine is out of order")
        begin(self, split, index)

    monkeypatch.setattr(FrozenLakeEnv, "_begin", broken)
    blocks, rows = fill(tmp_path / "values.sqlite", model, config)
    assert sum(block["errors"] for block in blocks) == 2
    assert sorted({row["instance"] for row in rows["episodes"]}) == [i for i in range(24) if i != 3]
    assert len(rows["episodes"]) == 64  # the extra samples make up for what is missing


def test_a_context_without_room_for_a_reply_is_refused_and_nothing_is_stored(
    model: LanguageModel, config: TrainConfig, tmp_path: Path
) -> None:
    model.context_length = 12
    with pytest.raises(PlayError, match=r"no first observation leaves room for a reply of 4 tokens in a context of 12"):
        fill(tmp_path / "values.sqlite", model, config)
    with ValueStore(tmp_path / "values.sqlite", None) as store:
        assert store.summary().episodes == 0


def test_an_environment_that_pays_more_than_it_says_is_reported(
    model: LanguageModel, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = FrozenLakeEnv._play
    monkeypatch.setattr(FrozenLakeEnv, "_play", lambda self, action: (7.0, *play(self, action)[1:]))
    with pytest.raises(PlayError, match=r"outside the reward range 0 to 1"):
        fill(tmp_path / "values.sqlite", model, config)


def test_an_environment_that_always_fails_is_reported(
    model: LanguageModel, config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: FrozenLakeEnv, split: Any, index: int) -> None:
        raise RuntimeError("the ice machine is out of order")

    monkeypatch.setattr(FrozenLakeEnv, "_begin", broken)
    with pytest.raises(PlayError, match=r"every reference episode ended in an error.*out of order"):
        fill(tmp_path / "values.sqlite", model, config)
