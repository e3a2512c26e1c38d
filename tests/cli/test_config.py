"""Names of environments, presets, and configurations as TOML."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import turngym.envs
from turngym.cli.config import (
    changed_settings,
    check_values,
    load_preset,
    parse_toml,
    preset_for,
    preset_names,
    read_config,
    write_toml,
)
from turngym.cli.environments import check_env, env_arguments, resolve_env, short_name
from turngym.cli.errors import UsageError
from turngym.envs import env_ids
from turngym.trainers.config import TrainConfig


@pytest.mark.parametrize("env_id", env_ids())
def test_every_environment_answers_to_its_names(env_id: str) -> None:
    name = short_name(env_id)
    assert {resolve_env(word) for word in (env_id, name, name.lower(), name.upper(), f"{name}-v0")} == {env_id}


def test_names_in_other_spellings() -> None:
    assert resolve_env("frozen_lake") == resolve_env("frozen-lake") == "turngym/FrozenLake-v0"
    assert resolve_env("frozenlakesl") == "turngym/FrozenLakeSlippery-v0"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("fozenlake", "did you mean 'FrozenLake'?"),
        ("froz", "could be FrozenLake or FrozenLake8x8"),
        ("FrozenLake-v7", "there is no environment 'FrozenLake-v7'"),
        ("", "there is no environment ''"),
        ("../x", "there is no environment"),
    ],
)
def test_names_that_mean_nothing(name: str, part: str) -> None:
    with pytest.raises(UsageError) as refusal:
        resolve_env(name)
    assert part in str(refusal.value)


def test_arguments_of_an_environment_are_checked_before_anything_runs() -> None:
    assert {"size", "reasoning", "max_episode_steps"} <= set(env_arguments("turngym/FrozenLake-v0") or ())
    check_env("turngym/FrozenLake-v0", {"size": 5, "max_episode_steps": 20})
    with pytest.raises(UsageError, match="no argument 'sise'; did you mean 'size'"):
        check_env("turngym/FrozenLake-v0", {"sise": 5})
    with pytest.raises(UsageError, match="FrozenLake refuses its arguments") as refusal:
        check_env("turngym/FrozenLake-v0", {"size": 1000})
    assert "environment creator" not in str(refusal.value)
    with pytest.raises(UsageError, match="this family is too small to be split"):
        check_env("turngym/FrozenLake-v0", {"size": 2, "frozen_probability": 1.0, "corners": True})


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_sound(name: str) -> None:
    config = load_preset(name)
    assert config.env.id in env_ids()
    check_values(config)
    check_env(config.env.id, config.env.kwargs)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_found_by_its_environment(name: str) -> None:
    assert preset_for(load_preset(name).env.id) == name


def test_not_every_environment_has_a_preset() -> None:
    assert preset_for("turngym/FrozenLake8x8-v0") is None


def test_a_preset_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[run]\nseed = 5\n[astarpo]\nbeta = 1\n")
    config = load_preset(str(path))
    assert config.run.seed == 5 and config.astarpo.beta == 1.0 and isinstance(config.astarpo.beta, float)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_preset(str(tmp_path / "absent.toml"))
    with pytest.raises(UsageError, match="no preset 'frozen_lak'; did you mean 'frozen_lake'"):
        load_preset("frozen_lak")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[run", "is not valid TOML"),
        ("[runn]", "there is no section 'runn'; did you mean 'run'?"),
        ("[run]\nsede = 1", "there is no setting 'run.sede'; did you mean 'seed'?"),
        ("[run]\nseed = 'one'", "run.seed must be a whole number, not 'one'"),
        ("[run]\nseed = true", "run.seed must be a whole number, not True"),
        ("[run]\nseed = 1.0", "run.seed must be a whole number, not 1.0"),
        ("[run]\nname = 3", "run.name must be a text, not 3"),
        ("[astarpo]\nbeta = 'low'", "astarpo.beta must be a number, not 'low'"),
        ("[astarpo]\nbeta = false", "astarpo.beta must be a number, not False"),
        ("[warm_start]\nenabled = 1", "warm_start.enabled must be true or false, not 1"),
        ("[values]\nexplorer_temperatures = 2.0", "explorer_temperatures must be a list of numbers, not 2.0"),
        ("[values]\nexplorer_temperatures = [2, 'hot']", "explorer_temperatures must be a number, not 'hot'"),
        ("[env]\nkwargs = 3", "env.kwargs must be a table, not 3"),
        ("[curriculum]\nlevels = {size = 3}", "curriculum.levels must be a list of tables, not {'size': 3}"),
        ("[curriculum]\nlevels = [3]", "curriculum.levels must be a list of tables, not [3]"),
        ("run = 3", "run is a section, not the value 3"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_place(text: str, part: str) -> None:
    with pytest.raises(UsageError) as refusal:
        parse_toml(text, source="here")
    assert str(refusal.value).startswith("here") and part in str(refusal.value)


def test_a_binary_file_is_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_config(path)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(
    kwargs=st.dictionaries(st.sampled_from(["size", "a b", "ü", ""]), values, max_size=3),
    name=texts,
    beta=st.floats(allow_nan=False),
    seed=st.integers(0, 2**40),
)
def test_a_configuration_survives_toml(kwargs: dict[str, Any], name: str, beta: float, seed: int) -> None:
    config = TrainConfig()
    config = replace(config, env=replace(config.env, kwargs=kwargs), run=replace(config.run, name=name, seed=seed),
                     astarpo=replace(config.astarpo, beta=beta))  # fmt: skip
    config = replace(config, curriculum=replace(config.curriculum, levels=[kwargs, {}]))
    text = write_toml(config)
    assert parse_toml(text, source="itself") == config
    assert write_toml(parse_toml(text, source="itself")) == text


def test_toml_names_every_setting() -> None:
    tables = tomllib.loads(write_toml(TrainConfig()))
    sections = {"env", "shaping", "model", "warm_start", "values", "astarpo", "objectives", "curriculum", "monitors",
                "evaluation", "run"}  # fmt: skip
    assert set(tables) == sections
    assert tables["run"]["rollout_slots"] == TrainConfig().run.rollout_slots


def test_a_null_has_no_place_in_a_configuration() -> None:
    config = TrainConfig()
    with pytest.raises(UsageError, match=r"env\.kwargs holds None"):
        write_toml(replace(config, env=replace(config.env, kwargs={"action_budget": None})))


@pytest.mark.parametrize(
    ("section", "change", "part"),
    [
        ("astarpo", {"beta": 0.0}, "--astarpo.beta must be above 0"),
        ("astarpo", {"beta_final": float("nan")}, "--astarpo.beta-final must be a number"),
        ("astarpo", {"learning_rate": float("inf")}, "--astarpo.learning-rate must be a number"),
        ("astarpo", {"batch_size": 0}, "--astarpo.batch-size must be at least 1"),
        ("astarpo", {"minibatches": 0}, "--astarpo.minibatches must be at least 1"),
        ("shaping", {"step_cost": -0.1}, "--shaping.step-cost must be a number of at least 0"),
        ("objectives", {"turn_lambda": 1.5}, "--objectives.turn-lambda must be at most 1"),
        ("objectives", {"clip_high": -0.1}, "--objectives.clip-high must be a number of at least 0"),
        ("curriculum", {"floor": 1.1}, "--curriculum.floor must be at most 1"),
        ("curriculum", {"memory": 0.0}, "--curriculum.memory must be above 0"),
        ("monitors", {"std_steps": 0}, "--monitors.std-steps must be at least 1"),
        ("monitors", {"rollback_learning_rate": 0.0}, "--monitors.rollback-learning-rate must be above 0"),
        ("monitors", {"grad_norm_memory": 1.5}, "--monitors.grad-norm-memory must be at most 1"),
        ("run", {"seed": -1}, "--run.seed must be a number of at least 0"),
        ("warm_start", {"mistake_rate": -0.1}, "--warm-start.mistake-rate must be"),
    ],
)
def test_numbers_that_no_run_could_use(section: str, change: dict[str, float], part: str) -> None:
    config = TrainConfig()
    config = replace(config, **{section: replace(getattr(config, section), **change)})
    with pytest.raises(UsageError) as refusal:
        check_values(config)
    assert part in str(refusal.value)


def test_defaults_and_the_mean_value_are_usable() -> None:
    config = TrainConfig()
    check_values(config)
    check_values(replace(config, values=replace(config.values, beta_value=float("inf"))))


def test_changes_are_named() -> None:
    config = TrainConfig()
    other = replace(config, run=replace(config.run, seed=1), env=replace(config.env, kwargs={"size": 5}))
    assert changed_settings(config, config) == []
    assert sorted(changed_settings(config, other)) == ["env.kwargs", "run.seed"]


def test_an_environment_whose_package_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "turngym.envs.webshop", raising=False)
    monkeypatch.delattr(turngym.envs, "webshop", raising=False)
    monkeypatch.setitem(sys.modules, "turngym.webshop_server.shop", None)
    with pytest.raises(UsageError, match=r"WebShop needs .*: pip install 'turngym\[webshop\]'"):
        check_env("turngym/WebShop-v0", {})
