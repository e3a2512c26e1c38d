"""`evaluate` and `rollout`, with scripted players."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from turngym.agents import episode_file
from turngym.agents.episode import Episode, read_episodes, write_episodes
from turngym.agents.evaluation import instance_range, optimal_rate
from turngym.cli import main


def test_a_table_from_floor_to_optimum(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "oracle", "--env", "FrozenLake", "--episodes", "20"]) == 0
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()]
    rows = {words[0]: words for words in lines if words and words[0] in ("random", "oracle", "optimum")}
    assert rows["oracle"][1] == rows["optimum"][1] == "1.000"
    assert float(rows["random"][1]) < 0.8 and rows["oracle"][-1] == "20"
    assert captured.err == "" and "\x1b" not in captured.out


def test_the_same_seed_gives_the_same_score(capsys: pytest.CaptureFixture[str]) -> None:
    def success(*words: str) -> str:
        assert main(["evaluate", "random", "--env", "FrozenLake", "--episodes", "40", *words]) == 0
        out = capsys.readouterr().out
        return next(line.split()[1] for line in out.splitlines() if line.split()[:1] == ["random"])

    assert success() == success()
    assert len({success("--seed", str(seed)) for seed in range(4)}) > 1


def test_arguments_of_the_environment_reach_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "oracle", "--env", "FrozenLake", "--episodes", "5", "--env-kwargs", '{"size": 2}']
    assert main(words) == 0
    assert "oracle" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rando", "--env", "FrozenLake"], "did you mean 'random'?"),
        (["random"], "name the environment that random shall play, such as FrozenLake"),
        (["random", "--env", "Frozzen"], "there is no environment 'Frozzen'; did you mean 'FrozenLake'?"),
        (["random", "--env", "FrozenLake", "--episodes", "0"], "--episodes must be above 0, got 0"),
        (["random", "--env", "FrozenLake", "--seed", "-1"], "--seed must be at least 0, got -1"),
        (["random", "--env", "FrozenLake", "--temperature", "nan"], "--temperature must be above 0, got nan"),
        (["random", "--env", "FrozenLake", "--split", "tests"], "--split takes one of train, validation, test"),
        (["random", "--env", "FrozenLake", "--env-kwargs", '{"sise": 3}'], "did you mean 'size'?"),
    ],
)
def test_what_cannot_be_evaluated(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("turngym: ") and captured.err.count("\n") == 1
    assert sentence in captured.err


def test_a_class_of_a_module_plays_everywhere(own_code: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "class Up(ScriptedAgent):\n    def choose(self, seat):\n        return 'up'\n"
    (own_code / "mine.py").write_text(f"from turngym.agents import ScriptedAgent\n\n\n{text}")
    assert main(["evaluate", "mine:Up", "--env", "FrozenLake", "--episodes", "5"]) == 0
    assert "mine:Up" in capsys.readouterr().out
    assert main(["rollout", "mine:Up", "FrozenLake", "--episodes", "2", "--out", "up.jsonl"]) == 0
    assert {turn.action for one in read_episodes(Path("up.jsonl")) for turn in one.turns} == {"up"}
    words = ["bench", "games", "--envs", "FrozenLake", "--agent", "mine:Up", "--episodes", "4", "--out", "bench"]
    assert main(words) == 0 and "| mine:Up |" in Path("bench", "games.md").read_text()
    assert main(["play", "FrozenLake", "--agent", "mine:Up"]) == 0 and "up" in capsys.readouterr().out
    Path("oracle").mkdir()
    assert main(["evaluate", "oracle", "--env", "FrozenLake", "--episodes", "5"]) == 0, "a folder hides no agent"
    assert main(["evaluate", "mine:Down", "--env", "FrozenLake"]) == 2
    assert "the module mine has no class or function 'Down' that makes an agent" in capsys.readouterr().err


def test_folders_that_hold_no_player(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "neither a run nor a checkpoint" in capsys.readouterr().err
    (tmp_path / "config.toml").write_text("")
    assert main(["evaluate", str(tmp_path)]) == 2
    assert f"turngym train --resume {tmp_path}" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    assert main(["evaluate", str(tmp_path), "--env", "FrozenLake"]) == 2
    assert "cannot be loaded" in capsys.readouterr().err


def test_a_rollout_is_a_file_of_episodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "episodes.jsonl"
    words = ["rollout", "oracle", "FrozenLake", "--episodes", "7", "--first", "3", "--slots", "2", "--out", str(out)]
    assert main(words) == 0
    episodes = list(read_episodes(out))
    assert sorted(episode.index for episode in episodes) == list(range(3, 10))
    assert all(episode.success and episode.split == "train" for episode in episodes)
    assert main(words) == 2
    assert "exists already; name another file" in capsys.readouterr().err
    assert len(list(read_episodes(out))) == 7


def test_a_hostile_rollout_is_written_and_read_back(tmp_path: Path) -> None:
    out = tmp_path / "hostile.jsonl"
    assert main(["rollout", "hostile", "FrozenLake", "--episodes", "20", "--out", str(out)]) == 0
    actions = [turn.action for episode in read_episodes(out) for turn in episode.turns]
    assert r"\ud800 \udfff" in actions and max(map(len, actions)) >= 1_000_000


def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["rollout", "oracle", "FrozenLake", "--out", str(tmp_path / "file" / "x.jsonl")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_rollout_that_is_stopped_leaves_what_was_played(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write_two(path: Path, episodes: list[Episode]) -> None:
        write_episodes(path, episodes)
        if len(list(read_episodes(path))) == 3:
            signal.raise_signal(number)

    monkeypatch.setattr(episode_file, "write_episodes", write_two)
    out = tmp_path / "x.jsonl"
    assert main(["rollout", "oracle", "FrozenLake", "--episodes", "9", "--out", str(out)]) == 128 + number
    assert len(list(read_episodes(out))) == 3
    said = capsys.readouterr()
    assert f"{out} holds the episodes that were played." in said.out and said.err == "Stopped.\n"


def test_no_random_row_where_no_random_action_is_known(five_hooks_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "hostile", "--env", "FiveHooks", "--episodes", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert "random" not in rows and rows["hostile"][0] == "0.000" and rows["optimum"] == ["unknown"]
    assert lines[-1] == "No random floor: FiveHooks does not define sample_action."


@pytest.mark.parametrize(
    ("player", "method"),
    [("random", "sample_action"), ("oracle", "oracle_action"), ("rule", "rule_action"),
     ("demonstration", "oracle_action")],
)  # fmt: skip
def test_players_that_an_environment_has_not(
    player: str, method: str, five_hooks_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["evaluate", player, "--env", "FiveHooks"], ["rollout", player, "FiveHooks"],
                  ["play", "FiveHooks", "--agent", player]):  # fmt: skip
        assert main(words) == 2
        assert capsys.readouterr().err == (
            f"turngym: the agent '{player}' cannot play FiveHooks, which defines no {method}; hostile can, and so can "
            "runs and checkpoints\n"
        )


def test_a_rollout_of_an_environment_with_nothing_but_its_hooks(five_hooks_id: str, tmp_path: Path) -> None:
    out = tmp_path / "episodes.jsonl"
    assert main(["rollout", "hostile", "FiveHooks", "--episodes", "9", "--out", str(out)]) == 0
    episodes = list(read_episodes(out))
    assert len(episodes) == 9 and all(len(episode.turns) == 3 for episode in episodes)
    assert episodes[0].turns[0].state_key.endswith("|3")


def test_the_optimum_is_unknown_where_no_one_says_it(five_hooks_id: str) -> None:
    assert optimal_rate(five_hooks_id, instance_range("test", 4)).rate is None


def test_the_optimum_is_the_mean_over_instances() -> None:
    assert optimal_rate("turngym/FrozenLake-v0", instance_range("test", 10)).rate == 1.0
    slippery = optimal_rate("turngym/FrozenLakeSlippery-v0", instance_range("test", 30)).rate
    assert slippery is not None and 0.1 < slippery < 0.9


def test_the_seed_changes_the_chance_and_not_the_instances() -> None:
    zero, one = instance_range("test", 5), instance_range("test", 5, seed=1)
    assert [instance.index for instance in zero] == [instance.index for instance in one] == list(range(5))
    assert not {instance.seed for instance in zero} & {instance.seed for instance in one}


def test_a_range_may_begin_anywhere() -> None:
    assert instance_range("test", 5, 3) == instance_range("test", 8)[3:]
