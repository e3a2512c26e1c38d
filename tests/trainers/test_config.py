"""The configuration: frozen, named, documented field by field, and sane by default."""

from __future__ import annotations

import ast
import inspect
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import get_type_hints

import pytest

from turngym.trainers import config
from turngym.trainers.config import AstarpoConfig, TrainConfig
from turngym.trainers.objectives import find_objective

SECTIONS = [kind for _, kind in inspect.getmembers(config, is_dataclass)]


def test_a_run_is_made_of_its_sections() -> None:
    run = TrainConfig()
    assert {type(getattr(run, field.name)) for field in fields(run)} | {TrainConfig} == set(SECTIONS)
    assert TrainConfig() == run


@pytest.mark.parametrize("section", SECTIONS)
def test_nothing_changes_after_it_was_made(section: type) -> None:
    made = section()
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(made)[0].name, None)
    with pytest.raises(TypeError, match="positional"):
        section(1)


def test_every_section_and_every_setting_says_what_it_is() -> None:
    """The text under a setting is its help on the command line."""
    for section in ast.parse(inspect.getsource(config)).body:
        if not isinstance(section, ast.ClassDef):
            continue
        assert ast.get_docstring(section), section.name
        for setting, text in zip(section.body, [*section.body[1:], None], strict=True):
            if isinstance(setting, ast.AnnAssign) and section.name != "TrainConfig":
                assert isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant), ast.unparse(setting)


def test_the_defaults_are_in_range() -> None:
    run = TrainConfig()
    assert 0 < run.warm_start.success_low < run.warm_start.success_high < 1
    assert run.model.hidden_size % (2 * run.model.heads) == 0
    assert run.model.max_reply_tokens < run.model.context_length
    assert 1 <= run.values.samples <= run.values.max_samples
    assert 0 < run.astarpo.beta_final <= run.astarpo.beta
    assert 0 < run.astarpo.final_learning_rate <= run.astarpo.learning_rate
    assert 0 <= run.astarpo.fresh_share <= 1
    assert find_objective(AstarpoConfig().objective).name == "astarpo"


def test_types_are_plain() -> None:
    """So that a configuration can be written as TOML and read back."""
    for section in SECTIONS:
        if section is not TrainConfig:
            kinds = set(get_type_hints(section).values())
            assert all(kind in (str, int, float, bool) or kind.__origin__ in (dict, list) for kind in kinds)
