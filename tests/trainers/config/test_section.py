"""Sections of a configuration: documented setting by setting, frozen, and checked as soon as they are made."""

from __future__ import annotations

import math
import re
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, get_args, get_origin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turngym.arguments import Count, Index, NonNegative, Positive, PositiveShare, Range, Share, suggestion
from turngym.trainers.config import (
    OBJECTIVE_CONFIGS,
    CurriculumConfig,
    EnvConfig,
    EvaluationConfig,
    LearningConfig,
    ModelConfig,
    MonitorsConfig,
    RunConfig,
    Section,
    TrainConfig,
    ValueConfig,
    WarmStartConfig,
    sections,
)
from turngym.trainers.config.section import (
    LARGEST,
    SMALLEST,
    Temperature,
    checked_setting,
    choices,
    setting_docs,
    setting_types,
)

SECTIONS: list[type[Section]] = [*map(type, sections(TrainConfig()).values()), *OBJECTIVE_CONFIGS.values()]
SETTINGS = [(kind, part.name) for kind in dict.fromkeys(SECTIONS) for part in fields(kind)]
NUMBERS: list[Any] = [Count, Index, Share, PositiveShare, Positive, NonNegative, Temperature]


@dataclass(frozen=True, kw_only=True)
class Made(Section):
    """One setting of every type."""

    section: ClassVar[str] = "made"

    count: Count = 1
    share: Share | None = None
    word: Literal["left", "right"] = "left"
    shares: list[Share] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    table: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    flag: bool = False


# Every section --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SECTIONS)
def test_sections_are_frozen(kind: type[Section]) -> None:
    made = kind()
    assert made == kind() and replace(made) == made
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(made)[0].name, None)
    with pytest.raises(TypeError, match="positional"):
        kind(1)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", SECTIONS)
def test_every_section_and_every_setting_has_a_docstring(kind: type[Section]) -> None:
    """The text under a setting is its help on the command line."""
    assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(")
    docs = setting_docs(kind)
    for part in fields(kind):
        assert docs[part.name].endswith((".", ".)")), part.name


@pytest.mark.parametrize(("kind", "name"), SETTINGS)
def test_every_setting_has_a_type_that_is_checked(kind: type[Section], name: str) -> None:
    """Nothing is an object and nothing a function, so every one is refused by the name of its setting."""
    with pytest.raises(ValueError, match=rf"^{kind.section}\.{name} must be "):
        kind(**{name: object()})


@pytest.mark.parametrize(("kind", "name"), SETTINGS)
def test_every_number_has_a_range(kind: type[Section], name: str) -> None:
    plain = [part for part in (setting_types(kind)[name], *get_args(setting_types(kind)[name])) if part in (int, float)]
    if plain:  # a number without a note, or the number inside of one
        with pytest.raises(ValueError, match=rf"^{kind.section}\.{name} must be "):
            kind(**{name: -math.inf if plain[0] is float else -1})


def test_the_defaults_are_valid() -> None:
    run = TrainConfig()
    assert 0 < run.warm_start.success_low < run.warm_start.success_high < 1
    assert run.model.hidden_size % (2 * run.model.heads) == 0
    assert 0 < run.learning.final_rate <= run.learning.learning_rate
    assert run.learning.final_temperature == run.learning.temperature
    assert run.objective.name == "astarpo" and run.needs_stage_one


# Types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("count", 1.0, "must be a whole number, got 1.0"),
        ("count", True, "must be a whole number, got True"),
        ("count", np.True_, "must be a whole number, got True"),
        ("count", "1", "must be a whole number, got '1'"),
        ("count", None, "must be a whole number, got None"),
        ("count", 0, "must be at least 1, got 0"),
        ("share", "half", "must be a number, got 'half'"),
        ("share", False, "must be a number, got False"),
        ("share", 1.5, "must be in [0, 1], got 1.5"),
        ("share", 1 + 0j, "must be a number, got (1+0j)"),
        ("word", "lift", "must be one of 'left', 'right', got 'lift'; did you mean 'left'?"),
        ("word", 3, "must be one of 'left', 'right', got 3"),
        ("word", None, "must be one of 'left', 'right', got None"),
        ("shares", 0.5, "must be a list, got 0.5"),
        ("shares", "0.5", "must be a list, got '0.5'"),
        ("shares", [0.5, 2], "must be in [0, 1], got 2.0"),
        ("shares", [0.5, "hot"], "must be a number, got 'hot'"),
        ("tables", {"size": 3}, "must be a list, got {'size': 3}"),
        ("tables", [3], "must be a table, got 3"),
        ("table", [], "must be a table, got []"),
        ("text", 3, "must be a text, got 3"),
        ("text", None, "must be a text, got None"),
        ("text", "a\0", "must be a text without null characters and halves of others, got 'a\\x00'"),
        ("text", "\ud800", "must be a text without null characters and halves of others, got '\\ud800'"),
        ("table", {"a": ["\ud800"]}, "must be a text without null characters and halves of others, got '\\ud800'"),
        ("flag", 1, "must be true or false, got 1"),
        ("flag", "yes", "must be true or false, got 'yes'"),
    ],
)
def test_values_of_another_type_are_refused_by_name(name: str, value: object, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'made.{name} {reason}')}$"):
        Made(**{name: value})  # type: ignore[arg-type]


def test_lists_and_tables_are_copied() -> None:
    levels: list[dict[str, Any]] = [{"size": 2}]
    kwargs: dict[str, Any] = {"size": 3}
    curriculum, env = CurriculumConfig(levels=levels), EnvConfig(kwargs=kwargs)
    levels.append({})
    levels[0]["size"] = kwargs["size"] = 9
    assert curriculum.levels == [{"size": 2}] and env.kwargs == {"size": 3}


def test_choices_are_the_words_of_a_literal() -> None:
    assert choices(setting_types(MonitorsConfig)["on_alarm"]) == ("warn", "stop", "rollback")
    assert choices(setting_types(RunConfig)["seed"]) == ()
    assert suggestion("seeed", ["name", "seed"]) == "; did you mean 'seed'?"
    assert suggestion("xyz", ["name", "seed"]) == ""


# Ranges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "inside", "outside"),
    [
        (Count, [1, 10**30], [0, -1]),
        (Index, [0, 1], [-1]),
        (Share, [0, 1, 0.5, 1e-12], [-5e-324, math.nextafter(1, 2), math.inf, math.nan]),
        (PositiveShare, [1, 1e-12], [0, -0.0, 2, math.nan]),
        (Positive, [1e-12, 1e12], [0, -1, 5e-324, 1e300, math.inf, math.nan]),
        (NonNegative, [0, 1e-12, 1e12], [1e-300, 1e300, -5e-324, math.inf, -math.inf, math.nan]),
        (Temperature, [0, 0.5, math.inf], [-0.5, -math.inf, math.nan]),
    ],
)
def test_ranges(hint: Any, inside: list[float], outside: list[float]) -> None:
    for value in inside:
        assert checked_setting(value, hint, "here") == value
    for value in outside:
        with pytest.raises(ValueError, match=r"^here must be (at least|above|in |between|0 or between)"):
            checked_setting(value, hint, "here")


@given(st.sampled_from(NUMBERS), st.integers() | st.floats() | st.integers(10**307, 10**310))
def test_a_number_is_accepted_or_refused_by_name(hint: Any, value: float) -> None:
    plain, range_ = get_args(hint)
    in_range = (value > range_.low if range_.above else value >= range_.low) and value <= range_.high
    infinite = abs(value) == math.inf or (plain is float and abs(value) >= 2**1024)  # beyond all floats
    counted = plain is int or value == 0 or infinite or SMALLEST <= abs(value) <= LARGEST
    allowed = in_range and (range_.infinite or not infinite) and counted
    try:
        found = checked_setting(value, hint, "section.name")
    except ValueError as error:
        assert str(error).startswith("section.name must be ")  # noqa: PT017 - both outcomes are right
        assert not allowed or (plain is int and isinstance(value, float))
    else:
        assert allowed and type(found) is plain
        assert found == (math.inf if infinite else plain(value))


@given(st.sampled_from([one for one in SETTINGS if get_origin(setting_types(one[0])[one[1]]) is not list]), st.data())
def test_every_setting_checks_its_own_range(setting: tuple[type[Section], str], data: st.DataObject) -> None:
    """A section is made with the number in it, or says by name what is wrong: this setting, or one beside it."""
    kind, name = setting
    value = data.draw(st.integers(-3, 3) | st.floats())
    try:
        made = kind(**{name: value})
    except ValueError as error:
        assert re.match(rf"{kind.section}\.\w+ ", str(error))  # noqa: PT017 - both outcomes are right
    else:
        assert getattr(made, name) == value


@pytest.mark.parametrize(
    ("range_", "words"),
    [
        (Range(low=1), "at least 1"),
        (Range(low=0, above=True), "above 0"),
        (Range(low=0, high=1), "in [0, 1]"),
        (Range(low=0, high=1, above=True), "in (0, 1]"),
    ],
)
def test_a_range_in_words(range_: Range, words: str) -> None:
    assert str(range_) == words


# What single values cannot tell -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        (ModelConfig, {"hidden_size": 63}, "model.hidden_size must be a multiple of 4, twice the heads, got 63"),
        (ModelConfig, {"rope_base": 1}, "model.rope_base must be above 1, got 1"),
        (
            ModelConfig,
            {"heads": 8},
            "model.copying does not suit the small model: copying takes 4 rotary pairs .*: raise rope_base",
        ),
        (ModelConfig, {"vocabulary_size": 256}, "model.vocabulary_size must be at least 300: 256 bytes, .*, got 256"),
        (
            ModelConfig,
            {"max_reply_tokens": 1024},
            "model.max_reply_tokens must be less than model.context_length, 1024",
        ),
        (WarmStartConfig, {"success_low": 0.7}, "warm_start.success_low must be at most warm_start.success_high, 0.6"),
        (WarmStartConfig, {"max_corrections": -1}, "warm_start.max_corrections must be at least 0, got -1"),
        (ValueConfig, {"samples": 40}, "values.max_samples must be at least values.samples, 40, got 32"),
        (
            CurriculumConfig,
            {"levels": [{"size": 2}] * 10},
            "curriculum.min_share .* each of 11 levels: lower it to 0.09",
        ),
        (MonitorsConfig, {"on_alarm": "panic"}, "monitors.on_alarm must be one of 'warn', 'stop', 'rollback', got 'pa"),
        (RunConfig, {"trackers": ["wand"]}, "run.trackers must be one of 'tensorboard', 'wandb', got 'wand'; did you"),
        (EvaluationConfig, {"validate_every": 0}, "evaluation.validate_every must be at least 1, got 0"),
        (LearningConfig, {"max_tokens": 0}, "learning.max_tokens must be at least 1, got 0"),
        (
            EvaluationConfig,
            {"first": 2**31},
            "evaluation.first plus evaluation.episodes must be at most 2147483648",
        ),
        (EvaluationConfig, {"validation_episodes": 2**63}, "evaluation.validation_episodes must be at most 2147483648"),
        (ValueConfig, {"instances": 2**31}, "values.instances must be at most 1073741824, from where on"),
        (
            ModelConfig,
            {"hidden_size": 10**9, "heads": 2},
            "model.hidden_size with 4 layers makes a small model",
        ),
        (
            ModelConfig,
            {"layers": 10**5, "hidden_size": 8, "copying": False},
            "model.layers must be at most 1000, got 100000",
        ),
        (RunConfig, {"seed": 2**63}, r"run.seed must be in \[0, 9223372036854775807\], got 9223372036854775808"),
        (RunConfig, {"rollout_slots": 10**9}, r"run.rollout_slots must be in \[1, 4096\], got 1000000000"),
        (RunConfig, {"threads": 10**5}, r"run.threads must be in \[1, 1024\], got 100000"),
        (EnvConfig, {"step_timeout": 0}, "env.step_timeout must be above 0, got 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    kind: type[Section], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        kind(**settings)


def test_a_checkpoint_has_a_shape_of_its_own() -> None:
    """What builds the small model is not read where there is another."""
    assert ModelConfig(path="model", hidden_size=63, vocabulary_size=256).hidden_size == 63


def test_a_small_model_that_copies_has_wide_heads() -> None:
    assert ModelConfig().copying and ModelConfig(heads=4).copying
    assert not ModelConfig(heads=8, copying=False).copying


def test_without_easier_levels_there_are_no_shares() -> None:
    assert CurriculumConfig(min_share=1.0).levels == []
    assert CurriculumConfig(levels=[{"size": 2}], min_share=0.5).min_share == 0.5
