"""From a name to a player: scripted ones, runs and checkpoints."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from turngym._checksums import SEAL, seal
from turngym.agents.episode import read_episodes
from turngym.agents.models.decoding import DECODING_FILE, Decoding
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.models.small import build_decoder, train_tokenizer
from turngym.agents.registry import AGENTS
from turngym.agents.scripted import RandomAgent
from turngym.cli import main
from turngym.cli.agents import AgentOptions, find_agent
from turngym.cli.errors import UsageError
from turngym.cli.models import import_trained
from turngym.trainers.config import EnvConfig, ModelConfig, TrainConfig, write_toml


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the smallest model."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["Move up."], vocabulary_size=300)
    decoder = build_decoder(tokenizer, hidden_size=16, layers=1, heads=2, feedforward_size=16)
    LanguageModel(decoder, tokenizer).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", AGENTS)
def test_scripted_players_need_to_be_told_what_to_play(name: str) -> None:
    player = find_agent(name)
    assert player.decoding is None and player.make(AgentOptions(), 4).policy_version == 0
    assert player.env("webshop", {"history": 5}) == ("turngym/WebShop-v0", {"history": 5})
    with pytest.raises(UsageError, match=f"name the environment that {name} shall play"):
        player.env("", {})


def test_only_some_environments_have_a_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "rule", "--env", "WebShop", "--episodes", "20"]) == 0
    assert "rule" in capsys.readouterr().out
    assert main(["evaluate", "rule", "--env", "FrozenLake"]) == 2
    assert (
        "the agent 'rule' cannot play FrozenLake, which defines no rule_action; random, oracle, demonstration, hostile "
        "can, and so can runs and checkpoints" in capsys.readouterr().err
    )


def test_a_checkpoint_plays_what_it_is_told(weights: Path) -> None:
    player = find_agent(str(weights))
    assert player.decoding == Decoding() and player.config is None
    agent = player.make(AgentOptions(greedy=True), 3)
    assert isinstance(agent, LanguageModelAgent)
    assert agent.greedy and agent.max_reply_tokens == ModelConfig().max_reply_tokens


def test_a_checkpoint_in_a_run_knows_its_game(weights: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "somewhere").mkdir(parents=True)
    copy = shutil.copytree(weights, run / "somewhere" / "policy")
    for name in (DECODING_FILE, SEAL):  # as a run of an earlier version left it
        (copy / name).unlink()
    config = TrainConfig(env=EnvConfig(id="turngym/FrozenLakeWindy-v0", kwargs={"size": 5}))
    config = replace(config, model=replace(config.model, max_reply_tokens=3))
    (run / "config.toml").write_text(write_toml(config))
    player = find_agent(str(run / "somewhere" / "policy"))
    assert player.env("", {}) == ("turngym/FrozenLakeWindy-v0", {"size": 5})
    assert player.env("FrozenLakeWindy", {}) == ("turngym/FrozenLakeWindy-v0", {"size": 5})
    assert player.env("FrozenLake", {}) == ("turngym/FrozenLake-v0", {})
    assert player.env("", {"size": 4}) == ("turngym/FrozenLakeWindy-v0", {"size": 4})
    agent = player.make(AgentOptions(temperature=0.5), 4)
    assert isinstance(agent, LanguageModelAgent) and (agent.max_reply_tokens, agent.temperature) == (3, 0.5)


def test_a_model_is_evaluated_beside_floor_and_optimum(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(weights), "--env", "FrozenLake", "--episodes", "4", "--greedy"]) == 0
    out = capsys.readouterr().out
    assert "greedy" in out and weights.name in out and "optimum" in out


@pytest.mark.parametrize("broken", ["", "{", '{"model_type": "no such thing"}'])
def test_a_damaged_checkpoint_is_one_sentence(broken: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(broken)
    with pytest.raises(UsageError, match="cannot be loaded"):
        find_agent(str(tmp_path)).make(AgentOptions(), 4)


def test_only_foreign_packages_are_called_missing() -> None:
    with pytest.raises(UsageError, match="need the package no_such_package"):
        import_trained("no_such_package")
    with pytest.raises(ModuleNotFoundError):
        import_trained("turngym.no_such_module")


def test_titles_say_what_is_not_as_the_model_was_trained() -> None:
    own, agent = Decoding(context_length=100, temperature=0.3), RandomAgent()
    assert AgentOptions().describe(own, agent) == "temperature 0.3"
    assert AgentOptions(greedy=True, temperature=1.0).describe(own, agent) == "greedy"
    assert AgentOptions().describe(Decoding(), agent) == "temperature 1"
    assert AgentOptions(context_length=50).describe(Decoding(), agent) == "temperature 1, context length 50"
    said = AgentOptions(temperature=1.0, context_length=200, max_reply_tokens=80).describe(own, agent)
    assert said == ("temperature 1 (its own: 0.3), context length 200 (its own: 100), "
                    "replies of at most 80 (its own: 16)")  # fmt: skip
    window = AgentOptions(history="window")
    assert window.describe(Decoding(), agent) == "temperature 1, history window 2 (its own: all)"
    assert window.describe(Decoding(history="window"), agent) == "temperature 1"


def test_a_checkpoint_plays_as_it_was_trained_wherever_it_is_copied(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(weights, copy)
    Decoding(context_length=100, max_reply_tokens=7, temperature=0.3).save(copy)
    seal(copy)
    agent = find_agent(str(copy)).make(AgentOptions(), 2)
    assert isinstance(agent, LanguageModelAgent)
    assert (agent.context_length, agent.max_reply_tokens, agent.temperature) == (100, 7, 0.3)
    agent = find_agent(str(copy)).make(AgentOptions(context_length=200, max_reply_tokens=80, temperature=1.0), 2)
    assert isinstance(agent, LanguageModelAgent)
    assert (agent.context_length, agent.max_reply_tokens, agent.temperature) == (200, 80, 1.0)
    with pytest.raises(UsageError, match="max_reply_tokens must be below the context length of 100, got 100"):
        find_agent(str(copy)).make(AgentOptions(max_reply_tokens=100), 2)


def test_a_model_can_be_shown_another_share_of_earlier_turns(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(weights), "FrozenLake", "--episodes", "2", "--out", str(tmp_path / "played.jsonl")]
    assert main(["rollout", *words, "--history", "turn"]) == 0
    assert "history turn (its own: all)" in " ".join(capsys.readouterr().out.split())
    episodes = list(read_episodes(tmp_path / "played.jsonl"))
    assert [len(episode.rows()) for episode in episodes] == [len(episode.turns) for episode in episodes]
    assert main(["evaluate", str(weights), "--env", "FrozenLake", "--episodes", "2", "--history-turns", "3"]) == 2
    assert "history_turns is not read with history 'all': set that to 'window'" in capsys.readouterr().err
    assert main(["evaluate", str(weights), "--env", "FrozenLake", "--history", "some"]) == 2
    assert "--history takes one of all, served, window, turn, not 'some'" in capsys.readouterr().err


def test_a_model_that_holds_less_than_was_asked_says_so(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(weights), "--env", "FrozenLake", "--episodes", "2", "--context-length", "5000"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "its own" not in captured.out
    assert captured.err == (
        "turngym: warning: the model holds 1024 tokens, so its episodes end there, not at the context length of 5000\n"
    )
    assert "5000" not in captured.out


def test_a_model_whose_template_drops_thoughts_is_measured_when_that_is_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = train_tokenizer(["Move up."], vocabulary_size=300, show_instructions=True)
    shown = "message['content'].split('</think>')[-1] if message['role'] == 'assistant' else message['content']"
    tokenizer.chat_template = str(tokenizer.chat_template).replace("message['content']", f"({shown})")
    decoder = build_decoder(tokenizer, hidden_size=16, layers=1, heads=2, feedforward_size=16,
                            context_length=4096)  # fmt: skip
    decoder.save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    words = ["evaluate", str(tmp_path / "m"), "--env", "Countdown", "--env-kwargs", '{"reasoning": true}',
             "--episodes", "2", "--context-length", "4000", "--max-reply-tokens", "80"]  # fmt: skip
    assert main(words) == 2
    assert "removes earlier thoughts" in (said := capsys.readouterr().err) and "--keep-thoughts in other" in said
    assert main([*words, "--keep-thoughts"]) == 0
    out = capsys.readouterr().out
    title = " ".join(out.split())  # which is broken into lines
    assert "context length 4000 (its own: 1024), replies of at most 80 (its own: 16)" in title
    (row,) = [line.split() for line in out.splitlines() if line.startswith("m ")]
    assert float(row[6]) > 80, "tokens of an episode, of which replies of 16 would allow 5 x 16"
