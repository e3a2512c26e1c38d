"""The throughput benchmark: its loops say the same, its game keeps the contract, its table says what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import gymnasium
import pytest
import torch

from turngym.agents.evaluation import instance_range
from turngym.agents.models.language_model import LanguageModel, LanguageModelAgent
from turngym.agents.rollout import collect_episodes
from turngym.agents.scripted import OracleAgent, RandomAgent
from turngym.benchmarks import night_watch, throughput
from turngym.benchmarks.throughput import Measurement, Options, RereadingAgent
from turngym.envs import check_text_env, make_env, text_env


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    night_watch.register()
    yield
    gymnasium.registry.pop(night_watch.ENV_ID)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """Build the model of the benchmark, hardly trained, in double precision: no tie is decided by rounding."""
    night_watch.register()
    model = throughput.prepare_model(night_watch.ENV_ID, cloning_steps=2)
    model.model.double()
    return model


@pytest.mark.parametrize("slots", [1, 5])
def test_reading_again_and_keeping_the_cache_say_the_same(model: LanguageModel, slots: int) -> None:
    rereading = throughput.play(night_watch.ENV_ID, RereadingAgent(model, 5), 6, slots)
    kept = LanguageModelAgent(model, greedy=True, slots=slots, max_reply_tokens=5)
    expected = throughput.play(night_watch.ENV_ID, kept, 6, slots)
    assert [episode.token_ids for episode in rereading] == [episode.token_ids for episode in expected]
    for one, other in zip(rereading, expected, strict=True):
        assert [turn.span for turn in one.turns] == [turn.span for turn in other.turns]
        assert [turn.action for turn in one.turns] == [turn.action for turn in other.turns]


def test_loops_that_differ_are_an_error(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "RereadingAgent", lambda model, tokens: RandomAgent())
    with pytest.raises(RuntimeError, match=r"'generate, batched' and 'kept cache' do not say the same"):
        throughput.measure(night_watch.ENV_ID, model, Options(episodes=2, slots=2, repeats=1))


def test_a_short_run_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(throughput, "ENVIRONMENTS", (night_watch.ENV_ID,))
    out = tmp_path / "results" / "throughput.md"
    page = throughput.main(Options(episodes=3, slots=2, repeats=1, cloning_steps=5, out=out))
    assert torch.get_num_threads() == threads
    assert out.read_text() == page
    rows = [line for line in page.splitlines() if line.startswith("| NightWatch-v0 |")]
    assert [row.split(" | ")[2] for row in rows] == ["kept cache", "generate, batched", "generate, one at a time"]
    assert rows[1].endswith("| 1.00x |")


def test_the_table_is_against_batched_generate() -> None:
    measurements = [
        Measurement("a/Long-v0", "kept cache", 450.2, 4000, 10, 0.5),
        Measurement("a/Long-v0", "generate, batched", 450.2, 4000, 10, 2.0),
    ]
    assert throughput.table(measurements).splitlines()[2:] == [
        "| Long-v0 | 450 | kept cache | 8,000 | 20.0 | 4.00x |",
        "| Long-v0 | 450 | generate, batched | 2,000 | 5.0 | 1.00x |",
    ]


# The game -----------------------------------------------------------------------------------------------------------


def test_the_game_keeps_the_contract() -> None:
    with closing(make_env(night_watch.ENV_ID)) as env:
        check_text_env(env)


def test_the_oracle_closes_every_door_and_others_do_not() -> None:
    instances = instance_range("test", 20)
    for episode in collect_episodes(OracleAgent(), night_watch.ENV_ID, instances):
        assert episode.success and len(episode.turns) == night_watch.ROUNDS
        assert episode.task_return == pytest.approx(1.0)
        assert all(turn.observation.count("open") == 1 for turn in episode.turns)
    for episode in collect_episodes(RandomAgent(), night_watch.ENV_ID, instances):
        assert not episode.success and 0 <= episode.task_return < 0.8
    with closing(make_env(night_watch.ENV_ID)) as env:
        assert text_env(env).instructions.startswith("In each of 10 rounds one door stands open.")


def test_histories_are_as_long_as_they_are_said_to_be(model: LanguageModel) -> None:
    (episode,) = collect_episodes(OracleAgent(), night_watch.ENV_ID, instance_range("train", 1))
    assert 400 <= len(model.encode_episode(episode).token_ids) <= 500
