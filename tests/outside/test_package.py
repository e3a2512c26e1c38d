"""Somebody else's games, objective, potential, agent and preset, from a package of their own: all commands, and Python.

The package is real: it is built, installed beside turngym, and found by its entry points, or imported from the current
folder. Every process knows only what it is told.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.outside.programs import HASTY, PACKAGE, PLAYERS, SECONDS, Answer, rows, run_commands, run_python

from turngym._errors import InputError
from turngym.trainers.launch.presets import load_preset, preset_for, register_preset

DEMONSTRATIONS = str(PACKAGE / "demonstrations.jsonl")
LEARN = (
    "--algorithm", "my_loss", "--objective.bound", "0.5", "--shaping.potential", "narrowed",
    "--shaping.potential-weight", "0.5", "--warm-start.demonstrations", DEMONSTRATIONS, "--run.name", "mine",
)  # fmt: skip


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def config(run: Path) -> dict[str, Any]:
    return tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))


def learning(run: Path) -> list[dict[str, Any]]:
    return [line for line in lines(run / "metrics.jsonl") if line["phase"] == "learning"]


# Installed ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Answer, Path]:
    """Train with all that the package brings; the answer of the command, and the run."""
    place = tmp_path_factory.mktemp("installed")
    (answer,) = run_commands([["train", "me/Guess-v0", *LEARN, *SECONDS]], cwd=place, site=installed)
    return answer, place / "runs" / "mine"


def test_training_reads_everything_that_the_package_brings(trained: tuple[Answer, Path]) -> None:
    answer, run = trained
    assert (answer.code, answer.err) == (0, "")
    assert rows(answer).keys() >= {*PLAYERS} and rows(answer)["optimum"] == "unknown"
    saved = config(run)
    assert saved["model"]["hidden_size"] == 32 and saved["warm_start"]["course_steps"] == 200  # of the preset
    assert saved["objective"] | {"name": "my_loss", "bound": 0.5} == saved["objective"]
    assert saved["shaping"]["potential"] == "narrowed" and saved["run"]["imports"] == []
    assert 0 < lines(run / "metrics.jsonl")[0]["success"] < 1


def test_the_loss_and_the_potential_are_the_packages(trained: tuple[Answer, Path]) -> None:
    _, run = trained
    first = learning(run)[0]
    assert first["grad_norm"] > 0 and "beta" not in first and "value" not in first
    turns = [turn for episode in lines(run / "episodes" / "train_000002.jsonl") for turn in episode["turns"]]
    assert any(turn["potential"] > 0 for turn in turns)
    assert any(turn["reward"] != turn["task_reward"] for turn in turns)


def test_a_run_is_resumed_measured_recorded_and_watched(trained: tuple[Answer, Path], installed: Path) -> None:
    _, run = trained
    place = run.parent.parent
    (more,) = run_commands([["train", "--resume", str(run), "--learning.steps", "4"]], cwd=place, site=installed)
    assert more.code == 0 and "A new branch of the run: learning.steps 2 -> 4." in more.out
    assert [line["step"] for line in learning(run)] == [1, 2, 3, 4]
    measured, watched, recorded = run_commands(
        [
            ["evaluate", str(run), "--episodes", "4"],
            ["play", "me/Guess-v0", "--agent", str(run)],
            ["rollout", str(run), "--episodes", "3", "--out", "model.jsonl"],
        ],
        cwd=place,
        site=installed,
    )
    assert [answer.code for answer in (measured, watched, recorded)] == [0, 0, 0]
    assert rows(measured).keys() >= {"random", "mine", "optimum"}
    assert "Find a number from 0 to 99." in watched.out and "olved after" in watched.out
    assert [episode["env_id"] for episode in lines(place / "model.jsonl")] == ["me/Guess-v0"] * 3


def test_a_game_for_gymnasium_alone_is_learned_and_measured(installed: Path, tmp_path: Path) -> None:
    words = ["sun", "moon", "star"]
    talks = [{"messages": [{"role": role, "content": word} for role in ("user", "assistant")]} for word in words]
    (tmp_path / "echo.jsonl").write_text("".join(json.dumps(talk) + "\n" for talk in talks), encoding="utf-8")
    shape = (
        "--model.hidden-size",
        "32",
        "--model.layers",
        "1",
        "--model.copying",
        "false",
        "--warm-start.demonstrations",
        "echo.jsonl",
        *SECONDS,
    )
    cloned, untaught, measured = run_commands(
        [
            ["train", "me/Echo-v0", *shape, "--algorithm", "reinforce", "--objective.baseline", "batch",
             "--warm-start.course-steps", "200", "--warm-start.batch-size", "6", "--run.name", "cloned"],
            ["train", "me/Echo-v0", *shape, "--algorithm", "my_loss", "--warm-start.enabled", "false",
             "--run.name", "untaught"],
            ["evaluate", "runs/cloned", "--episodes", "4"],
        ],
        cwd=tmp_path,
        site=installed,
    )  # fmt: skip
    assert [answer.code for answer in (cloned, untaught, measured)] == [0, 0, 0]
    for answer in (cloned, untaught, measured):
        assert "No random floor: Echo does not define sample_action.\n" in answer.out
    for answer in (cloned, untaught):
        assert rows(answer).keys() >= {*PLAYERS} - {"random"} and "random" not in rows(answer)
    assert rows(cloned)["trained, greedy"] == "1.000" and rows(untaught)["trained, greedy"] == "0.000"
    assert rows(measured)["cloned"] == rows(cloned)["trained, sampled"]


# From the current folder --------------------------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder with the package, which is not installed."""
    shutil.copytree(PACKAGE / "word_games", tmp_path / "word_games")
    return tmp_path


def test_imported_modules_of_the_current_folder_do_the_same(sources: Path) -> None:
    imports = ("--import", "word_games", "--import", "word_games.losses")
    (first,) = run_commands([["train", "me/Guess-v0", *imports, *LEARN, *SECONDS, *HASTY]], cwd=sources)
    assert (first.code, first.err) == (0, "")
    assert config(sources / "runs" / "mine")["run"]["imports"] == ["word_games", "word_games.losses"]
    later = [
        ["train", "--resume", "runs/mine", "--learning.steps", "3"],
        ["evaluate", "runs/mine", "--episodes", "2"],
        ["play", "me/Guess-v0", "--agent", "runs/mine"],
    ]
    assert [answer.code for answer in run_commands(later, cwd=sources)] == [0, 0, 0]
    assert len(learning(sources / "runs" / "mine")) == 3


def test_a_module_named_with_its_game_does_the_same(sources: Path) -> None:
    words = ("word_games:me/Guess-v0", "--import", "word_games.losses", *LEARN, *SECONDS, *HASTY)
    (first,) = run_commands([["train", *words]], cwd=sources)
    assert (first.code, first.err) == (0, "")
    saved = config(sources / "runs" / "mine")
    assert saved["env"]["id"] == "me/Guess-v0"
    assert sorted(saved["run"]["imports"]) == ["word_games", "word_games.losses"]
    # A process that has imported nothing reads configurations whose objective only their imports know.
    printed = run_python(
        "import turngym\n"
        "print(turngym.load_agent('runs/mine').max_reply_tokens)\n"
        "print(turngym.trainers.load_preset('runs/mine/config.toml').objective.name)\n"
        "print(turngym.train('me/Guess-v0', run={'name': 'mine'}, resume=True).config.objective.name)",
        cwd=sources,
    )
    assert printed == "4\nmy_loss\nmy_loss\n"


def test_a_module_brings_the_algorithm_and_the_agent_with_the_game(sources: Path) -> None:
    (sources / "both.py").write_text("import word_games.losses\n", encoding="utf-8")
    learned, measured = run_commands(
        [
            ["train", "both:me/Guess-v0", *LEARN, "--dry-run"],
            ["evaluate", "bisect", "--env", "both:me/Guess-v0", "--episodes", "2"],
        ],
        cwd=sources,
    )
    assert learned.code == measured.code == 0
    assert "objective my_loss" in learned.out and rows(measured)["bisect"] == "1.000"


def test_a_configuration_file_imports_what_it_names(sources: Path) -> None:
    (sources / "mine.toml").write_text(
        '[run]\nimports = ["word_games.losses"]\n[objective]\nname = "my_loss"\nbound = 2.0\n', encoding="utf-8"
    )
    printed = run_python("from turngym.trainers import load_preset\nprint(load_preset('mine.toml').objective.bound)",
                         cwd=sources)  # fmt: skip
    assert printed == "2.0\n"
    (sources / "mine.toml").write_text("[run]\nimports = 3\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.toml: run\.imports must be a list of texts, got 3"):
        load_preset(str(sources / "mine.toml"))


def test_a_broken_preset_is_no_matter_of_other_games(own_code: Path) -> None:
    register_preset("a-broken", "[env]\nid = 3")
    register_preset("another", '[env]\nid = "me/Guess-v0"\n[objective]\nname = "none"')
    assert preset_for("turngym/FrozenLake-v0") == "frozen_lake" and preset_for("me/Guess-v0") == "another"
    with pytest.raises(InputError, match="preset another: there is no objective 'none'"):
        load_preset("another")


# Wrong things -------------------------------------------------------------------------------------------------------

WRONG = {
    "evaluate oracle --env me/Guess-v0": "the agent 'oracle' cannot play Guess, which defines no oracle_action; "
    "random, hostile, bisect can, and so can runs and checkpoints",
    "train me/Guess-v0": "me/Guess-v0 has no oracle_action, so there is no scripted play of 'oracle' to clone: set "
    "warm_start.demonstrations to a file, or warm_start.enabled to false",
    "train me/Echo-v0 --warm-start.enabled false": "me/Echo-v0 has no sample_action, so there is no text to train a "
    "tokenizer on: give the environment one, set warm_start.demonstrations, or set model.path",
    "train FrozenLake --algorithm grpo --objective.bound 1": "grpo does not read --objective.bound; my_loss does: "
    "choose one with --algorithm, or leave it out",
    "train FrozenLake --algorithm my_loss --objective.bound 0": "objective.bound must be above 0, got 0.0",
    "train FrozenLake --algorithm my_loss --objective.bound high": "--objective.bound takes a number, not 'high'",
    "train FrozenLake --algorithm my_los": "there is no algorithm 'my_los'; did you mean 'my_loss'?",
    "train me/Guess-v0 --shaping.potential narowed": "there is no potential 'narowed'; did you mean 'narrowed'?",
    "train FrozenLake --preset guess": "the preset guess is for Guess, not for FrozenLake: leave one of them out",
    "train Guess --preset gues": "there is no preset 'gues'; did you mean 'guess'?",
    "train Guess --warm-start.demonstrations none.jsonl": "the demonstrations none.jsonl cannot be read: No such file "
    "or directory",
    "evaluate bisec --env Guess": "there is no agent 'bisec': neither random, rule, shopper, oracle, demonstration, "
    "hostile, bisect nor a folder with a run or a checkpoint, nor module:Class, nor openai:MODEL; did you mean "
    "'bisect'?",
}


def test_what_is_wrong_is_said_in_one_sentence(installed: Path, tmp_path: Path) -> None:
    answers = run_commands([words.split() for words in WRONG], cwd=tmp_path, site=installed)
    told = {words: answer.err.replace(f"{tmp_path}/", "") for words, answer in zip(WRONG, answers, strict=True)}
    assert told == {words: f"turngym: {sentence}\n" for words, sentence in WRONG.items()}
    assert {answer.code for answer in answers} == {2} and {answer.out for answer in answers} == {""}
    assert not (tmp_path / "runs").exists()


def test_python_tells_of_a_package_that_is_broken(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(installed, tmp_path / "site")
    (tmp_path / "site" / "word_games" / "losses.py").write_text("1 / 0", encoding="utf-8")
    printed = run_python(
        "import warnings, turngym\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    try:\n"
        "        turngym.train('me/Guess-v0', algorithm='my_loss')\n"
        "    except ValueError as error:\n"
        "        print(error)\n"
        "print(*[warning.message for warning in caught], sep='\\n')",
        cwd=tmp_path,
        site=tmp_path / "site",
    )
    said, warned = printed.splitlines()
    assert said.startswith("there is no algorithm 'my_loss'")
    assert warned.startswith("the plugin word-losses of word-games 1.0 is broken and was left out")
