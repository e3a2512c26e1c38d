"""Configurations as TOML: written whole, read strictly, and of another version only what says who plays what."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym._version import __version__
from turngym.trainers.config import (
    AstarpoConfig,
    ConfigError,
    CurriculumConfig,
    EnvConfig,
    GrpoConfig,
    LearningConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
    ValueConfig,
    algorithm_names,
    parse_known,
    parse_toml,
    sections,
    with_algorithm,
    write_toml,
    written_by,
)
from turngym.trainers.config.toml import toml_value


@pytest.mark.parametrize("name", algorithm_names())
def test_every_algorithm_is_read_back_as_written(name: str) -> None:
    config = with_algorithm(TrainConfig(), name)
    assert parse_toml(write_toml(config), source="itself") == config


def test_every_setting_that_is_not_none_is_named() -> None:
    config = TrainConfig(values=ValueConfig(prior_strength=2.0), learning=LearningConfig(max_tokens=5000))
    tables = tomllib.loads(write_toml(config))
    assert tables.pop("version") == __version__
    assert tables["objective"].pop("name") == "astarpo"
    expected = {
        name: {part.name for part in fields(section) if getattr(section, part.name) is not None}
        for name, section in sections(config).items()
    }
    assert {name: set(table) for name, table in tables.items()} == expected
    assert (tables["values"]["prior_strength"], tables["learning"]["max_tokens"]) == (2.0, 5000)


def test_settings_that_are_not_named_keep_their_defaults() -> None:
    assert parse_toml("", source="here") == TrainConfig()
    config = parse_toml("[run]\nseed = 5\n[objective]\nbeta = 1\n", source="here")
    assert config == TrainConfig(run=RunConfig(seed=5), objective=AstarpoConfig(beta=1.0))
    assert isinstance(config.objective, AstarpoConfig) and isinstance(config.objective.beta, float)
    grpo = parse_toml("objective = {name = 'grpo', kl_coef = 0.5}", source="here")
    assert grpo.objective == GrpoConfig(kl_coef=0.5)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(
    kwargs=st.dictionaries(st.sampled_from(["size", "a b", "ü", ""]) | texts, values, max_size=3),
    words=st.tuples(texts, texts, texts),
    beta=st.floats(1e-12, 1e12),
    beta_value=st.floats(1e-12, 1e12) | st.sampled_from([0.0, math.inf]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_configuration_is_read_back_as_written(
    kwargs: dict[str, Any], words: tuple[str, str, str], beta: float, beta_value: float, seed: int
) -> None:
    config = TrainConfig(
        env=EnvConfig(id=words[0], kwargs=kwargs),
        model=ModelConfig(path=words[1]),
        values=ValueConfig(beta_value=beta_value, explorer_models=[words[2], ""]),
        objective=AstarpoConfig(beta=beta),
        curriculum=CurriculumConfig(levels=[kwargs, {}]),
        run=RunConfig(name=words[2], seed=seed),
    )
    text = write_toml(config)
    assert parse_toml(text, source="itself") == config
    assert write_toml(parse_toml(text, source="itself")) == text


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[run", "here is not valid TOML: "),
        (f"[run]\nseed = {'1' * 5000}", "here is not valid TOML: "),
        ("[runn]", "there is no section 'runn'; did you mean 'run'?"),
        ("[astarpo]", "there is no section 'astarpo'"),
        ("[run]\nsede = 1", "there is no setting 'run.sede'; did you mean 'seed'?"),
        ("[run]\nseed = 'one'", "run.seed must be a whole number, got 'one'"),
        ("[run]\nseed = true", "run.seed must be a whole number, got True"),
        ("[run]\nseed = 1.0", "run.seed must be a whole number, got 1.0"),
        ("[run]\nname = 3", "run.name must be a text, got 3"),
        ("[run]\ntrackers = ['wand']", "run.trackers must be one of 'tensorboard', 'wandb', got 'wand'"),
        ("[objective]\nbeta = 'low'", "objective.beta must be a number, got 'low'"),
        ("[objective]\nbeta = nan", "objective.beta must be above 0, got nan"),
        ("[objective]\nname = 'grppo'", "there is no objective 'grppo'; did you mean 'grpo'?"),
        ("[objective]\nname = 3", "objective.name must be a text, got 3"),
        ("[objective]\nname = 'grpo'\nbeta = 1", "grpo does not read objective.beta; astarpo"),
        ("[objective]\nname = 'grpo'\n[values]\nsamples = 2", "values.samples is not read: grpo does without stage 1"),
        ("[warm_start]\nenabled = 1", "warm_start.enabled must be true or false, got 1"),
        ("[values]\nexplorer_temperatures = 2.0", "values.explorer_temperatures must be a list, got 2.0"),
        ("[values]\nexplorer_temperatures = [2, 'hot']", "values.explorer_temperatures must be a number, got 'hot'"),
        ("[env]\nkwargs = 3", "env.kwargs must be a table, got 3"),
        ("[curriculum]\nlevels = {size = 3}", "curriculum.levels must be a list, got {'size': 3}"),
        ("[curriculum]\nlevels = [3]", "curriculum.levels must be a table, got 3"),
        ("run = 3", "run is a section, not the value 3"),
        ("objective = 'grpo'", "objective is a section, not the value 'grpo'"),
        (f"[learning]\nlearning_rate = 1{'0' * 400}", "learning.learning_rate must be at least 0 and finite, got inf"),
    ],
)
def test_errors_name_the_place_in_the_file(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_toml(text, source="here")
    assert str(refusal.value).startswith("here") and part in str(refusal.value)
    assert "\n" not in str(refusal.value)


TOML = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.floats() | st.just(10**400) | st.text("a\n", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "size"]), inner, max_size=2),
    max_leaves=3,
)
NAMES = [(name, part.name) for name, section in sections(TrainConfig()).items() for part in fields(section)]


@given(setting=st.sampled_from(NAMES), value=TOML)
def test_any_value_is_read_or_refused_in_one_sentence(setting: tuple[str, str], value: Any) -> None:
    section, name = setting
    try:
        config = parse_toml(f"[{section}]\n{name} = {toml_value(value, name)}\n", source="here")
    except ConfigError as error:
        assert re.fullmatch("here: .*", str(error))  # noqa: PT017 - both outcomes are right
    else:
        assert parse_toml(write_toml(config), source="itself") == config


def test_a_null_cannot_be_written() -> None:
    with pytest.raises(ConfigError, match=r"env\.kwargs holds None, which a configuration cannot hold; leave it out"):
        write_toml(TrainConfig(env=EnvConfig(kwargs={"action_budget": None})))


# Other versions ---------------------------------------------------------------------------------------------------

EARLIER = """
[env]
id = "turngym/FrozenLake-v0"
kwargs = {size = 3}
step_timeout = 0.0
patience = 3

[model]
hidden_size = 32
heads = 2
feedforward_size = 64

[astarpo]
objective = "grpo"

[run]
sede = 1
"""


def test_a_file_of_any_version_is_read_as_far_as_it_is_known() -> None:
    for text in (EARLIER, f'version = "0.0.1"\n{EARLIER}', f'version = "{__version__}"\n{EARLIER}'):
        config, passed_over = parse_known(text, source="here")
        assert config.env == EnvConfig(kwargs={"size": 3}) and config.model == ModelConfig(hidden_size=32, heads=2)
        assert replace(config, env=EnvConfig(), model=ModelConfig()) == TrainConfig()
        assert sorted(passed_over) == [
            "astarpo",
            "env.patience",
            "env.step_timeout",
            "model.feedforward_size",
            "run.sede",
        ]
        with pytest.raises(ConfigError, match="there is no "):
            parse_toml(text, source="here")


def test_a_file_of_this_version_is_known_as_a_whole() -> None:
    config = TrainConfig(run=RunConfig(seed=3), env=EnvConfig(step_timeout=2.0))
    config = replace(config, learning=replace(config.learning, temperature_final=0.3))
    assert parse_known(write_toml(config), source="here") == (config, [])


def test_what_does_not_go_together_is_passed_over() -> None:
    config, passed_over = parse_known("[learning]\nbatch_size = 30\n[objective]\nname = 'grpo'\ngroup_size = 16",
                                      source="here")  # fmt: skip
    assert passed_over == ["objective"] and config.learning.batch_size == 30
    assert parse_known("[objective]\nname = 'unheard of'", source="here") == (TrainConfig(), ["objective"])
    assert parse_known("[model]\nheads = 5\nlayers = 2", source="here")[1] == ["model.heads"]
    assert parse_known("model = 'path'", source="here") == (TrainConfig(), ["model"])


@pytest.mark.parametrize("text", ["env = 3", "[env]\nid = 3", "[env]\nkwargs = 3", "[env"])
def test_an_environment_that_cannot_be_told_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^here"):
        parse_known(text, source="here")


def test_a_file_names_the_version_that_wrote_it() -> None:
    assert written_by(write_toml(TrainConfig()), source="here") == f"turngym {__version__}"
    assert written_by('version = "0.0.1"', source="here") == "turngym 0.0.1"
    assert written_by(EARLIER, source="here") == "an earlier version"
    with pytest.raises(ConfigError, match="here is not valid TOML"):
        written_by("[env", source="here")
