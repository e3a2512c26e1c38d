"""What a file of live settings asks for, and what is refused of it with a sentence."""

from __future__ import annotations

from dataclasses import fields

import pytest

from turngym._errors import InputError
from turngym.trainers.config import OBJECTIVE_CONFIGS, TrainConfig, sections, with_algorithm, with_overrides
from turngym.trainers.live.settings import (
    AUTO,
    ENDS,
    LIVE,
    read_settings,
    reads,
    shown,
    tuned,
    with_asked,
    with_values,
)


def test_every_live_setting_is_known() -> None:
    known = {f"{name}.{part.name}" for name, section in sections(TrainConfig()).items() for part in fields(section)}
    known |= {f"objective.{part.name}" for kind in OBJECTIVE_CONFIGS.values() for part in fields(kind)}
    assert {*LIVE, *ENDS.values()} <= known and not {*LIVE} & {*ENDS.values()}


def test_a_file_has_the_sections_and_keys_of_a_configuration() -> None:
    text = '[objective]\nbeta = 0.1\nfilter = "mixed"\n[learning]\ntemperature = "auto"\n[echo]\nstep = 3\n'
    assert read_settings(text) == {"objective.beta": 0.1, "objective.filter": "mixed", "learning.temperature": AUTO}
    assert read_settings("") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[objective]\nbeta = ", "live.toml is not valid TOML"),
        ("[objective]\nbeta = 0.1\nbeta = 0.2", "live.toml is not valid TOML"),
        ("[objektive]\nbeta = 1", "there is no section 'objektive'; did you mean 'objective'?"),
        ("beta = 1", "there is no section 'beta'"),
        ("objective = 1", "objective is a section, not the value 1"),
        ("[objective]\nbeat = 1", "there is no setting 'objective.beat'; did you mean 'beta'?"),
        ("[objective]\nbeta_final = 1", "objective.beta_final ends a schedule: give objective.beta, which is held"),
        ("[learning]\nbatch_size = 8", "cannot change while a run learns: fresh instances are counted"),
        ("[learning]\nsteps = 8", "learning.steps cannot change while a run learns: stop the run"),
        ("[shaping]\npotential = 'x'", "the stored episodes have the values of this potential"),
        ("[env]\nid = 'x'", "env.id cannot change while a run learns: the policy learns this environment"),
    ],
)
def test_the_rest_is_refused_with_its_reason(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        read_settings(text)
    assert sentence in str(refused.value)


def test_a_schedule_is_held_until_it_is_released() -> None:
    held = with_values({}, {"objective.beta": 0.1, "learning.learning_rate": 1e-3})
    config = tuned(TrainConfig(), held)
    assert (config.objective.beta, config.objective.beta_final) == (0.1, 0.1)  # type: ignore[attr-defined]
    assert (config.learning.learning_rate, config.learning.final_rate) == (1e-3, 1e-3)
    assert shown(config, "objective.beta") == "0.1" and shown(TrainConfig(), "objective.beta") == "0.05 to 0.005"
    assert tuned(TrainConfig(), with_values(held, dict.fromkeys(held, AUTO))) == TrainConfig()


def test_a_filter_leaves_the_share_of_the_one_before() -> None:
    begun = with_overrides(
        with_algorithm(TrainConfig(), "grpo"), {"objective": {"filter": "top_p", "filter_share": 0.5}}
    )
    held = with_asked({}, {"objective.filter": "mixed"})
    assert tuned(begun, held).objective.filter_share is None
    assert tuned(begun, with_asked(held, {"objective.filter": AUTO})) == begun


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"objective.beta": -1}, "objective.beta must be above 0, got -1"),
        ({"objective.beta": True}, "objective.beta must be"),
        ({"learning.temperature": "hot"}, "learning.temperature must be"),
        ({"objective.group_size": 3}, "learning.batch_size must be a multiple of objective.group_size, 3"),
        ({"objective.filter": "mixed"}, "objective.group_size must be at least 2"),
        ({"objective.filter": "success"}, "objective.filter must not drop episodes for how they ended"),
        ({"objective.kl_coef": 0.1}, "astarpo does not read objective.kl_coef"),
        ({"curriculum.min_share": 0.2}, "curriculum.min_share is not read without curriculum.levels"),
    ],
)
def test_values_are_checked_as_at_the_start(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        tuned(TrainConfig(), with_values({}, values))
    assert sentence in str(refused.value)


def test_a_run_reads_what_its_objective_has() -> None:
    lake, grouped = TrainConfig(), with_algorithm(TrainConfig(), "grpo")
    assert (
        reads(lake, "objective.beta") and not reads(grouped, "objective.beta") and reads(grouped, "objective.kl_coef")
    )
    assert reads(lake, "values.beta_value") and not reads(grouped, "values.beta_value")
    levels = with_overrides(lake, {"curriculum": {"levels": [{"size": 3}]}})
    assert reads(levels, "curriculum.min_share") and not reads(lake, "curriculum.min_share")
