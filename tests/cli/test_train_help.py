"""The help of `train`: a page that can be read at once, and all of it on demand."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from turngym.cli import main
from turngym.cli.train import TrainOptions
from turngym.cli.train_help import RARE, WIDTH, line, sentence, short_help, wrapped
from turngym.trainers.config import OBJECTIVE_CONFIGS, TrainConfig, algorithm_names, sections, with_algorithm
from turngym.trainers.config.section import setting_docs

THREE_SCREENS = 150


def shown(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a command prints."""
    assert main(["train", *words]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def flags(config: TrainConfig) -> dict[str, list[str]]:
    """Return the flags of every section."""
    return {
        name: [f"--{name}.{part.name}".replace("_", "-") for part in fields(section)]
        for name, section in sections(config).items()
    }


@pytest.mark.parametrize("algorithm", algorithm_names())
def test_the_short_help_names_every_setting_on_three_screens(
    algorithm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(["FrozenLake", "--algorithm", algorithm, "--help"], capsys)
    lines = text.splitlines()
    assert len(lines) <= THREE_SCREENS and max(map(len, lines)) <= WIDTH + 10
    config = with_algorithm(TrainConfig(), algorithm)
    words = set(re.findall(r"--[a-z0-9.-]+", text))
    for name, own in flags(config).items():
        assert f"\n[{name}] " in text and words >= set(own)
    others = {
        f"--objective.{part.name}".replace("_", "-") for kind in OBJECTIVE_CONFIGS.values() for part in fields(kind)
    }
    assert not words & (others - set(flags(config)["objective"])), "settings of other objectives"


def test_a_choice_is_listed_with_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(["FrozenLake", "--algorithm", "ppo", "--help"], capsys)
    (line,) = [line for line in text.splitlines() if "--objective.gae-level" in line]
    assert line.endswith("token | turn | bilevel [token]")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["FrozenLake", "-h"], ["--preset", "frozen_lake", "--help"]])
def test_help_needs_no_environment(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(words, capsys)
    assert text.startswith("usage: turngym train ENV") and "--help-all" in text
    assert all(name in text for name in algorithm_names())


def test_values_are_those_of_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    slippery = shown(["FrozenLakeSlippery", "--help"], capsys)
    assert re.search(r"--objective.beta  .*\[0.02\]\n", slippery) and re.search(r"--learning.steps .*\[80\]", slippery)


def test_all_of_the_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(["FrozenLake", "--algorithm", "gigpo", "--help-all"], capsys)
    config = with_algorithm(TrainConfig(), "gigpo")
    for own in flags(config).values():
        assert all(f"{flag} " in text for flag in own)
    said = re.sub(r"\W", "", text)
    for section in sections(config).values():
        docs = setting_docs(type(section))
        assert all(re.sub(r"\W", "", docs[part.name])[:30] in said for part in fields(section))


def test_help_with_a_wrong_name_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["FrozenLak3", "--help"], ["FrozenLake", "--algorithm", "grppo", "--help"]):
        assert main(["train", *words]) == 2
        assert "did you mean" in capsys.readouterr().err


def test_what_is_rare_exists() -> None:
    known = {name: {part.name for part in fields(section)} for name, section in sections(TrainConfig()).items()}
    assert all(set(rare) <= known[name] for name, rare in RARE.items())


def test_lines_are_cut_and_wrapped() -> None:
    long = line("--a.b", "word " * 40, "7")
    assert len(long) <= WIDTH and long.endswith("... [7]")
    assert sentence("Whether it is; else\nnot. More.") == "Whether it is"
    rows = list(wrapped("some: ", [f"--flag-{number}" for number in range(30)]))
    assert len(rows) > 1 and all(len(row) <= WIDTH for row in rows) and rows[1].startswith("      --flag")


def test_a_setting_that_is_off_says_so() -> None:
    text = short_help(TrainOptions, TrainConfig())
    assert re.search(r"--learning.max-tokens .*\[off\]", text) and re.search(r"--run.name .*root`$", text, re.MULTILINE)
