"""Lengths of replies and of the context with checkpoints whose user names none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from turngym.agents.evaluation import instance_range
from turngym.agents.models.decoding import DECODING_FILE, Decoding
from turngym.agents.models.language_model import LanguageModel
from turngym.agents.scripted import DemonstrationAgent, OracleAgent, RandomAgent
from turngym.cli import main
from turngym.envs import turn_limit
from turngym.trainers.base_checks import played_examples
from turngym.trainers.config import EnvConfig, ModelConfig, TrainConfig, parse_toml, with_overrides
from turngym.trainers.launch import limits
from turngym.trainers.launch.checking import with_usual_settings
from turngym.trainers.launch.configure import configure
from turngym.trainers.launch.limits import MOST_CONTEXT, context_need, with_usual_limits
from turngym.trainers.launch.presets import register_preset
from turngym.trainers.launch.run_folder import run_config
from turngym.trainers.play import Play
from turngym.trainers.run_files import BASE

Limits = tuple[int, int]
PLAIN = ModelConfig.max_reply_tokens, ModelConfig.context_length
THINKS: dict[str, Any] = {"env": {"kwargs": {"reasoning": True}}}
ACTS: dict[str, Any] = {"env": {"kwargs": {"reasoning": False}}}
LONG = 32_768
"""What the checkpoints of most tests hold."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of another program, of which nothing is read."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text("{}")
    return tmp_path / "theirs"


@pytest.fixture
def limits_of(folder: Path) -> Callable[..., Limits]:
    """Return the lengths of reply and context that a training from that checkpoint takes."""

    def resolved(env: str, preset: str | None = None, /, *, holds: int = LONG, **overrides: dict[str, Any]) -> Limits:
        overrides["model"] = {"path": str(folder), **overrides.get("model", {})}
        given = {f"{section}.{name}" for section, values in overrides.items() for name in values}
        config = configure(env, preset=preset, overrides=overrides)
        model = with_usual_limits(config, preset, given, holds=holds).model
        assert replace(model, max_reply_tokens=16, context_length=1024) == replace(
            config.model, max_reply_tokens=16, context_length=1024
        )  # fmt: skip
        return model.max_reply_tokens, model.context_length

    return resolved


@pytest.mark.parametrize(
    ("env", "plain", "thinking"),
    [
        ("Countdown4", (64, 1024), (512, 3072)),
        ("CountdownSteps", (128, 2048), (512, 4096)),
        ("MultiplicationSteps3x3", (64, 1024), (512, 4096)),
        ("FrozenLake", (64, 2048), (512, 6144)),
        ("FrozenLake8x8", (64, 6144), (512, MOST_CONTEXT)),
        ("WebShopGiGPO", (64, MOST_CONTEXT), (512, MOST_CONTEXT)),
    ],
)
def test_they_follow_the_environment_and_whether_replies_hold_thoughts(
    env: str, plain: Limits, thinking: Limits, limits_of: Callable[..., Limits]
) -> None:
    assert (limits_of(env, **ACTS), limits_of(env, **THINKS)) == (plain, thinking)


@pytest.mark.parametrize(
    ("env", "characters"), [("Countdown", 2), ("FrozenLake8x8", 2), ("MultiplicationSteps", 2), ("WebShop", 3)]
)
def test_a_conversation_of_long_replies_fits(env: str, characters: int, limits_of: Callable[..., Limits]) -> None:
    """One that was not looked at, to the turn limit, at so many characters a token; a shop writes more than maps."""
    (reply, context), config, turns = limits_of(env, **ACTS), configure(env, overrides=ACTS), list[int]()
    for agent in (OracleAgent(), DemonstrationAgent(0.5), RandomAgent()):
        for episode in Play.of(config).play(agent, instance_range("train", 24, first=5000)):
            read = len(episode.instructions) + sum(len(turn.observation) for turn in episode.turns)
            assert read / characters + (reply + limits.FRAME) * len(episode.turns) <= context
            turns.append(len(episode.turns))
    assert max(turns) == turn_limit(config.env.id)


def test_whole_pages_of_a_shop_fit_as_long_as_nobody_wanders(limits_of: Callable[..., Limits]) -> None:
    (reply, context), config = limits_of("WebShopGiGPO"), configure("WebShopGiGPO")
    fits = []
    for agent in (OracleAgent(), RandomAgent()):
        played = Play.of(config).play(agent, instance_range("train", 24, first=5000))
        read = [len(each.instructions) + sum(len(turn.observation) for turn in each.turns) for each in played]
        fits.append([
            characters / 3 + (reply + limits.FRAME) * len(each.turns) <= context
            for characters, each in zip(read, played, strict=True)
        ])  # fmt: skip
    assert all(fits[0]) and 0 < sum(fits[1]) < 24


def test_what_is_given_stays_and_bounds_the_rest(limits_of: Callable[..., Limits]) -> None:
    assert limits_of("Countdown4", model={"max_reply_tokens": 300, "context_length": 700}, **ACTS) == (300, 700)
    assert limits_of("Countdown4", model={"max_reply_tokens": 300}, **ACTS) == (300, 2048), "five turns of 300"
    assert limits_of("Countdown4", model={"context_length": 700}, **ACTS) == (64, 700)
    assert limits_of("Countdown4", model={"context_length": 700}, **THINKS) == (175, 700), "a quarter"
    assert limits_of("Countdown4", model={"context_length": 40}, **ACTS) == (16, 40), "no less than without this rule"


def test_what_the_model_holds_bounds_both(limits_of: Callable[..., Limits]) -> None:
    assert limits_of("Countdown4", holds=1500, **THINKS) == (375, 1500)
    assert limits_of("Countdown4", holds=600, **ACTS) == (64, 600)
    assert limits_of("Countdown4", holds=10, **ACTS) == (16, 17), "which is told where it is loaded"


def test_what_is_seen_of_earlier_turns_counts(limits_of: Callable[..., Limits]) -> None:
    turn, window = ({"history": "turn"}, {"history": "window", "history_turns": 3})
    assert [limits_of("FrozenLake8x8", model=model, **THINKS) for model in (turn, window)] == [(512, 1024), (512, 3072)]


def test_presets_are_for_the_built_in_model_unless_they_name_a_checkpoint(
    folder: Path, limits_of: Callable[..., Limits], own_code: Path
) -> None:
    assert configure("FrozenLake").model.max_reply_tokens == 4
    assert limits_of("FrozenLake", "frozen_lake") == limits_of("FrozenLake") == (64, 2048)
    assert limits_of("CountdownSteps", "countdown_steps") == (512, 4096)
    text = '[env]\nid = "turngym/Countdown-v0"\n[model]\nmax_reply_tokens = 99\n'
    for name, path in (("aaa", ""), ("aab", f'path = "{folder}"\n')):
        register_preset(name, text + path)
    assert limits_of("Countdown", "aaa") == (99, 1024), "no less than the preset lets the built-in model write"
    assert limits_of("Countdown", "aab", **THINKS) == (99, 1024)
    file = own_code / "mine.toml"
    file.write_text(text)
    assert limits_of("Countdown", str(file), **THINKS) == (99, 1024)
    file.write_text(text.replace("max_reply_tokens", "layers"))
    assert limits_of("Countdown", str(file), **THINKS) == (512, 3072), "it names none"


def test_a_checkpoint_that_was_trained_here_keeps_its_limits(folder: Path, limits_of: Callable[..., Limits]) -> None:
    Decoding(max_reply_tokens=200, context_length=3000).save(folder)
    assert limits_of("Countdown") == limits_of("Countdown", **THINKS) == (200, 3000)
    assert limits_of("Countdown", model={"max_reply_tokens": 20}) == (20, 3000)
    assert limits_of("Countdown", model={"context_length": 150}) == (149, 150)
    Decoding(max_reply_tokens=4, context_length=500).save(folder)
    assert limits_of("FrozenLake") == (4, 1024) and limits_of("CountdownSteps") == (128, 1024), "those of the preset"
    (folder / DECODING_FILE).write_text("{")
    with pytest.raises(ValueError, match=r"turngym\.json cannot be read: "):
        limits_of("Countdown")


def test_an_environment_that_no_script_plays_is_taken_to_be_short(
    limits_of: Callable[..., Limits], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "played_examples", lambda _: [])
    assert limits_of("FrozenLake") == (64, 3072), "10 x (64 + 64) + 1024"
    assert limits_of("Countdown", **THINKS) == (512, 4096), "5 x (512 + 64) + 1024"


def test_without_a_turn_limit_the_context_is_the_longest_that_is_taken(limits_of: Callable[..., Limits]) -> None:
    assert limits_of("FrozenLake", env={"kwargs": {"max_episode_steps": -1}}) == (64, MOST_CONTEXT)


def test_the_wordiest_episode_counts() -> None:
    config = TrainConfig(env=EnvConfig(id="turngym/Countdown-v0"))
    short, *_ = played = played_examples(config)
    wordy = replace(short, turns=[replace(short.turns[0], observation="x" * 4000)])
    assert [context_need(config, each, 64) for each in (played, [*played, wordy])] == [1024, 3072]


def test_what_cannot_be_read_and_the_built_in_model_are_left_alone(folder: Path) -> None:
    for config in (configure("Countdown"), configure("Countdown", overrides={"model": {"path": str(folder)}})):
        assert with_usual_settings(config, None, set()) is config


# A run --------------------------------------------------------------------------------------------------------------


def test_a_run_says_them_keeps_them_and_goes_on_with_them(
    model: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save_pretrained(tmp_path / "theirs")
    for file in (DECODING_FILE, "checksums.json"):
        (tmp_path / "theirs" / file).unlink()
    monkeypatch.chdir(tmp_path)
    words = ["train", "FrozenLake", "--model.path", "theirs", "--warm-start.enabled", "false", "--run.name", "mine"]
    told = "replies have at most 64 tokens (model.max_reply_tokens), in a context of 512 (model.context_length)"

    def said(*words: str) -> str:
        assert main([*words]) == 0
        return capsys.readouterr().out

    planned = said(*words, "--dry-run")
    assert planned.splitlines().count(f"# {told}") == 1
    assert parse_toml(planned.partition("\n#")[0], source="it").model.max_reply_tokens == 64
    assert " ".join(said(*words, "--base-only").split()).count(told) == 1
    run = tmp_path / "runs" / "mine"
    begun = run_config(run)
    assert (begun.model.max_reply_tokens, begun.model.context_length) == (64, 512)
    assert Decoding.read(run / BASE) == begun.decoding
    assert begun.decoding.max_reply_tokens == 64
    monkeypatch.setattr(limits, "REPLY", 32)  # another version
    said("train", "--resume", str(run), "--base-only")
    assert run_config(run) == begun
    assert "max_reply_tokens = 64\n" in said("train", "--replay", str(run), "--dry-run")
    plain = said(*words, "--model.max-reply-tokens", "16", "--model.context-length", "1024", "--run.name", "b",
                 "--dry-run")  # fmt: skip
    assert "replies have at most" not in plain


def test_limits_are_told_where_they_are_not_the_plain_ones() -> None:
    config = TrainConfig()
    assert (config.model.max_reply_tokens, config.model.context_length) == PLAIN and not config.model.limits_told
    longer = with_overrides(config, {"model": {"max_reply_tokens": 512, "context_length": 4096}}).model
    assert longer.limits_told.startswith("replies have at most 512 tokens") and "4,096" in longer.limits_told
