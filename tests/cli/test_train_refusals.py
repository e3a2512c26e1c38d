"""What cannot be trained is told at once, in one sentence, by every door alike, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import turngym
from turngym._errors import InputError
from turngym.cli import main
from turngym.extras import install_command
from turngym.trainers import base_checks, base_model
from turngym.trainers.reporting import trackers

WRONG: list[tuple[str, str, Any, str, str]] = [
    ("values", "state_estimator", "montecarlo", "astarpo", "measured"),
    ("astarpo", "tracker_memory", 5, "astarpo", "astarpo"),
    ("astarpo", "fresh_share", 7, "astarpo", "astarpo"),
    ("learning", "fresh_share", 7, "astarpo", "learning.fresh_share must be in [0, 1], got 7"),
    ("learning", "batch_size", -5, "astarpo", "learning.batch_size must be at least 1, got -5"),
    ("learning", "batch_size", 10, "rloo", "learning.batch_size must be a multiple of objective.group_size, 4, got 10"),
    ("learning", "max_tokens", 0, "astarpo", "learning.max_tokens must be at least 1, got 0"),
    ("learning", "learning_rate", float("nan"), "astarpo", "learning.learning_rate must be at least 0, got nan"),
    ("warm_start", "mistake_rate", 9, "astarpo", "warm_start.mistake_rate must be in [0, 1], got 9"),
    ("warm_start", "success_high", 0.1, "astarpo", "must be at most warm_start.success_high, 0.1, got 0.3"),
    ("warm_start", "demonstrations", "absent.jsonl", "astarpo", "absent.jsonl cannot be read: No such file"),
    ("learning", "learning_rate", 1e300, "astarpo", "learning.learning_rate must be 0 or between 1e-12 and"),
    ("learning", "temperature", 1e-300, "astarpo", "learning.temperature must be between 1e-12 and 1e+12 in size"),
    ("learning", "max_tokens", 9, "astarpo", "learning.max_tokens must be above 2048, the episodes of stage 1"),
    ("objective", "beta", 1e-300, "astarpo", "objective.beta must be between 1e-12 and 1e+12 in size, got 1e-300"),
    ("evaluation", "first", 2**31, "astarpo", "evaluation.first plus evaluation.episodes must be at most 2147483648"),
    ("run", "threads", 10**5, "astarpo", "run.threads must be in [1, 1024], got 100000"),
    ("run", "seed", 2**64, "astarpo", "run.seed must be in [0, 9223372036854775807], got 18446744073709551616"),
    ("run", "imports", ["no_such_code"], "astarpo", "there is no module 'no_such_code'"),
    ("run", "name", "a\0b", "astarpo", "run.name must be a text without null characters"),
    ("model", "layers", 10**5, "astarpo", "model.hidden_size with 100000 layers makes a small model of more than"),
    ("model", "path", "x" * 300, "astarpo", "cannot be read: File name too long"),
    ("monitors", "on_alarm", "explode", "astarpo", "stop"),
    ("values", "max_samples", 2, "astarpo", "values.max_samples must be at least values.samples, 4, got 2"),
    ("values", "beta_value", 3.0, "rloo", "values.beta_value is not read: rloo does without stage 1"),
    ("values", "explorer_models", ["nowhere"], "astarpo", "there is no folder nowhere"),
    ("values", "explorer_temperatures", [2.0, 0.0], "astarpo", "values.explorer_temperatures must be above 0, got 0"),
    ("values", "explorer_agents", ["nobody"], "astarpo", "there is no agent 'nobody'"),
    ("values", "explorer_agents", ["shopper"], "astarpo", "values.explorer_agents: FrozenLakeEnv"),
    ("objective", "clip_low", 0.9, "rloo", "objective.clip_low; grpo, dr_grpo, dapo, starpo_s, gigpo, ppo do"),
    ("objective", "beta", -1.0, "astarpo", "objective.beta must be above 0, got -1"),
    ("objective", "group_size", 1, "grpo", "must be at least 2: grpo compares episodes of one prompt, got 1"),
    ("objective", "filter", "top-p", "astarpo", "top_p"),
    ("objective", "turn_gamma", 0.5, "ppo", "objective.turn_gamma is not read with objective.gae_level 'token'"),
    ("shaping", "potential", "hope", "astarpo", "there is no potential 'hope'"),
    ("curriculum", "levels", [{"sise": 3}], "astarpo", "curriculum.levels[0] {'sise': 3} cannot be made"),
    ("curriculum", "levels", [{"size": 99}], "astarpo", "curriculum.levels[0] {'size': 99} cannot be made: size must"),
    ("env", "kwargs", {"sise": 5}, "astarpo", "did you mean 'size'?"),
    ("model", "path", "nowhere", "astarpo", "there is no folder nowhere"),
    ("model", "hidden_size", 63, "astarpo", "model.hidden_size must be a multiple of"),
    (
        "model",
        "context_length",
        20,
        "astarpo",
        "64 of 64 demonstrations do not fit: raise model.context_length to at least ",
    ),
    ("model", "history", "none", "astarpo", "window"),
    ("model", "history_turns", 3, "astarpo", "model.history_turns is not read with model.history 'all', got 3"),
    ("run", "trackers", ["wandb"], "astarpo", f"needs its package: {install_command('wandb')}"),
]
"""Section, setting, value, algorithm, and a part of what is said."""
NEEDS_MODEL = ("demonstrations", "context_length")
every_wrong_setting = pytest.mark.parametrize(("section", "setting", "value", "algorithm", "part"), WRONG)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder on a machine without wandb."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(trackers, "find_spec", lambda name: None if name == "wandb" else find_spec(name))
    return folder


def build_no_model(monkeypatch: pytest.MonkeyPatch, setting: str = "") -> None:
    """Let a refusal that takes longer than a moment fail, unless it is about the model."""

    def build(config: Any) -> None:
        raise AssertionError("a model was built before the input was refused")

    if setting not in NEEDS_MODEL:
        monkeypatch.setattr(base_checks, "small_writer", build)
        monkeypatch.setattr(base_model, "load_or_build", build)


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the sentence with which a command is refused."""
    assert main(["train", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("turngym: ") and captured.err.count("\n") == 1
    return captured.err.replace("-", "_")


def as_words(value: Any) -> list[str]:
    """Return how a value stands on the command line."""
    if isinstance(value, list) and not isinstance(value[0], dict):
        return [str(item) for item in value]
    return [json.dumps(value) if isinstance(value, list | dict) else str(value)]


def as_toml(value: Any) -> str:
    """Return how a value stands in a file."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {as_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value) if isinstance(value, str) else str(value)


@every_wrong_setting
def test_the_command_line_refuses(
    section: str, setting: str, value: Any, algorithm: str, part: str,
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    build_no_model(monkeypatch, setting)
    words = [f"--{section}.{setting}".replace("_", "-"), *as_words(value)]
    said = refusal(["FrozenLake", "--algorithm", algorithm, *words], capsys)
    assert part.replace("-", "_") in said and not any(here.iterdir())


@every_wrong_setting
def test_a_file_is_refused(
    section: str, setting: str, value: Any, algorithm: str, part: str,
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    build_no_model(monkeypatch, setting)
    tables = {"objective": [f'name = "{algorithm}"']}
    tables.setdefault(section, []).append(f"{setting} = {as_toml(value)}")
    preset = here.parent / "wrong.toml"
    preset.write_text("\n".join(line for name, lines in tables.items() for line in [f"[{name}]", *lines]))
    said = refusal(["--preset", str(preset)], capsys)
    assert part.replace("-", "_") in said and not any(here.iterdir())


@every_wrong_setting
def test_python_is_refused(
    section: str, setting: str, value: Any, algorithm: str, part: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_no_model(monkeypatch, setting)
    overrides: Any = {section: {setting: value}}
    with pytest.raises(InputError) as refused:
        turngym.train("FrozenLake", algorithm=algorithm, **overrides)
    assert part in str(refused.value) and "\n" not in str(refused.value) and not any(here.iterdir())


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "train needs ENV, such as FrozenLake"),
        (["--learning.steps", "3"], "train needs ENV, such as FrozenLake"),
        (["FrozenLak3"], "did you mean 'FrozenLake'?"),
        (["FrozenLake", "Countdown"], "the environment is named twice: FrozenLake and Countdown"),
        (["FrozenLake", "--env.id", "turngym/FrozenLakeWindy-v0"], "the environment is named twice"),
        (["FrozenLake", "--algorithm", "rloo", "--algorithm", "ppo"], "--algorithm is named twice: rloo and ppo"),
        (["FrozenLake", "--algorithm=rloo", "--algorithm=rloo"], "--algorithm is named twice"),
        (["FrozenLake", "--preset", "frozen_lake", "--preset", "x"], "--preset is named twice"),
        (["FrozenLake", "--algorithm", "grppo"], "did you mean 'grpo'?"),
        (["FrozenLake", "--algorithm", "xyzzyq"], "choose from astarpo, astarpo_turn, oapl, gvpo, rebel, reinforce, "),
        (["FrozenLake", "--algorithm"], "--algorithm needs a value"),
        (["FrozenLake", "--preset", "frozenlake"], "there is no preset 'frozenlake'; did you mean 'frozen_lake'?"),
        (
            ["FrozenLake8x8", "--preset", "frozen_lake_slippery"],
            "the preset frozen_lake_slippery is for FrozenLakeSlippery, not for FrozenLake8x8: leave one of them out",
        ),
        (["FrozenLake", "--learning.batchsize", "3"], "did you mean '--learning.batch-size'?"),
        (["FrozenLake", "--objective.beta", "tiny"], "--objective.beta takes a number, not 'tiny'"),
        (["FrozenLake", "--learning.max-tokens", "some"], "--learning.max-tokens takes a whole number, not 'some'"),
        (["FrozenLake", "--learning.steps"], "--learning.steps needs a value: a whole number"),
        (["FrozenLake", "--objective.clip-lo", "0.1"], "no option --objective.clip-lo"),
        (["FrozenLake", "--run.trackers", "mlflow"], "--run.trackers takes one of tensorboard, wandb, not 'mlflow'"),
    ],
)
def test_words_that_do_not_name_a_run(
    words: list[str], part: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build_no_model(monkeypatch)
    assert part.replace("-", "_") in refusal(words, capsys) and not any(here.iterdir())


def test_an_algorithm_that_is_unknown_without_any_near_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(["FrozenLake", "--algorithm", "xyzzyq"], capsys)
    assert all(name in said for name in turngym.trainers.algorithm_names())


def test_demonstrations_on_whole_pages_of_the_shop_do_not_fit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rapidfuzz", reason="the webshop extra is not installed")
    pytest.importorskip("regex", reason="the webshop extra is not installed")
    words = ["WebShop", "--env.kwargs", "{}", "--model.max-reply-tokens", "16"]  # the pages of the original
    said = refusal(words, capsys)
    both = (
        r"\d+ of 64 .* raise model\.max_reply_tokens to at least \d+ \(here 16\) and model\.context_length to at least"
    )
    assert re.search(both, said) and not any(here.iterdir())
    assert said == refusal([*words, "--dry-run"], capsys)


def test_a_file_of_demonstrations_that_are_too_long_is_refused(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.jsonl").write_text(json.dumps({"prompt": "word " * 3000, "completion": "up"}) + "\n")
    said = refusal(["FrozenLake", "--warm-start.demonstrations", str(tmp_path / "long.jsonl")], capsys)
    assert "1 of 1 demonstrations do not fit" in said and not any(here.iterdir())


def test_an_explorer_with_another_tokenizer_is_refused(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from turngym.agents.models.language_model import LanguageModel
    from turngym.agents.models.small import build_decoder, train_tokenizer

    tokenizer = train_tokenizer(["another language"], vocabulary_size=300)
    decoder = build_decoder(tokenizer, hidden_size=16, layers=1, heads=2, feedforward_size=16)
    LanguageModel(decoder, tokenizer).save_pretrained(tmp_path / "foreign")
    said = refusal(["FrozenLake", "--values.explorer-models", str(tmp_path / "foreign"), "--dry-run"], capsys)
    assert "has another tokenizer than the reference" in said and not any(here.iterdir())


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--run.root", "../file"], "cannot be created"),
        (["--env.kwargs", '{"action_budget": null}'], "env.kwargs holds None"),
    ],
)
def test_what_only_the_folder_shows(
    words: list[str], part: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here.parent / "file").write_text("")
    monkeypatch.setattr("turngym.trainers.launch.checking.check_base", lambda config: None)
    assert part in refusal(["FrozenLake", *words], capsys) and not any(here.iterdir())


def test_an_environment_without_its_package_says_so(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("turngym.envs.webshop")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(turngym.envs, "webshop", raising=False)
    monkeypatch.setitem(sys.modules, "turngym.webshop_server.shop", None)
    said = refusal(["WebShop"], capsys)
    assert "WebShop needs" in said and install_command("webshop").replace("-", "_") in said and not any(here.iterdir())
