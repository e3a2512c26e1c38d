"""`values`: what is said of a run's value store, and of what is no such run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from turngym.agents.episode import Episode, Turn
from turngym.agents.evaluation import instance_range
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import RandomAgent
from turngym.cli import main
from turngym.cli.values import STORE_FILE
from turngym.trainers.config import EnvConfig, ShapingConfig, TrainConfig, with_algorithm, write_toml
from turngym.trainers.launch.run_folder import run_config
from turngym.trainers.live.changes import Change, write_changes
from turngym.trainers.reporting.metrics import Metrics
from turngym.trainers.rollouts import Rollouts
from turngym.trainers.run_files import CONFIG_FILE, LIVE_CHANGES_FILE, store_name
from turngym.trainers.stage_one.store import ValueStore
from turngym.trainers.stage_one.store_rows import REFERENCE

FINGERPRINT = {"reference weights": "ab" * 32, "environment": "lake", "temperature": "\x1b[31m1.0"}


def made_run(folder: Path, env_id: str = "turngym/FrozenLake-v0", *, samples: int = 12, **env_kwargs: Any) -> Path:
    """Return the folder of a run whose reference played at random."""
    config = replace(TrainConfig(), env=EnvConfig(id=env_id, kwargs=env_kwargs))
    (folder / CONFIG_FILE).write_text(write_toml(config), encoding="utf-8")
    with ValueStore(folder / STORE_FILE, FINGERPRINT) as store:
        for seed in range(samples):
            instances = instance_range("train", 4, seed=seed)
            store.add(collect_episodes(RandomAgent(), env_id, instances, env_kwargs=env_kwargs))
    return folder


def table_row(out: str, name: str) -> list[float]:
    """Return the numbers of a table's row."""
    (line,) = [line for line in out.splitlines() if line.startswith(f"{name}  ")]
    return [float(word) for word in line.removeprefix(name).split()]


def test_a_temperature_that_was_set_live_is_the_one_in_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_run(tmp_path, size=2, max_episode_steps=4)
    write_changes(folder / LIVE_CHANGES_FILE, [Change(step=3, rollbacks=0, values={"values.beta_value": 0.125})])
    assert main(["values", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Over instances, at temperature 0.125")
    assert "The temperature is 0.125 times the reward range, as set live in place of values.beta_value 0.5." in out
    assert main(["values", str(folder), "--beta-value", "0.125"]) == 0
    given = capsys.readouterr().out
    assert table_row(given, "V*") == table_row(out, "V*") and "set live" not in given


def test_at_temperature_0_the_value_is_the_largest_return(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_run(tmp_path, size=2, max_episode_steps=4)
    rows = {}
    for beta in ("0", "0.0001"):
        assert main(["values", str(folder), "--beta-value", beta]) == 0
        out = capsys.readouterr().out
        rows[beta] = table_row(out, "V^E")
        assert ("Over instances, at temperature 0: V* is the largest return " in out) == (beta == "0")
    assert rows["0"] == [1.0] * 6 and rows["0.0001"] == pytest.approx(rows["0"], abs=0.001)  # all are solved at times


def test_a_game_of_skill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_run(tmp_path, size=2, max_episode_steps=4)
    assert main(["values", str(folder)]) == 0
    captured = capsys.readouterr()
    out = captured.out
    assert captured.err == "" and "\x1b" not in out and "\\u{1b}[31m1.0" in out
    assert out.startswith("Over instances, at temperature 0.5")
    assert out.splitlines()[-2] == "Made with: environment lake, temperature \\u{1b}[31m1.0."
    assert out.splitlines()[-1] == f"Digests: reference weights {'ab' * 6}."
    assert "48 episodes of 4 instances (train split)" in out and "at temperature 0.5" in out
    value, mean, optimistic = (np.array(table_row(out, name)) for name in ("V*", "mean return", "V^E"))
    assert (mean <= optimistic).all() and mean[0] < value[0] <= 1
    assert table_row(out, "samples") == [12.0] * 6
    assert "chance 0.0%" in out
    assert "mean over starts): 0.0000." in out
    assert "Values of states: use log-mean-exp. All " in out and "the same outcome each time." in out
    assert "top_p): most of it is choice." in out


def test_a_store_of_shaped_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_run(tmp_path, size=2, max_episode_steps=4, samples=0)
    config = replace(run_config(folder), shaping=ShapingConfig(step_cost=0.5))
    (folder / CONFIG_FILE).write_text(write_toml(config), encoding="utf-8")
    with ValueStore(folder / STORE_FILE, FINGERPRINT) as store:
        store.add(Rollouts.of(config).play(RandomAgent(), instance_range("train", 20), shaped=True))
    assert main(["values", str(folder)]) == 0
    out = capsys.readouterr().out
    assert table_row(out, "mean shaped return")[1] < 0, "returns below the range of the game itself"
    assert "at temperature 0.5" in out, "its unit is the unshaped range"


def test_the_return_of_the_task_is_told_apart_from_the_shaped_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the games are won, each costs a quarter."""
    folder = made_run(tmp_path, size=2, samples=0)

    def said(shaping: ShapingConfig, paid: float) -> str:
        config = run_config(folder)
        config = replace(config, shaping=shaping, learning=replace(config.learning, reset_every=10))
        (folder / CONFIG_FILE).write_text(write_toml(config), encoding="utf-8")
        for number, wins in ((1, 2), (2, 3)):
            (folder / store_name(number)).unlink(missing_ok=True)
            with ValueStore(folder / store_name(number), FINGERPRINT) as store:
                episodes = [won_or_lost(seed, won=seed < wins) for seed in range(4)]
                for episode in episodes:
                    episode.turns[0].reward -= paid
                store.add(episodes)
        assert main(["values", str(folder)]) == 0
        return capsys.readouterr().out

    (folder / "checkpoints" / "step-000010").mkdir(parents=True)
    Metrics(folder / "metrics.jsonl").add("learning", {"step": 10, "beta": 1.0})
    out = said(ShapingConfig(step_cost=0.25), 0.25)
    assert "success 0.500, mean task return 0.500, mean shaped return 0.250. The prior" in out
    assert "\n[shaping] adds to the rewards" in out
    assert table_row(out, "mean shaped return") == [0.25] * 6 and "Variance of the shaped returns" in out
    assert "Rounds, V* of shaped returns" in out and "task return   shaped" in out
    assert table_row(out, "round 2")[:4] == [4, 0.75, 0.75, 0.5]
    out = said(ShapingConfig(), 0.0)
    assert "success 0.500, mean return 0.500. The" in out and "shap" not in out and "task" not in out
    assert table_row(out, "round 2")[:3] == [4, 0.75, 0.75]


def test_a_run_of_another_version_is_shown_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_run(tmp_path, size=2)
    text = (folder / CONFIG_FILE).read_text(encoding="utf-8").replace("[values]", "[values]\nold_setting = 3")
    (folder / CONFIG_FILE).write_text(text.replace('version = "', 'version = "9.'), encoding="utf-8")
    assert main(["values", str(folder)]) == 0
    captured = capsys.readouterr()
    assert "48 episodes of 4 instances" in captured.out
    assert captured.err.startswith(f"turngym: warning: {folder / CONFIG_FILE}, by turngym 9.")
    assert "cannot use: values.old_setting; they are passed over" in captured.err and captured.err.count("\n") == 1


def test_a_game_of_chance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_run(tmp_path, "turngym/FrozenLakeSlippery-v0", size=2, frozen_probability=1.0, samples=40)
    assert main(["values", str(folder), "--beta-value", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "at temperature 0.1" in out
    assert "Values of states: use soft value iteration. Chance makes " in out
    index = float(out.partition("mean over starts): ")[2].splitlines()[0].rstrip("."))
    assert 0.01 < index < 0.5


def explored(folder: Path, env_id: str, log_ratio: float, **env_kwargs: Any) -> None:
    """Let an explorer play at random, half of whose replies the reference gives less often."""
    with ValueStore(folder / STORE_FILE, FINGERPRINT) as store:
        for seed in range(100, 140):
            instances = instance_range("train", 4, seed=seed)
            episodes = collect_episodes(RandomAgent(), env_id, instances, env_kwargs=env_kwargs)
            for turn in (turn for episode in episodes for turn in episode.turns):
                turn.logprobs = [-1.0]
            scores = [[-1.0 + log_ratio * (turn.action in ("left", "up")) for turn in episode.turns]
                      for episode in episodes]  # fmt: skip
            store.add(episodes, "temperature 2.0\x1b", scores)


def test_explorers_are_shown_with_what_their_turns_are_worth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_id, kwargs = "turngym/FrozenLake-v0", {"size": 2, "max_episode_steps": 4}
    folder = made_run(tmp_path, env_id, **kwargs)
    assert main(["values", str(folder)]) == 0
    before = capsys.readouterr().out
    explored(folder, env_id, -1.0, **kwargs)
    assert main(["values", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(before.partition("Made with: ")[0]) and "\x1b" not in out and "Who played" not in before
    episodes, _, turns, effective = table_row(out, "reference")
    assert (episodes, turns) == (48, effective)
    episodes, _, turns, effective = table_row(out, "temperature 2.0\\u{1b}")
    assert episodes == 160 and 0.6 * turns < effective < 0.9 * turns
    alone, pooled = (float(out.partition("mean over starts: ")[2].split()[place]) for place in (0, 6))
    assert 0 < alone < 1 and 0 < pooled < 1 and alone != pooled


def won_or_lost(seed: int, *, won: bool) -> Episode:
    """Return an episode of one turn, decided by the reply."""
    turn = Turn(observation="", action="right" if won else "left", reward=float(won), task_reward=float(won),
                state_key="start|1", potential=0.0, valid=True)  # fmt: skip
    return Episode(env_id="turngym/FrozenLake-v0", split="train", index=0, seed=seed, turns=[turn], success=won)


def test_the_rounds_of_a_run_are_shown_with_their_composed_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each as often won as the optimum of the round before, at temperatures that make the odds 1/4, 1/2 and 7/8."""
    folder = made_run(tmp_path, size=2, samples=0)
    config = run_config(folder)
    config = replace(config, learning=replace(config.learning, reset_every=10),
                     values=replace(config.values, prior_strength=0.0))  # fmt: skip
    (folder / CONFIG_FILE).write_text(write_toml(config), encoding="utf-8")

    def play_round(number: int, wins: int, games: int) -> None:
        (folder / "checkpoints" / f"step-{10 * (number - 1):06d}").mkdir(parents=True)
        with ValueStore(folder / store_name(number), FINGERPRINT) as store:
            store.add([won_or_lost(seed, won=seed < wins) for seed in range(games)])

    def said() -> str:
        assert main(["values", str(folder), "--beta-value", "0.5"]) == 0
        return capsys.readouterr().out

    play_round(1, 1, 4)
    ValueStore(folder / store_name(2), FINGERPRINT).close()  # its stage 1 has only begun
    before = said()
    assert "Rounds" not in before and "metrics.jsonl" not in before
    play_round(2, 1, 2)
    out = said()
    assert (
        out.startswith(before.partition("Made with: ")[0])
        and "Rounds" not in out
        and "metrics.jsonl does not tell" in out
    )
    metrics = Metrics(folder / "metrics.jsonl")
    metrics.add("learning", {"step": 8, "beta": "damaged"})
    for step, beta in ((9, 5.0), (10, 1 / np.log(3)), (11, 4.0), (20, 1 / np.log(7))):
        metrics.add("learning", {"step": step, "beta": beta})
    out = said()
    # log E_ref exp(R / b) is log 6/4 with odds 1/4 at exp(1 / b) = 3, log 8/2 with odds 1/2 at 7.
    first = [1 / np.log(3), np.log(6 / 4) / np.log(3)]
    assert table_row(out, "round 1") == pytest.approx([4, 0.25, 0.25, *first, *first], abs=1e-3)
    second = [1 / np.log(7), np.log(4) / np.log(7)]
    # With odds 1/4 at the temperature where exp(1 / b) = 3 * 7 it is log 24/4.
    both = [1 / np.log(21), np.log(24 / 4) / np.log(21)]
    assert table_row(out, "round 2") == pytest.approx([2, 0.5, 0.5, *second, *both], abs=1e-3)
    play_round(3, 7, 8)  # its first step is still to come
    third = [1 / np.log(7), np.log(1 / 8 + 7 * 7 / 8) / np.log(7)]
    all_three = [1 / np.log(147), np.log(150 / 4) / np.log(147)]
    assert table_row(said(), "round 3") == pytest.approx([8, 0.875, 0.875, *third, *all_three], abs=1e-3)
    (folder / "checkpoints" / "step-000020").rename(folder / "checkpoints" / "step-000015")  # learning was rolled back
    assert said() == out
    (folder / store_name(2)).unlink()
    out = said()
    assert "values-2.sqlite is missing, though its round has begun to learn" in out and "Rounds" not in out


def test_a_game_without_turn_limit_has_no_values_of_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_run(tmp_path, size=2, samples=1)
    with ValueStore(folder / STORE_FILE, FINGERPRINT) as store:
        (episode,) = collect_episodes(RandomAgent(), "turngym/FrozenLake-v0", instance_range("train", 1, seed=9))
        episode.turns = [replace(episode.turns[0], state_key="s|inf"), replace(episode.turns[0], state_key="s|inf")]
        store.add([episode])
    assert main(["values", str(folder)]) == 0
    assert "States have no values: the state 's|inf' occurs at turn 0 and at turn 1" in capsys.readouterr().out


def test_what_is_no_run_with_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> str:
        assert main(["values", *words]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("turngym: ") and captured.err.count("\n") == 1
        return captured.err

    assert "there is no folder" in said(str(tmp_path / "absent"))
    assert "is no run: it has no config.toml" in said(str(tmp_path))
    (tmp_path / CONFIG_FILE).write_text(write_toml(TrainConfig()), encoding="utf-8")
    assert f"stage 1 has not begun; continue it with: turngym train --resume {tmp_path}" in said(str(tmp_path))
    (tmp_path / CONFIG_FILE).write_text(write_toml(with_algorithm(TrainConfig(), "grpo")), encoding="utf-8")
    assert f"the run {tmp_path} has no values: grpo does without stage 1 here" in said(str(tmp_path))
    (tmp_path / CONFIG_FILE).write_text(write_toml(TrainConfig()), encoding="utf-8")
    ValueStore(tmp_path / STORE_FILE, {}).close()
    assert "holds no episode of the train split" in said(str(tmp_path))
    assert "--beta-value must be a number of at least 0, got -1.0" in said(str(tmp_path), "--beta-value", "-1")
    assert "--beta-value must be a number of at least 0, got nan" in said(str(tmp_path), "--beta-value", "nan")
    (tmp_path / STORE_FILE).write_bytes(b"no database, but a text of some length" * 99)
    assert "is not a usable value store" in said(str(tmp_path))
    assert "values needs RUN" in said()


def test_returns_beyond_the_reward_range_are_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made_run(tmp_path, size=2, samples=1)
    with ValueStore(folder / STORE_FILE, FINGERPRINT) as store:
        (episode,) = collect_episodes(RandomAgent(), "turngym/FrozenLake-v0", instance_range("train", 1, seed=9))
        episode.turns[0].reward = 7.0
        store.add([episode])
    assert main(["values", str(folder)]) == 2
    assert "the values cannot be estimated: instance 0 has returns" in capsys.readouterr().err


# Merging ------------------------------------------------------------------------------------------------------------


def episodes_of(path: Path, behaviour: str = REFERENCE) -> int:
    with ValueStore(path, None) as store:
        return store.summary(behaviour=behaviour).episodes


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Return two runs of one reference, of which the second has explored too."""
    env_id, kwargs = "turngym/FrozenLake-v0", {"size": 2, "max_episode_steps": 4}
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
        made_run(folder, env_id, samples=3, **kwargs)
    with ValueStore(folders[1] / STORE_FILE, FINGERPRINT) as store:
        instances = instance_range("train", 4, seed=9)
        store.add(collect_episodes(RandomAgent(), env_id, instances, env_kwargs=kwargs))
    explored(folders[1], env_id, -1.0, **kwargs)
    return folders


def test_episodes_of_other_runs_are_merged_once(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = runs
    alone = tmp_path / "alone.sqlite"
    with ValueStore(alone, FINGERPRINT) as store:
        store.add([won_or_lost(77, won=True)])
    assert main(["values", str(one), "--merge", str(two), str(alone)]) == 0
    out = capsys.readouterr().out
    assert f"{two / STORE_FILE}: 164 new episodes merged.\n{alone}: 1 new episodes merged.\n" in out
    assert "17 episodes of 4 instances" in out and "Who played" in out
    assert episodes_of(one / STORE_FILE) == 17 and episodes_of(one / STORE_FILE, "temperature 2.0\x1b") == 160
    assert episodes_of(two / STORE_FILE) == 16 and episodes_of(alone) == 1, "the others stay as they are"
    assert main(["values", str(one), "--merge", str(two), str(alone), str(one)]) == 0
    assert capsys.readouterr().out.count(": 0 new episodes merged.") == 3
    assert episodes_of(one / STORE_FILE) == 17


@pytest.mark.parametrize("what", [*FINGERPRINT, "reward shaping"])
def test_a_store_of_another_set_up_is_not_merged(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    with ValueStore(tmp_path / "other.sqlite", {**FINGERPRINT, what: "other"}) as store:
        store.add([won_or_lost(77, won=True)])
    assert main(["values", str(runs[0]), "--merge", str(tmp_path / "other.sqlite")]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and f"another set-up: {what} is 'other' there, " in captured.err
    assert episodes_of(runs[0] / STORE_FILE) == 12


def test_what_is_no_store_is_not_merged(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("no database, but a text of some length" * 99, encoding="utf-8")
    (tmp_path / "folder").mkdir()
    for name, message in (("absent", "there is no value store"), ("text", "is not a usable value store"),
                          ("folder", "there is no value store")):  # fmt: skip
        assert main(["values", str(runs[0]), "--merge", str(tmp_path / name)]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and message in captured.err and str(tmp_path / name) in captured.err
    assert episodes_of(runs[0] / STORE_FILE) == 12


def test_nothing_is_merged_into_a_run_that_learns(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (runs[0] / "checkpoints" / "step-000002").mkdir(parents=True)
    assert main(["values", str(runs[0]), "--merge", str(runs[1])]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "stage 2 of the run" in captured.err and "merge into a run without" in captured.err
    assert episodes_of(runs[0] / STORE_FILE) == 12
    assert main(["values", str(runs[0])]) == 0
