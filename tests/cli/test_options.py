"""Words to options, and one sentence for those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tyro.conf import FlagConversionOff, Positional, arg

from turngym.cli.errors import UsageError
from turngym.cli.options import JsonObject, flags_of, parse, read_boolean, read_json_object, read_json_objects
from turngym.trainers.config import TrainConfig


@dataclass(frozen=True)
class Options:
    """One of each kind."""

    what: Annotated[Positional[str], arg(metavar="WHAT")]
    """A positional."""
    how_many: int = 1
    """A whole number."""
    rate: float | None = None
    """A number or nothing."""
    fast: bool = False
    """A switch."""
    mode: Literal["slow", "safe"] = "slow"
    """A choice."""
    extra: JsonObject = field(default_factory=dict)
    """An object."""
    config: Annotated[TrainConfig, arg(name=""), FlagConversionOff] = field(default_factory=TrainConfig)
    """Nested sections."""


def read(*words: str) -> Options:
    """Parse as the command `try`."""
    return parse(Options, words, command="try")


def test_every_kind_of_value() -> None:
    options = read("x", "--how-many", "-3", "--rate", "0.5", "--fast", "--mode", "safe", "--extra", '{"a": [1, true]}',
                   "--run.seed", "4", "--warm-start.enabled", "false", "--env.kwargs", '{"size": 8}',
                   "--curriculum.levels", '[{"size": 2}, {}]')  # fmt: skip
    assert (options.what, options.how_many, options.rate, options.fast, options.mode) == ("x", -3, 0.5, True, "safe")
    assert options.extra == {"a": [1, True]}
    assert options.config.run.seed == 4 and options.config.env.kwargs == {"size": 8}
    assert options.config.warm_start.enabled is False and options.config.values == TrainConfig().values
    assert options.config.curriculum.levels == [{"size": 2}, {}]


def test_what_is_off_is_none() -> None:
    options = read("x", "--learning.max-tokens", "None", "--values.prior-strength", "0")
    assert options.config.learning.max_tokens is None and options.config.values.prior_strength == 0.0
    assert read("x", "--learning.max-tokens", "9000").config.learning.max_tokens == 9000


def test_underscores_and_equals_signs_are_fine() -> None:
    options = read("x", "--how_many=2", "--warm_start.max_corrections=7", "--warm-start.enabled", "False")
    assert options.how_many == 2 and options.config.warm_start.max_corrections == 7
    assert options.config.warm_start.enabled is False


def test_values_come_from_the_default() -> None:
    base = Options(what="x", config=TrainConfig(), how_many=9)
    assert parse(Options, ["y", "--fast"], command="try", default=base) == Options(what="y", how_many=9, fast=True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["x", "--how-man", "1"], "try has no option --how-man; did you mean '--how-many'?"),
        (["x", "--run.sed", "1"], "try has no option --run.sed; did you mean '--run.seed'?"),
        (["x", "--seed", "1"], "try has no option --seed; did you mean '--run.seed'?"),
        (["x", "--what", "y"], "try has no option --what: WHAT stands without a flag, as in turngym try WHAT"),
        (["x", "--json"], "try has no option --json: it prints for people alone; see turngym try --help"),
        (["x", "--qqqq"], "try has no option --qqqq"),
        (["x", "--how-many", "two"], "--how-many takes a whole number, not 'two'"),
        (["x", "--how-many", "1.5"], "--how-many takes a whole number, not '1.5'"),
        (["x", "--rate", "much"], "--rate takes a number, not 'much'"),
        (["x", "--mode", "fast"], "--mode takes one of slow, safe, not 'fast'"),
        (["x", "--extra", "{"], """--extra takes a JSON object such as '{"size": 8}', not '{'"""),
        (["x", "--env.kwargs=[1]"], """--env.kwargs takes a JSON object such as '{"size": 8}', not '[1]'"""),
        (
            ["x", "--curriculum.levels", "[1]"],
            """--curriculum.levels takes a JSON list of objects such as '[{"size": 3}]', not '[1]'""",
        ),
        (["x", "--warm-start.enabled", "maybe"], "--warm-start.enabled takes true or false, not 'maybe'"),
        (["x", "--learning.learning-rate"], "--learning.learning-rate needs a value: a number"),
        (["x", "--learning.learning-rate", "--fast"], "--learning.learning-rate needs a value: a number"),
        (["x", "--learning.max-tokens", "many"], "--learning.max-tokens takes a whole number, not 'many'"),
        (["x", "--learning.max-tokens", "0"], "learning.max_tokens must be at least 1, got 0"),
        (["x", "--values.max-samples", "2"], "values.max_samples must be at least values.samples, 4, got 2"),
        (
            ["x", "--learning.batch-size", "3", "--objective.group-size", "2"],
            "learning.batch_size must be a multiple of objective.group_size, 2, got 3",
        ),
        (["x", "y"], "try has no use for 'y'; see turngym try --help"),
        (["--fast"], "try needs WHAT; see turngym try --help"),
        ([], "try needs WHAT; see turngym try --help"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as refusal:
        read(*words)
    assert str(refusal.value) == sentence
    assert capsys.readouterr() == ("", "")


@given(st.lists(st.text(max_size=8).filter(lambda word: word != "-h"), max_size=4))
def test_any_words_give_options_or_one_sentence(words: list[str]) -> None:
    try:
        sentence = str(read(*words))
    except UsageError as refusal:
        sentence = str(refusal)
    assert sentence


def test_every_setting_of_a_run_has_a_flag() -> None:
    names = {flag.name for flag in flags_of(Options)}
    assert {"--how-many", "--fast", "--learning.learning-rate", "--run.seed", "--warm-start.enabled"} <= names
    assert not {"--what", "--config", "--no-fast"} & names


@pytest.mark.parametrize("text", ["", "yes", "1", "truee"])
def test_booleans_are_true_or_false(text: str) -> None:
    assert read_boolean("TRUE") and not read_boolean("false")
    with pytest.raises(ValueError, match="neither"):
        read_boolean(text)


@pytest.mark.parametrize("text", ["", "3", "[]", "null", "{'a': 1}", "{1: 2}"])
def test_json_objects_are_objects(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json_object(text)


@pytest.mark.parametrize("read", [read_json_object, read_json_objects])
def test_json_without_end_is_refused(read: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        read("[" * 10**5)


@pytest.mark.parametrize("words", [["--no-logg"], ["--log"], ["--logs"]])
def test_a_switch_that_is_on_is_suggested_as_it_is_written(words: list[str]) -> None:
    @dataclass(frozen=True)
    class Served:
        """Serve."""

        log: bool = True
        """Write a line for every request."""
        out: str = ""
        """Where it is kept."""

    assert parse(Served, ["--no-log"], command="try") == Served(log=False)
    with pytest.raises(UsageError, match=rf"^try has no option {words[0]}; did you mean '--no-log'\?$"):
        parse(Served, words, command="try")
    with pytest.raises(UsageError, match=r"--json: with --out it keeps what programs read; see turngym try --help$"):
        parse(Served, ["--json"], command="try")
