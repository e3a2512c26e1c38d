"""From a name to an environment: other people's modules, namespaces and spellings, and `--import` in every command."""

from __future__ import annotations

import re
import time
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec

from turngym._errors import InputError
from turngym.cli import IMPORTING, main, split_imports
from turngym.envs.finding import check_env, env_arguments, foreign_ids, resolve_env, short_name
from turngym.envs.making import ADAPTER_ARGUMENTS
from turngym.plugins import requested

GAMES = '''
import gymnasium
from turngym.agents.registry import register_agent
from turngym.agents.scripted import ScriptedAgent
from turngym.envs.core import TextEnv


class Guess(TextEnv):
    """Guess a number from 0 to 3."""

    _rules = "Guess a number from 0 to 3."

    def __init__(self, bonus=0, **kwargs):
        super().__init__(**kwargs)
        self.bonus = bonus

    @property
    def instance_key(self):
        return str(self.secret)

    def _begin(self, split, index):
        self.secret, self.last = index % 4, ""

    def _observe(self, feedback):
        return feedback or "Which number?"

    def _play(self, action):
        self.last = action
        return float(self._success), self._success, "Right." if self._success else "Wrong."

    _state = property(lambda self: self.last)
    _success = property(lambda self: self.last == str(self.secret))
    _potential = property(lambda self: 0.0)

    def sample_action(self, rng):
        return str(rng.integers(4))

    def oracle_action(self):
        return str(self.secret)


@register_agent("always-2")
class AlwaysTwo(ScriptedAgent):
    def choose(self, seat):
        return "2"


gymnasium.register("me/Guess-v0", entry_point=Guess, max_episode_steps=5)
'''


@pytest.fixture
def games(own_code: Path) -> Path:
    """A folder with a module of a user's own, which registers me/Guess-v0."""
    (own_code / "my_games.py").write_text(GAMES)
    return own_code


def registered(*env_ids: str) -> None:
    for env_id in env_ids:
        gym.register(env_id, entry_point="my_games:Guess")


# Names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env_id", "name"),
    [
        ("turngym/FrozenLake8x8-v0", "FrozenLake8x8"),
        ("me/Guess-v10", "Guess"),
        ("me/Guess", "Guess"),
        ("Guess-v1", "Guess"),
        ("my_games:me/Guess-v0", "Guess"),
        ("my_games:Guess-v0", "Guess"),
        ("me/guess-vast-v2", "guess-vast"),
    ],
)
def test_short_names(env_id: str, name: str) -> None:
    assert short_name(env_id) == name


def test_a_module_with_an_id_is_imported(games: Path) -> None:
    assert resolve_env("my_games:me/Guess-v0") == "me/Guess-v0"
    assert requested() == ["my_games"]
    check_env("me/Guess-v0", {"bonus": 2, "reasoning": True})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_games:me/Guess-v0", "there is no module 'no_games': it is neither installed nor in"),
        ("my_games:me/Gess-v0", "my_games registers no environment 'me/Gess-v0'; did you mean 'me/Guess-v0'?"),
        ("my_games:", "my_games registers no environment ''"),
        (":me/Guess-v0", "'' is no name of a module"),
        ("my_games.py:me/Guess-v0", "'my_games.py' is no name of a module"),
        ("a:b:c", "there is no module 'a'"),
    ],
)
def test_modules_that_bring_no_environment(name: str, said: str, games: Path) -> None:
    with pytest.raises(InputError) as refusal:
        resolve_env(name)
    assert said in str(refusal.value)


def test_what_is_registered_answers_to_its_names(own_code: Path) -> None:
    registered("me/Guess-v0", "me/Guess-v2", "me/Guess-v10", "you/Hangman-v1", "Solo")
    assert resolve_env("me/Guess-v2") == "me/Guess-v2"
    assert {resolve_env(name) for name in ("guess", "GUESS", "me/guess", "gue", "guess-v10")} == {"me/Guess-v10"}
    assert resolve_env("guess-v0") == "me/Guess-v0"
    assert resolve_env("hang_man") == resolve_env("you/hang") == "you/Hangman-v1"
    assert resolve_env("solo") == "Solo"
    import_module("turngym.benchmarks.failure_modes.few_factors")  # a benchmark's own environment is nobody else's
    assert foreign_ids() == ["Solo", "me/Guess-v0", "me/Guess-v10", "me/Guess-v2", "you/Hangman-v1"]


def test_a_short_name_means_one_of_turngym_first(own_code: Path) -> None:
    registered("me/FrozenLake-v3", "me/Count-v0")
    assert resolve_env("frozenlake") == resolve_env("turngym/frozenlake") == "turngym/FrozenLake-v0"
    assert resolve_env("me/frozenlake") == resolve_env("frozenlake-v3") == "me/FrozenLake-v3"


def test_a_name_of_two_must_be_written_in_full(own_code: Path) -> None:
    registered("me/Guess-v0", "you/Guess-v1")
    with pytest.raises(InputError, match=r"'guess' could be me/Guess-v0 or you/Guess-v1; name one of them in full"):
        resolve_env("guess")
    assert resolve_env("guess-v1") == "you/Guess-v1"


def test_an_unknown_name_says_how_to_bring_ones_own(own_code: Path) -> None:
    registered("me/Hangman-v0")
    with pytest.raises(InputError) as refusal:
        resolve_env("hangmen")
    assert str(refusal.value) == (
        "there is no environment 'hangmen'; did you mean 'Hangman'? (name your own as module:Id, or as its id after "
        "--import MODULE)"
    )


@pytest.mark.parametrize("name", ["cartpole", "CartPole", "taxi", "phys2d"])
def test_environments_of_gymnasium_have_no_short_names(name: str) -> None:
    with pytest.raises(InputError, match="there is no environment"):
        resolve_env(name)


# Arguments ----------------------------------------------------------------------------------------------------------


def test_what_is_not_played_in_text_is_refused() -> None:
    env_id = resolve_env("Taxi-v4")
    with pytest.raises(InputError) as refusal:
        check_env(env_id, {})
    assert str(refusal.value).startswith("TaxiEnv is no text environment: observations and actions must be str")


def test_arguments_are_found_through_what_is_handed_on(games: Path) -> None:
    resolve_env("my_games:me/Guess-v0")
    names = env_arguments("me/Guess-v0")
    assert names is not None
    assert {"bonus", "split", "reasoning", "max_episode_steps", "render_mode"} == set(names) - set(ADAPTER_ARGUMENTS)
    with pytest.raises(InputError, match="Guess takes no argument 'bonos'; did you mean 'bonus'"):
        check_env("me/Guess-v0", {"bonos": 1})


class TakesAll(gym.Env[str, str]):
    def __init__(self, **options: Any) -> None:
        pass


class TakesNone(gym.Env[str, str]):
    pass


def test_creators_of_every_kind(own_code: Path) -> None:
    gym.register("me/All-v0", entry_point=TakesAll)  # type: ignore[arg-type]
    gym.register("me/None-v0", entry_point=TakesNone)  # type: ignore[arg-type]
    gym.register("me/Made-v0", entry_point=lambda size, *, slip=0.0: TakesNone())  # type: ignore[arg-type]
    assert env_arguments("me/All-v0") is None
    assert env_arguments("me/None-v0") == ["max_episode_steps", "render_mode", *ADAPTER_ARGUMENTS]
    assert env_arguments("me/Made-v0") == ["size", "slip", "max_episode_steps", "render_mode", *ADAPTER_ARGUMENTS]


# The command line ---------------------------------------------------------------------------------------------------


def test_the_flag_is_taken_out_wherever_it_stands() -> None:
    words = ["oracle", "--import", "a", "--env", "X", "--import=b.c"]
    assert split_imports(words) == (["a", "b.c"], ["oracle", "--env", "X"])


@pytest.mark.parametrize("words", [["--import"], ["--import="], ["--import", "--env", "X"]])
def test_the_flag_needs_a_value(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "oracle", *words]) == 2
    assert capsys.readouterr().err == "turngym: --import needs a value: the name of a module, such as my_games\n"


def test_a_module_brings_environments_and_agents(games: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["always-2", "--env", "guess", "--episodes", "4", "--import", "my_games"]
    assert main(["evaluate", *words]) == 0
    assert "always-2: 4/4, success 0.250" in capsys.readouterr().out


def test_every_playing_command_takes_a_module_with_an_id(games: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = "my_games:me/Guess-v0"
    assert main(["play", env, "--agent", "oracle"]) == 0
    assert "Solved after 1 turn" in capsys.readouterr().out
    assert main(["rollout", "oracle", env, "--episodes", "2", "--out", "played.jsonl"]) == 0
    assert (games / "played.jsonl").read_text().count('"env_id": "me/Guess-v0"') == 2
    assert main(["train", env, "--dry-run"]) == 0
    assert 'id = "me/Guess-v0"' in capsys.readouterr().out


def test_doctor_tells_what_was_loaded(own_code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_code / "my_tools.py").write_text("")
    assert main(["doctor", "--import", "my_tools"]) == 0
    assert "ok     plugins       my_tools" in capsys.readouterr().out


def test_an_unknown_player_is_told_the_registered_ones(games: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "always", "--import", "my_games"]) == 2
    said = capsys.readouterr().err
    assert "hostile, always-2 nor a folder" in said and "did you mean 'always-2'?" in said


def test_an_agent_that_cannot_play_is_one_sentence(games: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (games / "my_games.py").open("a") as file:
        file.write("register_agent('empty')(object)\n")
    assert main(["evaluate", "empty", "--env", "me/Guess-v0", "--import", "my_games"]) == 2
    assert capsys.readouterr().err.startswith("turngym: the agent 'empty' is of type object, which has no start")


@pytest.mark.parametrize("command", IMPORTING)
def test_the_help_of_every_such_command_names_the_flag(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "--import MODULE imports code of your own first" in capsys.readouterr().out


def test_other_commands_have_no_such_flag(own_code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["webshop", "check", "--import", "my_games"]) == 2
    assert main(["--import", "my_games", "play"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "no option --import" in errors[0] and "stands after the command" in errors[1]


def test_a_module_that_is_missing_ends_the_command(own_code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--import", "no_games"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("turngym: there is no module 'no_games': it is neither")


class Broken(gym.Env[Any, Any]):
    """An environment that fails as it is told."""

    observation_space = action_space = gym.spaces.Text(9)

    def __init__(self, fault: str = "init") -> None:
        self.fault = fault
        if fault == "init":
            raise RuntimeError("no display")
        if fault == "spaces":
            self.observation_space = None  # type: ignore[assignment]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if self.fault == "reset":
            raise KeyError("word")
        if self.fault == "exit":
            raise SystemExit(3)
        return {"form": "word", "number": (5, {})}.get(self.fault, ("word", {}))

    def close(self) -> None:
        if self.fault == "close":
            raise RuntimeError("lost")
        if self.fault == "slow close":
            time.sleep(60)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (None, "Broken cannot be made and reset: RuntimeError: no display, test_finding.py line "),
        ("reset", "Broken refuses its arguments {'fault': 'reset'}: KeyError: 'word', test_finding.py line "),
        ("exit", "Broken refuses its arguments {'fault': 'exit'}: SystemExit: 3, test_finding.py line "),
        ("spaces", "Broken is no text environment: observations and actions must be str, such as of gymnasium.spaces."),
        ("form", "Broken.reset must return (observation, info), got 'word'"),
        ("number", "Broken observed a int, not text"),
    ],
)
def test_an_environment_that_fails_is_one_sentence(fault: str | None, sentence: str) -> None:
    gym.register("foreign/Broken-v0", cast("Any", Broken))
    try:
        with pytest.raises(InputError, match=f"^{re.escape(sentence)}"):
            check_env("foreign/Broken-v0", {} if fault is None else {"fault": fault})
    finally:
        del gym.registry["foreign/Broken-v0"]


@pytest.mark.parametrize("fault", ["close", "slow close"])
def test_an_environment_that_does_not_close_is_taken(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("turngym.envs.making.CLOSING_TIME", 0.1)
    monkeypatch.setitem(gym.registry, "foreign/Broken-v0", EnvSpec("foreign/Broken-v0", cast("Any", Broken)))
    began = time.perf_counter()
    check_env("foreign/Broken-v0", {"fault": fault})
    assert time.perf_counter() - began < 5.0
