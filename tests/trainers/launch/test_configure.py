"""From names to a configuration: preset, algorithm and single settings in their order, checked before anything runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from turngym._errors import InputError
from turngym.plugins import import_requested
from turngym.trainers.config import (
    AstarpoConfig,
    CurriculumConfig,
    EnvConfig,
    ModelConfig,
    Overrides,
    PpoConfig,
    ShapingConfig,
    TrainConfig,
    ValueConfig,
    WarmStartConfig,
)
from turngym.trainers.launch.configure import check_game, configure, named, starting_point, with_folders
from turngym.trainers.launch.presets import load_preset

OWN = """
[env]
id = "turngym/FrozenLakeSlippery-v0"
kwargs = {size = 3}
[objective]
name = "ppo"
kl_coef = 0.5
"""


def test_an_environment_begins_from_its_preset() -> None:
    preset = load_preset("frozen_lake")
    config = configure("frozenlake")
    assert config == replace(preset, run=replace(preset.run, name="frozen_lake-seed0"))
    assert configure(preset="frozen_lake") == configure("FrozenLake", preset="frozen_lake") == config


def test_an_environment_without_a_preset_begins_from_the_defaults() -> None:
    config = configure("FrozenLake8x8")
    assert config.env == EnvConfig(id="turngym/FrozenLake8x8-v0") and config.run.name == "FrozenLake8x8-seed0"
    assert config.warm_start == TrainConfig().warm_start and config.objective == AstarpoConfig()


def test_settings_come_over_the_algorithm_which_comes_over_the_preset() -> None:
    config = configure("FrozenLakeSlippery", algorithm="astarpo_lambda", overrides={"objective": {"turn_lambda": 0.8}})
    assert config.objective.name == "astarpo_turn"
    assert vars(config.objective) | {"turn_lambda": 0.8, "baseline": "state_tracker", "beta": 0.02} == vars(
        config.objective
    )
    assert config.run.name == "frozen_lake_slippery-astarpo_lambda-seed0"


def test_overrides_may_be_a_function() -> None:
    def reseed(config: TrainConfig) -> TrainConfig:
        assert config.objective == PpoConfig()
        return replace(config, run=replace(config.run, seed=4))

    assert configure("FrozenLake", algorithm="ppo", overrides=reseed).run.name == "frozen_lake-ppo-seed4"


def test_a_file_may_be_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN)
    config = configure(preset=str(path), overrides={"run": {"seed": 2}})
    assert config.env.kwargs == {"size": 3} and config.objective == PpoConfig(kl_coef=0.5)
    assert config.run.name == "mine-seed2"
    with pytest.raises(InputError, match=r"mine\.toml is for FrozenLakeSlippery, not for FrozenLake: leave one"):
        configure("FrozenLake", preset=str(path))


def test_something_must_be_named() -> None:
    with pytest.raises(InputError, match="name an environment, such as FrozenLake, or a preset"):
        starting_point(None, None)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ({"env": ""}, "name an environment"),
        ({"env": 5}, "the environment must be named by a text, got 5"),
        ({"env": "FrozenLake", "preset": 5}, "the preset must be named by a text, got 5"),
        ({"env": "FrozenLake", "algorithm": 5}, "there is no algorithm 5"),
        ({"preset": "x" * 300}, "cannot be read: File name too long"),
        ({"preset": "a\0.toml"}, "there is no preset"),
        (
            {"env": "FrozenLake", "overrides": {"learning": 5}},
            "learning is a section: give a dict",
        ),
        ({"env": "FrozenLake", "overrides": {"env": {"id": "Nowhere-v7"}}}, "there is no environment 'Nowhere-v7'"),
        ({"env": "FrozenLake", "overrides": {"run": {"imports": ["no_such"]}}}, "there is no module 'no_such'"),
        ({"env": "FrozenLake", "overrides": {"model": {"path": "x" * 300}}}, "cannot be read: File name too long"),
    ],
)
def test_what_names_nothing_is_refused(words: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError, match=re.escape(part)):
        configure(**words)


def test_a_name_that_is_given_stays() -> None:
    config = configure("FrozenLake", overrides={"run": {"name": "mine"}})
    assert config.run.name == "mine" and named(config, stem="other") is config


def test_a_model_may_be_a_run(tmp_path: Path) -> None:
    weights = tmp_path / "run" / "checkpoints" / "step-000009" / "policy"
    weights.mkdir(parents=True)
    (weights / "config.json").write_text("{}")
    run = str(tmp_path / "run")
    config = configure("FrozenLake", overrides={"model": {"path": run}, "values": {"explorer_models": [run]}})
    assert config.model.path == str(weights) and config.values.explorer_models == [str(weights)]
    with pytest.raises(InputError, match="there is no folder nowhere"):
        with_folders(TrainConfig(values=ValueConfig(explorer_models=["nowhere"])))


def test_what_was_imported_is_remembered(own_code: Path) -> None:
    (own_code / "my_tools.py").write_text("")
    import_requested("my_tools")
    assert configure("FrozenLake").run.imports == ["my_tools"]
    assert configure("FrozenLake", overrides={"run": {"imports": ["my_tools"]}}).run.imports == ["my_tools"]


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (TrainConfig(env=EnvConfig(kwargs={"sise": 5})), "no argument 'sise'; did you mean 'size'"),
        (TrainConfig(env=EnvConfig(kwargs={"size": 1000})), r"size must be in \[2, 16\]"),
        (
            TrainConfig(env=EnvConfig(kwargs={"size": 2, "frozen_probability": 1.0, "corners": True})),
            "this family is too small to be split",
        ),
        (TrainConfig(curriculum=CurriculumConfig(levels=[{"sise": 5}])), r"levels\[0\] {'sise': 5} cannot be made"),
        (TrainConfig(shaping=ShapingConfig(potential="hope")), "there is no potential 'hope'"),
    ],
)
def test_a_game_that_cannot_be_played_is_refused(config: TrainConfig, part: str) -> None:
    with pytest.raises(ValueError, match=part) as refusal:
        check_game(config)
    assert "environment creator" not in str(refusal.value)


def test_a_wrong_setting_is_refused_as_input() -> None:
    wrong: list[Overrides] = [{"learning": {"steps": 0}}, {"learnin": {}}, {"curriculum": {"levels": [{"sise": 3}]}}]
    for overrides in wrong:
        with pytest.raises(InputError):
            configure("FrozenLake", overrides=overrides)


def test_files_are_kept_by_their_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a run goes on from any folder; words that only look like files stay as they are."""
    monkeypatch.chdir(tmp_path)
    for name in ("model", "other", "fixed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    config = TrainConfig(
        env=EnvConfig(id="turngym/WebShop-v0", kwargs={"catalogue": "shop.sqlite", "mode": "fixed", "index": ""}),
        model=ModelConfig(path="model"), values=ValueConfig(explorer_models=["other", str(tmp_path / "model")]),
        warm_start=WarmStartConfig(demonstrations="some.jsonl"),
    )  # fmt: skip
    kept = with_folders(config)
    assert kept.env.kwargs == {"catalogue": str(tmp_path / "shop.sqlite"), "mode": "fixed", "index": ""}
    assert kept.model.path == str(tmp_path / "model")
    assert kept.values.explorer_models == [str(tmp_path / "other"), str(tmp_path / "model")]
    assert kept.warm_start.demonstrations == str(tmp_path / "some.jsonl")
    assert with_folders(kept) == kept
